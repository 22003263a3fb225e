"""Trackers get the values of metrics.jsonl, once a step, and a run with them ends well in any number of processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import fake_tracker
from support import run_worker as worker
from support.process_runs import CASES, Runs

pytest.importorskip("torch")

from llm.config import TrainConfig
from llm.training.trackers import trackers

SCRIPT = """
import sys
from support import fake_tracker
from llm.cli import main
fake_tracker.install()
sys.exit(main(sys.argv[1:]))
"""


def command(runs: Runs, folder: Path, **changes: Any) -> list[str]:
    options = runs.options("alright", log_with=["tensorboard"], cache=str(folder.parent / "cache"), **changes)
    return worker.command(folder, **options)


def logged(folder: Path) -> list[tuple[int, str, float]]:
    """(step, key, value) of all losses that the tracker got, in order."""
    lines = [call for call in fake_tracker.calls(folder) if call["call"] == "log"]
    return [(c["step"], k, v) for c in lines for k, v in c["values"].items() if k.rpartition("/")[2].startswith("f_")]


def written(folder: Path) -> list[tuple[int, str, float]]:
    """The same of metrics.jsonl; keys of evaluations have the set's name before them."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    named = [(line, f"{line['evaluation']}/" if "evaluation" in line else "") for line in lines]
    return [(line["step"], name + k, v) for line, name in named for k, v in line.items() if k.startswith("f_")]


@pytest.mark.slow
@pytest.mark.process
def test_two_processes_with_a_tracker_end_well(tmp_path: Path) -> None:
    runs = Runs(tmp_path, CASES)
    argv = command(runs, tmp_path / "two")
    job = worker.server().run(argv, tmp_path / "log", world=2, script=SCRIPT)
    assert job.statuses == [0, 0], job.said
    assert logged(tmp_path / "two") == written(tmp_path / "two")
    calls = [call["call"] for call in fake_tracker.calls(tmp_path / "two")]
    assert (calls[:2], calls[-1], calls.count("finish")) == (["start", "options"], "finish", 1)


@pytest.mark.slow
@pytest.mark.process
def test_repeated_steps_and_an_earlier_run_are_hidden(tmp_path: Path) -> None:
    runs, folder = Runs(tmp_path, CASES), tmp_path / "run"

    def begun(argv: list[str], status: int, **more: Any) -> list[int]:
        job = worker.server().run(argv, tmp_path / "log", script=SCRIPT, **more)
        assert job.status == status, job.said
        return [call["purge_step"] for call in fake_tracker.calls(folder) if call["call"] == "start"]

    argv = command(runs, folder, steps=6, save_every=2)
    # The process ends before it writes step 6's checkpoint: steps 5 and 6, after that of step 4, are repeated.
    assert begun(argv, -9, kill_at=1, kill_path="step-00000006") == [0]
    assert [step for step, key, _ in logged(folder) if "/" not in key][-1] == 6
    assert begun(argv, 0) == [0, 5]
    assert begun([*command(runs, folder, steps=1, eval_every=0), "--overwrite"], 0) == [0]
    assert logged(folder) == written(folder)


@pytest.mark.slow
@pytest.mark.oracle
def test_tensorboard_reads_each_step_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard.backend")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runs, folder = Runs(tmp_path, CASES), tmp_path / "run"
    argv = command(runs, folder, steps=6, save_every=2)
    assert worker.server().run(argv, tmp_path / "log", kill_at=1, kill_path="step-00000006").status == -9
    runs.run(argv)
    events = EventAccumulator(str(folder / "forget-neither"))
    events.Reload()
    names = [key for key in events.Tags()["scalars"] if key.rpartition("/")[2].startswith("f_")]
    read = {(event.step, name, event.value) for name in names for event in events.Scalars(name)}
    assert len(read) == sum(len(events.Scalars(name)) for name in names)
    wanted = {(step, name): value for step, name, value in written(folder)}
    assert {(step, name): value for step, name, value in read} == pytest.approx(wanted, rel=1e-6)  # float32


def test_a_tracker_that_does_not_start_is_named_in_one_line(tmp_path: Path) -> None:
    class Accelerator:
        trackers: tuple[Any, ...] = ()

        def init_trackers(self, *_: Any) -> None:
            raise RuntimeError("api_key not configured (no-tty).\ncall wandb.login")

    config = TrainConfig(log_with=("tensorboard",))
    with (
        pytest.raises(
            ValueError, match=r"^log_with: tensorboard cannot be started \(api_key not configured .*\);.*"
        ) as e,
        trackers(Accelerator(), config, tmp_path),  # type: ignore[arg-type]
    ):
        pytest.fail("the run went on")
    assert "\n" not in str(e.value)
