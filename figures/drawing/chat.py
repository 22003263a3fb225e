"""Drawing of the real model's results on instructions and preferences: three quantities by steps, and their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures.analysis.small_tables import rows_with, unpack
from figures.drawing import style
from figures.drawing.real import looks, made_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

PANELS = {
    "f_dpo": r"$f_{\mathrm{DPO}}$",
    "f_sft": r"$f_{\mathrm{SFT}}$",
    "accuracy": "preferences: accuracy",
}


def draw(data: Data) -> Figure:
    """Draw each quantity against the steps above, and at the end of all runs below."""
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(map(str, data.table["label"])))
    low = 0.6 + 0.2 * len(labels)
    figure = Figure(figsize=(style.PAGE, 2.5 + low))
    grid = figure.add_gridspec(2, len(PANELS), height_ratios=[2.2, low])
    for column, (name, title) in enumerate(PANELS.items()):
        start = _start(data, name)
        ax = figure.add_subplot(grid[0, column])
        ax.axhline(start, color=style.QUIET, linewidth=0.8, zorder=1)
        for label in labels:
            path = unpack(data.extra, "path", label=label)
            seen = path["step"] >= 0 if name != "accuracy" else path["step"] > 0
            ax.plot(path["step"][seen], path[name][seen], **looks(label), clip_on=False)
        ax.set_title(f"({'abc'[column]}) {title}")
        ax.set_xlabel("step")
        ax.set_xticks(np.unique(data.table["step"]))
        ax.set_xlim(left=0)
        lower = figure.add_subplot(grid[1, column])
        _draw_ends(lower, data, name, labels, start)
        lower.set_yticks(range(len(labels)), labels if column == 0 else [])
        lower.set_ylim(len(labels) - 0.4, -0.6)
        lower.set_title(f"({'def'[column]}) at the end")
    figure.supxlabel(made_line(data), fontsize=7.0, color=style.QUIET)
    return figure


def _start(data: Data, name: str) -> float:
    """Return a quantity of a model that prefers neither, or for SFT of the model before training (mean of the runs)."""
    if name == "f_sft":
        return float(np.mean(rows_with(data.table, step=0.0)[name]))
    return {"f_dpo": float(np.log(2.0)), "accuracy": 0.5}[name]


def _draw_ends(ax: Axes, data: Data, name: str, labels: list[str], start: float) -> None:
    """Draw a quantity at the end: means with intervals, seeds as white dots, within the range of the seeds."""
    ends = data.table["step"] == data.table["steps"]
    values = np.append(data.table[name][ends], start)
    margin = 0.35 * float(np.ptp(values)) or 0.05
    low, high = float(values.min()) - margin, float(values.max()) + margin
    ax.axvline(start, color=style.QUIET, linewidth=0.8, zorder=1)
    for y, label in enumerate(labels):
        mean = unpack(data.extra, "mean", label=label, quantity=name)
        own = data.table[name][ends & (data.table["label"] == label)]
        ax.hlines(
            y, np.maximum(mean["low"], low), np.minimum(mean["high"], high), color=style.INK, linewidth=0.8, zorder=3
        )
        ax.plot(mean["value"], [y], **looks(label) | {"linestyle": "", "markersize": 6.5}, clip_on=False)
        if len(own) > 1:
            style.draw_seeds(ax, own, np.full(len(own), y), clip_on=False)
    ax.set_xlim(low, high)
