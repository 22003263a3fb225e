"""Drawing of Figure 1: paths in loss space, and gaps and ideal distance as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures.analysis.loss_space import GAPS
from figures.analysis.small_tables import rows_with
from figures.drawing import style
from figures.drawing.loss_space import (
    LABELS,
    PALE,
    draw_bars,
    draw_ends,
    draw_legend,
    draw_losses,
    draw_paths,
    draw_scale,
    methods_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data


def draw(data: Data) -> Figure:
    """Draw the paths on the left and three bars per method on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.5))
    left, right = figure.subplots(1, 2)
    _draw_paths(left, data)
    left.set_title("(a) paths in loss space")
    draw_bars(right, data, {LABELS[name]: {"quantity": name} for name in GAPS})
    right.set_title("(b) distance from the ideal point")
    draw_legend(figure, methods_of(data), bars=True)
    lams = ", ".join(f"{lam:g}" for lam in np.unique(data.table["lam"]))
    draw_scale(figure, data, more=f", λ = {lams}")
    return figure


def _draw_paths(ax: Axes, data: Data) -> None:
    """Draw thin paths of single seeds and thick mean paths."""
    for method in methods_of(data):
        own = rows_with(data.table, method=method)
        seeds = np.unique(own["seed"])
        for seed in seeds if len(seeds) > 1 else ():
            one = rows_with(own, seed=seed)
            looks = style.METHODS[method].kwargs(marker="", linewidth=0.6, alpha=PALE)
            ax.plot(one["f_sft"], one["f_dpo"], **looks)
    paths = draw_paths(ax, data)
    draw_ends(ax, data, join=False)
    draw_losses(ax, paths, data)
