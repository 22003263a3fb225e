"""Figure 3: the trade-off of the four methods for all λ, DPO before SFT (arXiv 2410.15483v3, section 6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from figures.analysis import loss_space, published, sweeps
from figures.artefact import Artefact, Data, Request
from figures.drawing.loss_space import draw_fronts

QUANTITIES = dict(zip(published.FIGURE3_COLUMNS, range(len(published.FIGURE3_COLUMNS)), strict=True))


def parameters(request: Request) -> dict[str, Any]:
    """The runs of all methods and λ, Sequential with DPO first."""
    return {"grids": sweeps.in_order(request, "dpo-sft")}


def compute(parameters: dict[str, Any]) -> Data:
    """Paths, last points, and what each method and λ came to; beside it what the authors measured."""
    data = loss_space.front_data(parameters)
    return replace(data, beside=_beside(data))


def _beside(data: Data) -> dict[str, np.ndarray]:
    """Ours and theirs of every method, λ and quantity that both have; the tokens' increase has no counterpart."""
    bars = loss_space.select(data.extra, "bar")
    rows = []
    for i, quantity in enumerate(bars["quantity"]):
        method, lam = str(bars["method"][i]), float(bars["lam"][i])
        if quantity in QUANTITIES and (method, lam) in published.FIGURE3:
            own = {"ours": bars["value"][i], "low": bars["low"][i], "high": bars["high"][i]}
            theirs = published.FIGURE3[method, lam][QUANTITIES[str(quantity)]]
            row = {"quantity": quantity, "method": method, "lam": lam, **own, "paper": theirs}
            rows.append(
                row | {"origin": published.ORIGIN3, "ours at": data.facts["scale"], "paper at": published.SCALE3}
            )
    rows.sort(key=lambda row: (QUANTITIES[str(row["quantity"])], row["lam"]))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


WHAT = (
    "Losses on held-out rows; lower left is better, and the star is the ideal point f*, what training on each "
    "objective alone reaches. (a) The last points of every λ, joined; a larger mark is a larger λ, the weight of DPO "
    "(for Sequential: its share of the steps); small pale marks are single seeds. (b) The paths to them, means over "
    "seeds; axes that span far are logarithmic, f_DPO's linear up to 0.1. (c)-(e) Gaps to f* and the ideal distance, "
    "the length "
    "of both gaps together. (f), (g) What the training steps cost, in per cent more than Sequential's with the same λ "
    "and seed: runtime (on a CPU the processor's seconds, which other programs change less than the clock's), and the "
    "GPU's utilisation where it was recorded, else the tokens that went through the model. Bars are means over seeds, "
    "dots the seeds, lines 95 % intervals; a line that ends at the frame goes on beyond it. An axis of gaps or "
    "distances that spans far is linear up to 0.1 and logarithmic beyond."
)

ARTEFACT = Artefact(
    name="fig3",
    title="The trade-off between DPO and SFT for all λ, DPO before SFT",
    paper="Figure 3",
    cost="seconds, after its runs",
    caption=WHAT,
    parameters=parameters,
    compute=compute,
    draw=draw_fronts,
)
