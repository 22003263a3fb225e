"""The cost: runtimes with and without f*, and the hypervolume of a front."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from support.made_up_runs import SPEED, MadeUpRuns, bar, data_of

from figures.analysis.small_tables import unpack
from figures.artefacts import cost


def test_hypervolume_of_a_front_by_hand():
    start_star = {"f_dpo_start": 1.0, "f_sft_start": 1.0, "f_dpo_star": 0.0, "f_sft_star": 0.0}
    rows = [start_star | {"f_dpo": x, "f_sft": y} for x, y in ((0.5, 0.5), (0.25, 0.75), (2.0, 0.1))]
    assert cost.front_share(pd.DataFrame(rows)) == pytest.approx(0.25 + 0.25 * 0.25)
    assert cost.front_share(pd.DataFrame([start_star | {"f_dpo": 2.0, "f_sft": 0.1}])) == 0.0
    assert math.isnan(cost.front_share(pd.DataFrame([{"f_dpo": 0.5, "f_sft": 0.5}])))
    assert math.isnan(cost.front_share(pd.DataFrame([rows[0] | {"f_sft_star": 1.0}])))


@pytest.mark.slow
def test_runtime_with_and_without_the_optima(monkeypatch):
    MadeUpRuns(monkeypatch)
    data = data_of(cost, scale="smoke")
    own = np.mean([6.0 * SPEED["MAXRIGHT"] * (1 + 0.02 * s) for s in (1, 2)])
    assert bar(data, "own", "MAXRIGHT", "part")[0] == pytest.approx(own)
    assert bar(data, "without", "MAXRIGHT", "part")[0] == pytest.approx(own + 0.5)
    assert bar(data, "with", "MAXRIGHT", "part")[0] == pytest.approx(own + 4.5)
    assert data.facts["seconds_with_f*_MAXRIGHT"] == pytest.approx(own + 4.5)
    for method in ("Sequential", "Mix", "ALRIGHT"):  # which train without it
        assert bar(data, "with", method, "part") == bar(data, "without", method, "part")
    lams = unpack(data.extra, "bar", quantity="scale_free_distance")["lam"]
    assert sorted(set(lams)) == [0.25, 0.75]  # and not the λ of the paths
    assert set(unpack(data.extra, "path")["lam"]) == {0.5}
    assert np.nanmax(data.table["optima_cpu_seconds"]) == 4.0
    assert np.isfinite(data.table["optima_cpu_seconds"]).sum() == 8 + 16  # once a run
