"""The configuration: what is documented, checked, and which source of an option counts."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import textwrap
import typing
from pathlib import Path
from typing import Any

import pytest
from support.wrong import fails

from llm import TrainConfig, options
from llm.common.arguments import annotations_of
from llm.common.cache import digest
from llm.config import GROUPS, INPUTS, RESULT, SINGLE_OBJECTIVE, config_from, configure, read, unused_options
from llm.presets import PRESETS
from toyopt.algorithms import RULES

NAMES = [f.name for f in dataclasses.fields(TrainConfig)]


def config(*argv: str) -> TrainConfig:
    return config_from(list(argv), "train", "")


@pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.__name__)
def test_every_option_is_documented(group: type) -> None:
    source = ast.parse(textwrap.dedent(inspect.getsource(group))).body[0]
    assert isinstance(source, ast.ClassDef)
    for i, node in enumerate(source.body):
        if isinstance(node, ast.AnnAssign) and not ast.unparse(node.annotation).startswith("ClassVar"):
            after = source.body[i + 1]
            assert isinstance(after, ast.Expr), ast.unparse(node)
            assert isinstance(after.value, ast.Constant), ast.unparse(node)
            assert isinstance(after.value.value, str), ast.unparse(node)


AT_LEAST_0 = ("optima_steps", "reference_steps", "sft_rows", "preference_rows", "window", "lora_rank", "warmup")
AT_LEAST_0 += ("benchmark_every", "benchmark_shots", "benchmark_limit")
AT_LEAST_0 += ("seed", "world_seed", "eval_every", "gap_rows", "threads", "keep_every", "patience")
AT_LEAST_1 = ("steps", "k", "batch_sft", "batch_preference", "lora_alpha", "eval_rows", "save_every")
AT_LEAST_1 += ("block",)
RANGES = [
    *((name, -1, "at least 0", [0]) for name in AT_LEAST_0),
    *((name, 0, "at least 1", [1]) for name in AT_LEAST_1),
    ("max_length", 1, "at least 2", [2]),
    ("micro_tokens", -1, "at least 0", [0, 1]),
    *((name, -0.01, "between 0 and 1", [0.0, 1.0]) for name in ("lam", "conflict", "overlap", "replay")),
    *((name, 1.01, "between 0 and 1", [0.0, 1.0]) for name in ("lam", "conflict", "overlap", "replay")),
    *((name, 0.0, "greater than 0", [1e-9]) for name in ("beta", "lr", "max_loss_ratio", "orpo_lambda", "rpo_alpha")),
    *(
        (name, -1e-9, "at least 0", [0.0])
        for name in ("weight_decay", "clip", "f_dpo_star", "f_sft_star", "router_aux_loss", "neftune_alpha")
    ),
    *((name, -1e-9, "at least 0", [0.0, 2.0]) for name in ("simpo_beta", "simpo_gamma")),
    *((f"{which}desirable_weight", -0.1, "at least 0", []) for which in ("", "un")),
    *(
        (name, 1.0, "less than 1", [0.0, 0.999])
        for name in ("held_out", "keep_prompt", "lora_dropout", "beta1", "beta2")
    ),
    *((name, -0.1, "at least 0", [0.0]) for name in ("held_out", "keep_prompt", "lora_dropout", "beta1", "beta2")),
    *((n, float("nan"), "finite", []) for n in ("lam", "lr", "clip", "max_loss_ratio", "held_out", "f_dpo_star")),
    ("lr", float("inf"), "finite", []),
    ("label_smoothing", 0.5, "less than 0.5", [0.0]),
    ("label_smoothing", -0.1, "at least 0", [0.0]),
]


@pytest.mark.parametrize(("name", "value", "must", "good"), RANGES, ids=lambda x: str(x))
def test_ranges(name: str, value: Any, must: str, good: list[Any]) -> None:
    fails(lambda: TrainConfig(**{name: value}), ValueError, f"{name}: must be", str(value))
    fails(lambda: TrainConfig(**{name: value}), ValueError, f"{name}: must be", must)
    for each in good:
        assert getattr(TrainConfig(**{name: each}), name) == each


def test_every_number_has_a_range() -> None:
    kinds = {name: typing.get_args(hint) or (hint,) for name, hint in annotations_of(TrainConfig).items()}
    numbers = {name for name, kind in kinds.items() if kind[0] in (int, float, float | None)}
    assert numbers == {name for name, *_ in RANGES}


WRONG_TYPES: list[tuple[str, Any, str]] = [
    ("steps", 2.0, "a whole number"),
    ("steps", True, "a whole number"),
    ("steps", "4", "a whole number"),
    ("lr", True, "a number"),
    ("lr", "fast", "a number"),
    ("lr", None, "a number"),
    ("model", 3, "a text"),
    ("stack", 1, "true or false"),
    ("lora_targets", "q_proj", "a list of texts"),
    ("lora_targets", (1,), "a list of texts"),
    ("sft_columns", {"prompt": 1}, "names to names"),
    ("sft_columns", ["prompt"], "names to names"),
]


@pytest.mark.parametrize(("name", "value", "must"), WRONG_TYPES, ids=lambda x: str(x))
def test_types(name: str, value: Any, must: str) -> None:
    fails(lambda: TrainConfig(**{name: value}), TypeError, f"{name}: must be {must}", repr(value))


CHOICES = {
    "method": list(RULES),
    "order": ["dpo-sft", "sft-dpo"],
    "alternation": ["coin", "even"],
    "f_star": ["estimate", "lowest", "compute", "given"],
    "preference_loss": ["dpo", "ipo", "hinge", "cdpo", "robust", "rpo", "simpo", "orpo"],
    "sft_mean": ["step", "batch"],
    "keep_best": ["no", "f_dpo", "f_sft", "mix", "worst_gap", "ideal_distance"],
    "bad_rows": ["error", "drop"],
    "overflow": ["truncate", "drop", "error"],
    "sft_turns": ["last", "all"],
    "share_prompt": ["auto", "yes", "no"],
    "optimizer": ["adamw", "sgd"],
    "schedule": ["constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt"],
    "precision": ["fp32", "bf16"],
    "device": ["auto", "cpu"],
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name: str) -> None:
    fails(lambda: TrainConfig(**{name: "zigzag"}), ValueError, f"{name}: must be one of", ", ".join(CHOICES[name]))
    fails(lambda: TrainConfig(**{name: "zigzag"}), ValueError, f"{name}: must be one of", "got zigzag")
    more = {"f_star": "given", "f_dpo_star": 0.1, "f_sft_star": 1.0}
    for each in CHOICES[name]:
        assert getattr(TrainConfig(**{**more, name: each}), name) == each


def test_trackers() -> None:
    fails(lambda: TrainConfig(log_with=("tensorboard", "paper")), ValueError, "log_with: each must be one of", "paper")  # type: ignore[arg-type]
    assert TrainConfig(log_with=("tensorboard", "wandb")).log_with == ("tensorboard", "wandb")


TOGETHER: list[tuple[dict[str, Any], str, str]] = [
    ({"f_star": "given", "f_dpo_star": 0.1}, "f_star: given needs both", "--f-sft-star"),
    ({"f_star": "given", "f_sft_star": 0.1}, "f_star: given needs both", "--f-dpo-star"),
    ({"stack": True}, "stack: is for the sequential method", "alright"),
    ({"stack": True, "method": "sequential", "lora_rank": 0}, "stack: is for the sequential method", "rank 0"),
    ({"average": True}, "average: is for the sequential method", "alright"),
    ({"average": True, "method": "sequential", "lora_rank": 0}, "average: is for the sequential method", "rank 0"),
    ({"average": True, "method": "sequential", "stack": True}, "average: stack", "one of the two"),
    ({"average": True, "method": "sequential", "stage_reset": False}, "average: the second stage's", "stage_reset"),
    ({"stack": True, "method": "sequential", "stage_reset": False}, "stack: the second stage's", "stage_reset"),
    (
        {"preference_loss": "orpo", "method": "maxright", "f_star": "given", "f_dpo_star": 0.1, "f_sft_star": 1.0},
        "f_star: given is f_DPO*",
        "f_orpo",
    ),
    (
        {"preference_loss": "ipo", "method": "maxright", "f_star": "given", "f_dpo_star": 0.1, "f_sft_star": 1.0},
        "f_star: given is f_DPO*",
        "f_ipo",
    ),
    ({"label_smoothing": 0.1}, "label_smoothing: dpo has none, got 0.1", "cdpo or robust"),
    (
        {"preference_loss": "robust", "label_smoothing": 0.1, "method": "maxright"},
        "preference_loss: robust with label_smoothing 0.1 has no lower bound",
        "use cdpo",
    ),
    ({"label_smoothing": 0.1, "preference_loss": "hinge"}, "label_smoothing: hinge has none", "cdpo or robust"),
    ({"desirable_weight": 2.0}, "desirable_weight: dpo has none, got 2.0", "--preference-loss kto"),
    ({"undesirable_weight": 2.0, "preference_loss": "ipo"}, "undesirable_weight: ipo has none", "got 2.0"),
    ({"preference_loss": "kto", "f_star": "given", "f_dpo_star": 0.1, "f_sft_star": 1.0}, "f_star: given is", "kto"),
    ({"preference_loss": "kto", "order": "sft"}, "order: must be one of kto-sft, sft-kto", "got sft"),
    ({"adapter": "x", "lora_rank": 0}, "adapter: cannot be trained on with lora_rank 0", "all weights"),
    ({"precision": "bf16", "lora_rank": 0}, "precision: bf16 would round most updates of all weights", "use fp32"),
    ({"reference": "sft", "lora_rank": 0}, "reference: with lora_rank 0", "got sft"),
    ({"neftune_alpha": 5.0, "compile": True}, "neftune_alpha: not with compile", "one of the two"),
    ({"keep_best": "mix", "eval_every": 0}, "keep_best: mix is measured by evaluations", "--eval-every"),
    ({"keep_best": "worst_gap"}, "keep_best: worst_gap is measured from optima", "--f-star compute"),
    ({"keep_best": "ideal_distance", "f_star": "lowest"}, "keep_best: ideal_distance is measured from", "or mix"),
    ({"keep_best": "f_dpo", "method": "sequential", "average": True}, "keep_best: with average", "f_dpo"),
    ({"patience": 3}, "patience: counts evaluations without a better one, got 3", "--keep-best"),
    ({"warmup": 3}, "warmup: the schedule constant has none, got 3", "--schedule constant_with_warmup"),
]


@pytest.mark.parametrize(("values", "begins", "shows"), TOGETHER, ids=lambda x: str(x))
def test_what_does_not_go_together(values: dict[str, Any], begins: str, shows: str) -> None:
    fails(lambda: TrainConfig(**values), ValueError, begins, shows)


def test_how_a_value_is_written_changes_nothing() -> None:
    a, b = TrainConfig(lam=1, lora_targets=["q", "v"]), TrainConfig(lam=1.0, lora_targets=("q", "v"))  # type: ignore[arg-type]
    assert a == b
    assert digest(a.as_dict()) == digest(b.as_dict())


def test_as_dict_is_plain_and_whole() -> None:
    made = TrainConfig.preset("pythia-1b-xright", sft_columns={"prompt": "q"}, log_with=["wandb"])
    values = json.loads(json.dumps(made.as_dict()))
    assert list(values) == NAMES
    assert TrainConfig(**values) == made


def test_every_option_is_in_one_group() -> None:
    names = [f.name for group in GROUPS for f in dataclasses.fields(group)]
    assert names == NAMES
    assert set(RESULT) | {options.MachineOptions, options.RunOptions} == set(GROUPS)
    assert not set(INPUTS) & set(SINGLE_OBJECTIVE)


@pytest.mark.parametrize("name", NAMES)
def test_a_result_depends_on_every_option_but_those_of_machine_and_run(name: str) -> None:
    outside = {f.name for g in (options.MachineOptions, options.RunOptions) for f in dataclasses.fields(g)}
    assert (name in TrainConfig().values_of(*RESULT)) == (name not in outside)


def test_options_that_a_rule_does_not_read_are_those_of_other_rules() -> None:
    assert "k" not in unused_options("maxright")
    assert unused_options("maxright")["replay"] == TrainConfig().replay
    assert {"stack", "average", "block", "k"} < set(unused_options("mix"))
    assert not {"lam", "order", "f_star", "lr"} & set(unused_options("mix"))
    assert "stage_reset" not in unused_options("replay")


# Which source counts.


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


def test_wrong_presets() -> None:
    fails(lambda: TrainConfig.preset("gpt"), ValueError, "preset: must be one of embedded, smollm2-135m", "gpt")
    fails(lambda: TrainConfig.preset("opt-1.3b", lamm=1), ValueError, "preset: lamm is no option", "did you mean lam?")
    assert TrainConfig.preset("opt-1.3b", lam=0.25).lam == 0.25


# Presets. The numbers are those of the authors' published scripts, written out once more.

PAPER = {
    "sft": "vicgalle/alpaca-gpt4",
    "preference": "Dahoas/rm-hh-rlhf",
    "sft_rows": 24000,
    "lora_dropout": 0.0,
    "optimizer": "adamw",
    "lr": 5e-5,
    "schedule": "constant",
    "warmup": 0,
    "beta1": 0.9,
    "beta2": 0.95,
    "weight_decay": 0.0,
    "clip": 1.0,
    "beta": 0.1,
    "max_length": 2048,
    "precision": "bf16",
    "k": 10,
    "seed": 42,
    "eval_every": 100,
    "reference": "paper",
    "steps": 6000,
    "template": "User: {prompt}\nAssistant: ",
    "eval_on_train": False,
}
MODELS: dict[str, dict[str, Any]] = {
    "pythia-1b": {
        "model": "EleutherAI/pythia-1b",
        "preference_rows": 8000,
        "batch_sft": 24,
        "batch_preference": 8,
        "lora_rank": 32,
        "lora_alpha": 32,
        "lora_targets": ("query_key_value",),
        "gradient_checkpointing": False,
        "order": "dpo-sft",
    },
    "llama3-8b": {
        "model": "meta-llama/Meta-Llama-3-8B",
        "preference_rows": 6000,
        "batch_sft": 16,
        "batch_preference": 4,
        "lora_rank": 16,
        "lora_alpha": 16,
        "lora_targets": ("q_proj", "v_proj"),
        "gradient_checkpointing": True,
        "order": "sft-dpo",
    },
}
MODELS["opt-1.3b"] = {**MODELS["pythia-1b"], "model": "facebook/opt-1.3b", "lora_targets": ("q_proj", "v_proj")}


@pytest.mark.parametrize("name", MODELS)
def test_the_papers_settings(name: str) -> None:
    made = TrainConfig.preset(name).as_dict()
    wanted = {**PAPER, **MODELS[name]}
    assert {k: made[k] for k in wanted} == {k: list(v) if isinstance(v, tuple) else v for k, v in wanted.items()}
    # 6 epochs of 1000 steps, 4 of 1500: an epoch is once through both sets
    epoch = made["sft_rows"] // made["batch_sft"]
    assert epoch == made["preference_rows"] // made["batch_preference"] == {24: 1000, 16: 1500}[made["batch_sft"]]
    assert made["steps"] % epoch == 0


QUIRKS = {
    "eval_on_train": True,
    "sft_mean": "batch",
    "ignore_input": True,
    "draw_both": True,
    "window": 0,
    "share_prompt": "no",
    "f_star": "given",
}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("pythia-1b", {"reference_prompts": True, "f_dpo_star": 0.0647, "f_sft_star": 1.4980}),
        ("llama3-8b", {"f_dpo_star": 0.04935, "f_sft_star": 1.02426}),
    ],
)
def test_the_authors_manner_differs_in_these_only(name: str, more: dict[str, Any]) -> None:
    plain, theirs = TrainConfig.preset(name).as_dict(), TrainConfig.preset(f"{name}-xright").as_dict()
    assert {k: v for k, v in theirs.items() if v != plain[k]} == {**QUIRKS, **more}


def test_the_names_of_presets() -> None:
    small, paper = ["embedded", "smollm2-135m"], ["pythia-1b", "opt-1.3b", "llama3-8b"]
    assert list(PRESETS) == [*small, *paper, "pythia-1b-xright", "llama3-8b-xright"]
    for name in PRESETS:
        TrainConfig.preset(name)


def test_folders() -> None:
    assert TrainConfig(out="a/b").folder == Path("a/b")
    named = TrainConfig(model="EleutherAI/pythia-1b", method="mix", lam=0.25, seed=3).folder
    assert named == Path("runs/pythia-1b-mix-lam0.25-seed3")
    assert TrainConfig(cache="~/x").cache_folder == Path("~/x").expanduser()
    assert TrainConfig().cache_folder == Path("~/.cache/forget-neither").expanduser()


def test_dpo_in_an_order_stands_for_any_loss_on_preferences() -> None:
    assert TrainConfig(preference_loss="kto", order="sft-dpo").order == "sft-kto"
    assert TrainConfig(preference_loss="kto").order == "kto-sft"
    assert TrainConfig(preference_loss="simpo", order="sft-dpo").order == "sft-dpo"
