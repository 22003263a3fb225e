"""Wrong input to the trainer: one line that names the thing and the way out, status 2, and nothing written or lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base and sets, and what is wrong with each of the others."""
    here = tmp_path_factory.mktemp("wrong")
    door.place(here)
    sft, pairs = tiny.sft_rows(), tiny.preference_rows()
    door.write(here / "columns.jsonl", [{"prompt": "bax", "text": "ber"}])
    door.write(here / "onesided.jsonl", [pairs[0], {**pairs[1], "rejected": " "}, *pairs])
    door.write(here / "empty_prompt.jsonl", [{**pairs[0], "prompt": ""}, *pairs])
    door.write(here / "equal.jsonl", [*pairs, {**pairs[0], "rejected": pairs[0]["chosen"]}])
    door.write(here / "number.jsonl", [{"prompt": "bax", "completion": 5}, *sft])
    door.write(here / "oneprompt.jsonl", [{"prompt": "bax", "completion": w} for w in tiny.WORDS[:9]])
    door.write(here / "longrow.jsonl", [{"prompt": " ".join(["bax"] * 200), "completion": "der"}, *sft])
    lines = [json.dumps(row) for row in sft]
    (here / "broken.jsonl").write_text("\n".join([*lines[:2], '{"prompt": oops', *lines]), encoding="utf-8")
    (here / "nothing.jsonl").write_text("", encoding="utf-8")
    (here / "rows.txt").write_text("bax", encoding="utf-8")
    (here / "file").write_text("mine", encoding="utf-8")
    (here / "empty").mkdir()
    (here / "foreign").mkdir()
    (here / "foreign" / "thesis.tex").write_text("mine", encoding="utf-8")
    (here / "other_program").mkdir()
    (here / "other_program" / "run.json").write_text('{"mine": 1}', encoding="utf-8")
    _models(here)
    return here


