"""Values and verdicts of the sensitivity."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.grid_runs import checks, data_of, install

from figures.artefacts import sensitivity
from figures.drawing.render import render
from figures.drawing.sensitivity import draw


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
def test_the_facts_have_the_values_of_every_setting() -> None:
    data = data_of(sensitivity, scale="embedded", seeds=3)
    assert data.facts["rate"] == "0.001, 0.002, 0.004"
    assert data.facts["batches"] == "4, 8, 16"
    assert data.facts["alternation"] == "coin, even"
    assert data.facts["blocks"] == "1, 5, 25"
    assert data_of(sensitivity).facts.keys() == {"scale", "rate", "blocks", "alternation"}  # smoke leaves batches alone


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
def test_the_order_of_the_methods_is_judged_in_every_grid_that_has_both() -> None:
    found = checks(data_of(sensitivity, seeds=3))
    assert found["ideal-distance/twice-the-learning-rate/maxright-sequential"].verdict == "seen"
    assert found["ideal-distance/as-it-is/alright-sequential"].verdict == "seen"
    free = found["scale-free-distance/as-it-is/alright-sequential"]  # with the third seed, whose noise is -0.01
    assert free.attained == pytest.approx(
        np.mean([math.hypot(1.3 + 2 * n, 0.2 + n) - math.hypot(1.6 + 2 * n, 0.05 + n) for n in (0.0, 0.01, -0.01)])
    )
    assert not [name for name in found if "/even/" in name]


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
def test_the_figure_can_be_written() -> None:
    assert render(draw, data_of(sensitivity))["png"].startswith(b"\x89PNG")
