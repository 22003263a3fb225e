"""Drawing of MAXRIGHT's guarantee and runs against k at equal total cost, one panel for each λ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

COLOURS = ("#0b3c5d", "#2f7fb8", "#c77c11", "#8c2d04")  # dark to light to dark: cheap evaluations blue, dear ones brown
MARKS = ("o", "s", "^", "D")


def draw(data: Data) -> Figure:
    """Draw one panel for each λ on logarithmic axes: a line and marks for each cost of an evaluation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.3))
    lams = np.unique(data.table["lam"])[::-1]
    axes = figure.subplots(1, len(lams), sharex=True, sharey=True, squeeze=False)[0]
    for ax, lam, letter in zip(axes, lams, "abcdefgh", strict=False):
        _draw_panel(ax, {name: column[data.table["lam"] == lam] for name, column in data.table.items()})
        ax.set_title(rf"({letter}) $\lambda = {lam:g}$")
        ax.set_xlabel(r"steps from one evaluation to the next, $k$")
    axes[0].set_ylabel(r"$F$ at equal cost, relative to $k = 1$")
    handles, labels = axes[0].get_legend_handles_labels()
    style.legend_above(figure, handles, labels, columns=4)
    return figure


def _draw_panel(ax: Axes, own: dict[str, np.ndarray]) -> None:
    """Draw the guarantees as lines, the runs as marks, and the level of k = 1."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.axhline(1.0, color=style.QUIET, linewidth=0.8, zorder=1)
    for c, colour, mark in zip(np.unique(own["evaluation"]), COLOURS, MARKS, strict=False):
        chosen = own["evaluation"] == c
        k = own["k"][chosen]
        ax.plot(k, own["guarantee_ratio"][chosen], color=colour, linewidth=1.3, label=f"guarantee, $c = {c:g}$")
        ax.plot(
            k,
            own["attained_ratio"][chosen],
            color=colour,
            linestyle="none",
            marker=mark,
            markersize=4.5,
            markerfacecolor="white",
            zorder=3,
            label=f"runs, $c = {c:g}$",
        )
