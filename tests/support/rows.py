"""Objectives by their rows, for tests of optima and of the simulator."""

from __future__ import annotations

from typing import Any

import numpy as np

from toyopt.problem import Objective


def of_rows(*rows: Any, name: str = "o", origin: Any = None) -> Objective:
    """Return the mean of log(1 + exp(rowᵀθ)), which falls along -row."""
    given = np.array(rows, dtype=float)
    start = np.zeros(given.shape[1]) if origin is None else np.array(origin, dtype=float)
    return Objective(name, given, np.ones(len(given), dtype=np.int64), start)
