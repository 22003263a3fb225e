"""Panels and drawing of label conflict and prompt overlap."""

from __future__ import annotations

import pytest
from support.grid_runs import data_of, install

from figures.artefacts import conflict
from figures.drawing.conflict import draw


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
def test_a_panel_has_the_grids_that_differ_in_one_setting() -> None:
    small, whole = data_of(conflict), data_of(conflict, scale="embedded", seeds=3)
    assert list(small.extra["panel_panel"]) == ["conflict"] * 3  # the other dial has one place
    panels = list(zip(*(whole.extra[f"panel_{n}"] for n in ("panel", "place", "label", "grid")), strict=True))
    assert panels == [
        ("conflict", 0, "0", "conflict 0 overlap 0.5"),
        ("conflict", 1, "0.5", "conflict 0.5 overlap 0.5"),
        ("conflict", 2, "1", "conflict 1 overlap 0.5"),
        ("overlap", 0, "0", "conflict 0.5 overlap 0"),
        ("overlap", 1, "0.5", "conflict 0.5 overlap 0.5"),
        ("overlap", 2, "1", "conflict 0.5 overlap 1"),
    ]
    assert set(whole.table["overlap"]) == {0.0, 0.5, 1.0}
    assert len(whole.table["method"]) == 5 * 4 * 3


@pytest.mark.slow
@pytest.mark.usefixtures("made_up")
def test_a_figure_shows_the_computed_values() -> None:
    data = data_of(conflict, seeds=3)
    figure = draw(data)
    forgetting = figure.axes[0]
    line = next(line for line in forgetting.get_lines() if line.get_marker() == "s")  # Sequential's mark
    assert list(line.get_ydata()) == pytest.approx([0.2, 0.7, 1.2])
    low, high = forgetting.get_ylim()
    assert low <= 0.0 < 1.2 < high
    assert [label.get_text() for label in figure.axes[-3].get_xticklabels()] == ["0", "0.5", "1"]
