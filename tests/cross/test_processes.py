"""Several processes train as one does: the same losses, the same choices, and each other's checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from support import architectures, launchers
from support import run_worker as worker
from support import tiny_models as tiny
from support.process_runs import CASES, CLOSE_LONG, THREE, Runs, assert_alike, assert_same_update

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs on the same files; those of one process only once."""
    return Runs(tmp_path_factory.mktemp("processes"), CASES | THREE)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path, runs: Runs) -> None:
    cases = [case for case in (*CASES, *THREE) if case != "alright"]  # which the test of checkpoints has
    runs.all(tmp_path / "two", cases, world=2)
    for case in cases:
        folder = tmp_path / "two" / case
        assert_alike(folder, runs.one(case))
        if case != "decay":  # which trains no adapter
            assert_same_update(folder, runs.one(case))
        assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["processes"] == 2


@pytest.mark.slow
def test_two_processes_that_share_the_weights_train_as_one(tmp_path: Path, runs: Runs) -> None:
    cases = ("sequential", "maxright", "kto", "pissa", "decay", *THREE)
    job = runs.all(tmp_path / "two", cases, world=2, **launchers.FSDP)
    for case in cases:
        assert_alike(tmp_path / "two" / case, runs.one(case))
        if case != "decay":
            assert_same_update(tmp_path / "two" / case, runs.one(case))
    # two layers of a model that is sharded; each case opens its own
    assert job.said.count("sharded: GPTNeoXLayer") >= 2 * len(cases)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["alright", "three-maxright"])
def test_a_checkpoint_goes_on_with_another_number_of_processes(tmp_path: Path, runs: Runs, case: str) -> None:
    """One process and two, one and two that share the weights: each goes on from the other's checkpoint."""
    one, two, sharded = dict[str, Any](), {"world": 2}, {"world": 2, **launchers.FSDP}
    options = runs.options(case, steps=40, save_every=1000, eval_every=0)
    whole, cut = (worker.command(tmp_path / name, **options) for name in ("whole", "cut"))
    for how in (one, two, one, sharded):
        runs.cut(cut, tmp_path / "cut", **how)
    runs.run(cut, whole)
    assert_alike(tmp_path / "cut", tmp_path / "whole", close=CLOSE_LONG)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["mix", "three-alright"])
def test_weights_that_no_row_reaches_are_not_waited_for(tmp_path: Path, runs: Runs, case: str) -> None:
    """BigBird's pooler is for classes; DDP waits for the gradients of all trained weights unless it looks for some."""
    architectures.build("big_bird").save_pretrained(tmp_path / "base")
    tiny.tokenizer().save_pretrained(tmp_path / "base")
    for name, world in (("one", 1), ("two", 2)):
        argv = worker.command(tmp_path / name, **runs.options(case, model=str(tmp_path / "base")))
        job = worker.server().run(argv, tmp_path / f"{name}.log", world=world)
        assert job.statuses == [0] * world, job.said
    assert_alike(tmp_path / "two", tmp_path / "one")
    with safe_open(tmp_path / "two" / "adapter_model.safetensors", framework="pt") as saved:
        assert any("pooler" in name for name in saved.keys())  # noqa: SIM118 (it is no dict)


@pytest.mark.slow
def test_all_processes_stop_where_a_loss_explodes(tmp_path: Path, runs: Runs) -> None:
    argv = worker.command(tmp_path / "run", **runs.options("alright", lr=1e9, steps=20))
    job = worker.server().run(argv, tmp_path / "log", world=2)
    assert job.statuses == [1, 1], job.said
    assert job.said.splitlines()[-1].startswith("error: step ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "world", "message"),
    [
        ({"device": "auto"}, 2, "error: accelerate: of 2 processes each would train by itself, "),
        ({}, 4, "error: batch_sft: must be a multiple of the number of processes, 4, got 6; use --batch-sft 8, or "),
    ],
)
def test_processes_that_cannot_share_a_run_are_refused_before_it_begins(
    tmp_path: Path, runs: Runs, changes: dict[str, Any], world: int, message: str
) -> None:
    """Two processes without GPUs and without --device cpu would train in one folder at the same time."""
    import torch

    if torch.cuda.is_available() and "device" in changes:
        pytest.skip("this machine has a GPU, which such processes use")
    argv = worker.command(tmp_path / "run", **runs.options("mix", **changes))
    job = worker.server().run(argv, tmp_path / "log", world=world)
    assert job.statuses == [2] * world, job.said
    assert [line.startswith(message) for line in job.said.splitlines()] == [True] * world, job.said
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
