"""Studies carried out: what is started when, what becomes of failures and interruptions. Fakes, but for two runs."""

from __future__ import annotations

import dataclasses
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.wrong import fails

pytest.importorskip("torch")

from support import pipeline_runs
from support import run_worker as worker
from support.study_fakes import BASE, World, carry_out, records

from llm import TrainConfig
from llm.common.processes import start_process
from llm.study import Grid, Outcome, Progress, fronts, paths, run_study, status, table
from llm.study.scheduler import MALLOC, environment


@pytest.mark.slow
def test_a_study_is_carried_out_once(tmp_path: Path) -> None:
    grid, world = Grid(BASE, lams=(0.25, 0.5)), World()
    outcome = carry_out(grid, tmp_path, world, jobs=3)
    assert outcome == Outcome(tuple(run.name for run in grid.runs()), (), False)
    assert world.together == 3
    assert sorted(f.folder.name for f in world.started) == sorted(outcome.finished)
    assert {s.state for s in status(grid, tmp_path)} == {"finished"}
    tree = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.name != ".lock"}
    again = World()
    assert carry_out(grid, tmp_path, again) == outcome
    assert again.started == []
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.name != ".lock"} == tree
    more = dataclasses.replace(grid, seeds=(1, 2))
    carry_out(more, tmp_path, again)
    assert [f.config["seed"] for f in again.started] == [2] * 10


@pytest.mark.slow
def test_one_run_of_a_group_makes_the_shared_computations(tmp_path: Path) -> None:
    base = dataclasses.replace(BASE, reference="paper", model="some/model")
    grid, world = Grid(base, lams=(0.25, 0.5), orders=("dpo-sft", "sft-dpo"), seeds=(1, 2)), World()
    carry_out(grid, tmp_path, world, jobs=6)
    groups = [(f.config["seed"], f.config["order"]) for f in world.started]
    assert len(set(groups[:4])) == 4  # the first of each at once
    ready = {name.split("-lam")[0] for names in world.before[:4] for name in names}
    assert not ready
    for group, begun in zip(groups[4:], world.before[4:], strict=True):
        assert any(f"{group[1]}-seed{group[0]}-" in name for name in begun)


@pytest.mark.slow
def test_one_run_of_a_world_makes_its_base_while_others_make_other_worlds(tmp_path: Path) -> None:
    worlds = [dataclasses.replace(BASE, world_seed=seed) for seed in (0, 1)]
    grids, world = [Grid(base, methods=("mix", "alright"), seeds=(1, 2)) for base in worlds], World()
    carry_out(grids, tmp_path, world, jobs=4)
    assert [(f.config["world_seed"], f.config["method"]) for f in world.started[:2]] == [(0, "mix"), (1, "mix")]
    assert world.before[:2] == [[], []]
    assert all(len(begun) >= 2 for begun in world.before[2:])  # nobody waits for a base in a process of its own
    assert world.together == 4


@pytest.mark.slow
def test_the_longest_go_first_when_nothing_is_to_be_made(tmp_path: Path) -> None:
    small = dataclasses.replace(BASE, world_size="small", steps=8)
    grids, world = [Grid(small), Grid(dataclasses.replace(small, steps=12), methods=("alright",))], World()
    carry_out(grids, tmp_path, world)
    lengths = [f.config["steps"] * (2 if f.config["method"] == "mix" else 1) for f in world.started]
    assert lengths == [16, 12, 8, 8, 8, 8]


@pytest.mark.slow
def test_a_run_of_two_grids_is_carried_out_once(tmp_path: Path) -> None:
    world = World()
    grids = (Grid(BASE, methods=("mix",), lams=(0.25, 0.5)), Grid(BASE, methods=("mix", "alright"), lams=(0.5,)))
    outcome = carry_out(grids, tmp_path, world)
    assert [name.partition("-seed")[0] for name in outcome.finished] == ["mix-lam0.25", "mix-lam0.5", "alright-lam0.5"]
    assert len(world.started) == 3
    assert len(table(grids, tmp_path)) == 3
    assert len(status(grids, tmp_path)) == 3
    fails(lambda: carry_out([], tmp_path, world), ValueError, "grids: give at least one", "none")
    fails(lambda: carry_out([BASE], tmp_path, world), TypeError, "grids: must be a Grid", "TrainConfig")


