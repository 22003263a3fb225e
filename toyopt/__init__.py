"""The exact toy world of arXiv 2410.15483: softmax policies, SFT and DPO objectives, and the paper's algorithms.

Names are loaded when first used, so that importing the package costs little more than importing NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toyopt.algorithms import (
        Alright,
        Constant,
        Controller,
        InverseRootHorizon,
        LinearDecay,
        Maxright,
        Mix,
        Sequential,
        ZamaniGlineur,
    )
    from toyopt.optimum import Optimum, ideal_point, minimise, pareto_front
    from toyopt.problem import Objective, Problem, dpo, sft
    from toyopt.simulate import Merit, Simulation, simulate

_HOME = {
    "Alright": "algorithms",
    "Constant": "algorithms",
    "Controller": "algorithms",
    "InverseRootHorizon": "algorithms",
    "LinearDecay": "algorithms",
    "Maxright": "algorithms",
    "Merit": "simulate",
    "Mix": "algorithms",
    "Objective": "problem",
    "Optimum": "optimum",
    "Problem": "problem",
    "Sequential": "algorithms",
    "Simulation": "simulate",
    "ZamaniGlineur": "algorithms",
    "dpo": "problem",
    "ideal_point": "optimum",
    "minimise": "optimum",
    "pareto_front": "optimum",
    "sft": "problem",
    "simulate": "simulate",
}

__all__ = [
    "Alright",
    "Constant",
    "Controller",
    "InverseRootHorizon",
    "LinearDecay",
    "Maxright",
    "Merit",
    "Mix",
    "Objective",
    "Optimum",
    "Problem",
    "Sequential",
    "Simulation",
    "ZamaniGlineur",
    "dpo",
    "ideal_point",
    "minimise",
    "pareto_front",
    "sft",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'toyopt' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"toyopt.{_HOME[name]}"), name)
    globals()[name] = value
    return value
