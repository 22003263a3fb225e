"""Optima estimated on the way, for MAXRIGHT without prior knowledge of f*."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from toyopt import _check


@dataclass
class BestSoFar:
    """Each of n objectives' lowest smoothed value so far, in place of its optimum.

    A gap measured against it is the part of the attained progress that is lost again. It takes nothing but the values
    that a loop sees anyway. What wrong optima cost is the spread of their weighted errors (docs/theory.md, M-opt), so
    estimates that are too high by like amounts do no harm.

    memory  in [0, 1): the smoothing, an exponential mean in which a value counts memory times as much as the next one;
            0 takes each value as it is

    >>> best = BestSoFar(2, memory=0.0)
    >>> for i, value in ((0, 0.7), (1, 2.0), (0, 0.5), (0, 0.9)):
    ...     best.see(i, value)
    >>> best.f_star
    (0.5, 2.0)
    """

    n: int
    memory: float = 0.9
    sums: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    lowest: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check.whole("n", self.n, low=1)
        if not 0.0 <= _check.real("memory", self.memory) < 1.0:
            raise ValueError(f"memory: must be in [0, 1), got {self.memory}")
        self.sums = self.sums or [0.0] * self.n
        self.weights = self.weights or [0.0] * self.n
        self.lowest = self.lowest or [math.inf] * self.n

    def see(self, i: int, value: float) -> None:
        """Objective i has the value now."""
        self.sums[i] = self.memory * self.sums[i] + value
        self.weights[i] = self.memory * self.weights[i] + 1.0
        self.lowest[i] = min(self.lowest[i], self.sums[i] / self.weights[i])

    @property
    def f_star(self) -> tuple[float, ...]:
        """The estimates; inf for an objective that was never seen."""
        return tuple(self.lowest)

    def state(self) -> dict[str, Any]:
        """Return the values of a checkpoint as plain numbers; `BestSoFar(n, memory, **state)` continues from them."""
        return {"sums": list(self.sums), "weights": list(self.weights), "lowest": list(self.lowest)}