@pytest.mark.slow
def test_a_failing_run_stops_no_other(tmp_path: Path) -> None:
    grid = Grid(BASE, methods=("mix", "alright"), lams=(0.25, 0.5))
    outcome = carry_out(grid, tmp_path, World(lambda c: "fail" if c["method"] == "mix" else "finish"), jobs=2)
    assert [name.split("-")[0] for name in outcome.finished] == ["alright"] * 2
    assert not outcome.interrupted
    assert [(f.status, f.last) for f in outcome.failed] == [(1, ("one", "two", "error: no such thing"))] * 2
    assert outcome.failed[0].log == tmp_path / "logs" / f"{outcome.failed[0].name}.log"
    states = {s.run.name: (s.state, s.step, s.of, s.note) for s in status(grid, tmp_path)}
    assert states[outcome.failed[0].name] == ("failed", 2, 4, "error: no such thing")
    assert states[outcome.finished[0]] == ("finished", 4, 4, "")
    again = World()
    assert len(carry_out(grid, tmp_path, again).finished) == 4
    assert [f.config["method"] for f in again.started] == ["mix"] * 2
    assert list((tmp_path / "logs").glob("*.failed.json")) == []
    assert {s.state for s in status(grid, tmp_path)} == {"finished"}


@pytest.mark.slow
def test_a_process_that_ends_well_without_a_result_has_failed(tmp_path: Path) -> None:
    start = lambda argv, log, env: start_process([sys.executable, "-c", "print('hm')"], log, env)  # noqa: E731, ARG005
    outcome = run_study(Grid(BASE, methods=("mix",)), tmp_path, start=start, pause=0.05)
    assert [(f.status, f.last) for f in outcome.failed] == [(0, ("hm",))]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_asked_to_stop_it_asks_the_runs_and_waits_for_them(tmp_path: Path, number: signal.Signals) -> None:
    grid, world = Grid(BASE, lams=(0.25, 0.5)), World(lambda c: "finish" if c["lam"] == 0.25 else "hang")
    before, sent, reports = signal.getsignal(number), [], []

    def report(progress: Progress) -> None:
        reports.append(progress)
        assert len(reports) < 1000, "it waits for ever"
        if all(f.plan == "hang" for f in world.running) and progress.finished and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)

    outcome = carry_out(grid, tmp_path, world, jobs=2, report=report)
    assert outcome.interrupted
    assert outcome.failed == ()
    assert world.running == []
    stopped = [f for f in world.started if f.told]
    assert [f.told for f in stopped] == [["terminate"]] * 2
    assert signal.getsignal(number) is before
    states = [s.state for s in status(grid, tmp_path)]
    assert states.count("stopped") == 2
    assert states.count("finished") == len(outcome.finished) >= 1
    assert len(carry_out(grid, tmp_path, World()).finished) == 10


def test_no_process_outlives_a_study_that_breaks(tmp_path: Path) -> None:
    world = World(lambda _: "hang")

    def report(_: Progress) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        carry_out(Grid(BASE), tmp_path, world, report=report)
    assert [f.told for f in world.started] == [["kill"]]


def test_never_two_studies_in_a_folder(tmp_path: Path) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"):
        fails(lambda: carry_out(Grid(BASE), tmp_path, World()), ValueError, "root: another study is running", "--root")
    (tmp_path / "file").write_text("", encoding="utf-8")
    fails(lambda: run_study(Grid(BASE), tmp_path / "file"), ValueError, "root: ", "--root")
    fails(lambda: run_study(Grid(BASE), tmp_path, jobs=0), ValueError, "jobs: must be at least 1", "0")
    fails(lambda: run_study(Grid(BASE), tmp_path, jobs=1.5), TypeError, "jobs: ", "1.5")  # type: ignore[arg-type]


