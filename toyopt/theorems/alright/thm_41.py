"""Theorem 4.1 (A.8): ALRIGHT's last iterate, arXiv 2410.15483v3."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.algorithms import InverseRootHorizon, Schedule
from toyopt.optimum import minimise
from toyopt.problem import Problem
from toyopt.record import Record
from toyopt.theorems.alright.last_iterate import (
    Terms,
    harmonic_bound,
    log_bound,
    orabona_bound,
    total,
    weights_of_steps,
)
from toyopt.theorems.expectation.choose import expected_gap
from toyopt.theorems.expectation.paths import Expectation
from toyopt.theorems.lemmas import noise_level, rounding


@reads_numbers
def thm_41(
    problem: Problem,
    *,
    lam: float | Sequence[float],
    alpha0: float,
    T: int,
    theta_1: ArrayLike,
    theta_star: ArrayLike | None = None,
    constants: Sequence[float] | None = None,
    **options: Any,
) -> tuple[Record, Record]:
    """Compute both sides of Theorem 4.1, in the paper's form and with the harmonic number.

    Problem: any; λ in [0, 1] or weights; alpha_t = alpha0/√T, T >= 2 iterates, T-1 updates; full or stochastic
        gradients.
    Statement: E f_Mix(theta_T) - f_Mix(theta*) <= D²/(2 alpha0 √T) + (2 + log(T-1)) C² alpha0/(2√T), and the same with
        1 + H_{T-1} in place of 2 + log(T-1); D = ‖theta_1 - theta*‖, C² = λC1² + (1-λ)C2².
    Kind: upper; not tight (`alright_exact` has a tight bound).
    Source: arXiv 2410.15483v3, Theorem 4.1; Theorem A.8.
    Arguments: lam; alpha0 > 0; T; theta_1 (d,); theta_star (d,) any comparator, by default the minimiser nearest to
        theta_1; constants: (C1, C2) in place of the data's own (the paper's are 2βΦ and 2Φ); `options`: stochastic,
        method, limit, nodes, runs, seed, failure of `expected_gap`.
    Returns: two Records; evidence "enumerated" or "statistical"; terms "distance" and "noise".
    Raises: ValueError where f_Mix has no minimiser and no theta_star is given; as usual otherwise.
    """
    schedule = InverseRootHorizon(alpha0, _check.whole("T", T, low=2))
    C = math.sqrt(noise_level(problem, lam, constants))
    options |= {"theta_1": theta_1, "theta_star": theta_star}
    gap = LastIterate.of(problem, lam=lam, schedule=schedule, T=T, C=C, **options)
    forms = (
        ("D²/(2α0√T) + (2 + log(T-1)) C²α0/(2√T)", log_bound, "Theorem 4.1"),
        ("D²/(2α0√T) + (1 + H_{T-1}) C²α0/(2√T)", harmonic_bound, "Theorem A.8"),
    )
    log, exact = (
        gap.record(
            "4.1", f"E f_Mix(θ_T) - f_Mix(θ*) <= {text}", form(gap.D, C, alpha0, T), f"arXiv 2410.15483v3, {name}"
        )
        for text, form, name in forms
    )
    return log, exact


@reads_numbers
def thm_41_schedule(
    problem: Problem,
    *,
    lam: float | Sequence[float],
    schedule: Schedule,
    T: int,
    theta_1: ArrayLike,
    theta_star: ArrayLike | None = None,
    constants: Sequence[float] | None = None,
    **options: Any,
) -> Record:
    """Compute both sides of Theorem A.8 for any non-increasing step sizes.

    Problem: as `thm_41`, with `schedule` in place of alpha0; alpha_1 >= ... >= alpha_T > 0.
    Statement: alpha_T E[f_Mix(theta_T) - f_Mix(theta*)] <= D²/(2T) + (C²/2)( alpha_T² + Σ_{t<T} alpha_t²/(T-t) ),
        divided by alpha_T.
    Kind: upper. Source: arXiv 2410.15483v3, proof of Theorem A.8.
    Arguments, returns, raises: as `thm_41`; one Record; also ValueError where the steps increase.
    """
    T = _check.whole("T", T, low=2)
    alphas = np.asarray(schedule.at(np.arange(1, T + 1)), dtype=np.float64)
    C = math.sqrt(noise_level(problem, lam, constants))
    orabona_bound(alphas, 1.0, C)  # a schedule that will not do is refused before anything is run
    options |= {"theta_1": theta_1, "theta_star": theta_star}
    gap = LastIterate.of(problem, lam=lam, schedule=schedule, T=T, C=C, **options)
    return gap.record(
        "4.1",
        "α_T E[f_Mix(θ_T) - f_Mix(θ*)] <= D²/(2T) + (C²/2)(α_T² + Σ α_t²/(T-t))",
        orabona_bound(alphas, gap.D, C),
        "arXiv 2410.15483v3, proof of Theorem A.8",
    )


class LastIterate:
    """The gap E f_Mix(theta_T) - f_Mix(theta*) of one setting, for comparison with several bounds.

    D            ‖theta_1 - theta*‖
    theta_star   (d,) the comparator
    expectation  of the gap
    tolerance    a bound of the rounding of the gap
    """

    def __init__(self, theta_1: Array, theta_star: Array, expectation: Expectation, tolerance: float) -> None:
        self.D = float(np.sqrt(((theta_1 - theta_star) ** 2).sum()))
        self.theta_star = theta_star
        self.expectation = expectation
        self.tolerance = tolerance

    @classmethod
    def of(
        cls,
        problem: Problem,
        *,
        lam: float | Sequence[float],
        schedule: Schedule,
        T: int,
        C: float,
        theta_1: ArrayLike,
        theta_star: ArrayLike | None = None,
        **options: Any,
    ) -> LastIterate:
        """Compute the expectation; C is the bounds' constant; see `expected_gap` for `options`."""
        start = _check.theta("theta_1", theta_1, problem.dim)
        if start.ndim != 1:
            raise ValueError(f"theta_1: shape ({problem.dim},) is needed, got {start.shape}")
        star = comparator(problem, lam, start, theta_star)
        value = float(problem.f_mix(star, lam))
        gap = expected_gap(problem, lam=lam, schedule=schedule, T=T, theta_1=start, value=value, **options)
        alphas = np.asarray(schedule.at(np.arange(1, T)), dtype=np.float64)
        steep = max(o.grad_bound for o in problem.objectives)
        far = steep * float(alphas.sum())
        D = float(np.sqrt(((start - star) ** 2).sum()))
        path = path_rounding(problem, alphas, float(np.sqrt((start**2).sum())), D, C)
        values = float(rounding(problem, np.stack([start, star])).sum()) + 2.0**-50 * steep * far
        return cls(start, star, gap, path + values)

    def record(self, claim: str, statement: str, terms: Terms, source: str) -> Record:
        """Return the record of the gap against a bound."""
        e = self.expectation
        return Record(
            claim=claim,
            statement=statement,
            kind="upper",
            bound=total(terms),
            attained=e.mean,
            source=source,
            evidence=e.evidence,
            terms=terms,
            tolerance=self.tolerance,
            interval=e.interval,
            failure=e.failure,
        )


