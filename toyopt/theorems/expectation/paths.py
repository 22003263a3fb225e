"""The sum over all paths of ALRIGHT's draws: the exact expectation of a function of the last iterate for small T.

The iteration is `theta_{t+1} = theta_t - alpha_t g_i(theta_t)`, i drawn with the weights λ at each step (with
stochastic gradients also a datum of objective i): T iterates, T-1 updates. `choose.expected_gap` selects the strongest
of three methods: all paths (this module), backward induction on a grid (`grid`, d = 1), independent runs (`sampling`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt.algorithms import Schedule
from toyopt.problem import Objective, Problem
from toyopt.record import Evidence

PATHS = 2**20  # default limit of the paths kept at once: 8 MiB a dimension and as much for each row


@dataclass(frozen=True)
class Expectation:
    """The mean of a function of theta_T, and an interval around it.

    mean       the value, or its estimate
    low, high  contain the expectation but with probability `failure`; both are `mean` where every path was summed
    failure    0 unless the evidence is "statistical"
    evidence   "enumerated" (all paths, or all paths at once on a grid), or "statistical"
    size       paths, nodes of the grid, or runs
    """

    mean: float
    low: float
    high: float
    failure: float
    evidence: Evidence
    size: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high), or None where they are the mean itself."""
        return None if self.low == self.mean == self.high else (self.low, self.high)

    def minus(self, shift: float) -> Expectation:
        """Return the expectation of the function less a constant."""
        return Expectation(
            self.mean - shift, self.low - shift, self.high - shift, self.failure, self.evidence, self.size
        )


@dataclass(frozen=True, eq=False)
class Branch:
    """One outcome of a step's draw: its probability, and the objective (or datum) whose gradient it takes."""

    probability: float
    objective: Objective


def branches(problem: Problem, lam: float | Sequence[float], *, stochastic: bool = False) -> tuple[Branch, ...]:
    """Return the outcomes of one step's draw with a positive probability: objectives, or each datum of each."""
    out = []
    for i, w in enumerate(_check.weights("lam", lam, len(problem))):
        if w > 0.0:
            parts = _data(problem.objectives[i]) if stochastic else (problem.objectives[i],)
            out += [Branch(w / len(parts), part) for part in parts]
    return tuple(out)


def steps_of(schedule: Schedule, T: int) -> Array:
    """Return (T-1,) alpha_1 .. alpha_{T-1}, checked to be positive; empty for T = 1."""
    T = _check.whole("T", T, low=1)
    alphas = np.asarray(schedule.at(np.arange(1, T)), dtype=np.float64)
    if not (np.isfinite(alphas) & (alphas > 0)).all():
        t = int(np.argmax(~(np.isfinite(alphas) & (alphas > 0))))
        raise ValueError(f"schedule: the step size of update {t + 1} must be positive, got {alphas[t]!r}")
    return alphas


def enumerate_paths(
    problem: Problem,
    *,
    lam: float | Sequence[float],
    schedule: Schedule,
    T: int,
    theta_1: ArrayLike,
    stochastic: bool = False,
    limit: int = PATHS,
) -> tuple[Array, Array]:
    """Compute theta_T and the probability of every path of ALRIGHT's draws, level by level.

    Problem: any; full gradients give (number of objectives with a weight)^(T-1) paths, stochastic ones a path for every
        sequence of data.
    Kind: exact, up to float rounding of each path.
    Source: theory of E in docs/theory.md, A8; arXiv 2410.15483v3, Algorithm 2.
    Arguments: lam λ or weights; schedule; T >= 1 iterates; theta_1 (d,); limit the most paths.
    Returns: (M, d) last iterates and (M,) probabilities, which sum to 1.
    Raises: ValueError if there are more than `limit` paths; ValueError or TypeError for an argument.
    """
    outcomes = branches(problem, lam, stochastic=stochastic)
    alphas = steps_of(schedule, T)
    limit = _check.whole("limit", limit, low=1)
    if len(outcomes) ** len(alphas) > limit:
        raise ValueError(f"T: {len(outcomes)}^{len(alphas)} paths are more than the limit of {limit}, got {T}")
    theta = np.array(_check.theta("theta_1", theta_1, problem.dim)).reshape(1, -1)
    probability = np.ones(1)
    for alpha in alphas:
        theta = np.concatenate([theta - alpha * o.objective.grad(theta) for o in outcomes])
        probability = np.concatenate([o.probability * probability for o in outcomes])
    return theta, probability


def enumerate_expectation(
    problem: Problem,
    function: Callable[[Array], Array],
    *,
    lam: float | Sequence[float],
    schedule: Schedule,
    T: int,
    theta_1: ArrayLike,
    stochastic: bool = False,
    limit: int = PATHS,
) -> Expectation:
    """Compute E of any function of theta_T, as the sum over all paths; arguments as of `enumerate_paths`.

    function  (M, d) -> (M,)
    """
    theta, probability = enumerate_paths(
        problem, lam=lam, schedule=schedule, T=T, theta_1=theta_1, stochastic=stochastic, limit=limit
    )
    mean = float(probability @ np.asarray(function(theta)))
    return Expectation(mean, mean, mean, 0.0, "enumerated", len(theta))


def _data(objective: Objective) -> tuple[Objective, ...]:
    """Return each datum of an objective as an objective of its own."""
    return tuple(
        Objective(f"{objective.name}[{n}]", rows, np.array([len(rows)]), objective.origin)
        for n, rows in enumerate(np.split(objective.rows, objective.starts[1:]))
    )
