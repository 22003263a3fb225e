"""Conflict, sensitivity, curvature and families: drawings and scales."""

from __future__ import annotations

from typing import Any

import pytest
from support.grid_runs import data_of, install

from figures.artefact import Request
from figures.artefacts import conflict, curvature, families, sensitivity

BEYOND = (conflict, sensitivity, curvature, families)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.mark.parametrize("module", BEYOND)
def test_at_scale_paper_these_are_of_the_embedded_world(module: Any) -> None:
    specs = module.parameters(Request(scale="paper"))["grids"].values()
    assert {spec["preset"] for spec in specs} == {"embedded"}


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("module", BEYOND)
def test_they_are_drawn_with_one_seed_and_with_several(module: Any, seeds: int) -> None:
    data = data_of(module, seeds=seeds)
    figure = module.ARTEFACT.draw(data)
    assert not [ax for ax in figure.axes if ax.axison and not ax.has_data()]
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= set(data.table["method"])
    assert all(check.holds for check in data.checks if check.must_hold)