def path_rounding(problem: Problem, alphas: Array, size: float, D: float, C: float) -> float:
    """Bound the rounding of T-1 steps in f_Mix(theta_T) - bound; `size` is ‖theta_1‖, D and C are the bound's.

    The k-th step rounds theta by e_k at most: 8 u of where it is and of its length in each of its products. The smaller
    of two bounds. Forward: later steps bring two points apart by max(1, alpha L - 1) at most, and f_Mix has slope C.
    Backward: e_k is an error e_k/alpha_k of the gradient, which enters the proof as r_k ‖e_k/alpha_k‖ ‖theta_k - z_k‖,
    r_k = alpha_k/b_{k+1}² with the best b (docs/theory.md, A4), and theta_k - z_k <= D + C Σ_{t<k} alpha_t:
    no bound on alpha L is needed.
    """
    rows = max(len(o.rows) for o in problem.objectives)
    steep, L = max(o.grad_bound for o in problem.objectives), max(o.smoothness for o in problem.objectives)
    far = steep * np.cumsum(alphas)
    e = 8 * 2.0**-53 * (size + far + rows * steep * alphas)
    with np.errstate(over="ignore"):
        forward = steep * float(e.sum()) * float(np.prod(np.maximum(1.0, alphas * L - 1)))
    if C == 0.0:
        return forward
    b = weights_of_steps(alphas, D, C)
    backward = float((e / b[1:] ** 2 * (D + far - steep * alphas)).sum())
    return min(forward, backward)


def comparator(
    problem: Problem, lam: float | Sequence[float], theta_1: Array, theta_star: ArrayLike | None = None
) -> Array:
    """Return theta*: as given, or the minimiser of f_Mix nearest to theta_1; raise ValueError where none exists."""
    if theta_star is None:
        best = minimise(problem, lam, near=theta_1)
        if best.theta is None:
            raise ValueError(f"theta_star: f_Mix has no minimiser for lam = {lam!r}, give a comparator, got None")
        return best.theta
    star = _check.theta("theta_star", theta_star, problem.dim)
    if star.ndim != 1:
        raise ValueError(f"theta_star: shape ({problem.dim},) is needed, got {star.shape}")
    return star
