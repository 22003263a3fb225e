"""Schedules of one step, at zero, and for all positive numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from toyopt.algorithms import (
    Constant,
    InverseRootHorizon,
    LinearDecay,
    ZamaniGlineur,
)


@pytest.mark.parametrize(
    ("make", "good", "argument"),
    [
        (Constant, (1e-300,), None),
        (InverseRootHorizon, (0.5, 1), "T"),
        (LinearDecay, (0.5, 0.5, 1), "T"),
        (ZamaniGlineur, (0.5, 0.5, 1), "N"),
    ],
)
def test_schedules_take_all_positive_numbers_and_one_step(make: Any, good: tuple[Any, ...], argument: str) -> None:
    assert make(*good).at(1) >= 0.0
    if argument:
        with pytest.raises(ValueError, match=f"^{argument}: must be at least 1, got 0$"):
            make(*good[:-1], 0)


def test_schedules_are_finite_at_zero() -> None:
    assert Constant(0.25).at(0) == 0.25
    assert InverseRootHorizon(0.5, 4).at(np.array([0, 1])).tolist() == [0.25, 0.25]
