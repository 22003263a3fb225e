"""Figure 3: the trade-off of the four methods for all λ, DPO before SFT (arXiv 2410.15483v3, section 6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from figures.analysis import loss_space, published, sweeps
from figures.analysis.small_tables import unpack
from figures.artefact import Artefact, Data, Request
from figures.drawing.loss_space import FRONT_CAPTION, draw_fronts

POSITIONS = {quantity: i for i, quantity in enumerate(published.FIGURE3_COLUMNS)}


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of all methods and λ, Sequential with DPO first."""
    return {"grids": sweeps.in_order(request, "dpo-sft")}


def compute(parameters: dict[str, Any]) -> Data:
    """Return paths, final points, gaps and costs of each method and λ; beside these the published numbers."""
    data = loss_space.front_data(parameters)
    return replace(data, beside=_beside(data))


def _beside(data: Data) -> dict[str, np.ndarray]:
    """Return our and the published values of every method, λ and quantity that both have."""
    bars = unpack(data.extra, "bar")
    rows = []
    for i, quantity in enumerate(bars["quantity"]):
        method, lam = str(bars["method"][i]), float(bars["lam"][i])
        if quantity in POSITIONS and (method, lam) in published.FIGURE3:
            own = {"ours": bars["value"][i], "low": bars["low"][i], "high": bars["high"][i]}
            theirs = published.FIGURE3[method, lam][POSITIONS[str(quantity)]]
            row = {"quantity": quantity, "method": method, "lam": lam, **own, "paper": theirs}
            rows.append(
                row | {"origin": published.ORIGIN3, "ours at": data.facts["scale"], "paper at": published.SCALE3}
            )
    rows.sort(key=lambda row: (POSITIONS[str(row["quantity"])], row["lam"]))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


ARTEFACT = Artefact(
    name="fig3",
    title="The trade-off between DPO and SFT for all λ, DPO before SFT",
    paper="Figure 3",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=FRONT_CAPTION,
    parameters=parameters,
    compute=compute,
    draw=draw_fronts,
)
