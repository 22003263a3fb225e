"""One style per decision rule."""

from __future__ import annotations

from matplotlib.figure import Figure

from figures.analysis.methods import METHODS
from figures.drawing import style


def test_every_rule_has_a_style_of_its_own() -> None:
    assert list(style.METHODS) == list(METHODS)
    for field in ("colour", "marker", "line", "hatch", "short"):
        assert len({getattr(method, field) for method in style.METHODS.values()}) == len(METHODS)


def test_no_method_has_the_marker_of_a_start_an_ideal_point_or_an_optimum() -> None:
    others = {mark["marker"] for mark in (style.START, style.IDEAL, *style.OPTIMA.values())}
    assert not others & {method.marker for method in style.METHODS.values()}


def test_seeds_are_small_white_dots_above_the_marks_of_methods() -> None:
    ax = Figure().subplots()
    style.draw_seeds(ax, [1.0, 2.0], [3.0, 3.0], clip_on=False)
    [dots] = ax.lines
    assert (list(dots.get_xdata()), list(dots.get_ydata())) == ([1.0, 2.0], [3.0, 3.0])
    assert (dots.get_color(), dots.get_linestyle(), dots.get_clip_on()) == ("white", "None", False)
    assert dots.get_zorder() > max(method.zorder for method in style.METHODS.values())
