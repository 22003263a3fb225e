"""Table 3: the data of the toy illustration (Figure 2), reconstructed."""

from __future__ import annotations

import math
from typing import Any

from figures.artefact import Artefact, Data, Request
from figures.drawing.toy_tables import RECONSTRUCTED, compute_rows, draw_rows


def parameters(_: Request) -> dict[str, Any]:
    """The feature bound √2; the rows themselves are a part of the sources."""
    return {"phi": math.sqrt(2.0)}


def compute(parameters: dict[str, Any]) -> Data:
    """The rows from which the problem is built."""
    from toyopt.examples import TABLE3

    return compute_rows(TABLE3, parameters["phi"])


ARTEFACT = Artefact(
    name="table3",
    title="The data of the toy illustration",
    paper="Table 3",
    cost="instant",
    caption="One preference pair and one demonstration in two dimensions. The two pulls are at an angle of 135°: "
    "they conflict, yet a region of the plane is good for both. The output y′ is there only so that the "
    "policy can be normalised.",
    reconstructed=RECONSTRUCTED,
    parameters=parameters,
    compute=compute,
    draw=draw_rows,
    is_table=True,
)
