"""Runs forked from a process that has imported their libraries: each is as a run in a process of its own."""

from __future__ import annotations

import dataclasses
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from support import pipeline_runs as runs
from support import study_fakes as made
from support import study_measures as around
from support.subprocesses import is_alive, until

from llm import TrainConfig
from llm.common.code_digest import code_digest
from llm.common.files import read_json
from llm.common.processes import ForkServer
from llm.study import Grid, Progress, measure, run_study, status, table
from llm.study.measures import measure_digest, module_of
from llm.study.preload import digest_measures, preload
from llm.study.scheduler import environment
from llm.study.status import command

pytestmark = [pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork"), pytest.mark.process, pytest.mark.slow]
TESTS = str(Path(__file__).parents[2])
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", TESTS)


@pytest.fixture(scope="module")
def workers() -> Iterator[ForkServer]:
    forks = ForkServer(preload(()))
    yield forks
    forks.close()


def own(name: str) -> str:
    """Return a measure of tests/support/study_measures.py."""
    return f"{name}={around.__name__}:{name}"


def measured(workers: ForkServer, root: Path, name: str, **env: str) -> dict[str, Any]:
    """Have a measure taken of a run that is trained already; return its result."""
    grid = Grid(made.BASE, methods=("mix",), measures=(own(name),))
    (run,) = grid.runs()
    folder, log = run.folder(root), root / "log"
    made.finish(folder, run.placed(root).as_dict())
    assert workers(command(run, root), log, environment(1, 0) | env).wait() == 0, log.read_text(encoding="utf-8")
    return dict(read_json(folder / "measures" / f"{name}.json")["result"])


def test_a_study_preloads_the_modules_of_its_measures() -> None:
    libraries = "llm.study.preload:import_libraries"
    assert preload(()) == [libraries]
    assert preload(("questions:limit=5", "curvature", own("look"))) == [
        libraries, "llm.evaluation.questions", "llm.evaluation.harness", "llm.evaluation.curvature", around.__name__,
        "llm.study.preload:digest_measures",
    ]  # fmt: skip


def test_the_digests_of_imported_measures_are_computed_before_the_first_fork() -> None:
    module = importlib.import_module(module_of("curvature"))
    code_digest.cache_clear()
    digest_measures()
    computed = code_digest.cache_info().misses
    assert measure_digest("curvature") == code_digest(module.__name__)
    assert code_digest.cache_info().misses == computed > 0


def test_nothing_of_a_run_is_left_for_the_next(workers: ForkServer, tmp_path: Path) -> None:
    before = measured(workers, tmp_path / "a", "look", MARK="one")
    spoilt = measured(workers, tmp_path / "b", "spoil")
    after = measured(workers, tmp_path / "c", "look", MARK="two")
    assert spoilt["sum"] == 5e7
    assert (before["mark"], after["mark"]) == ("one", "two")
    assert before["parent"] == after["parent"] != os.getpid()
    assert before["pid"] != after["pid"]
    same = ("torch", "numpy", "threads", "grad", "filters", "signals", "argv")
    assert {n: before[n] for n in same} == {n: after[n] for n in same}
    assert after["argv"] == ["study", "one", "--config"]
    assert after["threads"] == 1
    assert after["grad"] is True
    assert not after["spoilt"]
    assert before["random"] != after["random"]  # as two processes' are
    assert spoilt["memory"] > after["memory"] + 200_000  # KB: its own peak, not an earlier fork's
    assert abs(after["memory"] - before["memory"]) < 100_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parents")
def test_nothing_outlives_a_study_that_is_killed(tmp_path: Path) -> None:
    grid = Grid(made.BASE, methods=("mix", "alright"), measures=(own("hang"),))
    for run in grid.runs():
        made.finish(run.folder(tmp_path), run.placed(tmp_path).as_dict())
    code = (
        "import sys; from support import study_fakes as made; from llm.study import Grid, run_study, scheduler; "
        "scheduler.preload = lambda _: []; "  # the measure needs no library, and imports take seconds
        "grid = Grid(made.BASE, methods=('mix', 'alright'), measures=sys.argv[2:3]); "
        "run_study(grid, sys.argv[1], jobs=2)"
    )
    study = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), own("hang")], env=environment(1, 0))
    places = [run.folder(tmp_path) / "pid" for run in grid.runs()]
    until(lambda: all(p.is_file() for p in places), "the runs")
    assert [s.state for s in status(grid, tmp_path)] == ["measured"] * 2
    pids = {int(pid) for p in places for pid in p.read_text(encoding="utf-8").split()}
    assert len(pids) == 3  # two and the one that forks
    assert all(map(is_alive, pids))
    study.kill()
    study.wait()
    until(lambda: not any(map(is_alive, pids)), "the end of all")


