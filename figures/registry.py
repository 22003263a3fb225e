"""The artefacts by name, in the order of the report. A module is imported only when it is needed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from figures.artefact import Artefact

# name -> module that defines `ARTEFACT: Artefact`
REGISTRY: Mapping[str, str] = {
    "claims": "figures.claims",
    "fig2": "figures.fig2",
    "fig5": "figures.fig5",
    "table2": "figures.table2",
    "table3": "figures.table3",
    "thm33": "figures.thm33",
    "thm41": "figures.thm41",
    "maxright": "figures.maxright",
    "pareto": "figures.pareto",
}


def load(name: str, module: str) -> Artefact:
    """The artefact that `module` defines.

    Raises whatever importing the module raises, AttributeError if it has no `ARTEFACT`, and ValueError if
    that one goes by another name than it is registered under.
    """
    artefact: Artefact = importlib.import_module(module).ARTEFACT
    if artefact.name != name:
        raise ValueError(f"{module} is registered as {name!r} and calls itself {artefact.name!r}")
    return artefact
