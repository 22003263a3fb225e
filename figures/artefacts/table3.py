"""Table 3: the data of the toy illustration (Figure 2), reconstructed."""

from __future__ import annotations

import math
from typing import Any

from figures.analysis.toy_tables import RECONSTRUCTED, specification
from figures.artefact import Artefact, Data, Request
from figures.drawing.toy_tables import draw


def parameters(_: Request) -> dict[str, Any]:
    """Return the feature bound √2; the rows themselves are part of the sources."""
    return {"phi": math.sqrt(2.0)}


def compute(parameters: dict[str, Any]) -> Data:
    """Return the rows that build the problem."""
    from toyopt.examples import TABLE3

    return specification(TABLE3, parameters["phi"])


ARTEFACT = Artefact(
    name="table3",
    title="The data of the toy illustration",
    paper="Table 3",
    cost="instant",
    seconds=1.0,
    caption="One preference pair and one demonstration in two dimensions. The two pulls form an angle of 135°: "
    "they conflict, yet a region of the plane is good for both. The output y′ exists only to normalize the policy.",
    reconstructed=RECONSTRUCTED,
    parameters=parameters,
    compute=compute,
    draw=draw,
    is_table=True,
)
