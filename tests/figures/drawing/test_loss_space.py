"""Limits, scales and bars of the loss-space drawings."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.made_up_runs import MadeUpRuns, bar, data_of, front_data

from figures.analysis.methods import METHODS
from figures.artefacts import fig3, fig4
from figures.drawing.loss_space import draw_bars, draw_far, draw_limits, methods_of
from figures.drawing.render import render


@pytest.mark.slow
def test_bars_have_the_heights_of_the_data(monkeypatch):
    MadeUpRuns(monkeypatch)
    data = front_data(scale="smoke")
    axes = {ax.get_title(): ax for ax in fig3.ARTEFACT.draw(data).axes}
    assert len(axes) == 7
    (distance,) = (ax for title, ax in axes.items() if title.endswith("ideal distance"))
    wanted = [bar(data, "ideal_distance", m, lam=v)[0] for v in (0.25, 0.75) for m in list(METHODS)[:4]]
    assert [patch.get_height() for patch in distance.patches] == pytest.approx(wanted)
    assert len({patch.get_hatch() for patch in distance.patches}) == 4  # they differ in grey
    assert axes["(a) final points"].get_ylabel() == r"$f_{\mathrm{DPO}}$"


def test_limits_show_all_values_and_a_part_of_long_intervals():
    ax = Figure().subplots()
    draw_limits(ax, [1.0, 2.0], [-50.0, 50.0, math.nan])
    assert ax.get_ylim() == pytest.approx((0.0, 2.0 + 0.4 * 2.0 + 0.06 * 2.0))
    draw_limits(ax, [-1.0, 1.0], [-1.2, math.nan])
    low, high = ax.get_ylim()
    assert low == pytest.approx(-1.2 - 0.08)
    assert high == pytest.approx(1.0 + 0.12)
    draw_limits(ax, [math.nan], [math.nan])
    assert ax.get_ylim()[0] == 0.0


def test_an_axis_is_logarithmic_only_where_one_value_would_dwarf_the_others():
    scales = {}
    for name, values in {"near": [0.2, 0.3, 0.9], "far": [0.2, 0.3, -4.0], "tiny": [0.001, 0.001, 0.09]}.items():
        ax = Figure().subplots()
        draw_far(ax, [*values, math.nan])
        scales[name] = ax.get_yscale()
    assert scales == {"near": "linear", "far": "symlog", "tiny": "linear"}


@pytest.mark.slow
def test_a_figure_is_written_without_a_warning(monkeypatch):
    MadeUpRuns(monkeypatch)
    files = render(fig4.draw, data_of(fig4, scale="embedded"))
    assert files["png"][:4] == b"\x89PNG"


@pytest.mark.slow
def test_a_fifth_method_has_bars_of_its_own(monkeypatch):
    MadeUpRuns(monkeypatch)
    data = front_data(scale="smoke")
    mix = data.extra["bar_method"] == "Mix"
    names = np.concatenate([data.extra["bar_method"], np.full(mix.sum(), "Replay")])
    bars = {name: np.concatenate([data.extra[name], data.extra[name][mix]]) for name in data.extra if "bar_" in name}
    dots = {name: values for name, values in data.extra.items() if "dot_" in name}
    both = replace(data, extra=bars | dots | {"bar_method": names})
    assert methods_of(both) == list(METHODS)
    ax = Figure().subplots()
    draw_bars(ax, both, {"0.25": {"quantity": "ideal_distance", "lam": 0.25}})
    assert len({patch.get_hatch() for patch in ax.patches}) == len(ax.patches) == 5
    edges = sorted((patch.get_x(), patch.get_width()) for patch in ax.patches)
    assert all(x + width <= after + 1e-12 for (x, width), (after, _) in pairwise(edges))
