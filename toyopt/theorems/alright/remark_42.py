"""Remark 4.2: the bound of Theorem 4.1 vanishes for any λ, with the T from which it is below any ε."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import lambertw

from toyopt import _check
from toyopt._numbers import reads_numbers
from toyopt.optimum import minimise
from toyopt.problem import Problem
from toyopt.record import Record
from toyopt.theorems.alright.last_iterate import log_bound, total
from toyopt.theorems.alright.thm_41 import comparator
from toyopt.theorems.lemmas import noise_level

_LARGEST = 2**1000  # beyond it T does not fit a float


@reads_numbers
def remark_42(
    problem: Problem,
    *,
    lam: float | Sequence[float],
    alpha0: float,
    epsilon: float,
    theta_1: ArrayLike,
    theta_star: ArrayLike | None = None,
) -> tuple[Record, Record, Record]:
    """Compute both sides of Remark 4.2: from an explicit T(ε) on the bound of Theorem 4.1 is at most ε.

    Problem: as `thm_41`; any λ, any ε > 0.
    Statement: b(T) = (a + c (2 + log(T-1)))/√T, a = D²/(2 alpha0), c = C² alpha0/2, decreases strictly from T = 3
        on, so b(T) <= ε for all T >= T(ε), the least T >= 3 with b(T) <= ε; and T(ε) is at most `explicit_horizon`.
    Kind: upper (three records). Source: arXiv 2410.15483v3, Remark 4.2; docs/theory.md, A2.
    Arguments: lam; alpha0 > 0; epsilon > 0; theta_1 (d,); theta_star (d,) or None as in `thm_41`.
    Returns: the largest of b(T(ε)) and of b at some later T against ε, `terms` those of b(T(ε)); T(ε) <= the closed
        form; and the condition for b to fall for all T >= T(ε): its derivative is negative at T iff
        2c/(T-1) < a + c log(T-1), whose left side falls and whose right side rises, so one T is enough. (It is
        evaluated from T = 4 on; b(3) > b(4) for all a, c.) All are open where theta* is not given and its solver has
        not converged.
    Raises: ValueError if T(ε) exceeds 2^1000; as usual otherwise.
    """
    start = _check.theta("theta_1", theta_1, problem.dim)
    star = comparator(problem, lam, start, theta_star)
    known = theta_star is not None or minimise(problem, lam, near=start).converged
    note = "" if known else "the solver of theta* has not converged"
    D, C = float(np.sqrt(((start - star) ** 2).sum())), math.sqrt(noise_level(problem, lam))
    T = least_horizon(D, C, alpha0, epsilon)
    terms = log_bound(D, C, alpha0, T)
    explicit = explicit_horizon(D, C, alpha0, epsilon)
    a, c = _coefficients(D, C, alpha0)
    at = max(T, 4) - 1
    falls = {"a": a, "c log(T-1)": c * math.log(at)}
    later = (T, T + 1, T + 2, T + T // 10, 2 * T, 10 * T, 1000 * T)
    largest = max(total(log_bound(D, C, alpha0, when)) for when in later)

    def record(statement: str, bound: float, attained: float, terms: dict[str, float]) -> Record:
        return Record(
            claim="4.2",
            statement=statement,
            kind="upper",
            bound=bound,
            attained=attained if known else math.nan,
            source="arXiv 2410.15483v3, Remark 4.2; docs/theory.md, A2",
            terms=terms,
            tolerance=8 * 2.0**-53 * bound,  # of a sum of two terms, each of some operations
            note=note,
        )

    return (
        record(f"the bound is at most ε at T(ε) = {T} and later, up to 1000 T(ε)", epsilon, largest, terms),
        record(
            "T(ε) <= ⌈(2c/ε)² W²⌉ + 1, W = -W_{-1}(-(ε/2c) e^{-(a+2c)/(2c)})",
            float(explicit),
            float(T),
            {"closed form": float(explicit)},
        ),
        record(
            "the bound falls from T(ε) on: 2c/(T-1) <= a + c log(T-1) at T = max(T(ε), 4)",
            total(falls),
            2 * c / at,
            falls,
        ),
    )


def least_horizon(D: float, C: float, alpha0: float, epsilon: float) -> int:
    """Compute T(ε), the minimum T >= 3 with `log_bound` <= ε, by bisection: the bound decreases from T = 3 on."""
    epsilon = _check.real("epsilon", epsilon, above=0.0)

    def above(T: int) -> bool:
        return total(log_bound(D, C, alpha0, T)) > epsilon

    low = high = 3
    while above(high):
        low, high = high, 2 * high
        if high > _LARGEST:
            raise ValueError(f"epsilon: the bound reaches it beyond T = 2^1000 only, got {epsilon!r}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return high


def explicit_horizon(D: float, C: float, alpha0: float, epsilon: float) -> int:
    """Compute an upper bound of T(ε) in closed form: log(T-1) <= log T, and (a + 2c + c log T)/√T = ε solved.

    With u = √T: u = -(2c/ε) W_{-1}( -(ε/2c) e^{-(a+2c)/(2c)} ), where the argument is in [-1/e, 0); else T = 3 will do.
    For c = 0 it is (a/ε)². The largest relative error of the root is far below the 1e-9 that is added.
    """
    epsilon = _check.real("epsilon", epsilon, above=0.0)
    a, c = _coefficients(D, C, alpha0)
    if c == 0.0:
        root = a / epsilon
    else:
        log = math.log(epsilon / (2 * c)) - (a + 2 * c) / (2 * c)
        if log >= -1.0:  # the bound with log T for log(T-1) never exceeds ε
            return 3
        root = 2 * c / epsilon * _minus_w(log)
    return max(3, math.ceil(root**2 * (1 + 1e-9))) + 1


def _coefficients(D: float, C: float, alpha0: float) -> tuple[float, float]:
    """Return a and c of the bound (a + c (2 + log(T-1)))/√T."""
    log_bound(D, C, alpha0, 3)  # checks them
    return D**2 / (2 * alpha0), C**2 * alpha0 / 2


def _minus_w(log: float) -> float:
    """Compute y = -W_{-1}(-e^log) for log <= -1: the y >= 1 with y - log y = -log."""
    if log > -700:
        return float(-lambertw(-math.exp(log), -1).real)
    y = -log
    for _ in range(10):  # a contraction, by 1/y < 1/700
        y = math.log(y) - log
    return y
