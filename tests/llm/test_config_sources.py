"""Files, presets and the command line: which source of an option counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.wrong import fails

from llm import TrainConfig
from llm.common.option_file import read
from llm.config import config_from, configure
from llm.presets import PRESETS
from llm.study.cli import study


def config(*argv: str) -> TrainConfig:
    return config_from(list(argv), "train", "")


@pytest.mark.slow
def test_the_last_source_counts(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('batch-sft = 5\nseed = 7\nlora_targets = ["dense"]\n', encoding="utf-8")
    plain, preset = TrainConfig(), PRESETS["llama3-8b"]
    assert (plain.batch_sft, preset["batch_sft"], preset["batch_preference"]) == (24, 16, 4)
    made = config("--preset", "llama3-8b", "--config", str(file), "--seed", "9")
    assert (made.batch_preference, made.batch_sft, made.seed, made.lam) == (4, 5, 9, plain.lam)
    assert made.lora_targets == ("dense",)
    assert made == config("--seed=9", f"--config={file}", "--preset=llama3-8b")


@pytest.mark.slow
def test_preset_in_a_file_and_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("preset: opt-1.3b\nlr: 5e-4\n", encoding="utf-8")
    assert config("--config", str(file)) == TrainConfig.preset("opt-1.3b", lr=5e-4)
    assert config("--config", str(file), "--preset", "pythia-1b") == TrainConfig.preset("pythia-1b", lr=5e-4)


@pytest.mark.slow
def test_the_embedded_preset_is_not_for_other_models(tmp_path: Path) -> None:
    assert config() == TrainConfig.preset("embedded")
    assert config("--lam", "0.3", "--sft", "x.jsonl") == TrainConfig.preset("embedded", lam=0.3, sft="x.jsonl")
    assert config("--model", "x") == config("--model=x") == TrainConfig(model="x")
    (tmp_path / "my.yml").write_text("model: x", encoding="utf-8")
    assert config("--config", str(tmp_path / "my.yml")) == TrainConfig(model="x")


@pytest.mark.slow
def test_help_shows_the_defaults_of_a_model_that_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    def rate(*argv: str) -> str:
        with pytest.raises(SystemExit):
            config(*argv, "--help")
        shown = capsys.readouterr().out
        assert f"those {'of embedded' if 'embedded' in argv else 'without a preset'}." in shown
        return shown[shown.index("--lr ") :].partition("(default: ")[2].partition(")")[0]

    assert rate() == rate("--model", "x") == str(TrainConfig(model="x").lr) == "5e-05"
    assert rate("--preset", "embedded") == str(PRESETS["embedded"]["lr"])


def test_a_set_that_is_not_named_is_no_invented_one(tmp_path: Path) -> None:
    fails(lambda: config("--model", "x", "--sft", "my.jsonl"), ValueError, "preference: no set", "--preference SET")
    fails(lambda: config("--model=x", "--preference=my.jsonl"), ValueError, "sft: no set is named", "--sft SET")
    (tmp_path / "my.toml").write_text('model = "x"\nsft = "my.jsonl"\n', encoding="utf-8")
    file = ("--config", str(tmp_path / "my.toml"))
    fails(lambda: config(*file), ValueError, "preference: no set is named beside sft", "for the model x")
    fails(lambda: study(["status", *file]), ValueError, "preference: no set is named", "beside sft")
    assert config(*file, "--preference", "embedded").preference == "embedded"  # asked for
    assert config("--model", "embedded", "--sft", "my.jsonl").preference == "embedded"  # it is that world's model
    objectives = ("--objective", "a=sft:my.jsonl", "--objective", "b=sft:other.jsonl")
    assert config("--model", "x", *objectives).names == ("a", "b")
    assert config_from(["--model", "x", "--sft", "my.jsonl"], "check", "").sft == "my.jsonl"


def test_sets_of_ones_own_need_a_model(tmp_path: Path) -> None:
    sets = ("--sft", "my.jsonl", "--preference", "skill-pairs.jsonl")
    fails(lambda: config(*sets), ValueError, "model: none is named for skill-pairs.jsonl, my.jsonl", "--model NAME")
    fails(lambda: study(["status", "--root", str(tmp_path), *sets]), ValueError, "model: none is named", "--model NAME")
    objectives = ("--objective", "a=sft:my.jsonl", "--objective")
    fails(lambda: config(*objectives, "b=sft:x.jsonl"), ValueError, "model: none is named", "my.jsonl, x.jsonl")
    assert config("--preset", "embedded", *sets).model == "embedded"  # asked for
    assert config(*objectives, "b=preference:embedded:courtesy").model == "embedded"


@pytest.mark.slow
def test_a_file_is_judged_together_with_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('f_star = "given"\nlam = 3\n', encoding="utf-8")
    found = config("--config", str(file), "--f-dpo-star", "0.1", "--f-sft-star", "1", "--lam", "0.25")
    assert (found.f_star, found.lam) == ("given", 0.25)
    fails(lambda: config("--config", str(file)), ValueError, "lam: must be between 0 and 1", "3")


def test_columns_and_lists_on_the_command_line() -> None:
    made = config("--sft-columns", "prompt", "q", "completion", "a", "--lora-targets", "x", "y", "--log-with", "wandb")
    assert made.sft_columns == {"prompt": "q", "completion": "a"}
    assert (made.lora_targets, made.log_with) == (("x", "y"), ("wandb",))


@pytest.mark.parametrize("suffix", ["toml", "yaml", "yml"])
def test_toml_and_yaml(tmp_path: Path, suffix: str) -> None:
    equals, open_, close = (" = ", '"', '"') if suffix == "toml" else (": ", "", "")
    path = tmp_path / f"my.{suffix}"
    path.write_text(f"model{equals}{open_}abc{close}\nstack{equals}false\nlr{equals}1e-3\n", encoding="utf-8")
    assert TrainConfig(**configure("", read(path), str(path))) == TrainConfig(model="abc", lr=1e-3)


WRONG_FILES: list[tuple[str, str, type[Exception], str, str]] = [
    ("a.toml", "lambda = 1\nlaam = 2", ValueError, "{path}: lambda is no option", "did you mean lam?"),
    ("a.toml", "batch-stf = 2", ValueError, "{path}: batch-stf is no option", "did you mean batch_sft?"),
    ("a.yaml", "qqqq: 2", ValueError, "{path}: qqqq is no option", "there are model, adapter"),
    ("a.toml", "steps = ,", ValueError, "config: {path} is not TOML", "at line 1"),
    ("a.yaml", "steps: [1", ValueError, "config: {path} is not YAML", "line 1"),
    ("a.yaml", "- 1", ValueError, "config: {path} must hold names with values", "list"),
    ("a.json", "{{}}", ValueError, "config: {path} must end in", ".toml, .yaml or .yml"),
    ("a.toml", "steps = 2.5", TypeError, "steps: must be a whole number", "2.5"),
    ("a.yaml", "lr: fast", TypeError, "lr: must be a number", "'fast'"),
    ("a.yaml", "preset: nothing", ValueError, "preset: must be one of", "got nothing"),
    ("a.yaml", "schedule: zigzag", ValueError, "schedule: must be one of", "got zigzag"),
]


@pytest.mark.parametrize(("name", "text", "error", "begins", "shows"), WRONG_FILES, ids=lambda x: str(x)[:20])
def test_wrong_files(tmp_path: Path, name: str, text: str, error: type[Exception], begins: str, shows: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    fails(lambda: config("--config", str(path)), error, begins.format(path=path), shows)


def test_no_file_and_no_value(tmp_path: Path) -> None:
    fails(lambda: config("--config", str(tmp_path / "x.toml")), FileNotFoundError, "config: there is no file", "x.toml")
    fails(lambda: config("--preset"), ValueError, "--preset: a value", "missing")