def test_asked_to_stop_runs_save_and_the_same_call_goes_on(workers: ForkServer, tmp_path: Path) -> None:
    base = TrainConfig(**{**runs.place(tmp_path), "out": "", "steps": 3000, "save_every": 1000})
    grid, sent = Grid(base, methods=("mix", "alright")), []

    def report(progress: Progress) -> None:
        if not sent and all(step > 3 for _, step, _ in progress.running) and len(progress.running) == 2:
            sent.append(signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    outcome = run_study(grid, tmp_path / "study", jobs=2, start=workers, report=report, pause=0.05)
    assert sent
    assert (outcome.finished, outcome.failed, outcome.interrupted) == ((), (), True)
    for run in grid.runs():
        (state,) = run.folder(tmp_path / "study").glob("checkpoints/*")
        assert 3 < int(state.name.removeprefix("step-")) < 1000
    assert [s.state for s in status(grid, tmp_path / "study")] == ["stopped"] * 2


def test_real_runs_are_the_same_to_the_byte_as_in_processes_of_their_own(workers: ForkServer, tmp_path: Path) -> None:
    place = runs.place(tmp_path)
    base = TrainConfig(**{**place, "out": "", "f_star": "compute", "lora_dropout": 0.1, "keep_every": 3})
    grid = Grid(base, methods=("mix", "maxright"), ks=(2,), measures=(own("size"),))
    warm = run_study(grid, tmp_path / "warm", jobs=2, start=workers)
    assert warm.failed == (), warm.failed
    alone = dataclasses.replace(grid, base=dataclasses.replace(base, cache=str(tmp_path / "other")), measures=())
    alone = dataclasses.replace(alone, methods=("maxright",))
    assert run_study(alone, tmp_path / "alone", jobs=2, isolate=True).failed == ()
    for run in alone.runs():
        said = (tmp_path / "alone" / "logs" / f"{run.name}.log").read_text(encoding="utf-8")
        assert "maxright: 4/4" in said
        assert "Warning" not in said  # also not of the imports
        for name in (ADAPTER, f"kept/step-000003/{ADAPTER}"):
            assert (run.folder(tmp_path / "warm") / name).read_bytes() == (
                run.folder(tmp_path / "alone") / name
            ).read_bytes()
    rows = made.records(table(grid, tmp_path / "warm"))
    assert [(r["method"], r["size_dpo"] + r["size_sft"], r["size_text"]) for r in rows] == [
        ("mix", 8, "yes"), ("maxright", 4, "yes"),
    ]  # fmt: skip
    assert "size_all" not in rows[0]
    (about, result), *_ = measure(grid, tmp_path / "warm", "size")
    assert (about["method"], result["all"]) == ("mix", [1, 2])
    for row in rows:
        assert row["cpu_seconds"] > 0.0
        assert row["optima_cpu_seconds"] == rows[0]["optima_cpu_seconds"] > 0.0
        assert row["log_probs_seconds"] > 0.0
        assert row["reference_seconds"] == 0.0
        looks = row["forward_tokens"] - row["tokens"]
        assert looks > 0 if row["method"] == "maxright" else looks == 0
