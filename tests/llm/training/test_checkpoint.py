"""Checkpoints: whole or refused with the way out; a run's folder belongs to that run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import architectures
from support import tiny_models as tiny

from llm import TrainConfig, train

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny saved model."""
    return tiny.base(tmp_path_factory.mktemp("model") / "base")


def config(base: Path, folder: Path, **changes: Any) -> TrainConfig:
    """A tiny run with checkpoints after 3, 6 and 8 steps."""
    own = {"steps": 8, "batch_sft": 4, "batch_preference": 4, "lora_rank": 4, "lr": 1e-2, "max_length": 64}
    where = {"model": str(base), "out": str(folder), "cache": str(folder.parent / "cache"), "device": "cpu"}
    often = {"held_out": 0.2, "eval_every": 0, "save_every": 3, "template": "none"}
    return TrainConfig(**{**own, **where, **often, "sft": "rows", "preference": "rows", **changes})


def run(c: TrainConfig, **given: Any) -> Path:
    """The run's folder."""
    sets = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows(), **given}
    return train(c, **sets, quiet=True).folder


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be copied."""
    return run(config(base, tmp_path_factory.mktemp("finished") / "run"))


@pytest.fixture
def unfinished(finished: Path, tmp_path: Path) -> Path:
    """The same, as if it had been killed right before its end."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "summary.json").unlink()
    (folder / "adapter_model.safetensors").unlink()
    return folder


@pytest.mark.slow
def test_the_last_two_are_kept(finished: Path) -> None:
    assert sorted(p.name for p in (finished / "checkpoints").iterdir()) == ["step-00000006", "step-00000008"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys did not match:RuntimeWarning")
@pytest.mark.parametrize(("name", "rank"), [("deepseek_v32", 2), ("big_bird", 0)])
def test_a_model_with_weights_that_no_row_reaches_resumes_exactly(name: str, rank: int, tmp_path: Path) -> None:
    """DeepSeek's indexer only selects, and BigBird's pooler is for classes: their weights get no gradient."""
    model, tokenizer = architectures.build(name), tiny.tokenizer()
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    folder = run(config(tmp_path / "base", tmp_path / "run", lora_rank=rank, steps=4, save_every=2))
    weights = next(folder.glob("*model*.safetensors"))
    whole = weights.read_bytes()
    for ended in (weights, folder / "summary.json"):
        ended.unlink()
    shutil.rmtree(folder / "checkpoints" / "step-00000004")
    run(config(tmp_path / "base", tmp_path / "run", lora_rank=rank, steps=4, save_every=2))
    assert weights.read_bytes() == whole


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "truncated": ("tensors.safetensors", _truncate, "is damaged or truncated"),
    "one bit": ("tensors.safetensors", _flip, "is damaged or truncated"),
    "empty": ("tensors.safetensors", lambda p: p.write_bytes(b"") and None, "is damaged or truncated"),
    "no tensors": ("tensors.safetensors", Path.unlink, "is not complete"),
    "no state": ("state.json", Path.unlink, "is not complete"),
    "cut state": ("state.json", _truncate, "is damaged or truncated"),
    "other state": ("state.json", lambda p: p.write_text("[]") and None, "is damaged or truncated"),
}


