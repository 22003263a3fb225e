"""Claim A: ALRIGHT's last iterate without the logarithm, and the exact worst case for any step sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._numbers import reads_numbers
from toyopt.algorithms import InverseRootHorizon, LinearDecay, Schedule
from toyopt.problem import Problem
from toyopt.record import Record
from toyopt.theorems.alright.last_iterate import (
    best_free_step,
    defazio_bound,
    exact_bound,
    half_log_bound,
    linear_decay_bound,
    mean_step_bound,
)
from toyopt.theorems.alright.thm_41 import LastIterate, comparator
from toyopt.theorems.expectation.paths import steps_of
from toyopt.theorems.lemmas import noise_level


@reads_numbers
def alright_linear_decay(
    problem: Problem,
    *,
    lam: float | Sequence[float],
    T: int,
    theta_1: ArrayLike,
    theta_star: ArrayLike | None = None,
    constants: Sequence[float] | None = None,
    **options: Any,
) -> Record:
    """Compute both sides of claim A for linearly decaying steps: a bound without a logarithm.

    Problem: any; λ in [0, 1] or weights; alpha_t = D/(C√T) (1 - t/T), T >= 2 iterates, T-1 updates; D > 0.
    Statement: E f_Mix(theta_T) - f_Mix(theta*) <= D C/√T, C² = λC1² + (1-λ)C2².
    Kind: upper; tight, and no step sizes have a better worst case (`no_schedule_is_better`).
    Source: beyond the paper, docs/theory.md, A6; arXiv 2310.07831; arXiv 2307.11134.
    Arguments: lam; T; theta_1 (d,); theta_star, constants and `options` as in `thm_41`.
    Returns: a Record; terms "distance" and "noise". Raises: ValueError if theta_1 is theta*; as `thm_41` otherwise.
    """
    start = _check.theta("theta_1", theta_1, problem.dim)
    star = comparator(problem, lam, start, theta_star)
    D, C = float(np.sqrt(((start - star) ** 2).sum())), math.sqrt(noise_level(problem, lam, constants))
    if D == 0.0:
        raise ValueError(f"theta_1: must differ from the comparator, got {theta_1!r}")
    if C == 0.0:
        raise ValueError("problem: its gradients vanish everywhere, C = 0")
    schedule = LinearDecay(D, C, _check.whole("T", T, low=2))
    options |= {"theta_1": start, "theta_star": star}
    gap = LastIterate.of(problem, lam=lam, schedule=schedule, T=T, C=C, **options)
    return gap.record(
        "A",
        "linear decay: E f_Mix(θ_T) - f_Mix(θ*) <= DC/√T",
        linear_decay_bound(D, C, T),
        "beyond the paper, docs/theory.md, A6; arXiv 2310.07831",
    )


@reads_numbers
def alright_exact(
    problem: Problem,
    *,
    lam: float | Sequence[float],
    schedule: Schedule,
    T: int,
    theta_1: ArrayLike,
    theta_star: ArrayLike | None = None,
    constants: Sequence[float] | None = None,
    **options: Any,
) -> tuple[Record, ...]:
    """Compute both sides of claim A for any positive step sizes: the sharpest bound in D, C and the steps.

    Problem: any; λ in [0, 1] or weights; any positive steps, monotone or not; T >= 2 iterates, T-1 updates.
    Statement: E f_Mix(theta_T) - f_Mix(theta*) is at most `exact_bound`; at most `defazio_bound`; and for
        alpha_t = alpha0/√T at most `half_log_bound`, Theorem 4.1 with both of its terms about halved.
    Kind: upper; the first is tight (`last_iterate_is_exact`), and so at most each of the others.
    Source: beyond the paper, docs/theory.md, A3 and A4; arXiv 2310.07831, Theorem 10.
    Arguments: lam; schedule; T; theta_1 (d,); theta_star, constants and `options` as in `thm_41`. In Defazio's bound
        the free alpha_T is the best one, `best_free_step`.
    Returns: two Records, or three for `InverseRootHorizon` with the same T. Raises: as `thm_41`; ValueError for C = 0.
    """
    alphas = steps_of(schedule, _check.whole("T", T, low=2))
    C = math.sqrt(noise_level(problem, lam, constants))
    if C == 0.0:
        raise ValueError("problem: its gradients vanish everywhere, C = 0")
    options |= {"theta_1": theta_1, "theta_star": theta_star}
    gap = LastIterate.of(problem, lam=lam, schedule=schedule, T=T, C=C, **options)
    out = [
        gap.record(
            "A",
            "any steps: E f_Mix(θ_T) - f_Mix(θ*) <= D²/(2B) + (C²/2)(B - 2Σα_t)",
            exact_bound(alphas, gap.D, C),
            "beyond the paper, docs/theory.md, A4",
        ),
        gap.record(
            "A",
            "any steps: E f_Mix(θ_T) - f_Mix(θ*) <= D²/(2W_1) + (C²/2)(α_T + Σ α_t²/W_{t+1})",
            defazio_bound(np.append(alphas, best_free_step(alphas, gap.D, C)), gap.D, C),
            "arXiv 2310.07831, Theorem 10; docs/theory.md, A3",
        ),
    ]
    if isinstance(schedule, InverseRootHorizon) and schedule.T == T:
        out.append(
            gap.record(
                "A",
                "half of Theorem 4.1: D²/(2α0√T(2-1/T)) + (1 + O_{T-1}) C²α0/(2√T)",
                half_log_bound(gap.D, C, schedule.alpha0, T),
                "beyond the paper, docs/theory.md, A4",
            )
        )
    return tuple(out)


@reads_numbers
def alright_mean_step(
    problem: Problem,
    *,
    lam: float | Sequence[float],
    schedule: Schedule,
    T: int,
    theta_1: ArrayLike,
    theta_star: ArrayLike | None = None,
    **options: Any,
) -> Record:
    """Compute both sides of claim A with C_mean = Σ w_i C_i in its imaginary last step: better where the C_i differ.

    Problem: as `alright_exact`. Statement: E f_Mix(theta_T) - f_Mix(theta*) <= `mean_step_bound`.
    Kind: upper. Source: beyond the paper, docs/theory.md, A4.
    Arguments, raises: as `alright_exact`, without constants. Returns: a Record.
    """
    alphas = steps_of(schedule, _check.whole("T", T, low=2))
    weights = _check.weights("lam", lam, len(problem))
    mean = sum(w * o.grad_bound for w, o in zip(weights, problem.objectives, strict=True))
    C = math.sqrt(noise_level(problem, lam))
    if C == 0.0:
        raise ValueError("problem: its gradients vanish everywhere, C = 0")
    options |= {"theta_1": theta_1, "theta_star": theta_star}
    gap = LastIterate.of(problem, lam=lam, schedule=schedule, T=T, C=C, **options)
    return gap.record(
        "A",
        "any steps: E f_Mix(θ_T) - f_Mix(θ*) <= D²/(2b_1²) + (C²/2)Σ α_k²/b_{k+1}² + (C̄²/2)b_T², C̄ = Σ w_i C_i",
        mean_step_bound(alphas, gap.D, C, min(mean, C)),
        "beyond the paper, docs/theory.md, A4",
    )
