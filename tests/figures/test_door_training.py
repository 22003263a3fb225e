"""The runs that artefacts need: carried out once, in a folder of their code's own, stopped and gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.pipeline_fakes import DEADLINE, Door, door_in_process, gone, strict, until

from figures.cli import main
from figures.pipeline import build, training
from figures.pipeline.build import present
from figures.pipeline.training import grid_of

DIGEST = "abcdef012345"


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    """An artefact `a` that needs no run, and `r` and `s` that do; a fake study in place of the real one."""
    found = door_in_process(tmp_path, monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # the process of the runs is a real one
    monkeypatch.setattr(training, "STUDY", "fake_study")
    monkeypatch.delitem(sys.modules, "fake_study", raising=False)  # another test's
    training.digest.cache_clear()
    found.study()
    found.add_with_runs("r", ("mix", "alright"))
    found.add_with_runs("s", ("mix", "maxright"))
    return found


def run(door: Door, *arguments: str) -> int:
    training.digest.cache_clear()
    return main([*arguments, "--out", str(door.out)], door.registry)


def runs(door: Door) -> set[str]:
    return {path.parent.name for path in (door.out / "runs" / DIGEST).glob("*/summary.json")}


def test_every_run_once_and_then_nothing(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(door) == 0
    assert [line for line in door.log() if "train" in line] == ["train " + n for n in sorted(runs(door))]
    assert runs(door) == {"mix-seed0", "alright-seed0", "maxright-seed0"}
    assert "runs  3 of 3 runs are finished" in capsys.readouterr().out
    assert strict(door.out / "r.json")["runs"] == f"runs/{DIGEST}"
    assert "root" not in strict(door.out / "r.json")["parameters"]
    assert strict(door.out / "a.json")["runs"] == ""
    before = door.files()
    assert run(door) == 0
    assert door.files() == before
    assert door.log() == []
    assert "runs" not in capsys.readouterr().out.replace("index.html", "").split()


def test_nothing_is_trained_for_data_that_are_cached(door: Door) -> None:
    run(door, "r")
    for path in door.out.glob("runs/*/*/summary.json"):
        path.unlink()
    (door.out / "r.csv").unlink()
    door.log()
    assert run(door, "r") == 0
    assert door.log() == ["draw r"]


def test_force_computes_again_from_the_runs_that_are_there(door: Door) -> None:
    run(door, "r")
    door.log()
    assert run(door, "r", "--force") == 0
    assert door.log() == ["compute r", "draw r"]


def test_verify_trains_only_what_is_missing(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    run(door, "r")
    door.log()
    assert run(door, "r", "--verify") == 0
    assert door.log() == ["compute r"]
    (door.out / "runs" / DIGEST / "mix-seed0" / "summary.json").unlink()
    (door.out / "runs" / DIGEST / "mix-seed0").rmdir()
    assert run(door, "r", "--verify") == 0
    assert door.log() == ["compute r", "train mix-seed0"]
    assert "same: " in capsys.readouterr().out
    (door.out / "r.csv").unlink()
    assert run(door, "s", "r", "--verify") == 1
    assert door.log() == []  # what is missing needs no runs to be found missing


def test_other_training_code_begins_anew_and_says_what_lies_there(
    door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    run(door, "r")
    key = strict(door.out / "r.json")["key"]
    before = {n: c for n, c in door.files().items() if n.startswith("runs")}
    (door.folder / "digest").write_text("f" * 64)
    door.log()
    assert run(door, "r") == 0
    assert sum(line.startswith("train") for line in door.log()) == 2
    assert strict(door.out / "r.json")["key"] != key
    assert before.items() <= door.files().items()
    assert "1 folder of runs by other training code in" in capsys.readouterr().out


def test_a_failed_run_costs_those_that_need_it(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    (door.folder / "fail alright-seed0").touch()
    assert run(door) == 1
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("r  failed")]
    log = door.out / "runs" / DIGEST / "logs" / "alright-seed0.log"
    assert line == f"r  failed: run alright-seed0 failed: error: no luck (log: {log})"
    assert present(door.out, "a")
    assert present(door.out, "s")
    assert not present(door.out, "r")
    (door.folder / "fail alright-seed0").unlink()
    door.log()
    assert run(door) == 0
    assert door.log() == ["compute r", "draw r", "train alright-seed0"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("'steps': 3", "'stepz': 3", "did you mean steps?"),
        ("'methods'", "'method'", "'method' is no part of a grid"),
        ("'steps': 3", "'steps': -3", "steps"),
    ],
)
def test_a_grid_that_is_none_costs_its_own_artefact(
    door: Door, old: str, new: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    door.change("r", old, new)
    assert run(door) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("r  failed")]
    assert words in line
    assert present(door.out, "s")


def test_what_needs_no_runs_is_made_at_the_scale_paper_whatever_becomes_of_the_others(door: Door) -> None:
    door.change("r", "'steps': 3", "'steps': -3")
    assert run(door, "a", "r", "--scale", "paper") == 1
    assert present(door.out, "a")


def test_without_llm(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.study("\nraise ModuleNotFoundError(\"llm needs torch: pip install -e '.[llm]'\")\n")
    assert run(door) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if " failed: " in line]
    assert len(failed) == 2
    assert all("pip install -e '.[llm]'" in line for line in failed)
    assert present(door.out, "a")


def test_a_specification_is_a_grid_of_the_real_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "STUDY", "llm.study")
    options = {"steps": 3, "stack": True}  # which only Sequential can have
    grid = grid_of({"preset": "embedded", "options": options, "lams": [0.1, 0.9], "seeds": [1, 2]})
    assert (grid.lams, grid.seeds, grid.base.batch_sft) == ((0.1, 0.9), (1, 2), 12)
    assert {run.config.method for run in grid.runs()} == {"sequential", "mix", "alright", "maxright"}
    assert grid_of({"methods": ["mix"], "lams": [1]}).base.lora_rank == 32


def test_the_key_knows_the_training_code(door: Door) -> None:
    door.out.mkdir()
    tasks = [build.Task(n, door.registry[n], store_request(), False, {}) for n in ("a", "r")]
    first = [build.keys_of(t, {"grids": {"g": {}} if t.name == "r" else {}}) for t in tasks]
    (door.folder / "digest").write_text("e" * 64)
    training.digest.cache_clear()
    second = [build.keys_of(t, {"grids": {"g": {}} if t.name == "r" else {}}) for t in tasks]
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False]


def store_request() -> Any:
    from figures.artefact import Request

    return Request()


def training_now(door: Door) -> tuple[subprocess.Popen[str], int]:
    """A run of the door in which a run is being trained, and the process that trains it."""
    (door.folder / "slow").touch()
    process = door.start()
    try:
        until(lambda: (door.folder / "training").exists() or process.poll() is not None, "it trains")
        assert process.stdout is not None
        said = iter(process.stdout.readline, "")
        assert any(line.split()[:2] == ["a", "done"] for line in said)  # what needs no runs is made meanwhile
        assert process.poll() is None, process.communicate()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process, int((door.folder / "training").read_text())


@pytest.mark.parametrize("how", ["ctrl-c", "SIGTERM to all", "kill"])
def test_a_stop_lets_the_runs_save_and_the_same_command_goes_on(door: Door, how: str) -> None:
    process, trainer = training_now(door)
    if how == "kill":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT if how == "ctrl-c" else signal.SIGTERM)
    _, err = process.communicate(timeout=DEADLINE)
    until(lambda: gone(trainer), "the runs end with the door")
    assert "saved mix-seed0" in door.log()
    if how != "kill":
        assert process.returncode == 130
        assert err == "paper_repro: stopped; finished: a; run the same command to go on\n"
    if how == "SIGTERM to all":
        return  # what is left is what Ctrl-C leaves
    (door.folder / "go").touch()
    again = door.start()
    out, err = again.communicate(timeout=DEADLINE)
    assert (again.returncode, err) == (0, ""), out
    assert all(present(door.out, name) for name in door.registry)


def test_a_second_stop_ends_runs_that_do_not_save(door: Door) -> None:
    (door.folder / "stubborn").touch()
    process, trainer = training_now(door)
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout is not None
    until(lambda: "saving" in process.stdout.readline(), "it says that the runs save")
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, gone(trainer)) == (130, True)
    assert err.startswith("paper_repro: stopped; finished: a")
    assert not any("saved" in line for line in door.log())


def test_a_process_of_runs_that_dies_is_told(door: Door) -> None:
    process, trainer = training_now(door)
    os.kill(trainer, signal.SIGKILL)
    out, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert "the process of the runs ended with status -9" in out
    assert present(door.out, "a")
