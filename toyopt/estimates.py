"""Values and optima estimated on the way, for MAXRIGHT without prior knowledge of f*.

`RecentMean` is the present value of a quantity that moves with the steps, from few and noisy observations of it.
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
        """Take objective i's present value into account."""
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
class RecentMean:
    """Means of n moving quantities, with their errors: an observation's weight falls by e^-1 in `memory` steps.

    The age counts, not how many observations came later, so that a quantity which is seldom observed is not represented
    by old values, and one that is observed at every step is a mean over about `memory` of them.

    memory  > 0, steps

    >>> mean = RecentMean(1, memory=10.0)
    >>> for step, value in ((0, 1.0), (0, 3.0), (1000, 0.0)):
    ...     mean.see(0, value, step=step)
    >>> mean.value(0), mean.error(0)
    (0.0, inf)
    """

    n: int
    memory: float = 10.0
    weights: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    last: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check.whole("n", self.n, low=1)
        _check.real("memory", self.memory, above=0.0)
        self.weights, self.squares = self.weights or [0.0] * self.n, self.squares or [0.0] * self.n
        self.means, self.spreads = self.means or [0.0] * self.n, self.spreads or [0.0] * self.n
        self.last = self.last or [0] * self.n

    def see(self, i: int, value: float, *, step: int, weight: float = 1.0) -> None:
        """Quantity i has the value at a step, by an observation of this weight, such as the number of its rows.

        Raises ValueError for a step before the last one.
        """
        if step < self.last[i]:
            raise ValueError(f"step: must be at least {self.last[i]}, that of the value before, got {step}")
        kept = math.exp((self.last[i] - step) / self.memory)
        before, deviation = kept * self.weights[i], value - self.means[i]
        self.weights[i] = before + weight
        self.squares[i] = kept * kept * self.squares[i] + weight * weight
        self.means[i] += deviation * weight / self.weights[i]
        # Welford's update: the weighted sum of squares about the mean, without cancelling.
        self.spreads[i] = kept * self.spreads[i] + deviation * deviation * weight * before / self.weights[i]
        self.last[i] = step

    def value(self, i: int) -> float:
        """Return the mean of quantity i; 0 before its first observation."""
        return self.means[i]

    def error(self, i: int) -> float:
        """Return the standard error of the mean of quantity i; inf where one observation has nearly all of the weight.

        The observations count as independent, and as many as have the same sum of weights and of their squares.
        """
        more = self._degrees_of_freedom(i)
        return math.sqrt(self.spreads[i] / self.weights[i] / more) if more > 1e-9 else math.inf

    def student_error(self, i: int, doubt: float) -> float:
        """Return the standard error of quantity i, times Student's quantile over the normal one; inf as in `error`.

        doubt  > 0: number of standard errors that are allowed for

        Of a few normal observations the mean is beyond `doubt` of these errors as seldom as it is beyond `doubt` true
        standard errors. The spread of few observations is uncertain itself, and `error` would be exceeded more often.
        Source: Student (1908), The probable error of a mean.
        """
        from scipy.special import ndtr, stdtrit

        _check.real("doubt", doubt, above=0.0)
        error = self.error(i)
        if math.isinf(error):
            return error
        ratio = float(stdtrit(self._degrees_of_freedom(i), ndtr(doubt))) / doubt
        return error * ratio if math.isfinite(ratio) else math.inf

    def _degrees_of_freedom(self, i: int) -> float:
        """Return the effective number of observations of quantity i, less one; 0 without any."""
        return self.weights[i] ** 2 / self.squares[i] - 1.0 if self.weights[i] > 0.0 else 0.0

    def state(self) -> dict[str, Any]:
        """Return the values of a checkpoint as plain numbers; `RecentMean(n, memory, **state)` continues from them."""
        names = ("weights", "squares", "means", "spreads", "last")
        return {name: list(getattr(self, name)) for name in names}


@dataclass
class Optimistic:
    """Optima of n objectives: the lowest value so far of each, less a bonus that shrinks with the steps on it.

    The bonus of an objective is scale / (1 + steps on it)^power, where `scale` is the largest progress that any of the
    objectives has made. So the objective that was trained least is tried first; where nothing is forgotten, steps are
    shared in proportion to lam^(1/power); and what is forgotten is made up for. Of a value that is known with an error
    only what is beyond it counts: an objective whose values are noise would else be chosen for ever, since their lowest
    is not to be attained again.

    power  > 0: rate at which an objective is expected to near its optimum
    doubt  >= 0: number of standard errors to either side that a loss must be beyond to count

    >>> seen = Optimistic(2)
    >>> for i, value in ((0, 0.7), (1, 2.0), (0, 0.5)):
    ...     seen.see(i, value)
    >>> seen.count(0)
    >>> seen.f_star[0] > seen.f_star[1] - 1.5  # 0.5 - 0.2 / 2^power, and 2 - 0.2
    True
    """

    n: int
    power: float = 1.0
    doubt: float = 1.5
    first: list[float] = field(default_factory=list)
    lowest: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check.whole("n", self.n, low=1)
        _check.real("power", self.power, above=0.0)
        _check.real("doubt", self.doubt, low=0.0)
        self.first = self.first or [math.inf] * self.n
        self.lowest = self.lowest or [math.inf] * self.n
        self.values = self.values or [math.inf] * self.n
        self.lost = self.lost or [0.0] * self.n
        self.steps = self.steps or [0] * self.n

    def see(self, i: int, value: float, error: float = 0.0) -> None:
        """Take objective i's present value into account, with its standard error."""
        self.first[i] = value if math.isinf(self.first[i]) else self.first[i]
        self.lowest[i] = min(self.lowest[i], value + self.doubt * error)
        self.values[i] = value
        self.lost[i] = max(0.0, value - self.doubt * error - self.lowest[i]) if math.isfinite(error) else 0.0

    def count(self, i: int) -> None:
        """Count a step on objective i."""
        self.steps[i] += 1

    @property
    def f_star(self) -> tuple[float, ...]:
        """The estimates; inf for an objective that was never seen."""
        progress = [a - b for a, b in zip(self.first, self.lowest, strict=True) if math.isfinite(a)]
        scale = max([TINY, *progress])
        each = zip(self.values, self.lost, self.steps, strict=True)
        return tuple(value - lost - scale / (1.0 + k) ** self.power for value, lost, k in each)

    def state(self) -> dict[str, Any]:
        """Return the values of a checkpoint as plain numbers; `Optimistic(n, power, **state)` goes on from them."""
        return {name: list(getattr(self, name)) for name in ("first", "lowest", "values", "lost", "steps")}
