"""Drawing of the baselines: steps on each set, and one panel per quantity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.small_tables import rows_with, unpack
from figures.drawing import style
from figures.drawing.loss_space import NEAR, SPREAD, WIDE, draw_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

TITLES = {
    "f_dpo": r"$f_{\mathrm{DPO}}$",
    "f_sft": r"$f_{\mathrm{SFT}}$",
    "ideal_distance": "ideal distance",
    "scale_free_distance": "scale-free distance",
    "answers_win_rate": "win rate",
    "questions_accuracy": "multiple choice",
    "cpu_seconds": "CPU time (s)",
    "seconds": "wall-clock time (s)",
}
# marker, colour and face of the baselines that are no method; Sequential's second order is hollow
BASELINES = {
    "Sequential, SFT first": ("s", style.METHODS["Sequential"].colour, "white"),
    "mean of two adapters": ("p", style.INK, style.INK),
    "SFT, then SimPO": ("h", style.INK, style.INK),
    "ORPO on the pairs": ("d", style.INK, style.INK),
}
METHOD_OF = {
    "Sequential, DPO first": "Sequential",
    "Replay, p = 0.01": "Replay",
    "Replay, p = 0.2": "Replay",
}
RECORDED: dict[str, Any] = {
    "marker": "D", "markerfacecolor": "none", "markeredgecolor": style.QUIET, "markeredgewidth": 0.8,
    "markersize": 3.6, "linestyle": "", "zorder": 4,
}  # fmt: skip
BELOW = 0.38  # of the marks of recorded runs, in rows


def draw(data: Data) -> Figure:
    """Draw one row per baseline: its steps on each set, and means, intervals and seeds of every quantity.

    Below these stand the recorded runs of the real model, for its quantities.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    means = unpack(data.extra, "mean")
    names = list(dict.fromkeys(map(str, means["baseline"])))
    known = [q for q in TITLES if np.isfinite(means["value"][means["quantity"] == q]).any()]
    columns = 4
    rows = -(-(len(known) + 1) // columns)
    figure = Figure(figsize=(style.PAGE, rows * (0.62 + 0.19 * len(names)) + 0.25))
    axes = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    _draw_steps(axes[0], data, names)
    for ax, quantity, letter in zip(axes[1:], known, "bcdefghi", strict=False):
        _draw_panel(ax, data, quantity, names)
        ax.set_title(f"({letter}) {TITLES[quantity]}")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    for ax in axes[len(known) + 1 :]:
        ax.set_axis_off()
    recorded = ""
    if unpack(data.extra, "recorded"):
        style.legend_above(figure, [Line2D([], [], **RECORDED)], ["a real model, recorded runs (a mark a seed)"])
        recorded = f"\nrecorded results: {data.facts['recorded']}"
    draw_scale(figure, data, recorded)
    return figure


def _draw_steps(ax: Axes, data: Data, names: Sequence[str]) -> None:
    """Draw the numbers of steps on each set as stacked bars."""
    offset = np.zeros(len(names))
    looks: dict[str, dict[str, Any]] = {
        "pairs": {"color": style.CONTOUR_DPO},
        "SFT": {"color": style.CONTOUR_SFT, "hatch": "/////", "edgecolor": "white"},
    }
    for quantity, label in (("steps_dpo", "pairs"), ("steps_sft", "SFT")):
        steps = unpack(data.extra, "mean", quantity=quantity)["value"]
        ax.barh(range(len(names)), steps, 0.6, left=offset, linewidth=0.0, label=label, **looks[label])
        offset += steps
    ax.set_xlim(0.0, 1.05 * offset.max())
    ax.set_title("(a) steps on each set")
    ax.legend(loc="lower right", handlelength=1.0, handletextpad=0.4, borderpad=0.1)  # beside the bars of all but Mix
    ax.grid(visible=False, axis="y")


def _draw_panel(ax: Axes, data: Data, quantity: str, names: Sequence[str]) -> None:
    """Draw one quantity: means with intervals, seeds as white dots."""
    values: list[float] = []
    ends: list[float] = []
    for y, name in enumerate(names):
        mean = unpack(data.extra, "mean", baseline=name, quantity=quantity)
        dots = rows_with(data.table, baseline=name)[quantity]
        ax.hlines(y, mean["low"], mean["high"], color=style.INK, linewidth=0.8, zorder=3)
        ax.plot(mean["value"], [y], **_looks(name))
        if len(dots) > 1:
            style.draw_seeds(ax, dots, np.full(len(dots), y))
        values += [*mean["value"], *dots]
        ends += [*mean["low"], *mean["high"]]
        values += _draw_recorded(ax, data, name, quantity, y + BELOW)
    _draw_limits(ax, np.array(values), np.array(ends))


def _draw_recorded(ax: Axes, data: Data, name: str, quantity: str, y: float) -> list[float]:
    """Draw the recorded runs of the real model with this baseline's name, if there are any; return their values."""
    recorded = unpack(data.extra, "recorded", baseline=name, quantity=quantity)
    if not recorded or not len(recorded["value"]):
        return []
    ax.plot(recorded["value"], np.full(len(recorded["value"]), y), **RECORDED)
    return list(map(float, recorded["value"]))


def _looks(name: str) -> dict[str, Any]:
    """Return the marker style of a baseline: that of its method, or its own in BASELINES."""
    if name not in BASELINES:
        return style.METHODS[METHOD_OF.get(name, name)].kwargs(linestyle="", markersize=6.5)
    marker, colour, face = BASELINES[name]
    return {
        "marker": marker, "color": colour, "markerfacecolor": face, "markeredgecolor": colour,
        "linestyle": "", "markersize": 6.0, "zorder": 5,
    }  # fmt: skip


def _draw_limits(ax: Axes, values: np.ndarray, ends: np.ndarray) -> None:
    """Set horizontal limits that show all values, and long intervals only in part.

    The axis is logarithmic where the values span a wide range, and linear below NEAR where some are almost 0.
    """
    from matplotlib.ticker import (
        FixedLocator,
        LogLocator,
        MaxNLocator,
        NullFormatter,
        NullLocator,
        StrMethodFormatter,
    )

    values, ends = values[np.isfinite(values)], ends[np.isfinite(ends)]
    if 0 < values.min() < NEAR / WIDE and values.max() > NEAR:
        ax.set_xscale("symlog", linthresh=NEAR, linscale=0.6)
        ax.set_xlim(-0.02, values.max() * 1.6)
        ax.xaxis.set_major_locator(FixedLocator([0.0, 0.1, 1.0, 10.0]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        return
    if values.min() > 0 and values.max() > WIDE * values.min():
        ax.set_xscale("log")
        factor = (values.max() / values.min()) ** SPREAD
        reach = np.concatenate([values, np.clip(ends, values.min() / factor, values.max() * factor)])
        ax.set_xlim(reach.min() / 1.25, reach.max() * 1.25)
        ax.xaxis.set_major_locator(LogLocator(numticks=4))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        return
    width = float(np.ptp(values)) or 0.1 * abs(float(values[0])) or 1.0
    reach = np.concatenate([values, np.clip(ends, values.min() - SPREAD * width, values.max() + SPREAD * width)])
    ax.set_xlim(reach.min() - 0.12 * width, reach.max() + 0.12 * width)
    ax.xaxis.set_major_locator(MaxNLocator(3))
