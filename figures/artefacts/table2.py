"""Table 2: the data of the lower-bound example (Theorem 3.3), reconstructed."""

from __future__ import annotations

from typing import Any

from figures.artefact import Artefact, Data, Request
from figures.drawing.toy_tables import RECONSTRUCTED, compute_rows, draw_rows


def parameters(_: Request) -> dict[str, Any]:
    """The feature bound of the example; the rows themselves are a part of the sources."""
    return {"phi": 1.0}


def compute(parameters: dict[str, Any]) -> Data:
    """The rows from which the problem is built."""
    from toyopt.examples import TABLE2

    return compute_rows(TABLE2, parameters["phi"])


ARTEFACT = Artefact(
    name="table2",
    title="The data of the lower-bound example",
    paper="Table 2",
    cost="instant",
    caption="One preference pair and one demonstration with different inputs and different labels. DPO raises θ "
    "and SFT lowers it, by the same slope 1/2, so the two pull in opposite directions.",
    reconstructed=RECONSTRUCTED,
    parameters=parameters,
    compute=compute,
    draw=draw_rows,
    is_table=True,
)
