"""Progress of a study and the time that remains."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support.study_fakes import BASE, World, carry_out, finish, start_or_resume

pytest.importorskip("torch")

from llm import TrainConfig
from llm.study import Grid, eta, run_study
from llm.study.dependencies import preparation, prerequisites, work

SMALL = TrainConfig(f_star="compute", reference="chosen", steps=10)


@pytest.mark.slow
def test_the_remaining_time_is_estimated_from_steps_and_finished_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, seen = Grid(BASE, methods=("mix",), lams=(0.1, 0.2, 0.3)), []
    monkeypatch.setattr(eta, "cores", lambda: 8)
    monkeypatch.setattr(eta, "OVERHEAD", 0.5)  # of a run that waits, as long as none has shown its own
    first = grid.runs()[0]
    finish(first.folder(tmp_path), first.placed(tmp_path).as_dict())  # 2 seconds a step
    carry_out(grid, tmp_path, World(), report=seen.append)
    assert seen[0].finished == 1
    assert seen[0].running == ((grid.runs()[1].name, 0, 4),)
    assert seen[0].left == pytest.approx(2 * 4 * 2.0 + 0.5)
    assert 0.0 < seen[0].elapsed < seen[-1].elapsed < 60.0
    assert seen[1].running == ((grid.runs()[1].name, 2, 4),)
    assert seen[1].left == pytest.approx((2 + 4) * 2.0 + 0.5)
    assert (seen[-1].finished, seen[-1].total, seen[-1].running, seen[-1].left) == (3, 3, (), 0.0)
    seen.clear()
    unknown = dataclasses.replace(BASE, model="some/model")
    carry_out(Grid(unknown, methods=("mix", "alright")), tmp_path / "new", World(), report=seen.append, jobs=2)
    assert seen[0].left is None


@pytest.mark.slow
def test_two_at_a_time_take_half_as_long_but_no_less_than_the_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, seen = Grid(BASE, methods=("mix",), lams=(0.1, 0.2, 0.3, 0.4)), []
    monkeypatch.setattr(eta, "cores", lambda: 8)
    monkeypatch.setattr(eta, "OVERHEAD", 0.5)
    for run in grid.runs()[:2]:
        start_or_resume(run.folder(tmp_path), steps=2)
    carry_out(grid, tmp_path, World(), report=seen.append, jobs=2)
    assert seen[0].left == pytest.approx(((2 + 2 + 4 + 4) * 2.0 + 2 * 0.5) / 2)
    grid, longest = dataclasses.replace(grid, lams=(0.1, 0.2)), []
    start_or_resume(grid.runs()[0].folder(tmp_path / "uneven"), steps=3)
    carry_out(grid, tmp_path / "uneven", World(), report=longest.append, jobs=2)
    assert longest[0].left == pytest.approx(max((1 + 4) * 2.0 / 2, 4 * 2.0))


def test_a_preparation_beyond_its_estimate_is_extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llm.common.scheduler import Running

    (run,) = Grid(dataclasses.replace(SMALL, world_size="small"), methods=("alright",)).runs()
    wanted, now = prerequisites(run.config), [100.0]
    monkeypatch.setattr(eta.time, "monotonic", lambda: now[0])
    one = Running(SimpleNamespace(run=run, before=0.0), None, 0, now[0], wanted.all)  # type: ignore[arg-type]
    forecaster = eta.Forecast([run], tmp_path, 1, {run.name: wanted})

    def left(seconds: float, there: frozenset[str] = frozenset()) -> float:
        now[0] = 100.0 + seconds
        found = forecaster.progress([], [one], there, 0)
        assert found.elapsed == pytest.approx(seconds)
        assert found.left is not None
        return found.left

    first = left(0.0)
    assert left(1.0) == pytest.approx(first - 1.0)
    assert first < left(10 * first) < 5 * first
    fresh = left(10 * first, wanted.base)  # the base is there: what is made now has only begun
    assert fresh == pytest.approx(forecaster.length(run, wanted.rest))
    assert left(10 * first + 0.1, wanted.base) == pytest.approx(fresh - 0.1)


# A simulated study, of the durations of a real one of 475 runs: two runs at a time on two cores.
STEP, OVER, MEASURED = 0.0103, 0.66, {"curvature": 4.9, "answers": 0.14, "questions": 0.32}


class Simulated:
    """A process of a run that makes what it lacks, trains, measures and ends, by the clock `now`."""

    def __init__(self, now: list[float], made: set[str], argv: Sequence[str]) -> None:
        text = Path(argv[list(argv).index("--config") + 1]).read_text(encoding="utf-8")
        self.config = TrainConfig(**yaml.safe_load(text))
        self.folder, self.now, self.made = Path(self.config.out), now, made
        self.measures = argv[list(argv).index("--measures") + 1 :] if "--measures" in argv else ()
        wanted = prerequisites(self.config)
        own = {name: preparation(self.config, [name]) * STEP for name in wanted.all - made}
        self.optima = sum(own[name] for name in wanted.rest & own.keys())
        self.base_at = now[0] + 0.5 * OVER + sum(own[name] for name in wanted.base & own.keys())
        self.begun_at = self.base_at + self.optima
        self.seconds = work(self.config) * STEP
        self.end_at = self.begun_at + self.seconds + sum(MEASURED[m] for m in self.measures) + 0.5 * OVER

    def poll(self) -> int | None:
        if self.now[0] >= self.base_at:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "run.json").write_text("{}", encoding="utf-8")
            self.made |= prerequisites(self.config).base
        if self.now[0] >= self.begun_at:
            self.made |= prerequisites(self.config).all
            done = min(self.config.steps, int((self.now[0] - self.begun_at) / self.seconds * self.config.steps))
            line = {"step": done, "objective": "sft", "seconds": self.seconds * done / self.config.steps}
            (self.folder / "metrics.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
        if self.now[0] < self.end_at:
            return None
        summary = {"steps": self.config.steps, "seconds": self.seconds, "preparation": {"optima_seconds": self.optima}}
        (self.folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        for name in self.measures:
            path = eta.measures.file_of(self.folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"seconds": MEASURED[name]}), encoding="utf-8")
        return 0


@pytest.mark.slow
def test_after_five_runs_the_estimate_is_within_a_quarter_of_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first runs compute bases and optima, which others share; the runs with the slowest measure come last."""
    now, made = [0.0], set[str]()
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: now.__setitem__(0, now[0] + 0.25))
    monkeypatch.setattr("llm.common.scheduler.time", clock)
    monkeypatch.setattr(eta, "time", clock)
    monkeypatch.setattr(eta, "cores", lambda: 2)
    there = lambda folder, names: tuple(n for n in names if not eta.measures.file_of(folder, n).is_file())  # noqa: E731
    for module in ("measures", "status"):
        monkeypatch.setattr(sys.modules[f"llm.study.{module}"], "missing", there)
    base = TrainConfig(f_star="compute", steps=150, world_size="small")
    grids = [
        Grid(base, methods=("mix", "alright", "maxright", "sequential"), lams=(0.1, 0.3, 0.5), seeds=(1, 2, 3)),
        Grid(dataclasses.replace(base, lr=1e-3), methods=("alright",), lams=(0.2, 0.4), seeds=(1, 2, 3),
             measures=("curvature",)),
        Grid(dataclasses.replace(base, steps=100), methods=("sequential",), seeds=(1, 2, 3),
             measures=("answers", "questions")),
    ]  # fmt: skip
    seen: list[eta.Progress] = []

    def start(argv: Sequence[str], _log: Path, _env: Mapping[str, str]) -> Any:
        return Simulated(now, made, argv)

    outcome = run_study(grids, tmp_path, jobs=2, start=start, report=seen.append)
    assert len(outcome.finished) == seen[-1].total == 45
    for count in (0, 5, 20):
        one = next(p for p in seen if p.finished >= count)
        assert one.left == pytest.approx(seen[-1].elapsed - one.elapsed, rel=0.25), count
