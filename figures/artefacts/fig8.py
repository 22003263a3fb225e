"""Figure 8: as Figure 7, with a model of the Llama family (arXiv 2410.15483v3, App. D)."""

from __future__ import annotations

from typing import Any

from figures.analysis import loss_space, sweeps
from figures.artefact import Artefact, Data, Request
from figures.artefacts.fig3 import WHAT
from figures.drawing.loss_space import draw_fronts


def parameters(request: Request) -> dict[str, Any]:
    """The runs of all methods on the Llama family, Sequential with SFT first."""
    return {"grids": sweeps.llama(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """Paths, last points, and what each method and λ came to."""
    return loss_space.front_data(parameters)


ARTEFACT = Artefact(
    name="fig8",
    title="The trade-off with a model of the Llama family, SFT before DPO",
    paper="Figure 8",
    cost="seconds, after its runs",
    caption=(
        "As Figure 7, but the model is of the Llama family, with adapters on the query and value projections only and "
        f"with gradient checkpointing, which costs every method a further forward pass. {WHAT}"
    ),
    parameters=parameters,
    compute=compute,
    draw=draw_fronts,
)
