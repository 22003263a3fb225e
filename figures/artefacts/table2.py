"""Table 2: the data of the lower-bound example (Theorem 3.3), reconstructed."""

from __future__ import annotations

from typing import Any

from figures.analysis.toy_tables import RECONSTRUCTED, specification
from figures.artefact import Artefact, Data, Request
from figures.drawing.toy_tables import draw


def parameters(_: Request) -> dict[str, Any]:
    """Return the feature bound of the example; the rows themselves are part of the sources."""
    return {"phi": 1.0}


def compute(parameters: dict[str, Any]) -> Data:
    """Return the rows that build the problem."""
    from toyopt.examples import TABLE2

    return specification(TABLE2, parameters["phi"])


ARTEFACT = Artefact(
    name="table2",
    title="The data of the lower-bound example",
    paper="Table 2",
    cost="instant",
    seconds=1.0,
    caption="One preference pair and one demonstration with different inputs and different labels. DPO raises θ "
    "and SFT lowers it, by the same slope 1/2, so that the two objectives pull in opposite directions.",
    reconstructed=RECONSTRUCTED,
    parameters=parameters,
    compute=compute,
    draw=draw,
    is_table=True,
)
