"""Figure 5: the reference objective of the lower-bound example, and the reference parameter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from figures.artefact import Artefact, Check, Data, Request, equal
from figures.drawing.fig5 import draw


def parameters(_: Request) -> dict[str, Any]:
    """Return the range of θ; the curve is exact, so that scale and seeds have no effect."""
    from toyopt.examples import LowerBound

    return {"c": LowerBound().c, "theta_ref": LowerBound().theta_ref, "low": -10.0, "high": 15.0, "points": 501}


def compute(parameters: dict[str, Any]) -> Data:
    """Return the objective on a grid that contains the chosen point."""
    from toyopt.examples import TABLE2, reference_problem

    chosen = float(parameters["theta_ref"])
    grid = np.linspace(parameters["low"], parameters["high"], parameters["points"])
    theta = np.union1d(grid, [chosen])
    objective = reference_problem(TABLE2).f_dpo
    values = np.asarray(objective(theta[:, np.newaxis]), dtype=float)
    at = values[theta == chosen].item()
    largest = float(np.diff(values).max())
    exact = math.log1p(math.exp(-parameters["c"] * chosen))
    return Data(
        table={"theta": theta, "f_ref": values, "chosen": theta == chosen},
        facts={"theta_ref": chosen, "value_at_theta_ref": at, "infimum": 0.0, "infimum_attained": False},
        checks=(
            equal(
                "value",
                "At θ_ref the objective is log(1 + exp(−θ_ref/2)), within 1e-15",
                exact,
                at,
                tolerance=1e-15,
            ),
            Check(
                "decreasing",
                "The objective decreases strictly from each point to the next (largest change)",
                "upper",
                0.0,
                largest,
                largest < 0.0,
            ),
        ),
    )


ARTEFACT = Artefact(
    name="fig5",
    title="The reference objective of the lower-bound example",
    paper="Figure 5",
    cost="instant",
    seconds=1.0,
    caption="The objective on which the reference policy of Theorem 3.3's example is trained, "
    "−log π_θ(y_w | x_DPO) = log(1 + exp(−θ/2)). It decreases towards 0 without a minimiser; θ_ref = 5 optimises it "
    "reasonably well, as the example requires.",
    reconstructed="The features of the example, and with them the slope 1/2 and θ_ref = 5, were chosen to have every "
    "property that the text states; they are not the paper's printed numbers.",
    parameters=parameters,
    compute=compute,
    draw=draw,
)
