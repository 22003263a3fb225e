"""Whether the picture hangs on the learning rate, the batches or how often ALRIGHT alternates (beyond the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, seeds, sweep_summary, sweeps
from figures.artefact import Artefact, Data, Request

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CENTRE = "as it is"  # the grid that the others change one thing of
DIALS = {
    "rate": ("lr",),
    "batches": ("batch_sft", "batch_preference"),
    "blocks": ("block",),
    "alternation": ("alternation",),
}
AXES = {
    "rate": "learning rate",
    "batches": "rows of each set a step",
    "blocks": "steps a draw",
    "alternation": "alternation",
}
OPTIONS = tuple(option for names in DIALS.values() for option in names)
ROWS = {
    "ideal_distance": "ideal distance",
    "gap_dpo": r"$f_{\mathrm{DPO}}-f^*_{\mathrm{DPO}}$",
    "gap_sft": r"$f_{\mathrm{SFT}}-f^*_{\mathrm{SFT}}$",
    "scale_free_distance": "scale-free distance",
}


def parameters(request: Request) -> dict[str, Any]:
    """The methods that alternate or do not, with λ = 0.5, and one thing changed at a time."""
    return {"grids": sweeps.sensitivity(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """Gaps and ideal distance at the end of every run, by what was changed."""
    found = sweep_summary.find(parameters)
    changed = sweep_summary.options(parameters, OPTIONS)
    every = [row | changed[row["grid"]] for row in sweep_summary.rows(found)]
    means, dots = sweep_summary.bars(every, tuple(ROWS))
    places = sweep_summary.panels(parameters, DIALS, changed[CENTRE])
    every_run = [row for here in found.values() for row in here.results]
    numbers = {panel: ", ".join(p["label"] for p in places if p["panel"] == panel) for panel in DIALS}
    return Data(
        table=seeds.columns(every, ("grid", *OPTIONS, *sweep_summary.RUN[1:])),
        extra=loss_space.packed("bar", means) | loss_space.packed("dot", dots) | loss_space.packed("panel", places),
        facts={"scale": loss_space.scale(parameters, every_run), **{n: text for n, text in numbers.items() if text}},
        checks=sweep_summary.sound(parameters, found) + sweep_summary.nearer(every, {grid: grid for grid in found}),
    )


def draw(data: Data) -> Figure:
    """A column a change, a row a quantity."""
    from matplotlib.figure import Figure

    from figures.drawing import style
    from figures.drawing.dials import draw_dial, draw_row
    from figures.drawing.loss_space import draw_legend, draw_scale

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
    there = set(data.table["method"])
    draw_legend(figure, bars=False, points=False, methods=[name for name in style.METHODS if name in there])
    draw_scale(figure, data, more=f", λ = {np.unique(data.table['lam'])[0]:g}")
    return figure


ARTEFACT = Artefact(
    name="sensitivity",
    title="What hangs on the learning rate, on the batches and on how often ALRIGHT alternates",
    paper="beyond the paper",
    cost="seconds, after its runs",
    caption=(
        "The last point of Sequential (DPO first), ALRIGHT and MAXRIGHT with λ = 0.5 on held-out rows, where one "
        "setting is changed at a time; all else is as in the other figures. A column a change: the learning rate "
        "halved and doubled; the batches of both sets halved and doubled (with as many steps; not at scale smoke); "
        "ALRIGHT's coin thrown every so many steps only, which brings it nearer to Sequential; and the coin against an "
        "even alternation with the same share of steps. The axes say the numbers. "
        "Rows: the ideal distance, the gaps to f*, and the distance in units of what there was to gain, for "
        "f* is computed with the same learning rate and batches and changes with them. What to look for is whether the "
        "order of the methods stays. Marks are means over seeds, pale dots the seeds, lines 95 % intervals; one that "
        "ends at the frame goes on beyond it."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
