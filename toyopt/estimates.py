"""Optima estimated on the way, for MAXRIGHT without prior knowledge of f*.

`BestSoFar` takes what was attained for the optimum. The gap of an objective that is never trained is then 0, so that it
is never trained. `Optimistic` subtracts a bonus that shrinks with the steps on an objective, as bandit algorithms do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from toyopt import _check

TINY = 1e-9  # scale of the bonus before any progress: it decides between objectives that are otherwise equal


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


@dataclass
class Optimistic:
    """Optima of n objectives: the lowest value so far of each, less a bonus that shrinks with the steps on it.

    The bonus of an objective is scale / (1 + steps on it)^power, where `scale` is the largest progress that any of the
    objectives has made. So the objective that was trained least is tried first; where nothing is forgotten, steps are
    shared in proportion to lam^(1/power); and what is forgotten is made up for.

    power  > 0: rate at which an objective is expected to near its optimum

    >>> seen = Optimistic(2)
    >>> for i, value in ((0, 0.7), (1, 2.0), (0, 0.5)):
    ...     seen.see(i, value)
    >>> seen.count(0)
    >>> seen.f_star[0] > seen.f_star[1] - 1.5  # 0.5 - 0.2 / 2^power, and 2 - 0.2
    True
    """

    n: int
    power: float = 1.0
    first: list[float] = field(default_factory=list)
    lowest: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check.whole("n", self.n, low=1)
        if not _check.real("power", self.power) > 0.0:
            raise ValueError(f"power: must be above 0, got {self.power}")
        self.first = self.first or [math.inf] * self.n
        self.lowest = self.lowest or [math.inf] * self.n
        self.steps = self.steps or [0] * self.n

    def see(self, i: int, value: float) -> None:
        """Take objective i's present value into account."""
        self.first[i] = value if math.isinf(self.first[i]) else self.first[i]
        self.lowest[i] = min(self.lowest[i], value)

    def count(self, i: int) -> None:
        """Count a step on objective i."""
        self.steps[i] += 1

    @property
    def f_star(self) -> tuple[float, ...]:
        """The estimates; inf for an objective that was never seen."""
        progress = [a - b for a, b in zip(self.first, self.lowest, strict=True) if math.isfinite(a)]
        scale = max([TINY, *progress])
        return tuple(low - scale / (1.0 + k) ** self.power for low, k in zip(self.lowest, self.steps, strict=True))

    def state(self) -> dict[str, Any]:
        """Return the values of a checkpoint as plain numbers; `Optimistic(n, power, **state)` continues from them."""
        return {"first": list(self.first), "lowest": list(self.lowest), "steps": list(self.steps)}
