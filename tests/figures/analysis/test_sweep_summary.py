"""Forgetting, normalized gaps, panels and combined checks of several grids."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from support.grid_runs import PATHS, checks, data_of, install, picked

from figures.analysis import seeds, sweep_summary
from figures.artefacts import conflict


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
def test_forgetting_is_the_rise_from_the_minimum_during_the_run() -> None:
    data = data_of(conflict)
    bar = {"grid": "conflict 0 overlap 0.5", "quantity": "forgetting"}
    # 0.5 at the end, 0.3 on the way; both seeds the same, for the noise is on both
    assert picked(data, "bar", method="Sequential", **bar)["value"] == pytest.approx(0.2)
    assert picked(data, "bar", method="Mix", **bar)["value"] == 0.0  # its last value is its least
    bar["grid"] = "conflict 1 overlap 0.5"
    assert picked(data, "bar", method="Sequential", **bar)["value"] == pytest.approx(1.2)
    assert picked(data, "bar", method="Sequential", **bar | {"quantity": "forgetting_share"})["value"] == (
        pytest.approx(2.4)
    )


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
def test_gaps_are_absolute_and_normalized_by_the_initial_gap() -> None:
    data = data_of(conflict)
    bar = {"grid": "conflict 0.5 overlap 0.5", "method": "Mix"}
    dpo = picked(data, "bar", quantity="gap_dpo", **bar)
    # gaps 0.6 and 0.61 of the two seeds; t for one degree of freedom is 12.706, the standard error 0.005
    assert dpo["value"] == pytest.approx(0.605)
    assert dpo["high"] - dpo["value"] == pytest.approx(12.706 * 0.005, rel=1e-4)
    assert picked(data, "bar", quantity="gap_dpo_share", **bar)["value"] == pytest.approx(1.21)
    assert picked(data, "bar", quantity="gap_sft_share", **bar)["value"] == pytest.approx(0.205)
    assert picked(data, "bar", grid=bar["grid"], method="", quantity="gain_dpo")["value"] == pytest.approx(0.5)
    seed = picked(data, "dot", quantity="scale_free_distance", seed=1, **bar)["value"]
    assert seed == pytest.approx(math.hypot(1.2, 0.2))


@pytest.mark.slow
def test_the_verdict_turns_with_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PATHS, "maxright", ((0.7, 1.1), (0.8, 1.2), (0.9, 1.3)))
    monkeypatch.setitem(PATHS, "sequential", ((0.7, 1.1), (0.5, 1.0), (0.45, 0.15)))
    install(monkeypatch)
    found = checks(data_of(conflict, seeds=3))
    assert found["ideal-distance/conflict-0-overlap-0.5/maxright-sequential"].verdict == "not seen"
    assert found["forgetting/conflict-0-overlap-0.5"].verdict == "not seen"
    assert found["forgetting/conflict-1-overlap-0.5"].verdict == "seen"


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [9.0, math.nan])
def test_what_is_wrong_with_one_grid_shows(monkeypatch: pytest.MonkeyPatch, wrong: float) -> None:
    def change(run: Any, row: dict[str, Any]) -> dict[str, Any]:
        return row | ({"ideal_distance": wrong} if run.config.conflict == 1.0 and run.config.seed == 2 else {})

    install(monkeypatch, change)
    found = checks(data_of(conflict))
    assert not found["hypot"].holds
    assert found["runs"].holds
    assert (found["runs"].bound, found["runs"].attained) == (3 * 4 * 2, 3 * 4 * 2)
    assert found["ends"].holds


@pytest.mark.slow
def test_a_missing_run_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    every, absent = seeds.results, ("conflict 1 overlap 0.5", "Mix", 2)
    key = ["grid", "method", "seed"]
    monkeypatch.setattr(seeds, "results", lambda p: (frame := every(p))[(frame[key] != list(absent)).any(axis=1)])
    found = checks(data_of(conflict))
    assert not found["runs"].holds
    assert (found["runs"].bound, found["runs"].attained) == (24.0, 23.0)


@pytest.mark.slow
def test_without_optima_the_shares_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = ("gap_dpo", "gap_sft", "ideal_distance", "scale_free_distance", "f_dpo_star", "f_sft_star")
    install(monkeypatch, lambda _, row: row | dict.fromkeys(unknown))
    data = data_of(conflict)
    bar = {"grid": "conflict 0 overlap 0.5", "method": "Sequential"}
    assert math.isnan(picked(data, "bar", quantity="gap_dpo_share", **bar)["value"])
    assert picked(data, "bar", quantity="forgetting", **bar)["value"] == pytest.approx(0.2)
    assert checks(data)["ideal-distance/conflict-0-overlap-0.5/maxright-sequential"].verdict == "mixed"


def test_an_initial_gap_that_is_not_positive_is_unknown() -> None:
    results = pd.DataFrame({"f_dpo_start": [0.1, 0.3, None], "f_dpo_star": [0.2, 0.2, 0.2]})
    assert sweep_summary.initial_gap(results, "dpo").tolist() == pytest.approx([math.nan, 0.1, math.nan], nan_ok=True)
