"""Runs that are forked from a process which has imported what they need: each is as a process of its own would be."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from support import study_fakes as made
from support import study_measures as around

from llm import TrainConfig
from llm.common.workers import Child, Workers
from llm.study import Grid, Progress, measure, run_study, status, table
from llm.study.scheduler import environment
from llm.study.status import command

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
TESTS = str(Path(__file__).parents[1])
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", TESTS)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """The process that forks is started by the first test that needs it."""
    found = Workers()
    yield found
    found.close()


def own(name: str) -> str:
    """A measure of llm_study_measures."""
    return f"{name}={around.__name__}:{name}"


def start_or_resume(workers: Workers, root: Path, name: str, *, seed: int = 1, **env: str) -> tuple[Child, Path]:
    """Have a measure taken of a run that is trained already; its process and its folder."""
    grid = Grid(dataclasses.replace(made.BASE, seed=seed), methods=("mix",), measures=(own(name),))
    (run,) = grid.runs()
    made.finish(run.folder(root), run.placed(root).as_dict())
    (root / "logs").mkdir(exist_ok=True)
    return workers(command(run, root), root / "logs" / f"{seed}.log", environment(1, 0) | env), run.folder(root)


def found(workers: Workers, root: Path, name: str, **env: str) -> dict[str, Any]:
    child, folder = start_or_resume(workers, root, name, **env)
    assert child.wait() == 0, (root / "logs" / "1.log").read_text(encoding="utf-8")
    from llm.common.files import read_json

    return dict(read_json(folder / "measures" / f"{name}.json")["result"])


def until(true: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + 60.0
    while not true():
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether it runs: not gone, and no zombie that nobody has asked about yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nothing_of_a_run_is_left_for_the_next(workers: Workers, tmp_path: Path) -> None:
    before = found(workers, tmp_path / "a", "look", MARK="one")
    spoilt = found(workers, tmp_path / "b", "spoil")
    after = found(workers, tmp_path / "c", "look", MARK="two")
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
    assert spoilt["memory"] > after["memory"] + 200_000  # KB: its own peak, not its elder's
    assert abs(after["memory"] - before["memory"]) < 100_000
    assert (before["imported"], after["imported"]) == (False, True)  # time is saved, though


def test_its_streams_are_the_logs(workers: Workers, tmp_path: Path) -> None:
    log = str(tmp_path / "logs" / "1.log")
    if sys.platform == "linux":
        assert found(workers, tmp_path, "look")["files"] == sorted(["/dev/null", log, log])
    child, folder = start_or_resume(workers, tmp_path, "fails")
    assert child.wait() == 1
    said = Path(log).read_text(encoding="utf-8").splitlines()
    assert said[-1] == f"error: measure fails of {folder}: KeyError: 'no such\\nanswer'"
    assert "Traceback (most recent call last):" in said
    env = environment(1, 0)
    wrong = workers([sys.executable, "-m", "llm", "study", "two"], tmp_path / "wrong.log", env)
    assert wrong.wait() == 2
    assert "two is no command" in (tmp_path / "wrong.log").read_text(encoding="utf-8")
    tyros = workers([sys.executable, "-m", "llm", "train", "--steps", "many"], tmp_path / "tyro.log", env)
    assert tyros.wait() == 2


def test_a_child_that_is_killed_is_alone_in_it(workers: Workers, tmp_path: Path) -> None:
    victim, folder = start_or_resume(workers, tmp_path, "hang", seed=1)
    other, _ = start_or_resume(workers, tmp_path, "hang", seed=2)
    until((folder / "pid").is_file, "the child")
    victim.kill()
    assert victim.wait() == -signal.SIGKILL
    assert other.poll() is None
    other.terminate()
    assert other.wait() == -signal.SIGTERM
    victim.kill()  # it is gone: nothing happens
    assert found(workers, tmp_path / "next", "look")["grad"] is True


def test_the_one_that_forks_is_replaced(workers: Workers, tmp_path: Path) -> None:
    child, folder = start_or_resume(workers, tmp_path, "hang")
    until((folder / "pid").is_file, "the child")
    pid, server = map(int, (folder / "pid").read_text(encoding="utf-8").split())
    os.kill(server, signal.SIGTERM)  # as schedulers do, to all; the runs are to save first
    assert child.poll() is None
    os.kill(server, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    until(lambda: not alive(pid), "the end of the child")
    assert found(workers, tmp_path / "next", "look")["parent"] != server


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parents")
def test_nothing_outlives_a_study_that_is_killed(tmp_path: Path) -> None:
    grid = Grid(made.BASE, methods=("mix", "alright"), measures=(own("hang"),))
    for run in grid.runs():
        made.finish(run.folder(tmp_path), run.placed(tmp_path).as_dict())
    code = (
        "import sys; import llm_study_fakes as made; from llm.study import Grid, run_study; "
        "grid = Grid(made.BASE, methods=('mix', 'alright'), measures=sys.argv[2:3]); "
        "run_study(grid, sys.argv[1], jobs=2)"
    )
    study = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), own("hang")], env=environment(1, 0))
    places = [run.folder(tmp_path) / "pid" for run in grid.runs()]
    until(lambda: all(p.is_file() for p in places), "the runs")
    assert [s.state for s in status(grid, tmp_path)] == ["measured"] * 2
    pids = {int(pid) for p in places for pid in p.read_text(encoding="utf-8").split()}
    assert len(pids) == 3  # two and the one that forks
    assert all(map(alive, pids))
    study.kill()
    study.wait()
    until(lambda: not any(map(alive, pids)), "the end of all")


def test_asked_to_stop_runs_save_and_the_same_call_goes_on(workers: Workers, tmp_path: Path) -> None:
    from support import pipeline_runs as door

    base = TrainConfig(**{**door.place(tmp_path), "out": "", "steps": 3000, "save_every": 1000})
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


def test_real_runs_are_the_same_to_the_byte_as_in_processes_of_their_own(workers: Workers, tmp_path: Path) -> None:
    from support import pipeline_runs as door

    place = door.place(tmp_path)
    base = TrainConfig(**{**place, "out": "", "f_star": "compute", "lora_dropout": 0.1, "keep_every": 3})
    grid = Grid(base, methods=("mix", "maxright", "alright"), ks=(2,), measures=(own("size"),))
    warm = run_study(grid, tmp_path / "warm", jobs=2, start=workers)
    assert warm.failed == (), warm.failed
    alone = dataclasses.replace(grid, base=dataclasses.replace(base, cache=str(tmp_path / "other")), measures=())
    alone = dataclasses.replace(alone, methods=("mix", "maxright"))
    assert run_study(alone, tmp_path / "alone", jobs=2, isolate=True).failed == ()
    for run in alone.runs():
        for name in (ADAPTER, f"kept/step-000003/{ADAPTER}"):
            assert (run.folder(tmp_path / "warm") / name).read_bytes() == (
                run.folder(tmp_path / "alone") / name
            ).read_bytes()
    rows = made.records(table(grid, tmp_path / "warm"))
    assert [(r["method"], r["size_dpo"] + r["size_sft"], r["size_text"]) for r in rows] == [
        ("mix", 8, "yes"), ("maxright", 4, "yes"), ("alright", 4, "yes"),
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
