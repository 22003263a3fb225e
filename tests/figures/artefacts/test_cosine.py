"""Cosines by setting and along a run, their claims, and the runs that they share with other artefacts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support.grid_runs import checks, data_of, install, picked

from figures.analysis import seeds, sweeps
from figures.artefact import SCALES, Request
from figures.artefacts import conflict, cosine, curvature
from figures.pipeline.paths import grid_of
from figures.registry import REGISTRY, load

CENTRE = "conflict 0.5 overlap 0.5"


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def runs(module: Any, scale: Any) -> set[str]:
    """Return the names of the runs that an artefact needs at a scale."""
    return {
        run.name for spec in module.parameters(Request(scale=scale))["grids"].values() for run in grid_of(spec).runs()
    }


@pytest.mark.parametrize("scale", SCALES)
def test_the_runs_are_those_of_conflict_and_curvature(scale: str) -> None:
    needed = runs(cosine, scale)
    assert needed <= runs(conflict, scale) | runs(curvature, scale)
    assert needed & runs(curvature, scale)  # those that keep intermediate adapters
    count = len(cosine.parameters(Request(scale=scale))["grids"])  # type: ignore[arg-type]
    assert len(needed) == count * sweeps.SEEDS["smoke" if scale == "smoke" else "embedded"]


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
def test_settings_stand_in_the_order_of_their_cosines() -> None:
    data = data_of(cosine)
    assert list(data.extra["setting_conflict"]) == [0.0, 0.5, 1.0]
    middle = picked(data, "setting", grid=CENTRE)
    assert middle["start"] == pytest.approx(-0.515)  # -0.51 and -0.52 of both seeds
    assert middle["raw"] == pytest.approx(-0.515 / 2)
    assert (middle["end"], middle["end_raw"]) == pytest.approx((-0.515 / 2, -0.515 / 4))
    # 2.3646 is Student's quantile of 97.5 % with 7 degrees of freedom; the errors are 0.1
    assert middle["start"] - middle["start_low"] == pytest.approx(0.23646, abs=1e-5)
    assert middle["forgetting"] == pytest.approx(0.2 + 0.5)
    path = picked(data, "path", step=30)
    assert path["value"] == pytest.approx(-0.515 / 2)
    assert data.facts["critical cosine"] == pytest.approx(-(math.sqrt(5.0) - 1.0) / 2.0)
    assert data.facts["first phase, steps"] == 30.0
    known = np.isfinite(data.table["forgetting"])
    assert set(data.table["step"][known]) == {60}
    assert known.sum() == 3 * 2


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
def test_claims_on_the_made_up_runs() -> None:
    found = checks(data_of(cosine))
    assert all(check.holds for check in found.values() if check.must_hold)
    assert found["conflict/conflict-1-overlap-0.5"].attained == pytest.approx(-0.815)
    assert {c.verdict for name, c in found.items() if name.startswith("conflict/")} == {"seen"}
    assert (found["order"].attained, found["order"].verdict) == (1.0, "seen")
    assert found["critical"].attained == pytest.approx(1.2 - (0.2 + 0.7) / 2.0)  # one setting of three is beyond


@pytest.mark.slow
def test_forgetting_in_the_opposite_order_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, lambda run, row: {**row, "f_dpo": row["f_dpo"] - 3.0 * run.config.conflict})
    found = checks(data_of(cosine))
    assert (found["order"].attained, found["order"].verdict) == (-1.0, "not seen")
    assert found["critical"].attained < 0.0


@pytest.mark.slow
def test_without_a_setting_beyond_the_critical_cosine_its_claim_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    original = seeds.measured

    def mild(parameters: Any, name: str) -> Any:
        results = original(parameters, name)
        for _, result in results:
            for point in result["points"]:
                value = 0.1 * point["cosines"][0][1]
                point["cosines"] = [[1.0, value], [value, 1.0]]
        return results

    monkeypatch.setattr(seeds, "measured", mild)
    assert "critical" not in checks(data_of(cosine))


@pytest.mark.slow
def test_an_unknown_cosine_is_left_out_of_the_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    original = seeds.measured

    def unknown(parameters: Any, name: str) -> Any:
        results = original(parameters, name)
        for _, result in results:
            result["points"][-1] |= {"cosines": [[1.0, None], [None, None]], "errors": [[0.0, None], [None, None]]}
        return results

    monkeypatch.setattr(seeds, "measured", unknown)
    data = data_of(cosine)
    assert math.isnan(picked(data, "setting", grid=CENTRE)["end"])
    assert cosine.ARTEFACT.draw(data).axes


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize("count", [1, 3])
def test_it_is_drawn_with_one_seed_and_with_several(count: int) -> None:
    data = data_of(cosine, seeds=count)
    figure = load("cosine", REGISTRY["cosine"]).draw(data)
    assert not [ax for ax in figure.axes if not ax.has_data()]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["conflict 0, overlap 0.5", "conflict 0.5, overlap 0.5", "conflict 1, overlap 0.5"]


def test_runs_without_a_measured_cosine_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setattr(seeds, "measured", lambda *_: [])
    with pytest.raises(ValueError, match="none of the runs has been measured"):
        data_of(cosine)
