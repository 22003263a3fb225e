"""Claim M-cost: memory-efficient MAXRIGHT's guarantee at equal total cost, for every k and every cost of an evaluation.

One evaluation of all gaps costs as much as c steps. A run of m periods of k steps makes T = mk iterates and m
evaluations, and costs N = m (k + c) steps. Proofs: docs/theory.md, M11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.record import Record
from toyopt.theorems.maxright import bounds
from toyopt.theorems.maxright.setting import SOURCE, MaxrightSetting

_MOST_K = 10**7  # values of k that are compared one by one


@dataclass(frozen=True)
class StalePrice:
    """The coefficient P(k) = fresh + slope (k-1) + 2 second (1 - 1/k); M-stale's bound is λ̄D²/(2αT) + αC P(k)/2.

    fresh   λ̄ C, that of k = 1
    slope   n = 2: B = L_1 + (λ̄ - λ_) C_;  n > 2: (λ̄/λ_)(L_1 + L_2);  at least `fresh`
    second  n = 2: L_2, the second largest λ_i C_i;  n > 2: 0
    steep   C
    heavy   λ̄
    """

    fresh: float
    slope: float
    second: float
    steep: float
    heavy: float

    @classmethod
    def of(cls, lam: float | Sequence[float], grad_bounds: ArrayLike) -> StalePrice:
        """Return the parts for weights λ and (n,) C_i; raise as `bounds.staleness`, and ValueError if all C_i are 0."""
        weights, C = bounds.constants(lam, grad_bounds)
        steep = _check.real("grad_bounds", float(C.max()), above=0.0)
        slopes, heavy, light = np.sort(weights * C)[::-1], float(weights.max()), float(weights.min())
        if len(weights) > 2:
            return cls(heavy * steep, heavy / light * float(slopes[0] + slopes[1]), 0.0, steep, heavy)
        rise = float(slopes[0]) + (heavy - light) * float(C[int(np.argmin(weights))])
        return cls(heavy * steep, rise, float(slopes[1]), steep, heavy)

    def at(self, k: ArrayLike) -> Array:
        """Compute P(k) for any numbers k >= 1."""
        each = np.asarray(k, dtype=np.float64)
        return np.asarray(self.fresh + self.slope * (each - 1.0) + 2.0 * self.second * (1.0 - 1.0 / each))

    def guarantee(self, *, distance: float, k: int, T: int) -> float:
        """Compute D √(λ̄ C P(k)/T): M-stale's bound of the average iterate at its best step, for k that divides T."""
        return distance * math.sqrt(self.heavy * self.steep * float(self.at(k)) / T)

    def best_alpha(self, *, distance: float, k: int, T: int) -> float:
        """Compute the constant step D √(λ̄/(C P(k) T)) at which M-stale's bound is least."""
        return distance * math.sqrt(self.heavy / (self.steep * float(self.at(k)) * T))

    def times_the_best(self, k: ArrayLike, evaluation: float) -> Array:
        """Compute the guarantee for each k, at its best step, over that of k = 1 at equal total cost; c >= 0."""
        each = np.asarray(k, dtype=np.float64)
        c = _check.real("evaluation", evaluation, low=0.0)
        return np.asarray(np.sqrt((1.0 + c / each) * self.at(each) / ((1.0 + c) * self.fresh)))


def largest_best_k(
    lam: float | Sequence[float], grad_bounds: ArrayLike, *, distance: float, alpha0: float, evaluation: float
) -> int:
    """Compute M-cost for a given α0: a number that the best k does not exceed, whatever the total cost.

    Problem     memory-efficient MAXRIGHT as for M-stale, α = alpha0/√T; an evaluation of all gaps costs c steps
    Statement   for the total cost N the guarantee of the average iterate is (α0 C/(2√N)) √(1 + c/k) (s + P(k)), with
                s = λ̄ D²/(α0² C). It increases in k from K = max(1, ⌈min(√(c z/(2B)), z/B)⌉) on, B the slope of P and
                z = s + λ̄C - B + 2 L_2 (n > 2: without L_2)
    Kind        upper: the best k is at most K, which depends neither on N nor, beyond z/B, on c
    Source      beyond the paper, docs/theory.md, M11

    lam, grad_bounds  the weights λ and (n,) the C_i, one at least positive
    distance, alpha0  D >= 0 and α0 > 0
    evaluation        c >= 0, the cost of one evaluation of all gaps, in steps

    Returns     K
    Raises      ValueError or TypeError naming the argument
    """
    price, c = StalePrice.of(lam, grad_bounds), _check.real("evaluation", evaluation, low=0.0)
    z = max(_distance_term(price, distance, alpha0) + price.fresh - price.slope + 2.0 * price.second, 0.0)
    return max(1, math.ceil(min(math.sqrt(c * z / (2.0 * price.slope)), z / price.slope)))