@pytest.mark.slow
def test_a_damaged_one_is_refused_and_the_way_out_is_one(unfinished: Path, finished: Path, base: Path) -> None:
    newest = unfinished / "checkpoints" / "step-00000008"
    for name, spoil, what in DAMAGE.values():
        spoil(newest / name)
        with pytest.raises(ValueError, match=r"^checkpoint: ") as caught:
            run(config(base, unfinished))
        assert str(caught.value) == f"checkpoint: {newest} {what}; remove it to resume from step-00000006"
        shutil.copy(finished / "checkpoints" / newest.name / name, newest / name)
    shutil.rmtree(newest)
    run(config(base, unfinished))
    assert (unfinished / "adapter_model.safetensors").read_bytes() == (
        finished / "adapter_model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_the_only_one_damaged_means_beginning_anew(unfinished: Path, base: Path) -> None:
    shutil.rmtree(unfinished / "checkpoints" / "step-00000006")
    _truncate(unfinished / "checkpoints" / "step-00000008" / "tensors.safetensors")
    with pytest.raises(ValueError, match=r"is damaged or truncated; remove it to begin anew$"):
        run(config(base, unfinished))


@pytest.mark.slow
def test_half_written_ones_do_not_count_and_are_removed(unfinished: Path, finished: Path, base: Path) -> None:
    half = unfinished / "checkpoints" / ".step-00000099.abcdefgh.unfinished"
    shutil.copytree(unfinished / "checkpoints" / "step-00000006", half / "step-00000099")
    (half / "step-00000099" / "state.json").unlink()
    run(config(base, unfinished))
    assert sorted(p.name for p in (unfinished / "checkpoints").iterdir()) == ["step-00000006", "step-00000008"]
    assert (unfinished / "adapter_model.safetensors").read_bytes() == (
        finished / "adapter_model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_costs_nothing(
    base: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import safetensors.torch
    from safetensors import SafetensorError

    from llm.cli import main

    ordinary, saved = safetensors.torch.save_file, []

    def full(tensors: Any, path: Any, *rest: Any, **more: Any) -> None:
        if "step-00000006" in str(path):
            Path(path).write_bytes(b"half of it")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        saved.append(path)
        ordinary(tensors, path, *rest, **more)

    rows = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    for name, values in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in values), encoding="utf-8")
    files = {name: str(tmp_path / f"{name}.jsonl") for name in rows}
    folder = tmp_path / "run"
    (tmp_path / "run.yaml").write_text(json.dumps(config(base, folder, **files).as_dict()), encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        assert main(["train", "--config", str(tmp_path / "run.yaml")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == (
        "error: the disk is full; make room and run the same command again, which resumes from the last checkpoint"
    )
    assert saved
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["step-00000003"]
    assert main(["train", "--config", str(tmp_path / "run.yaml")]) == 0
    assert (folder / "adapter_model.safetensors").read_bytes() == (finished / "adapter_model.safetensors").read_bytes()


@pytest.mark.slow
def test_another_runs_folder_is_refused_with_the_difference(finished: Path, base: Path) -> None:
    other = config(base, finished, lr=2e-2, method="mix", save_every=4)
    with pytest.raises(ValueError, match=r"^out: ") as caught:
        run(other)
    assert str(caught.value) == (
        f"out: {finished} holds another run (lr was 0.01 and is 0.02; method was 'alright' and is 'mix'); "
        "give another --out, or --overwrite"
    )


@pytest.mark.slow
def test_other_rows_and_another_base_are_another_run(finished: Path, tmp_path: Path, base: Path) -> None:
    with pytest.raises(ValueError, match=r"holds another run \(the training rows differ\)"):
        run(config(base, finished), sft=tiny.sft_rows(seed=9))
    moved = tmp_path / "base"
    shutil.copytree(base, moved)
    tiny.model(seed=5).save_pretrained(moved)
    with pytest.raises(ValueError, match="the base model differs"):
        run(config(moved, finished))


@pytest.mark.slow
def test_overwrite_begins_anew(finished: Path, base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    run(config(base, folder, steps=2, overwrite=True))
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 2]
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["step-00000002"]
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["config"]["steps"] == 2


def test_what_is_not_a_run_is_left_alone(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(b"cat")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"holds something else than a run; give another folder$"):
            run(config(base, folder, overwrite=overwrite))
    assert [p.name for p in folder.iterdir()] == ["cat.jpg"]
    with pytest.raises(ValueError, match=r"^out: .*cat\.jpg is a file; give a folder$"):
        run(config(base, folder / "cat.jpg"))


@pytest.mark.slow
def test_a_run_killed_before_it_had_a_name_can_begin(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / ".run.json.abcdefgh.unfinished").mkdir(parents=True)
    run(config(base, folder, steps=1))
    assert not list(folder.glob(".*.unfinished"))
    assert (folder / "summary.json").exists()


@pytest.mark.slow
def test_options_that_do_not_change_the_result_may_change(finished: Path, base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    shutil.copytree(finished, folder)
    again = dataclasses.replace(config(base, folder), save_every=5, max_loss_ratio=3.0, cache=str(tmp_path / "other"))
    before = (folder / "metrics.jsonl").read_bytes()
    run(again)
    assert (folder / "metrics.jsonl").read_bytes() == before
