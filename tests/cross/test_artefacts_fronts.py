"""Figures 1, 3, 4, 7, 8 and the cost at every scale, on made-up runs."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from support.depth import DEEP
from support.made_up_runs import MadeUpRuns, bar, data_of

from figures.analysis import seeds
from figures.artefact import Request
from figures.artefacts import cost, fig1, fig3, fig4, fig7, fig8

ALL = (fig1, fig3, fig4, fig7, fig8, cost)
# The smallest scale and one of the two others by turns; `make test-deep` takes all three.
SCALES = [
    (scale, module)
    for i, module in enumerate(ALL)
    for scale in (("smoke", "embedded", "paper") if DEEP else ("smoke", ("embedded", "paper")[i % 2]))
]


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "module"), SCALES)
def test_data_of_every_scale_are_sound_and_drawn(module, scale, monkeypatch):
    MadeUpRuns(monkeypatch)
    parameters = module.parameters(Request(scale=scale))
    json.dumps(parameters)
    data = module.compute(parameters | {"root": "nowhere"})
    assert [check.name for check in data.checks if not check.holds] == []
    figure = module.ARTEFACT.draw(data)
    assert str(data.facts["scale"]) in figure.get_supxlabel()
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"Sequential", "ALRIGHT"} <= names


@pytest.mark.slow
@pytest.mark.parametrize("module", ALL)
def test_one_seed_has_no_interval_and_is_drawn(module, monkeypatch):
    MadeUpRuns(monkeypatch)
    data = data_of(module, scale="smoke", seeds=1)
    assert np.isnan(data.extra["bar_low"]).all()
    assert np.isnan(data.extra["bar_high"]).all()
    assert np.isfinite(data.extra["bar_value"]).all()
    assert data.facts["scale"].endswith("1 seed")
    module.ARTEFACT.draw(data)


@pytest.mark.slow
@pytest.mark.parametrize("module", ALL)
def test_what_is_not_known_is_left_out(module, monkeypatch):
    unknown = ("gap_dpo", "gap_sft", "ideal_distance", "f_dpo_star", "f_sft_star", "scale_free_distance", "device")
    unknown += ("optima_cpu_seconds", "cpu_seconds", "optima_seconds")
    MadeUpRuns(monkeypatch, lambda row: {**row, **dict.fromkeys(unknown), "seconds": 1.0})
    monkeypatch.setattr(seeds, "paths", lambda _: pd.DataFrame())
    data = data_of(module, scale="smoke")
    assert np.isnan(bar(data, {cost: "scale_free_distance"}.get(module, "ideal_distance"), "ALRIGHT")[0])
    assert [check.name for check in data.checks if not check.holds] == ["ends"]
    module.ARTEFACT.draw(data)