def test_the_environment_of_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert environment(1, 0)["OMP_NUM_THREADS"] == str(cores)
    assert environment(10 * cores, 0)["OMP_NUM_THREADS"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in environment(2, 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert environment(4, 0)["OMP_NUM_THREADS"] == "3"
    assert [environment(3, slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["4", "5", "4"]
    assert environment(1, 0)["CUDA_VISIBLE_DEVICES"] == "4,5"


@pytest.mark.slow
def test_a_process_is_started_with_its_log_and_away_from_the_terminal(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['WHO'], os.getsid(0) == os.getpid()); print('bad', file=sys.stderr); "
    log, env = tmp_path / "log", {**os.environ, "WHO": "me"}
    assert start_process([sys.executable, "-c", code + "sys.exit(3)"], log, env).wait() == 3
    assert sorted(log.read_text(encoding="utf-8").split("\n")) == ["", "bad", "me True"]
    sleeping = start_process([sys.executable, "-c", "import time; time.sleep(60)"], log, env)
    assert sleeping.poll() is None
    sleeping.terminate()
    assert sleeping.wait() == -signal.SIGTERM


# Two runs that are none of a fake.


@pytest.mark.slow
def test_two_real_runs(tmp_path: Path) -> None:
    base = TrainConfig(**{**pipeline_runs.place(tmp_path), "out": "", "f_star": "compute"})
    grid, server = Grid(base, methods=("mix", "maxright"), ks=(2,)), worker.server()

    class Real:
        """A run of the server, which takes one after the other."""

        def __init__(self, job: worker.Job) -> None:
            self.job = job

        def poll(self) -> int | None:
            return server.wait(self.job)

        def terminate(self) -> None:
            self.job.kill(signal.SIGTERM)

        def kill(self) -> None:
            self.job.kill()

        def wait(self) -> int:
            return server.wait(self.job)

    outcome = run_study(
        grid, tmp_path / "study", start=lambda argv, log, _: Real(server.start(list(argv[3:]), log)), pause=0.0
    )
    assert outcome.failed == (), outcome.failed
    assert len(outcome.finished) == 2
    rows = records(table(grid, tmp_path / "study"))
    assert [(r["method"], r["k"], r["steps"]) for r in rows] == [("mix", None, 4), ("maxright", 2, 4)]
    for row in rows:
        assert row["gap_dpo"] == pytest.approx(row["f_dpo"] - row["f_dpo_star"])
        assert row["ideal_distance"] == pytest.approx((row["gap_dpo"] ** 2 + row["gap_sft"] ** 2) ** 0.5)
        assert (Path(row["folder"]) / "adapter_model.safetensors").is_file()
    assert rows[0]["f_dpo_start"] == rows[1]["f_dpo_start"] == pytest.approx(0.6931, abs=1e-3)
    assert rows[0]["f_sft_star"] == pytest.approx(rows[1]["f_sft_star"])
    steps = [(r["method"], r["step"]) for r in records(paths(grid, tmp_path / "study"))]
    assert steps == [(m, t) for m in ("mix", "maxright") for t in (0, 2, 4)]
    assert [f["points"] for f in records(fronts(grid, tmp_path / "study"))] == [1, 1]
    assert {s.state for s in status(grid, tmp_path / "study")} == {"finished"}


@pytest.mark.process
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_freed_memory_stays_with_the_process_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight arrays of a megabyte, made and freed twenty times: their 2,000 pages are first used once, not 20 times."""
    code = (
        "import resource, numpy as np\n"
        "def use():\n"
        "    arrays = [np.ones(1 << 17) for _ in range(8)]\n"
        "use()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20):\n"
        "    use()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )

    def faults(env: dict[str, str]) -> int:
        return int(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout)

    for name in MALLOC:
        monkeypatch.delenv(name, raising=False)
    assert faults(dict(os.environ)) > 10_000
    assert faults(environment(1, 0)) < 2_000
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert environment(1, 0)["MALLOC_TRIM_THRESHOLD_"] == "131072"
