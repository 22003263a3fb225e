"""Drawing of the sensitivity to learning rate, batch size and ALRIGHT's alternation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures.drawing import style
from figures.drawing.dials import draw_dial, draw_row
from figures.drawing.loss_space import draw_legend, draw_scale, methods_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from figures.artefact import Data

AXES = {
    "rate": "learning rate",
    "batches": "rows of each set per step",
    "blocks": "steps per draw",
    "alternation": "alternation",
}

ROWS = {
    "ideal_distance": "ideal distance",
    "gap_dpo": r"$f_{\mathrm{DPO}}-f^*_{\mathrm{DPO}}$",
    "gap_sft": r"$f_{\mathrm{SFT}}-f^*_{\mathrm{SFT}}$",
    "scale_free_distance": "scale-free distance",
}


def draw(data: Data) -> Figure:
    """Draw one column per setting and one row per quantity."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(str(panel) for panel in data.extra["panel_panel"]))
    widths = [max(2.0, float(np.sum(data.extra["panel_panel"] == panel))) for panel in panels]
    figure = Figure(figsize=(style.PAGE, 6.4))
    axes = figure.subplots(len(ROWS), len(panels), squeeze=False, width_ratios=widths)
    for row, (quantity, label) in zip(axes, ROWS.items(), strict=True):
        draw_row(row, [draw_dial(ax, data, panel, quantity) for ax, panel in zip(row, panels, strict=True)])
        row[0].set_ylabel(label)
    figure.align_ylabels(axes[:, 0])
    for ax in axes[:-1].flat:
        ax.tick_params(labelbottom=False)
    for ax, panel, letter in zip(axes[0], panels, "abcd", strict=False):
        ax.set_title(f"({letter}) {AXES[panel]}")
    draw_legend(figure, methods_of(data), bars=False, points=False)
    draw_scale(figure, data, more=f", λ = {np.unique(data.table['lam'])[0]:g}")
    return figure
