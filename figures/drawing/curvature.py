"""Drawing of the curvature of the objectives during training, and of the gap of the mix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.small_tables import rows_with, unpack
from figures.drawing import style
from figures.drawing.loss_space import PALE, draw_bars, draw_legend, draw_scale, methods_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

OBJECTIVES = {"dpo": r"$f_{\mathrm{DPO}}$", "sft": r"$f_{\mathrm{SFT}}$", "mix": r"$f_{\mathrm{Mix},\lambda}$"}
SHAPES = {"ALRIGHT": r"$c\,\log t/\sqrt{t}$", "Sequential": "constant"}  # of the gap, in the step t

LINES = {"ALRIGHT": ":", "Sequential": "--"}


def draw(data: Data) -> Figure:
    """Draw both ends of the spectra and the share of negative ones; below, curvature along the gradient and the gap."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 5.6))
    axes = figure.subplots(2, 3)
    for i, objective in enumerate(("dpo", "sft")):
        _draw_over_steps(axes[0, i], data, objective, ("largest", "smallest"))
        _draw_over_steps(axes[1, i], data, objective, ("along_gradient",))
        axes[0, i].set_title(f"({'ab'[i]}) {OBJECTIVES[objective]}: ends of the spectrum")
        axes[1, i].set_title(f"({'de'[i]}) {OBJECTIVES[objective]}: along its gradient")
        axes[1, i].set_xlabel("steps")
    groups = {label: {"objective": name, "quantity": "negative"} for name, label in OBJECTIVES.items()}
    draw_bars(axes[0, 2], data, groups)
    axes[0, 2].set_ylim(0.0, 1.06)
    axes[0, 2].set_title("(c) share with a negative one")
    _draw_gap(axes[1, 2], data)
    draw_legend(figure, methods_of(data), bars=True, points=False)
    draw_scale(figure, data, more=f", λ = {np.unique(data.table['lam'])[0]:g}, {data.facts['points']} points a run")
    return figure


def _draw_over_steps(ax: Axes, data: Data, objective: str, quantities: Sequence[str]) -> None:
    """Draw thin lines for seeds and means with markers, open markers for the smallest eigenvalue."""
    for method in methods_of(data):
        rows = rows_with(data.table, method=method, objective=objective)
        mean = unpack(data.extra, "mean", method=method, objective=objective)
        looks = style.METHODS[method]
        for quantity in quantities:
            seeds = np.unique(rows["seed"])
            for seed in seeds if len(seeds) > 1 else ():
                one = rows_with(rows, seed=seed)
                ax.plot(one["step"], one[quantity], **looks.kwargs(marker="", linewidth=0.5, alpha=PALE))
            own = looks.kwargs(markersize=4.0)
            if quantity == "smallest":
                own |= {"markerfacecolor": "white", "markeredgecolor": looks.colour, "markeredgewidth": 0.9}
            ax.plot(mean["step"], mean[quantity], **own)
    ax.axhline(0.0, color=style.INK, linewidth=0.8, zorder=1)
    chosen = data.table["objective"] == objective
    _draw_symlog(ax, np.concatenate([data.table[quantity][chosen] for quantity in quantities]))


def _draw_symlog(ax: Axes, values: np.ndarray) -> None:
    """Make the vertical axis logarithmic on both sides of 0, and linear one to four decades below the largest value.

    The linear part holds the smallest tenth of the values.
    """
    from matplotlib.ticker import NullLocator, SymmetricalLogLocator

    sizes = np.abs(values[np.isfinite(values) & (values != 0.0)])
    if not len(sizes):
        return
    top = math.floor(math.log10(float(sizes.max())))
    near = max(top - 4, min(top - 1, math.floor(math.log10(float(np.quantile(sizes, 0.1))))))
    ax.set_yscale("symlog", linthresh=10.0**near, linscale=0.6)
    locator = SymmetricalLogLocator(base=10.0, linthresh=10.0**near)
    locator.set_params(numticks=7)
    ax.yaxis.set_major_locator(locator)
    ax.yaxis.set_minor_locator(NullLocator())


def _draw_gap(ax: Axes, data: Data) -> None:
    """Draw the gap of the mix on logarithmic axes with the fitted shapes of the theorems."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    rows = rows_with(data.table, objective="mix (held out)")
    for method in methods_of(data):
        looks, own = style.METHODS[method], rows_with(rows, method=method)
        seeds = np.unique(own["seed"])
        for seed in seeds if len(seeds) > 1 else ():
            ax.plot(*_positive(rows_with(own, seed=seed)), **looks.kwargs(marker="", linewidth=0.5, alpha=PALE))
        ax.plot(*_positive(unpack(data.extra, "gap", method=method)), **looks.kwargs(markersize=3.5))
    ax.set_xscale("log")
    ax.set_yscale("log")
    for method, name in SHAPES.items():
        fitted = unpack(data.extra, "shape", method=method)
        if fitted and np.isfinite(fitted["value"]).any():
            line: dict[str, Any] = {"linestyle": LINES[method], "linewidth": 1.2, "color": style.INK, "zorder": 6}
            ax.plot(fitted["step"], fitted["value"], label=name, **line)
            ax.legend(loc="best", fontsize=7.5, handlelength=1.8, labelspacing=0.2)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    ax.set_xlabel("steps $t$")
    ax.set_title(r"(f) gap of the mix to $f^*$")


def _positive(rows: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return (steps, gaps) after the start, NaN where a gap is not positive."""
    after = rows["step"] > 0
    gap = rows["gap_mix"][after]
    return rows["step"][after], np.where(gap > 0.0, gap, np.nan)
