"""Drawing of forgetting, gaps and distances over label conflict and prompt overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures.analysis import sweep_summary
from figures.drawing import style
from figures.drawing.dials import GAINS, draw_dial, draw_gains, draw_row
from figures.drawing.loss_space import draw_legend, draw_scale, methods_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from figures.artefact import Data

AXES = {"conflict": "label conflict", "overlap": "prompt overlap"}
LABELS = (
    "forgetting of $f_{\\mathrm{DPO}}$",
    r"$f_{\mathrm{DPO}}-f^*_{\mathrm{DPO}}$",
    r"$f_{\mathrm{SFT}}-f^*_{\mathrm{SFT}}$",
    "ideal distance",
)


def draw(data: Data) -> Figure:
    """Draw one row per quantity and one column per setting: absolute values on the left, normalized on the right."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(str(panel) for panel in data.extra["panel_panel"]))
    count = len(panels)
    figure = Figure(figsize=(style.PAGE, 7.4))
    axes = figure.subplots(len(LABELS) + 1, 2 * count, squeeze=False)
    for quantities, half in ((sweep_summary.ABSOLUTE, slice(0, count)), (sweep_summary.SHARES, slice(count, None))):
        for row, quantity in zip(axes, quantities, strict=False):
            draw_row(row[half], [draw_dial(ax, data, p, quantity) for ax, p in zip(row[half], panels, strict=True)])
    draw_row(axes[-1, :count], [draw_gains(ax, data, p) for ax, p in zip(axes[-1], panels, strict=False)])
    for ax, label in zip(axes[:, 0], (*LABELS, r"$f(\theta_0)-f^*$"), strict=True):
        ax.set_ylabel(label)
    figure.align_ylabels(axes[:, 0])
    for ax, panel in zip(axes[0], panels * 2, strict=True):
        ax.set_title(f"\n{AXES[panel]}")  # the empty line leaves space for the heading of each half
    for ax, panel in zip([*axes[-1, :count], *axes[-2, count:]], panels * 2, strict=True):
        ax.set_xlabel(AXES[panel])
    _draw_halves(axes, count)
    _draw_legends(figure, methods_of(data), axes[-1, count:])
    draw_scale(figure, data, more=f", λ = {np.unique(data.table['lam'])[0]:g}")
    return figure


def _draw_halves(axes: np.ndarray, count: int) -> None:
    """Write a heading above each half, and remove tick labels except in the lowest rows."""
    for place, words in ((0, "absolute"), (count, r"normalized by the initial gap $f(\theta_0)-f^*$")):
        at = {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes[0, place].annotate(words, (0.0, 1.0), (0.0, 19.0), style="italic", **at).set_in_layout(False)
    for ax in [*axes[:-2].flat, *axes[-2, :count]]:
        ax.tick_params(labelbottom=False)


def _draw_legends(figure: Figure, methods: list[str], rest: np.ndarray) -> None:
    """Draw the legend of the methods above, and that of the lowest row in its empty axes."""
    from matplotlib.lines import Line2D

    draw_legend(figure, methods, bars=False, points=False)
    for ax in rest:
        ax.set_axis_off()
    names = (r"of $f_{\mathrm{DPO}}$", r"of $f_{\mathrm{SFT}}$")
    handles = [Line2D([], [], **looks) for looks in GAINS.values()]
    rest[0].legend(handles, names, loc="center left", title="initial gap", alignment="left")