def _models(here: Path) -> None:
    without_eos = tiny.tokenizer()
    without_eos.eos_token = None
    tiny.model().save_pretrained(here / "noeos")
    without_eos.save_pretrained(here / "noeos")
    tiny.model(vocabulary=20).save_pretrained(here / "small")
    tiny.tokenizer().save_pretrained(here / "small")
    shutil.copytree(here / "base", here / "pickled")
    (here / "pickled" / "model.safetensors").unlink()
    torch.save(tiny.model().state_dict(), here / "pickled" / "pytorch_model.bin")
    shutil.copytree(here / "base", here / "code")
    config = json.loads((here / "code" / "config.json").read_text(encoding="utf-8"))
    config |= {"auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}, "model_type": "own"}
    (here / "code" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (here / "code" / "own.py").write_text(f"open({str(here / 'ran')!r}, 'w')", encoding="utf-8")
    shutil.copytree(here / "base", here / "bare")
    for path in (here / "bare").glob("token*"):
        path.unlink()


# What is changed in a good command, and what the line must begin with and show. {h}: the folder.
CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"model": "{h}/nowhere"}, "model: there is no folder {h}/nowhere", "hub name"),
    ({"model": "nobody/nothing"}, "model: nobody/nothing is neither a folder nor could it be had", "download it first"),
    ({"model": "nothing"}, "model: nothing is neither a folder nor could it be had", "download it first"),
    ({"model": "{h}/empty"}, "model: {h}/empty has no ", "save_pretrained"),
    ({"model": "{h}/bare"}, "model: {h}/bare has no tokenizer_config.json", "save_pretrained"),
    ({"model": "{h}/pickled"}, "model: {h}/pickled has no safetensors", "save_pretrained"),
    ({"model": "{h}/code"}, "model: {h}/code brings code of its own", "--remote-code"),
    ({"model": "{h}/noeos"}, "eos: the tokenizer has no EOS token", "--eos TOKEN"),
    ({"model": "{h}/small"}, "sft: the tokenizer gives the id ", "embeddings for 20 ids; give the model's own"),
    ({"eos": "<zzz>"}, "eos: must be one token of the tokenizer", "'<zzz>'"),
    ({"sft": "{h}/nowhere.jsonl"}, "sft: {h}/nowhere.jsonl: no such file", "org/name"),
    ({"preference": "nobody/nothing"}, "preference: nobody/nothing: no such file", "hf download --repo-type dataset"),
    ({"sft_held_out": "{h}/no.jsonl"}, "sft (held out): {h}/no.jsonl: no such file", "org/name"),
    ({"sft": "{h}/rows.txt"}, "sft: {h}/rows.txt: not a known kind of file", ".jsonl"),
    ({"sft": "{h}/nothing.jsonl"}, "sft: {h}/nothing.jsonl: the set is empty", ""),
    (
        {"sft": "{h}/columns.jsonl"},
        "sft: {h}/columns.jsonl: missing columns",
        "columns are prompt, text; name them by --sft-columns OURS THEIRS",
    ),
    ({"sft": "{h}/number.jsonl"}, "sft: row 0 of {h}/number.jsonl: column 'completion' must hold a text", "int 5"),
    ({"sft": "{h}/broken.jsonl"}, "sft: {h}/broken.jsonl, line 3: not valid JSON", "column 12"),
    (
        {"preference": "{h}/onesided.jsonl"},
        "preference: row 1 of {h}/onesided.jsonl: column 'rejected' is empty",
        "drop",
    ),
    ({"preference": "{h}/empty_prompt.jsonl"}, "preference: row 0 of {h}/empty_prompt.jsonl: column 'prompt'", "empty"),
    ({"preference": "{h}/equal.jsonl"}, "preference: row 24 of {h}/equal.jsonl: chosen and rejected are the same", ""),
    (
        {"sft_format": "messages"},
        "sft: {h}/sft.jsonl: column 'messages' of format messages is missing",
        "--sft-columns",
    ),
    ({"sft_format": "poem"}, "sft: format: must be auto, prompt-completion", "'poem'"),
    ({"sft_split": "test"}, "sft: split: {h}/sft.jsonl has no splits", "'test'"),
    ({"template": "User:"}, "template: ", "{prompt}"),
    ({"max_length": 8, "overflow": "error"}, "sft: row 0 of {h}/sft.jsonl: 17 tokens (prompt 8, ", "--max-length, or"),
    ({"max_length": 4, "overflow": "drop"}, "sft: {h}/sft.jsonl: no row is left of 40", "--max-length"),
    ({"sft": "{h}/longrow.jsonl", "max_length": 300, "held_out": 0}, "sft: a row has 206 tokens", "--max-length 128"),
    ({"sft": "{h}/oneprompt.jsonl"}, "sft: held_out: 0.2 cannot be held out of 9 rows", "hold out 0"),
    ({"sft_held_out": "{h}/sft.jsonl"}, "sft: 40 training rows left out, whose prompts are held out", "hold out other"),
    ({"batch_sft": 33}, "batch_sft: must be at most the number of training rows, 32, got 33", "--batch-sft 32"),
    ({"batch_preference": 20}, "batch_preference: must be at most the number of training rows, 19", "got 20"),
    ({"lora_targets": "zzz"}, "lora_targets: zzz is no layer of this model", "query_key_value"),
    ({"lora_targets": "layers"}, "lora_targets: layers cannot be adapted", "query_key_value"),
    ({"adapter": "{h}/nowhere"}, "adapter: {h}/nowhere has no adapter_config.json", "PEFT adapter"),
    ({"adapter": "{h}/empty"}, "adapter: {h}/empty has no adapter_config.json", "PEFT adapter"),
    ({"reference": "chosn"}, "reference: must be base, chosen, sft, paper, or the folder", "got chosn"),
    ({"lam": 2}, "lam: must be between 0 and 1, got 2.0", ""),
    ({"lam": -0.1}, "lam: must be between 0 and 1, got -0.1", ""),
    ({"preset": "gpt"}, "preset: must be one of embedded", "got gpt"),
    ({"config": "{h}/my.toml"}, "config: there is no file {h}/my.toml", ""),
    ({"out": "{h}/file"}, "out: {h}/file is a file", "give a folder"),
    ({"out": "{h}/file/run"}, "out: {h}/file/run cannot be written to", "--out"),
    ({"out": "{h}/foreign"}, "out: {h}/foreign holds something else than a run", "another folder"),
    ({"out": "{h}/foreign", "overwrite": True}, "out: {h}/foreign holds something else than a run", "another folder"),
    ({"out": "{h}/other_program"}, "out: {h}/other_program/run.json is not a run's of this program", "another folder"),
    ({"out": "{h}/other_program", "overwrite": True}, "out: {h}/other_program/run.json is not a run's", "another"),
    ({"cache": "{h}/file/cache"}, "cache: {h}/file/cache cannot be written to", "--cache"),
    ({"cache": "{h}/file"}, "cache: {h}/file cannot be written to", "--cache"),
]


def _options(here: Path) -> dict[str, Any]:
    return {
        "model": str(here / "base"), "sft": str(here / "sft.jsonl"), "preference": str(here / "preference.jsonl"),
        "cache": str(here / "cache"), "out": str(here / "run"), "steps": 4, "batch_sft": 4, "batch_preference": 4,
        "lora_rank": 4, "lr": 1e-2, "max_length": 64, "held_out": 0.2, "eval_every": 2, "device": "cpu",
    }  # fmt: skip


def _tree(here: Path) -> dict[str, bytes]:
    """Every file's bytes, besides the cache's; locks that nobody holds are nothing."""
    files = (p for p in here.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(here)): p.read_bytes() for p in files if p.parent.name != "__pycache__"}


