"""Signs of the spectrum, the gap of the mix, and the fitted shapes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.grid_runs import STEPS, checks, data_of, install, picked

from figures.analysis import seeds
from figures.artefacts import curvature


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
def test_signs_of_the_spectrum_are_counted() -> None:
    data = data_of(curvature)
    shares = {
        objective: picked(data, "bar", method="Mix", objective=objective, quantity="negative")["value"]
        for objective in ("dpo", "sft", "mix")
    }
    assert shares == {"dpo": 0.5, "sft": 1.0, "mix": 0.0}
    mean = picked(data, "mean", method="ALRIGHT", objective="dpo", step=0)
    assert mean["smallest"] == -3.5  # -3 and -4 of both seeds
    assert mean["largest"] == 100.0
    assert math.isnan(picked(data, "mean", method="ALRIGHT", objective="dpo", step=60)["along_gradient"])
    found = checks(data)
    assert found["convex/dpo"].attained == 0.5
    assert found["convex/dpo"].verdict == "not seen"
    assert found["measured"].holds
    assert data.facts["largest_residual_share"] == pytest.approx(0.2 / 100)
    assert data.facts["largest_margin_share"] == pytest.approx(9.0 / 99.5)  # the spectrum from 0.5 to 100
    assert "margin" in data.table


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
def test_the_gap_of_the_mix_and_the_fitted_shapes() -> None:
    data = data_of(curvature, seeds=1)
    gap = picked(data, "gap", method="Mix", step=60)["gap_mix"]
    assert gap == pytest.approx(0.5 * (0.3 + 0.5 - 0.2) + 0.5 * (0.3 - 0.1))
    raw = data.table["objective"] == "mix (held out)"
    assert raw.sum() == 4 * len(STEPS)
    assert np.isnan(data.table["gap_mix"][~raw]).all()
    # Sequential's gaps at 30 and 60: the constant is their geometric mean
    first, last = 0.5 * 0.1 + 0.5 * 0.9, 0.5 * (0.5 + 0.5 - 0.2) + 0.5 * 0.05
    assert data.facts["factor_Sequential"] == pytest.approx(math.sqrt(first * last))


def test_a_fit_recovers_its_shape_from_the_positive_gaps_of_the_second_half() -> None:
    t = np.arange(1.0, 101.0)
    assert curvature.shape("ALRIGHT", np.array([4.0])) == pytest.approx(math.log(4.0) / 2.0)
    gap = 3.0 * curvature.shape("ALRIGHT", t)
    gap[:40] = 7.0
    gap[60], gap[61] = -1.0, np.nan
    assert curvature.fit("ALRIGHT", t, gap) == pytest.approx(3.0)
    assert math.isnan(curvature.fit("ALRIGHT", t, np.full(100, -1.0)))
    assert math.isnan(curvature.fit("Sequential", np.array([]), np.array([])))


def test_runs_without_a_measured_curvature_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setattr(seeds, "measured", lambda *_: [])
    with pytest.raises(ValueError, match="none of the runs has been measured"):
        data_of(curvature)
