"""Figure 1: paths in loss space for one λ, and their final distance from the ideal point (arXiv 2410.15483v3)."""

from __future__ import annotations

from typing import Any

from figures.analysis import loss_space, sweeps
from figures.artefact import Artefact, Data, Request
from figures.drawing.fig1 import draw


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of the four methods with λ = 0.5, Sequential with DPO first."""
    return {"grids": sweeps.one_lam(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """Return the paths of every seed and their means, the gaps and the ideal distance."""
    return loss_space.front_data(parameters)


ARTEFACT = Artefact(
    name="fig1",
    title="Sequential training against joint training: paths in loss space and their final points",
    paper="Figure 1",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "Losses on held-out rows for λ = 0.5; Sequential trains on DPO first, then on SFT. (a) Thick lines are means "
        "over seeds, thin lines single seeds, and marks the final points. Lower left is better; the star is the "
        "ideal point f*, whose coordinates are the losses after training on each objective alone. Axes with a wide "
        "range are logarithmic; that of f_DPO is linear up to 0.1. (b) The gaps of both objectives to f*, and the "
        "ideal distance, which is the Euclidean norm of both gaps: means over seeds, with the seeds as dots and 95 % "
        "intervals as lines; a line that ends at the frame continues beyond it. An axis of gaps or distances with a "
        "wide range is linear up to 0.1 and logarithmic above."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