def _refused(said: door.Said, begins: str, shows: str) -> None:
    assert said.status == 2, said
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if line]
    assert lines[-1].startswith(f"error: {begins}"), said.err
    assert shows in lines[-1], said.err
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert "Traceback" not in said.err


def _name(value: Any) -> str:
    return "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else ""


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "begins", "shows"), CASES, ids=_name)
def test_one_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    begins: str,
    shows: str,
) -> None:
    monkeypatch.chdir(folder)
    changes = {k: v.replace("{h}", str(folder)) if isinstance(v, str) else v for k, v in changes.items()}
    before = _tree(folder)
    said = door.call(capsys, "train", **{**_options(folder), **changes})
    _refused(said, begins.replace("{h}", str(folder)), shows)
    assert _tree(folder) == before
    assert not (folder / "run").exists()
    assert not (folder / "ran").exists()


def test_a_tracker_that_is_not_installed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm.training.launch.find_spec", lambda _: None)
    said = door.call(capsys, "train", **_options(folder), log_with="wandb")
    _refused(said, "log_with: wandb is not installed", "pip install wandb")
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "shows"),
    [
        (["--lamm", "0.5"], "--lam FLOAT"),
        (["--steps", "many"], "invalid literal for int()"),
        (["--method", "best"], "alright"),
        (["--schedule", "zigzag"], "cosine"),
        (["stray"], "stray"),
    ],
)
def test_usage_errors_are_tyros(capsys: pytest.CaptureFixture[str], arguments: list[str], shows: str) -> None:
    from llm.cli import main

    with pytest.raises(SystemExit) as left:
        main(["train", *arguments])
    assert left.value.code == 2
    said = capsys.readouterr()
    assert shows in said.err
    assert said.out == ""


def test_processes_must_share_a_batch_evenly() -> None:
    from llm import TrainConfig
    from llm.data.formats import load
    from llm.data.splits import Datasets
    from llm.data.tokenization import tokenize
    from llm.training.inputs import check_fits

    tokenizer, model = tiny.tokenizer(), tiny.model()
    sft = tokenize(load(tiny.sft_rows(), kind="sft"), tokenizer)
    pairs = tokenize(load(tiny.preference_rows(), kind="preference"), tokenizer)
    sets, config = Datasets({"sft": sft, "preference": pairs}, {}), TrainConfig(batch_sft=8, batch_preference=6)
    check_fits(sets, model, config, world=2)
    with pytest.raises(
        ValueError,
        match=r"^batch_preference: must be a multiple of .* processes, 4, got 6; use --batch-preference 8, or another ",
    ):
        check_fits(sets, model, config, world=4)


# Where there is a run already.


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """A finished run."""
    from llm import TrainConfig, train

    out = folder / "finished"
    return train(TrainConfig(**{**_options(folder), "out": str(out)}), quiet=True).folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "begins", "shows"),
    [
        ({"lam": 0.25}, "out: {r} holds another run", "(lam was 0.5 and is 0.25); give another --out, or --overwrite"),
        ({"preference_rows": 20}, "out: {r} holds another run", "the training rows differ"),
        ({"lam": 0.25, "overwrite": True, "lora_targets": "zzz"}, "lora_targets: zzz is no layer", "query_key_value"),
        ({"lam": 0.25, "overwrite": True, "batch_sft": 99}, "batch_sft: must be at most", "got 99"),
        ({"lam": 0.25, "overwrite": True, "reference": "chosn"}, "reference: must be", "got chosn"),
        ({"lam": 0.25, "overwrite": True, "sft": "{r}/no.jsonl"}, "sft: {r}/no.jsonl: no such file", "org/name"),
    ],
    ids=_name,
)
def test_a_run_is_never_lost(
    folder: Path,
    run: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    begins: str,
    shows: str,
) -> None:
    changes = {k: v.replace("{r}", str(run)) if isinstance(v, str) else v for k, v in changes.items()}
    before = _tree(run)
    said = door.call(capsys, "train", **{**_options(folder), "out": str(run), **changes})
    _refused(said, begins.replace("{r}", str(run)), shows)
    assert _tree(run) == before


