"""Figure 1: paths in loss space for one λ, and how far from the ideal point they end (arXiv 2410.15483v3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, sweeps
from figures.artefact import Artefact, Data, Request

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def parameters(request: Request) -> dict[str, Any]:
    """The four methods with λ = 0.5, Sequential with DPO first."""
    return {"grids": sweeps.one_lam(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """Paths of every seed with their means, the gaps and the ideal distance."""
    return loss_space.front_data(parameters)


def draw(data: Data) -> Figure:
    """Paths on the left, three bars a method on the right."""
    from matplotlib.figure import Figure

    from figures.drawing import style
    from figures.drawing.loss_space import LABELS, draw_bars, draw_legend, draw_scale

    figure = Figure(figsize=(style.PAGE, 3.5))
    left, right = figure.subplots(1, 2)
    _draw_paths(left, data)
    left.set_title("(a) paths in loss space")
    draw_bars(right, data, {LABELS[name]: {"quantity": name} for name in loss_space.GAPS})
    right.set_title("(b) distance from the ideal point")
    draw_legend(figure, bars=True)
    lams = ", ".join(f"{lam:g}" for lam in np.unique(data.table["lam"]))
    draw_scale(figure, data, more=f", λ = {lams}")
    return figure


def _draw_paths(ax: Axes, data: Data) -> None:
    """Thin: a seed; thick: their mean."""
    from figures.drawing import style
    from figures.drawing.loss_space import PALE, draw_ends, draw_losses, draw_paths

    for method in loss_space.METHODS:
        own = loss_space.chosen(data.table, method=method)
        seeds = np.unique(own["seed"])
        for seed in seeds if len(seeds) > 1 else ():
            one = loss_space.chosen(own, seed=seed)
            looks = style.METHODS[method].kwargs(marker="", linewidth=0.6, alpha=PALE)
            ax.plot(one["f_sft"], one["f_dpo"], **looks)
    paths = draw_paths(ax, data)
    draw_ends(ax, data, join=False)
    draw_losses(ax, paths, data)


ARTEFACT = Artefact(
    name="fig1",
    title="Sequential training against joint training: the way in loss space, and where it ends",
    paper="Figure 1",
    cost="seconds, after its runs",
    caption=(
        "Losses on held-out rows for λ = 0.5; Sequential trains on DPO first, then on SFT. (a) Thick lines are means "
        "over seeds, thin ones the seeds; marks are where they end. Lower left is better, and the star is the ideal "
        "point f*, what training on each objective alone reaches; axes that span far are logarithmic, f_DPO's "
        "linear up to 0.1. "
        "(b) The gaps of both objectives to f*, and the ideal distance, which is the length of both together: means "
        "over seeds, with the seeds as dots and 95 % intervals as lines; a line that ends at the frame goes on beyond "
        "it. An axis of gaps or distances that spans far is linear up to 0.1 and logarithmic beyond."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
