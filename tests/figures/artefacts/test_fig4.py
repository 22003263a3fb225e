"""Figure 4: quantities of MAXRIGHT by k."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.made_up_runs import STAR, START, MadeUpRuns, bar, data_of, gaps

from figures.analysis import sweeps
from figures.artefacts import fig4
from figures.drawing.fig4 import draw


@pytest.mark.slow
def test_every_quantity_is_a_mean_over_seeds_by_k(monkeypatch):
    MadeUpRuns(monkeypatch)
    data = data_of(fig4, scale="embedded", seeds=3)
    for k in (1, 75):
        distances = [math.hypot(*gaps("MAXRIGHT", 0.5, k, s)) for s in (1, 2, 3)]
        assert bar(data, "ideal_distance", "MAXRIGHT", k=k)[0] == pytest.approx(np.mean(distances))
    assert bar(data, "share_dpo", "MAXRIGHT", k=1)[0] == 0.5
    assert bar(data, "runtime", "Sequential")[0] == pytest.approx(0.1 * sweeps.STEPS["embedded"] * 1.04)
    # The paths are straight with ten equal moves.
    ways = [np.hypot(START["dpo"] - STAR["dpo"] - g, START["sft"] - STAR["sft"] - h) / 10
            for g, h in (gaps("ALRIGHT", 0.5, 0, s) for s in (1, 2, 3))]  # fmt: skip
    assert bar(data, "swing", "ALRIGHT")[0] == pytest.approx(np.mean(ways))
    axes = draw(data).axes
    assert [tick.get_text() for tick in axes[3].get_xticklabels()] == [f"{k}" for k in sweeps.KS["embedded"]]
