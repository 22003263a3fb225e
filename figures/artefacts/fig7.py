"""Figure 7: as Figure 3, with SFT before DPO (arXiv 2410.15483v3, App. D)."""

from __future__ import annotations

from typing import Any

from figures.analysis import loss_space, sweeps
from figures.artefact import Artefact, Data, Request
from figures.artefacts.fig3 import WHAT
from figures.drawing.loss_space import draw_fronts


def parameters(request: Request) -> dict[str, Any]:
    """The runs of all methods and λ, Sequential with SFT first."""
    return {"grids": sweeps.in_order(request, "sft-dpo")}


def compute(parameters: dict[str, Any]) -> Data:
    """Paths, last points, and what each method and λ came to."""
    return loss_space.front_data(parameters)


ARTEFACT = Artefact(
    name="fig7",
    title="The trade-off between DPO and SFT for all λ, SFT before DPO",
    paper="Figure 7",
    cost="seconds, after its runs",
    caption=(
        "As Figure 3, but Sequential trains on SFT first. On the embedded world DPO's reference is the base, so that "
        f"the order changes nothing for the other methods: their runs are those of Figure 3. {WHAT}"
    ),
    parameters=parameters,
    compute=compute,
    draw=draw_fronts,
)
