"""Figure 7: the trade-off of the four methods for all λ, SFT before DPO (arXiv 2410.15483v3, App. D)."""

from __future__ import annotations

from typing import Any

from figures.analysis import loss_space, sweeps
from figures.artefact import Artefact, Data, Request
from figures.drawing.loss_space import FRONT_CAPTION, draw_fronts


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of all methods and λ, Sequential with SFT first."""
    return {"grids": sweeps.in_order(request, "sft-dpo")}


def compute(parameters: dict[str, Any]) -> Data:
    """Return paths, final points, gaps and costs of each method and λ."""
    return loss_space.front_data(parameters)


ARTEFACT = Artefact(
    name="fig7",
    title="The trade-off between DPO and SFT for all λ, SFT before DPO",
    paper="Figure 7",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "As Figure 3, but Sequential trains on SFT first. On the embedded world the reference of DPO is the base "
        f"model, so that the order affects Sequential only: the other runs are those of Figure 3. {FRONT_CAPTION}"
    ),
    parameters=parameters,
    compute=compute,
    draw=draw_fronts,
)
