"""Figure 3 beside the published numbers."""

from __future__ import annotations

import numpy as np
import pytest
from support.made_up_runs import MadeUpRuns, data_of, gaps

from figures.analysis import published, sweeps
from figures.artefacts import fig3, fig7


@pytest.mark.slow
def test_ours_stand_beside_the_paper_s(monkeypatch):
    MadeUpRuns(monkeypatch)
    data = data_of(fig3, scale="embedded", seeds=3)
    beside = data.beside
    assert len(beside["ours"]) == 4 * 5 * 4  # no utilisation on a CPU
    row = int(np.flatnonzero((beside["quantity"] == "gap_sft") & (beside["method"] == "MAXRIGHT"))[0])
    assert beside["lam"][row] == 0.01
    assert beside["paper"][row] == published.FIGURE3["MAXRIGHT", 0.01][1] == 0.08
    assert beside["ours"][row] == pytest.approx(np.mean([gaps("MAXRIGHT", 0.01, 10, s)[1] for s in (1, 2, 3)]))
    assert beside["low"][row] < beside["ours"][row] < beside["high"][row]
    assert beside["ours at"][row] == f"embedded world (small), {sweeps.STEPS['embedded']} steps, 3 seeds"
    assert not data_of(fig7, scale="smoke").beside
