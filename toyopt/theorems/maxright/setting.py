"""The setting of the claims on MAXRIGHT: a problem, its constants, its run, and the record of a bound."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.algorithms import InverseRootHorizon, Maxright, Schedule
from toyopt.minimax import minimise_worst, optima, positive_weights, worst_gap
from toyopt.optimum import ideal_point
from toyopt.problem import Problem
from toyopt.record import Evidence, Record
from toyopt.simulate import Merit, Simulation, simulate
from toyopt.theorems.expectation.sampling import empirical_bernstein
from toyopt.theorems.maxright import bounds

SOURCE = "beyond the paper; docs/theory.md, M"
FAILURE = 1e-6  # the probability that a stochastic record's interval misses


@dataclass(frozen=True, eq=False)
class MaxrightSetting:
    """A problem with the quantities of the bounds, checked and computed once; see `maxright_setting`."""

    problem: Problem
    lam: tuple[float, ...]
    T: int
    alpha0: float
    theta_1: Array
    f_star: Array
    theta_star: Array
    seeds: tuple[int, ...] | None

    @property
    def grad_bounds(self) -> Array:
        """Constants (n,) C_i of the data: bounds of the norm of every datum's gradient."""
        return np.array([o.grad_bound for o in self.problem.objectives])

    @cached_property
    def lowest(self) -> float:
        """Infimum inf F - F(theta*): 0 if theta* is a minimiser."""
        minimum = minimise_worst(self.problem, self.lam, self.f_star)
        return min(minimum.lower - float(worst_gap(self.problem, self.lam, self.f_star, self.theta_star)), 0.0)

    @property
    def distance(self) -> float:
        """Distance D = ‖theta_1 - theta*‖."""
        return float(np.linalg.norm(self.theta_1 - self.theta_star))

    def worst(self, theta: Array) -> Array:
        """Compute (runs,) F(theta) - F(theta*) for theta of shape (runs, d)."""
        gaps = worst_gap(self.problem, self.lam, self.f_star, np.stack([*np.atleast_2d(theta), self.theta_star]))
        return np.asarray(gaps[:-1] - gaps[-1])

    def terms(self, of: str) -> dict[str, float]:
        """Return the terms of the bound `best`, `average` or `last` of `bounds` for this setting."""
        formula = {"best": bounds.best_terms, "average": bounds.average_terms, "last": bounds.last_terms}[of]
        return formula(self.lam, self.grad_bounds, distance=self.distance, alpha0=self.alpha0, T=self.T)

    def run(self, *, k: int = 1, f_star: Array | None = None, schedule: Schedule | None = None) -> Simulation:
        """Run T-1 updates of MAXRIGHT from theta_1."""
        return simulate(
            self.problem,
            Maxright(self.lam, tuple((self.f_star if f_star is None else f_star).tolist()), k),
            InverseRootHorizon(self.alpha0, self.T) if schedule is None else schedule,
            theta0=self.theta_1,
            steps=self.T - 1,
            seeds=0 if self.seeds is None else self.seeds,
            stochastic=self.seeds is not None,
            average=True,
            merit=Merit("worst", self.lam, tuple(self.f_star.tolist())),
        )

    def record(
        self, claim: str, statement: str, section: str, terms: dict[str, float], theta: Array | None, reach: float
    ) -> Record:
        """Return the record of an upper bound of F - F(theta*) at theta (runs, d); `reach` is the sum of the steps."""
        assert theta is not None
        attained = self.worst(theta)
        slope = float((np.array(self.lam) * self.grad_bounds).max())
        steep = float(self.grad_bounds.max())
        # Each update rounds theta by an ulp, which moves F by its slope; values and optima are right to some ulp.
        size = float(np.abs(self.problem.values(self.theta_1)).max() + np.abs(self.f_star).max())
        moved = float(np.abs(self.theta_1).max()) + reach * steep
        interval, failure = None, 0.0
        evidence: Evidence = "property"
        if self.seeds is not None:
            failure, evidence = FAILURE, "statistical"
            # Surely |F(theta) - F(theta_1)| <= slope steep reach, for the average and the best iterate too; F >= inf F.
            high = float(self.worst(self.theta_1)[0]) + slope * steep * reach
            low = max(self.lowest, high - 2.0 * slope * steep * reach)
            radius = math.inf if len(attained) < 2 else empirical_bernstein(attained, high - low, failure)
            interval = (max(low, float(attained.mean()) - radius), min(high, float(attained.mean()) + radius))
        return Record(
            claim=claim,
            statement="F = max_i λ_i (f_i - f_i*): " + statement,
            kind="upper",
            bound=math.fsum(terms.values()),
            attained=float(attained.mean()),
            source=SOURCE + section,
            evidence=evidence,
            terms=terms,
            tolerance=np.finfo(np.float64).eps * (self.T * slope * moved + 16.0 * (size + slope * reach * steep)),
            scale=size,
            interval=interval,
            failure=failure,
        )


@reads_numbers
def maxright_setting(
    problem: Problem,
    lam: float | Sequence[float],
    *,
    T: int,
    alpha0: float,
    theta_1: ArrayLike,
    f_star: ArrayLike | None = None,
    theta_star: ArrayLike | None = None,
    seeds: Iterable[int] | None = None,
) -> MaxrightSetting:
    """Check the arguments of all claims on MAXRIGHT and compute the omitted optima and theta*.

    problem     any number of objectives
    lam         λ in (0, 1), or one positive weight an objective
    T           iterates, at least 2; alpha0 > 0: the step is alpha0/√T
    theta_1     (d,) the first iterate
    f_star      (n,) the optima f_i* of the gaps; None: the infima, by `ideal_point`
    theta_star  (d,) theta*, any comparator; None: the minimiser of F nearest to theta_1
    seeds       None: full gradients; else one stochastic run for each

    Raises ValueError or TypeError naming the argument; so too where F has no minimiser and no theta_star is given.
    """
    weights = positive_weights(lam, len(problem))
    T, alpha0 = _check.whole("T", T, low=2), _check.real("alpha0", alpha0, above=0.0)
    start = _point("theta_1", theta_1, problem.dim)
    stars = ideal_point(problem) if f_star is None else optima("f_star", f_star, len(problem))
    kept = None if seeds is None else tuple(_check.whole("seeds", s, low=0) for s in _check.items("seeds", seeds))
    if kept is not None and len(kept) == 0:
        raise ValueError("seeds: is empty, one run at least is needed")
    if theta_star is None:
        worst = minimise_worst(problem, weights.tolist(), stars, near=start)
        if worst.theta is None:
            raise ValueError(
                f"theta_star: F has no minimiser here, only the infimum {worst.value:.6g}: give a comparator, got None"
            )
        theta_star = worst.theta
    point = _point("theta_star", theta_star, problem.dim)
    return MaxrightSetting(problem, tuple(weights.tolist()), T, alpha0, start, stars, point, kept)


def _point(name: str, value: ArrayLike, dim: int) -> Array:
    out = _check.array(name, value, 1)
    if len(out) != dim:
        raise ValueError(f"{name}: length {dim} is needed, got {len(out)}")
    return out
