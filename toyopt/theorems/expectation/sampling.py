"""The mean of f_Mix(theta_T) from independent runs, with a confidence interval that needs no limit theorem.

Two intervals are intersected, each with half of the failure probability: empirical Bernstein (Maurer and Pontil 2009),
which uses a range that holds for every draw, and bounded differences (McDiarmid 1989), which uses that a gradient step
on a convex function brings no two points further apart. Proofs: docs/theory.md, A9.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt.algorithms import Alright, Schedule
from toyopt.problem import Problem
from toyopt.theorems.expectation.grid import reach
from toyopt.theorems.expectation.paths import Expectation, branches, steps_of


def empirical_bernstein(values: ArrayLike, spread: float, failure: float) -> float:
    """Compute the half-width of an interval for the mean of independent values in a range of length `spread`.

    Statement: P( |mean - E| > √(2 V log(4/δ)/n) + 7 spread log(4/δ)/(3(n-1)) ) <= δ, V the sample variance (n-1).
    Source: Maurer and Pontil (2009), Theorem 4, on both sides with δ/2 each.
    Arguments: values (n,) with n >= 2; spread >= 0; failure δ in (0, 1). Raises: ValueError or TypeError.
    """
    sample = _check.array("values", values, 1)
    spread, failure = _check.real("spread", spread, low=0.0), _probability("failure", failure)
    n = len(sample)
    if n < 2:
        raise ValueError(f"values: two at least are needed, got {n}")
    log = math.log(4 / failure)
    return math.sqrt(2 * float(sample.var(ddof=1)) * log / n) + 7 * spread * log / (3 * (n - 1))


def bounded_differences(squares: float, n: int, failure: float) -> float:
    """Compute the half-width where a run is a function of independent draws, the t-th moving it by at most c_t.

    Statement: P( |mean of n runs - E| > √(squares log(2/δ)/(2n)) ) <= δ, squares = Σ_t c_t².
    Source: McDiarmid (1989). Arguments: squares >= 0, n >= 1, failure in (0, 1). Raises: ValueError or TypeError.
    """
    squares, n = _check.real("squares", squares, low=0.0), _check.whole("n", n, low=1)
    return math.sqrt(squares * math.log(2 / _probability("failure", failure)) / (2 * n))


def value_range(
    problem: Problem,
    *,
    lam: float | Sequence[float],
    schedule: Schedule,
    T: int,
    theta_1: ArrayLike,
    stochastic: bool = False,
) -> tuple[float, float]:
    """Compute a lower and an upper bound of f_Mix(theta_T) for all draws.

    ‖theta_T - theta_1‖ <= Σ alpha_t C, and |f_Mix(a) - f_Mix(b)| <= (Σ w_i C_i) ‖a - b‖; f_Mix >= 0. In d = 1 the
    interval that theta can reach is known, and a convex function is largest at an end of it.
    """
    weights = _check.weights("lam", lam, len(problem))
    alphas = steps_of(schedule, T)
    start = _check.theta("theta_1", theta_1, problem.dim)
    slope = _slope(problem, weights)
    at = float(problem.f_mix(start, weights))
    outcomes = branches(problem, lam, stochastic=stochastic)
    far = slope * float(alphas.sum()) * max(o.objective.grad_bound for o in outcomes)
    high = at + far
    if problem.dim == 1:
        ends = reach(outcomes, alphas, float(start[0]))[-1][:, None]
        high = min(high, float(problem.f_mix(ends, weights).max()))
    return max(0.0, at - far), high * (1 + 1e-9)  # far above the rounding of a path


def difference_squares(
    problem: Problem, *, lam: float | Sequence[float], alphas: Array, stochastic: bool = False
) -> float:
    """Compute Σ_t c_t², c_t the largest effect of the t-th draw on f_Mix(theta_T); inf if some alpha_t L > 2.

    The draw moves theta_{t+1} by at most alpha_t (C_i + C_j), two different outcomes; the later steps, with the same
    draws, bring the two iterates no further apart (alpha L <= 2); f_Mix has slope Σ w_i C_i. So Σ c_t² does not grow
    with T for alpha_t = alpha0/√T.
    """
    weights = _check.weights("lam", lam, len(problem))
    outcomes = branches(problem, lam, stochastic=stochastic)
    if len(outcomes) == 1:
        return 0.0
    if float(alphas.max(initial=0.0)) * max(o.objective.smoothness for o in outcomes) > 2:
        return math.inf
    longest = sorted(o.objective.grad_bound for o in outcomes)[-2:]
    return (_slope(problem, weights) * sum(longest)) ** 2 * float((alphas**2).sum())


def estimate_expectation(
    problem: Problem,
    *,
    lam: float | Sequence[float],
    schedule: Schedule,
    T: int,
    theta_1: ArrayLike,
    stochastic: bool = False,
    runs: int = 20_000,
    seed: int = 0,
    failure: float = 1e-9,
) -> Expectation:
    """Estimate E f_Mix,λ(theta_T) under ALRIGHT from independent runs, with a confidence interval.

    Problem: any. T >= 2 iterates, T-1 updates.
    Statement: the interval [low, high] contains the expectation but with probability `failure`, for the generator's
        numbers taken as independent and uniform.
    Kind: statistical; n = `runs` is fixed beforehand.
    Source: Maurer and Pontil (2009), Theorem 4; McDiarmid (1989); docs/theory.md, A9.
    Arguments: runs >= 2; seed >= 0: run r has seed + r; failure in (0, 1).
    Returns: an Expectation. Raises: ValueError or TypeError naming the argument; RuntimeError if a run diverged.
    """
    from toyopt.simulate import simulate

    T, runs = _check.whole("T", T, low=2), _check.whole("runs", runs, low=2)
    seed, failure = _check.whole("seed", seed, low=0), _probability("failure", failure)
    weights = _check.weights("lam", lam, len(problem))
    alphas = steps_of(schedule, T)
    result = simulate(
        problem,
        Alright(weights),
        schedule,
        theta0=theta_1,
        steps=T - 1,
        seeds=range(seed, seed + runs),
        stochastic=stochastic,
    )
    if result.diverged.any():
        raise RuntimeError(f"run {int(np.argmax(result.diverged))} diverged; the steps are too long")
    values = problem.f_mix(result.last, weights)
    low, high = value_range(problem, lam=lam, schedule=schedule, T=T, theta_1=theta_1, stochastic=stochastic)
    squares = difference_squares(problem, lam=lam, alphas=alphas, stochastic=stochastic)
    half = empirical_bernstein(values, high - low, failure / 2)
    if math.isfinite(squares):
        half = min(half, bounded_differences(squares, runs, failure / 2))
    mean = float(values.mean())
    return Expectation(mean, max(mean - half, low), min(mean + half, high), failure, "statistical", runs)


def _slope(problem: Problem, weights: Sequence[float]) -> float:
    """Compute Σ w_i C_i, a Lipschitz constant of f_Mix."""
    total: float = sum(map(operator.mul, weights, (o.grad_bound for o in problem.objectives)))
    return total


def _probability(name: str, value: float) -> float:
    number = _check.real(name, value, above=0.0)
    if number >= 1:
        raise ValueError(f"{name}: must be less than 1, got {value!r}")
    return number
