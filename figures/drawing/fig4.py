"""Drawing of Figure 4: paths of MAXRIGHT for every k, and four quantities over k."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.small_tables import rows_with, unpack
from figures.drawing import style
from figures.drawing.loss_space import (
    RUNTIMES,
    draw_far,
    draw_limits,
    draw_losses,
    draw_pairs,
    draw_scale,
    draw_spread,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

OTHERS = ("Sequential", "ALRIGHT")
PANELS = ("ideal_distance", "swing", "share_dpo", "runtime")
# markers and line styles of the k in ascending order; shades from light to dark
MARKERS = ("o", "s", "D", "v", "^", "P")
LINES = ("-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (6, 1, 1, 1, 1, 1)), (0, (2, 2)))
LIGHT, DARK = "#9fdcc6", "#00382a"
TITLES = {"ideal_distance": "ideal distance", "swing": "mean move", "share_dpo": "share of steps on DPO"}


def draw(data: Data) -> Figure:
    """Draw paths on the left and four quantities over k on the right, with Sequential and ALRIGHT as lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 4.3))
    left, right = figure.subfigures(1, 2, width_ratios=(0.85, 1.0), squeeze=False)[0]
    ax = left.subplots()
    handles: dict[str, Any] = {}
    paths = [_draw_path(ax, data, handles, method, 0) for method in OTHERS]
    paths += [_draw_path(ax, data, handles, "MAXRIGHT", k) for k in _ks(data)]
    draw_losses(ax, [path for path in paths if path], data)
    ax.set_title("(a) paths in loss space")
    titles = TITLES | {"runtime": RUNTIMES[str(data.facts["runtime"])]}
    for panel, quantity, letter in zip(right.subplots(2, 2, sharex=True).flat, PANELS, "bcde", strict=True):
        _draw_over_k(panel, data, quantity)
        panel.set_title(f"({letter}) {titles[quantity]}")
    for panel in right.axes[2:]:
        panel.set_xlabel("$k$")
    draw_pairs(figure, handles)
    lams = ", ".join(f"{lam:g}" for lam in np.unique(data.table["lam"]))
    draw_scale(figure, data, more=f", λ = {lams}")
    return figure


def _ks(data: Data) -> np.ndarray:
    return np.unique(unpack(data.extra, "bar", method="MAXRIGHT")["k"])


def _looks(data: Data, method: str, k: int) -> dict[str, Any]:
    """Return the usual style of a method; for MAXRIGHT shade, marker and line depend on k."""
    from matplotlib.colors import LinearSegmentedColormap

    if method != "MAXRIGHT":
        return style.METHODS[method].kwargs()
    ks = list(_ks(data))
    i = ks.index(k)
    shade = LinearSegmentedColormap.from_list("k", [LIGHT, DARK])(i / max(1, len(ks) - 1))
    looks = style.METHODS[method].kwargs(color=shade, marker=MARKERS[i % len(MARKERS)])
    return looks | {"linestyle": LINES[i % len(LINES)]}


def _draw_path(ax: Axes, data: Data, handles: dict[str, Any], method: str, k: int) -> dict[str, np.ndarray]:
    from matplotlib.lines import Line2D

    path, looks = unpack(data.extra, "path", method=method, k=k), _looks(data, method, k)
    if path:
        ax.plot(path["f_sft"], path["f_dpo"], **looks | {"markersize": 2.5, "linewidth": 1.0, "markeredgewidth": 0.0})
        ax.plot(path["f_sft"][-1:], path["f_dpo"][-1:], **looks | {"markersize": 7.0, "linestyle": ""})
        handles[f"$k={k}$" if k else method] = Line2D([], [], **looks)
    return path


def _draw_over_k(ax: Axes, data: Data, quantity: str) -> None:
    """Draw MAXRIGHT's mean, interval and seeds for every k; other methods as lines with bands for their intervals."""
    own = unpack(data.extra, "bar", method="MAXRIGHT", quantity=quantity)
    places = np.arange(len(own["k"]))
    ax.plot(places, own["value"], **style.METHODS["MAXRIGHT"].kwargs(marker="", zorder=2))
    values, ends = list(own["value"]), [*own["low"], *own["high"]]
    for x, k in zip(places, own["k"], strict=True):
        one = rows_with(own, k=k)
        dots = unpack(data.extra, "dot", method="MAXRIGHT", quantity=quantity, k=k)["value"]
        draw_spread(ax, float(x), one, dots, aside=0.2)
        ax.plot(x, one["value"], **_looks(data, "MAXRIGHT", k) | {"markersize": 6.5, "linestyle": ""})
        values += list(dots)
    for method in OTHERS[quantity == "swing" :]:  # Sequential moves steadily through its second stage
        other = unpack(data.extra, "bar", method=method, quantity=quantity)
        looks = style.METHODS[method]
        for value, low, high in zip(other["value"], other["low"], other["high"], strict=True):
            ax.axhline(value, color=looks.colour, linestyle=looks.line, zorder=1)
            if low < high:
                ax.axhspan(low, high, color=looks.colour, alpha=0.1, linewidth=0.0, zorder=0)
            values.append(value)
            ends += [low, high]
    ax.set_xticks(places, [f"{k:g}" for k in own["k"]])
    ax.set_xlim(-0.5, len(places) - 0.5)
    if quantity == "ideal_distance":
        draw_far(ax, values)
    draw_limits(ax, values, ends)
