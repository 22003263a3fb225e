"""Progress of a study and the time that remains."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.study_fakes import BASE, World, carry_out, finish, start_or_resume

pytest.importorskip("torch")

from llm import TrainConfig
from llm.study import Grid
from llm.study.dependencies import prerequisites

SMALL = TrainConfig(f_star="compute", reference="chosen", steps=10)


@pytest.mark.slow
def test_the_remaining_time_is_estimated_from_steps_and_finished_runs(tmp_path: Path) -> None:
    grid, seen = Grid(BASE, methods=("mix",), lams=(0.1, 0.2, 0.3)), []
    first = grid.runs()[0]
    finish(first.folder(tmp_path), first.placed(tmp_path).as_dict())  # 2 seconds a step
    carry_out(grid, tmp_path, World(), report=seen.append)
    assert seen[0].finished == 1
    assert seen[0].running == ((grid.runs()[1].name, 0, 4),)
    assert seen[0].left == pytest.approx(2 * 4 * 2.0)
    assert 0.0 < seen[0].elapsed < seen[-1].elapsed < 60.0
    assert seen[1].running == ((grid.runs()[1].name, 2, 4),)
    assert seen[1].left == pytest.approx((2 + 4) * 2.0)
    assert (seen[-1].finished, seen[-1].total, seen[-1].running, seen[-1].left) == (3, 3, (), 0.0)
    seen.clear()
    unknown = dataclasses.replace(BASE, model="some/model")
    carry_out(Grid(unknown, methods=("mix", "alright")), tmp_path / "new", World(), report=seen.append, jobs=2)
    assert seen[0].left is None


@pytest.mark.slow
def test_two_at_a_time_take_half_as_long_but_no_less_than_the_longest(tmp_path: Path) -> None:
    grid, seen = Grid(BASE, methods=("mix",), lams=(0.1, 0.2, 0.3, 0.4)), []
    for run in grid.runs()[:2]:
        start_or_resume(run.folder(tmp_path), steps=2)
    carry_out(grid, tmp_path, World(), report=seen.append, jobs=2)
    assert seen[0].left == pytest.approx((2 + 2 + 4 + 4) * 2.0 / 2)
    grid, longest = dataclasses.replace(grid, lams=(0.1, 0.2)), []
    start_or_resume(grid.runs()[0].folder(tmp_path / "uneven"), steps=3)
    carry_out(grid, tmp_path / "uneven", World(), report=longest.append, jobs=2)
    assert longest[0].left == pytest.approx(max((1 + 4) * 2.0 / 2, 4 * 2.0))


def test_a_preparation_beyond_its_estimate_is_extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llm.common.scheduler import Running
    from llm.study import eta

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
