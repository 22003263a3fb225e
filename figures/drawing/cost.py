"""Drawing of the cost: ideal distance over steps and tokens, runtime in parts, scale-free measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures.analysis.methods import NEEDS_OPTIMA
from figures.analysis.small_tables import unpack
from figures.drawing import style
from figures.drawing.loss_space import (
    RUNTIMES,
    draw_bars,
    draw_far,
    draw_legend,
    draw_limits,
    draw_scale,
    draw_spread,
    methods_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

PARTS = ("own", "reference", "optima")  # of the runtime: training steps, reference model, f*
TOTALS = ("without", "with")  # f*


def draw(data: Data) -> Figure:
    """Draw the ideal distance by steps and by tokens above; runtime, scale-free distance and hypervolume below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 5.4))
    top, bottom = figure.subfigures(2, 1, squeeze=False)[:, 0]
    across = top.subplots(1, 2, sharey=True)
    for ax, x, name in zip(
        across, ("step", "forward_tokens"), ("steps", "tokens passed through the model"), strict=True
    ):
        _draw_distance(ax, data, x)
        ax.set_xlabel(name)
    across[0].set_ylabel("ideal distance")
    across[0].set_title(f"(a) by steps, $\\lambda={data.facts['lam']:g}$")
    across[1].set_title(f"(b) by tokens, $\\lambda={data.facts['lam']:g}$")
    runtime, distance, volume = bottom.subplots(1, 3, width_ratios=(1.0, 1.3, 0.8))
    _draw_runtime(runtime, data)
    runtime.set_title(f"(c) {RUNTIMES[str(data.facts['runtime'])]}, $\\lambda={data.facts['lam']:g}$")
    lams = np.unique(unpack(data.extra, "bar", quantity="scale_free_distance")["lam"])
    draw_bars(distance, data, {f"{v:g}": {"quantity": "scale_free_distance", "lam": v} for v in lams})
    distance.set_xlabel(r"$\lambda$")
    distance.set_title("(d) scale-free distance")
    draw_bars(volume, data, {"": {"quantity": "hypervolume_share"}})
    volume.set_xlabel("all $\\lambda$ together")
    volume.set_title("(e) hypervolume share")
    draw_legend(figure, methods_of(data), bars=True, points=False)
    draw_scale(figure, data)
    return figure


def _draw_distance(ax: Axes, data: Data, x: str) -> None:
    """Draw the ideal distance of every method during training, with its interval as a band."""
    values, ends = [], []
    for method in methods_of(data):
        path = unpack(data.extra, "path", method=method)
        if path:
            looks = style.METHODS[method]
            low, high = path["ideal_distance_low"], path["ideal_distance_high"]
            ax.fill_between(path[x], low, high, color=looks.colour, alpha=0.12, linewidth=0.0, zorder=1)
            ax.plot(path[x], path["ideal_distance"], **looks.kwargs(markersize=3.5))
            values += list(path["ideal_distance"])
            ends += [*low, *high]
    draw_far(ax, values)
    draw_limits(ax, values, ends)
    ax.set_xlim(0.0, None)


def _draw_runtime(ax: Axes, data: Data) -> None:
    """Draw stacked bars: training steps, reference, f* where a method needs it; intervals without and with f*."""
    values, ends = [], []
    methods = methods_of(data)
    for i, method in enumerate(methods):
        part = {q: unpack(data.extra, "part", method=method, quantity=q) for q in (*PARTS, *TOTALS)}
        if not len(part["own"]["value"]):
            continue
        own, reference, optima = (float(np.nan_to_num(part[q]["value"][0])) for q in PARTS)
        ax.bar(i, own, 0.8, **style.METHODS[method].bar())
        ax.bar(i, reference, 0.8, bottom=own, color=style.QUIET, linewidth=0.0)
        totals = ["without"]
        if method in NEEDS_OPTIMA and optima:
            ax.bar(i, optima, 0.76, bottom=own + reference, color="white", edgecolor=style.INK, linewidth=0.7)
            ax.text(i, own + reference + optima / 2, "$f^*$", ha="center", va="center", fontsize=8.0)
            totals.append("with")
        for total, x in zip(totals, (i - 0.24, i + 0.24), strict=False):
            dots = unpack(data.extra, "partdot", method=method, quantity=total)["value"]
            draw_spread(ax, x, part[total], dots)
            values += [*dots, *part[total]["value"]]
            ends += [*part[total]["low"], *part[total]["high"]]
    ax.set_xticks(range(len(methods)), [style.METHODS[method].short for method in methods])
    ax.grid(visible=False, axis="x")
    draw_limits(ax, values, ends)
