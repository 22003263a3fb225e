"""Drawing of the figure `cosine`: cosines by setting and along a run, and forgetting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.small_tables import rows_with, unpack
from figures.drawing import style
from figures.drawing.loss_space import PALE, draw_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

MARKERS = ("o", "s", "^", "D", "v")
COLOURS = (style.METHODS["Sequential"].colour, "#0072B2", "#009E73", "#7d3f61", "#7a7a7a")
PLAIN: dict[str, Any] = {"color": style.QUIET, "marker": "o", "markerfacecolor": "white", "markersize": 4.0}


def draw(data: Data) -> Figure:
    """Draw forgetting against the cosine before training, the cosine along runs, and plain cosines beside estimates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.3))
    axes = figure.subplots(1, 3, width_ratios=(1.15, 1.0, 1.0))
    _draw_settings(axes[0], data)
    _draw_path(axes[1], data)
    _draw_noise(axes[2], data)
    for ax, letter, title in zip(axes, "abc", ("what is forgotten", "along the run", "start and end"), strict=True):
        ax.set_title(f"({letter}) {title}")
    handles, labels = axes[0].get_legend_handles_labels()
    style.legend_above(figure, handles, labels, columns=3)
    draw_scale(figure, data, more=f", Sequential, DPO first, λ = {float(data.facts['lam']):g}")
    return figure


def _name(conflict: float, overlap: float) -> str:
    """Return a setting in a few characters."""
    return f"conflict {conflict:g}, overlap {overlap:g}"


def _draw_settings(ax: Axes, data: Data) -> None:
    """Draw forgetting against the cosine at the start: means with intervals, and the seeds."""
    settings = unpack(data.extra, "setting")
    for k, grid in enumerate(settings["grid"]):
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        own = rows_with(data.table, grid=grid)
        first, last = own["step"] == 0, np.isfinite(own["forgetting"])
        looks: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "none"}
        if first.sum() == last.sum() > 1:
            ax.plot(own["cosine"][first], own["forgetting"][last], **looks, markersize=2.6, alpha=PALE, zorder=2.5)
        x, y = settings["start"][k], settings["forgetting"][k]
        ax.hlines(y, settings["start_low"][k], settings["start_high"][k], color=colour, linewidth=0.7, zorder=2.0)
        ax.vlines(x, settings["forgetting_low"][k], settings["forgetting_high"][k], color=colour, linewidth=0.7)
        label = _name(settings["conflict"][k], settings["overlap"][k])
        ax.plot(x, y, **looks, markersize=6.0, markeredgecolor="white", markeredgewidth=0.5, zorder=4.0, label=label)
    critical = float(data.facts["critical cosine"])
    ax.axvline(critical, **style.CRITICAL)
    at: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
    ax.annotate(f"${critical:.3f}$\n(theory)", (critical, 1.0), (3.0, -2.0), **at)
    lowest = settings["forgetting_low"][np.isfinite(settings["forgetting_low"])]
    ax.set_ylim(bottom=min(-0.1, *lowest, *settings["forgetting"]))
    ax.set_xlim(*_limits(np.concatenate([settings["start_low"], settings["start_high"]])))
    ax.set_xlabel("cosine of the gradients before training")
    ax.set_ylabel(r"forgetting of $f_{\mathrm{DPO}}$")


def _limits(ends: np.ndarray) -> tuple[float, float]:
    """Return limits of an axis of cosines: all values, and at least from -1 to 0.05."""
    finite = ends[np.isfinite(ends)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (-1.0, 0.0)
    return min(low, -1.0) - 0.04, max(high, 0.0) + 0.05


def _draw_path(ax: Axes, data: Data) -> None:
    """Draw the cosine along the runs at the centre: seeds, their mean with its interval, and the plain cosine."""
    path = unpack(data.extra, "path")
    rows = rows_with(data.table, grid=str(data.facts["centre"]))
    colour = style.METHODS["Sequential"].colour
    for seed in np.unique(rows["seed"]):
        one = rows_with(rows, seed=seed)
        ax.plot(one["step"], one["cosine"], color=colour, linewidth=0.6, alpha=PALE)
    ax.fill_between(path["step"], path["low"], path["high"], color=colour, alpha=0.13, linewidth=0.0)
    ax.plot(path["step"], path["value"], color=colour, marker="s", markeredgecolor="white", label="estimate")
    ax.plot(path["step"], path["raw"], **PLAIN, linewidth=0.8, label="plain cosine")
    ax.axhline(float(data.facts["critical cosine"]), **style.CRITICAL)
    ax.axhline(0.0, color=style.INK, linewidth=0.6)
    ax.axvline(float(data.facts["first phase, steps"]), color=style.QUIET, linewidth=0.6)
    for x, text in ((0.25, "on DPO"), (0.75, "on SFT")):
        ax.annotate(text, (x, 0.99), xycoords="axes fraction", ha="center", va="top", color=style.QUIET, fontsize=8.0)
    ends = np.concatenate([path[name] for name in ("low", "high", "value", "raw")])
    low, high = _limits(np.clip(ends, -1.4, 1.0))
    ax.set_ylim(low, high + 0.1 * (high - low))  # with room for the phases' names
    ax.set_xlabel("steps")
    ax.set_ylabel("cosine of the gradients")
    ax.legend(loc="upper right", bbox_to_anchor=(1.02, 0.77), handlelength=1.6, borderaxespad=0.0, labelspacing=0.3)


def _draw_noise(ax: Axes, data: Data) -> None:
    """Draw estimates and plain cosines of every setting, before training and at the end."""
    settings = unpack(data.extra, "setting")
    x = np.arange(len(settings["grid"]))
    for k, place in enumerate(x):
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        looks: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "none", "markersize": 5.5}
        for shift, name in ((-0.17, "start"), (0.17, "end")):
            plain = settings["raw" if name == "start" else "end_raw"][k]
            ax.plot([place + shift] * 2, [plain, settings[name][k]], color=colour, linewidth=0.7)
            ax.plot(place + shift, plain, **looks, markerfacecolor="white")
            ax.plot(place + shift, settings[name][k], **looks)
    ax.axhline(float(data.facts["critical cosine"]), **style.CRITICAL)
    ax.axhline(0.0, color=style.INK, linewidth=0.6)
    ax.set_xticks(x, [f"{c:g}\n{o:g}" for c, o in zip(settings["conflict"], settings["overlap"], strict=True)])
    ax.set_xlim(-0.6, len(x) - 0.4)
    ax.set_ylim(-1.1, 0.1)
    ax.set_xlabel("conflict (upper), overlap")
    ax.grid(visible=False, axis="x")
