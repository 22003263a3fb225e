"""Lemma A.7: one step of ALRIGHT, arXiv 2410.15483v3, eq. (48)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt.problem import Problem
from toyopt.theorems.expectation.paths import branches
from toyopt.theorems.lemma_a5 import rounding
from toyopt.theorems.record import Record


def noise_level(problem: Problem, lam: float | Sequence[float], constants: Sequence[float] | None = None) -> float:
    """C² = λ C1² + (1-λ) C2², with the data's own C1 and C2 unless others are given."""
    weights = _check.weights("lam", lam, len(problem))
    if constants is None:
        each: tuple[float, ...] = tuple(o.grad_bound for o in problem.objectives)
    else:
        each = tuple(_check.real(f"constants[{i}]", c, low=0.0) for i, c in enumerate(constants))
        if len(each) != len(problem):
            raise ValueError(f"constants: {len(problem)} numbers are needed, one an objective, got {len(each)}")
    return sum(w * c**2 for w, c in zip(weights, each, strict=True))


def mean_square_constants(problem: Problem) -> tuple[float, ...]:
    """Constants that are at most C1, C2 and serve as well in A.7, 4.1 and A: the root of the data's mean square.

    All that those proofs use is E‖u_t‖² <= C², and a mean over the data of ‖g‖² is at most the mean of each datum's own
    squared constant. They agree with C1, C2 where the data are equally long (docs/theory.md, A1).
    """
    each = (np.maximum.reduceat((o.rows**2).sum(axis=1), o.starts) for o in problem.objectives)
    return tuple(float(np.sqrt(squares.mean())) for squares in each)


def lemma_a7(
    problem: Problem,
    theta_t: ArrayLike,
    theta: ArrayLike,
    *,
    lam: float | Sequence[float],
    alpha: float,
    stochastic: bool = False,
    constants: Sequence[float] | None = None,
) -> Record:
    """What one step of ALRIGHT gains, in expectation over its draw.

    Problem: any; λ in [0, 1] or weights; step size alpha > 0.
    Statement: alpha (f_Mix(theta_t) - f_Mix(theta)) <= ½‖theta_t-theta‖² - ½E‖theta_{t+1}-theta‖² + (alpha²/2) C² for
        every theta_t and theta, C² = λC1² + (1-λ)C2². (The paper takes expectations over theta_t as well.)
    Kind: upper. Source: arXiv 2410.15483v3, Lemma A.7, eq. (48).
    Arguments: theta_t, theta (d,); lam; alpha; stochastic: each outcome is a datum, not an objective; constants:
        (C1, C2) to use in place of the data's own.
    Returns: a Record, how "enumerated": E is the sum over all outcomes. Terms "progress" (½‖..‖² - ½E‖..‖²) and
        "noise" sum to the bound. The progress is Σ_j p_j ⟨alpha g_j, theta_t - theta - alpha g_j/2⟩, where no squares
        cancel.
    Raises: ValueError or TypeError naming the argument.
    """
    here, there = _check.theta("theta_t", theta_t, problem.dim), _check.theta("theta", theta, problem.dim)
    for name, point in (("theta_t", here), ("theta", there)):
        if point.ndim != 1:
            raise ValueError(f"{name}: shape ({problem.dim},) is needed, got {point.shape}")
    alpha = _check.real("alpha", alpha, above=0.0)
    progress = 0.0
    for outcome in branches(problem, lam, stochastic=stochastic):
        move = alpha * outcome.objective.grad(here)
        progress += outcome.probability * float(move @ (here - there - move / 2))
    noise = alpha**2 / 2 * noise_level(problem, lam, constants)
    error = rounding(problem, np.stack([here, there])).sum()
    return Record(
        claim="A.7",
        statement="α(f_Mix(θ_t) - f_Mix(θ)) <= ½‖θ_t-θ‖² - ½E‖θ_{t+1}-θ‖² + (α²/2)(λC1² + (1-λ)C2²)",
        kind="upper",
        bound=progress + noise,
        attained=alpha * float(problem.f_mix(here, lam) - problem.f_mix(there, lam)),
        source="arXiv 2410.15483v3, Lemma A.7, eq. (48)",
        how="enumerated",
        terms={"progress": progress, "noise": noise},
        tolerance=float(alpha * error + noise * 1e-14),  # the noise: 2 data + 20 roundings, fewer than 90
    )