@pytest.mark.slow
def test_adapters_of_another_base(folder: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.model(hidden=32).save_pretrained(folder / "wide")
    tiny.tokenizer().save_pretrained(folder / "wide")
    for option in ("adapter", "reference"):
        said = door.call(capsys, "train", **{**_options(folder), "model": str(folder / "wide"), option: str(run)})
        _refused(said, f"adapter: {run} does not fit the base model", "size mismatch")
        assert not (folder / "run").exists()


def test_damaged_run_json(folder: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = folder / "damaged"
    shutil.copytree(run, damaged)
    (damaged / "run.json").write_text('{"fingerprint": {', encoding="utf-8")
    said = door.call(capsys, "train", **{**_options(folder), "out": str(damaged)})
    _refused(said, f"{damaged}/run.json is damaged", "remove it")


AFTER: list[tuple[str, dict[str, Any], str, str]] = [
    ("evaluate", {"run": "{h}/empty"}, "run: {h}/empty holds no run", "--out folder"),
    ("evaluate", {"run": "{h}/nowhere"}, "run: {h}/nowhere holds no run", "--out folder"),
    ("evaluate", {"rows": -1}, "rows: must be at least 0", "-1"),
    ("evaluate", {"adapter": "{h}/empty"}, "adapter: {h}/empty has no adapter_config.json", "an adapter"),
    ("evaluate", {"sft": "{h}/columns.jsonl"}, "sft (held out): {h}/columns.jsonl: missing columns", "--sft-columns"),
    ("evaluate", {"out": "{h}/x.txt"}, "out: must be a .json file", "x.txt"),
    ("evaluate", {"out": "{h}/file/x.json"}, "out: {h}/file cannot be written to", "--out"),
    ("evaluate", {"sft": "{h}/a.json", "out": "{h}/a.json"}, "out: {h}/a.json is read by --sft", "overwritten"),
    (
        "generate",
        {"prompts": None, "file": "{h}/a.jsonl", "out": "{h}/a.jsonl"},
        "out: {h}/a.jsonl is read by",
        "--file",
    ),
    ("generate", {"prompts": None}, "prompts: give either --prompts TEXT ... or --file SET", ""),
    ("generate", {"file": "{h}/sft.jsonl"}, "prompts: give either --prompts TEXT ... or --file SET", ""),
    ("generate", {"prompts": None, "file": "{h}/no.jsonl"}, "{h}/no.jsonl: no such file", ""),
    ("generate", {"prompts": None, "file": "{h}/empty_prompt.jsonl"}, "prompt 0: ", "the prompt is empty"),
    ("generate", {"prompts": ["bax", " "]}, "prompt 1: ", "the prompt is empty"),
    ("generate", {"model": "{h}/empty"}, "model: {h}/empty has no config.json", "save_pretrained"),
    ("generate", {"max_new_tokens": 125}, "prompt 0: ", "lower --max-new-tokens"),
    ("generate", {"max_new_tokens": 0}, "max_new_tokens: must be at least 1", "0"),
    ("generate", {"batch": 0}, "batch: must be at least 1", "0"),
    ("generate", {"seed": -1}, "seed: must be at least 0", "-1"),
    ("generate", {"temperature": -1}, "temperature: must be at least 0", "-1.0"),
    ("generate", {"top_p": 0}, "top_p: must be greater than 0 and at most 1", "0.0"),
    ("generate", {"precision": "fp8"}, "precision: must be fp32 or bf16", "fp8"),
    ("generate", {"template": "Hm"}, "template: ", "{prompt}"),
    ("generate", {"eos": "<zzz>"}, "eos: must be one token of the tokenizer", "'<zzz>'"),
    ("generate", {"out": "{h}/x.txt"}, "out: must be a .jsonl file", "x.txt"),
    ("merge", {"adapter": "{h}/base"}, "adapter: {h}/base has no adapter_config.json", "an adapter"),
    ("merge", {"out": "{h}/empty"}, "out: {h}/empty is there already", "another folder"),
    ("merge", {"out": "{h}/file/x"}, "out: {h}/file cannot be written to", "--out"),
    ("merge", {"precision": "int4"}, "precision: must be fp32 or bf16", "int4"),
]


@pytest.mark.parametrize(("command", "changes", "begins", "shows"), AFTER, ids=_name)
def test_one_line_after_training(
    folder: Path,
    run: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    changes: dict[str, Any],
    begins: str,
    shows: str,
) -> None:
    good: dict[str, dict[str, Any]] = {
        "evaluate": {"run": run},
        "generate": {"model": run, "prompts": ["bax der"], "max_new_tokens": 4},
        "merge": {"adapter": run, "out": folder / "merged"},
    }
    changes = {k: v.replace("{h}", str(folder)) if isinstance(v, str) else v for k, v in changes.items()}
    before = _tree(folder)
    said = door.call(capsys, command, **{**good[command], **changes})
    _refused(said, begins.replace("{h}", str(folder)), shows)
    assert _tree(folder) == before


def test_a_run_that_is_not_finished(folder: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = folder / "cut"
    shutil.copytree(run, cut)
    (cut / "summary.json").unlink()
    said = door.call(capsys, "evaluate", run=cut)
    _refused(said, f"run: the run in {cut} is not finished", "run the same `train` command again")
