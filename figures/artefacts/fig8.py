"""Figure 8: the trade-off with a model of the Llama family, SFT before DPO (arXiv 2410.15483v3, App. D)."""

from __future__ import annotations

from typing import Any

from figures.analysis import loss_space, sweeps
from figures.artefact import Artefact, Data, Request
from figures.drawing.loss_space import FRONT_CAPTION, draw_fronts


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of all methods on the Llama family, Sequential with SFT first."""
    return {"grids": sweeps.llama(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """Return paths, final points, gaps and costs of each method and λ."""
    return loss_space.front_data(parameters)


ARTEFACT = Artefact(
    name="fig8",
    title="The trade-off with a model of the Llama family, SFT before DPO",
    paper="Figure 8",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "As Figure 7, but the model is of the Llama family, with adapters on the query and value projections only. "
        f"{FRONT_CAPTION}"
    ),
    parameters=parameters,
    compute=compute,
    draw=draw_fronts,
)
