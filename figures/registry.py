"""The artefacts by name, in the order of the report. A module is imported only when it is needed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from figures.artefact import Artefact

# name -> module that defines `ARTEFACT: Artefact`
REGISTRY: Mapping[str, str] = {
    "claims": "figures.artefacts.claims",
    "fig1": "figures.artefacts.fig1",
    "fig2": "figures.artefacts.fig2",
    "fig3": "figures.artefacts.fig3",
    "fig4": "figures.artefacts.fig4",
    "fig5": "figures.artefacts.fig5",
    "fig6": "figures.artefacts.fig6",
    "fig7": "figures.artefacts.fig7",
    "fig8": "figures.artefacts.fig8",
    "fig9": "figures.artefacts.fig9",
    "table1": "figures.artefacts.table1",
    "table2": "figures.artefacts.table2",
    "table3": "figures.artefacts.table3",
    "samples": "figures.artefacts.samples",
    "baselines": "figures.artefacts.baselines",
    "cost": "figures.artefacts.cost",
    "thm33": "figures.artefacts.thm33",
    "forgetting": "figures.artefacts.forgetting",
    "replay": "figures.artefacts.replay",
    "angle": "figures.artefacts.angle",
    "optimisers": "figures.artefacts.optimisers",
    "lora": "figures.artefacts.lora",
    "thm41": "figures.artefacts.thm41",
    "price": "figures.artefacts.price",
    "maxright": "figures.artefacts.maxright",
    "evaluations": "figures.artefacts.evaluations",
    "pareto": "figures.artefacts.pareto",
    "conflict": "figures.artefacts.conflict",
    "cosine": "figures.artefacts.cosine",
    "sensitivity": "figures.artefacts.sensitivity",
    "curvature": "figures.artefacts.curvature",
    "families": "figures.artefacts.families",
    "tasks": "figures.artefacts.tasks",
    "chat": "figures.artefacts.chat",
    "real": "figures.artefacts.real",
    "realtasks": "figures.artefacts.realtasks",
}


def load(name: str, module: str) -> Artefact:
    """Return the artefact that `module` defines.

    Raises whatever importing the module raises, AttributeError if it has no `ARTEFACT`, and ValueError if
    that one goes by another name than it is registered under.
    """
    artefact: Artefact = importlib.import_module(module).ARTEFACT
    if artefact.name != name:
        raise ValueError(f"{module} is registered as {name!r} and calls itself {artefact.name!r}")
    return artefact
