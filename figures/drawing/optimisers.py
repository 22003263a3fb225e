"""Drawing of the gap by optimizer: bounds, marks and limits, on a logarithmic and on a linear axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.small_tables import rows_with
from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

# Name in the table -> label, colour, marker; Sequential's own colour for plain steps.
LOOKS: dict[str, tuple[str, str, str]] = {
    "SGD": ("SGD", style.METHODS["Sequential"].colour, "s"),
    "heavy ball": ("heavy ball, $\\mu=0.9$", "#7d3f61", "D"),
    "Adam, slow": ("Adam, $\\beta_2=0.999$", "#0072B2", "o"),
    "Adam, fast": ("Adam, $\\beta_2=0.95$", "#009E73", "^"),
    "AdamW": ("AdamW, $\\beta_2=0.95$, decay 0.1", "#7a7a7a", "v"),
}
REST = "AdamW's gap at rest"
MARK: dict[str, Any] = {
    "linestyle": "none",
    "markersize": 3.8,
    "markeredgecolor": "white",
    "markeredgewidth": 0.4,
    "zorder": 4.0,
}
LIMIT: dict[str, Any] = {"linewidth": 0.9, "linestyle": (0, (1.0, 1.6)), "zorder": 3.0}


def draw(data: Data) -> Figure:
    """Draw the gap against T, on a logarithmic axis with its limits, and on a linear one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.1))
    axes = figure.subplots(1, 2)
    top = float(np.nanmax(data.table["gap"])) * 1.12
    for ax, axis in zip(axes, ("logarithmic", "linear"), strict=True):
        _draw_axis(ax, data, axis)
        ax.set_ylim(0.0, top)
        ax.set_xlabel(r"$T$, steps on each objective")
    axes[0].set_xscale("log")
    axes[0].set_title("(a) logarithmic in $T$")
    axes[1].set_title("(b) linear in $T$")
    axes[0].set_ylabel(r"gap $G_{\mathrm{Mix},\lambda}(\theta_T)$")
    handles, labels = axes[0].get_legend_handles_labels()
    style.legend_above(figure, handles, labels, 5)
    return figure


def _draw_axis(ax: Axes, data: Data, axis: str) -> None:
    """Draw every optimizer's bounds, limit and marks."""
    for name, (label, colour, marker) in LOOKS.items():
        own = rows_with(data.table, optimizer=name, axis=axis)
        low = np.where(np.isnan(own["low"]), 0.0, own["low"])
        if name != "AdamW":
            ax.fill_between(own["T"], low, own["high"], color=colour, alpha=0.16, linewidth=0.0, zorder=2.0)
        else:
            ax.plot(own["T"], own["high"], color=colour, linewidth=0.8, zorder=2.5)
            ax.axhline(float(data.facts[REST]), color=colour, **LIMIT)
        if axis == "logarithmic" and name != "AdamW":
            late = np.abs(own["law"] - own["gap"]) < 0.15 * own["gap"]
            ax.plot(own["T"][late], own["law"][late], color=colour, **LIMIT)
        ax.plot(own["T"], own["gap"], color=colour, marker=marker, label=label, **MARK)
