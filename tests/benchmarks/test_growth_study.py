"""The simulated runs of the curves are finished runs, and every part of a study is measured on them."""

from __future__ import annotations

import pytest

from benchmarks import growth_study


@pytest.mark.slow
def test_all_simulated_runs_are_finished_and_each_part_costs_time() -> None:
    curves = growth_study.study((10, 20))
    assert [curve.name.partition(": ")[2] for curve in curves] == ["the grid", "scheduling", "status", "both tables"]
    assert all((curve.costs["llm"] > 0.0).all() for curve in curves)


def test_a_grid_has_as_many_runs_as_is_asked() -> None:
    assert [len(growth_study.grid_of(n).runs()) for n in (10, 30)] == [10, 30]


def test_the_metrics_of_more_steps_are_measured() -> None:
    curve = growth_study.metrics((5, 50))
    assert curve.sizes == (5, 50)
    assert (curve.costs["llm"] > 0.0).all()
