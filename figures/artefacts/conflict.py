"""How forgetting depends on the conflict of labels and the overlap of prompts (beyond the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, seeds, sweep_summary, sweeps
from figures.artefact import Artefact, Data, Request

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIALS = {"conflict": ("conflict",), "overlap": ("overlap",)}
AXES = {"conflict": "label conflict", "overlap": "prompt overlap"}
LABELS = (
    "forgetting of $f_{\\mathrm{DPO}}$",
    r"$f_{\mathrm{DPO}}-f^*_{\mathrm{DPO}}$",
    r"$f_{\mathrm{SFT}}-f^*_{\mathrm{SFT}}$",
    "ideal distance",
)


def parameters(request: Request) -> dict[str, Any]:
    """The four methods with λ = 0.5; one dial turns while the other is at the centre."""
    return {"grids": sweeps.conflict(request), "centre": {name: sweeps.SMALL[name] for name in DIALS}}


def compute(parameters: dict[str, Any]) -> Data:
    """What every run ends at and forgot, as it is and in units of what there was to gain; and these units."""
    found = sweep_summary.find(parameters)
    dials = sweep_summary.options(parameters, tuple(DIALS))
    every = [row | dials[row["grid"]] for row in sweep_summary.rows(found)]
    means, dots = sweep_summary.bars(every, (*sweep_summary.ABSOLUTE, *sweep_summary.SHARES))
    units, unit_dots = sweep_summary.gains(found)
    places = sweep_summary.panels(parameters, DIALS, parameters["centre"])
    names = {grid: grid for grid in found}
    every_run = [row for here in found.values() for row in here.results]
    return Data(
        table=seeds.columns(every, ("grid", *DIALS, *sweep_summary.RUN[1:])),
        extra=loss_space.packed("bar", means + units)
        | loss_space.packed("dot", dots + unit_dots)
        | loss_space.packed("panel", places),
        facts={"scale": loss_space.scale(parameters, every_run)},
        checks=sweep_summary.sound(parameters, found)
        + sweep_summary.nearer(every, names)
        + sweep_summary.forgets(every, names),
    )


def draw(data: Data) -> Figure:
    """A row a quantity, a column a dial: on the left as it is, on the right in units of what there was to gain."""
    from matplotlib.figure import Figure

    from figures.drawing import style
    from figures.drawing.dials import draw_dial, draw_gains, draw_row
    from figures.drawing.loss_space import draw_scale

    panels = list(dict.fromkeys(str(panel) for panel in data.extra["panel_panel"]))
    count = len(panels)
    figure = Figure(figsize=(style.PAGE, 7.4))
    axes = figure.subplots(len(LABELS) + 1, 2 * count, squeeze=False)
    for quantities, half in ((sweep_summary.ABSOLUTE, slice(0, count)), (sweep_summary.SHARES, slice(count, None))):
        for row, quantity in zip(axes, quantities, strict=False):
            draw_row(row[half], [draw_dial(ax, data, p, quantity) for ax, p in zip(row[half], panels, strict=True)])
    draw_row(axes[-1, :count], [draw_gains(ax, data, p) for ax, p in zip(axes[-1], panels, strict=False)])
    for ax, label in zip(axes[:, 0], (*LABELS, r"$f(\mathrm{start})-f^*$"), strict=True):
        ax.set_ylabel(label)
    figure.align_ylabels(axes[:, 0])
    for ax, panel in zip(axes[0], panels * 2, strict=True):
        ax.set_title(f"\n{AXES[panel]}")  # the free line is for the words over each half
    for ax, panel in zip([*axes[-1, :count], *axes[-2, count:]], panels * 2, strict=True):
        ax.set_xlabel(AXES[panel])
    _draw_halves(axes, count)
    _draw_legends(figure, axes[-1, count:])
    draw_scale(figure, data, more=f", λ = {np.unique(data.table['lam'])[0]:g}")
    return figure


def _draw_halves(axes: np.ndarray, count: int) -> None:
    """What the numbers of each half are; no names of places but below."""
    for place, words in ((0, "as it is"), (count, "in units of what there was to gain")):
        at = {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes[0, place].annotate(words, (0.0, 1.0), (0.0, 19.0), style="italic", **at).set_in_layout(False)
    for ax in [*axes[:-2].flat, *axes[-2, :count]]:
        ax.tick_params(labelbottom=False)


def _draw_legends(figure: Figure, rest: np.ndarray) -> None:
    """The methods above; what the lowest row shows in the places that it leaves free."""
    from matplotlib.lines import Line2D

    from figures.drawing.dials import GAINS
    from figures.drawing.loss_space import draw_legend

    draw_legend(figure, bars=False, points=False)
    for ax in rest:
        ax.set_axis_off()
    names = (r"of $f_{\mathrm{DPO}}$", r"of $f_{\mathrm{SFT}}$")
    handles = [Line2D([], [], **looks) for looks in GAINS.values()]
    rest[0].legend(handles, names, loc="center left", title="what there was to gain", alignment="left")


ARTEFACT = Artefact(
    name="conflict",
    title="When there is something to forget: the conflict of the labels, and the overlap of the prompts",
    paper="beyond the paper",
    cost="seconds, after its runs",
    caption=(
        "The last point of the four methods with λ = 0.5 (Sequential with DPO first) in embedded worlds that differ in "
        "two dials: the share of rejected answers that are in the manner which SFT teaches (label conflict), and the "
        "share of preference prompts that are worded as SFT's are (prompt overlap; it stays at scale smoke). While one "
        "dial turns, the other is at 0.5. Forgetting: how far f_DPO on held-out rows is at the end above its least "
        "value on the way. Below it the gaps to f* and the ideal distance. Other data have another start and other "
        "optima f*, so that a gap of one world does not compare with that of another as it is: on the right, the same "
        "is divided by f(start) - f*, which the lowest row shows; the ideal distance there is the scale-free one. "
        "Marks are means over seeds, pale dots the seeds, lines 95 % intervals; one that ends at the frame goes on "
        "beyond it."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
