"""One style per decision rule."""

from __future__ import annotations

from figures.analysis.methods import METHODS
from figures.drawing import style


def test_every_rule_has_a_style_of_its_own() -> None:
    assert list(style.METHODS) == list(METHODS)
    for field in ("colour", "marker", "line", "hatch", "short"):
        assert len({getattr(method, field) for method in style.METHODS.values()}) == len(METHODS)


def test_no_method_has_the_marker_of_a_start_an_ideal_point_or_an_optimum() -> None:
    others = {mark["marker"] for mark in (style.START, style.IDEAL, *style.OPTIMA.values())}
    assert not others & {method.marker for method in style.METHODS.values()}