def best_k(
    lam: float | Sequence[float], grad_bounds: ArrayLike, *, distance: float, alpha0: float, evaluation: float
) -> int:
    """Compute the k >= 1 whose guarantee at equal total cost is best for α = alpha0/√T, the smallest of equals.

    Arguments and source: as `largest_best_k`. All k up to twice that number and 100 are compared.
    Raises: as `largest_best_k`; ValueError if there are more than 10^7 to compare.
    """
    K = largest_best_k(lam, grad_bounds, distance=distance, alpha0=alpha0, evaluation=evaluation)
    if 2 * K + 100 > _MOST_K:
        raise ValueError(
            f"alpha0: a larger α0 is needed, since up to {_MOST_K} values of k are compared, got {alpha0!r}"
        )
    price, k = StalePrice.of(lam, grad_bounds), np.arange(1.0, 2 * K + 101)
    sizes = np.sqrt(1.0 + evaluation / k) * (_distance_term(price, distance, alpha0) + price.at(k))
    return int(k[np.argmin(sizes)])


def _distance_term(price: StalePrice, distance: float, alpha0: float) -> float:
    """Compute s = λ̄ D²/(α0² C)."""
    D, scale = _check.real("distance", distance, low=0.0), _check.real("alpha0", alpha0, above=0.0)
    return price.heavy * D**2 / (scale**2 * price.steep)


@reads_numbers
def maxright_cost(setting: MaxrightSetting, k: int, evaluation: float) -> tuple[Record, Record, Record, Record]:
    """Compute both sides of claim M-cost: k and k = 1 at equal total cost.

    Problem     as for M-stale; an evaluation costs c steps, and a run may cost T steps in all
    Statement   1. with the best step for k the average iterate is at most D √(λ̄ C P(k)/T'), T' = k ⌊T/(k+c)⌋;
                2. that is M-stale's bound; 3. it is at least √((k+c)/(1+c)) times that of k = 1 at equal cost;
                4. for α0/√T the best k is at most `largest_best_k`
    Kind        upper, equal, lower, upper
    Source      beyond the paper, docs/theory.md, M11

    setting     from `maxright_setting`; its T is the total cost, in steps
    k           steps from one evaluation to the next, at least 1
    evaluation  c >= 0

    Returns     the four records
    Raises      ValueError or TypeError naming k, evaluation, or setting if D = 0 or T does not pay for two steps
    """
    k, c = _check.whole("k", k, low=1), _check.real("evaluation", evaluation, low=0.0)
    price, D = StalePrice.of(setting.lam, setting.grad_bounds), setting.distance
    T = k * int(setting.T / (k + c))
    if T < 2 or not D > 0.0:
        raise ValueError(
            f"setting: D > 0 and a T of at least {2 * (k + c):g} are needed for evaluations that cost {c:g} steps, "
            f"every k = {k}, got D = {D:g}, T = {setting.T}"
        )
    alpha, level = price.best_alpha(distance=D, k=k, T=T), price.guarantee(distance=D, k=k, T=T)
    own = replace(setting, T=T, alpha0=alpha * math.sqrt(T))
    statement = f"F(mean θ_t) - F(θ*) <= D √(λ̄ C P(k)/T), k = {k}, where an evaluation costs {c:g} steps"
    run = own.record("M-cost", statement, "11", {"guarantee": level}, own.run(k=k).average, alpha * T)
    cost = bounds.staleness(setting.lam, setting.grad_bounds, alpha=alpha, k=k, T=T)
    numbers = {"distance": D, "alpha0": setting.alpha0, "evaluation": c}
    return (
        run,
        Record(
            claim="M-cost",
            statement=f"D √(λ̄ C P(k)/T) is the bound of M6 at its best step, k = {k}, T = {T}",
            kind="equal",
            bound=level,
            attained=math.fsum((own.terms("average") | {"staleness": cost.mean}).values()),
            source=SOURCE + "11",
            tolerance=1e-12 * level,  # sums of T terms by fsum, and some ten roundings
        ),
        Record(
            claim="M-cost",
            statement=f"c = {c:g}: the guarantee of k = {k} is at least √((k+c)/(1+c)) times that of k = 1",
            kind="lower",
            bound=math.sqrt((k + c) / (1.0 + c)),
            attained=float(price.times_the_best(k, c)),
            source=SOURCE + "11",
            tolerance=1e-13 * math.sqrt((k + c) / (1.0 + c)),  # some ten roundings
        ),
        Record(
            claim="M-cost",
            statement=f"c = {c:g} and the step α0/√T: the best k is at most K, whatever the total cost",
            kind="upper",
            bound=float(largest_best_k(setting.lam, setting.grad_bounds, **numbers)),
            attained=float(best_k(setting.lam, setting.grad_bounds, **numbers)),
            source=SOURCE + "11",
        ),
    )
