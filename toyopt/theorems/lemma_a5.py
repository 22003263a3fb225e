"""Lemma A.5: the first-order condition of convexity, arXiv 2410.15483v3, eq. (46)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt.problem import Problem
from toyopt.theorems.record import Record

_U = 2.0**-53


def lemma_a5(problem: Problem, theta_t: ArrayLike, theta: ArrayLike, *, lam: float | Sequence[float]) -> Record:
    """f_Mix lies above its tangents.

    Problem: any; λ in [0, 1], or weights.
    Statement: f_Mix(theta_t) - f_Mix(theta) <= ⟨∇f_Mix(theta_t), theta_t - theta⟩ for all theta_t, theta.
    Kind: upper. Source: arXiv 2410.15483v3, Lemma A.5, eq. (46).
    Arguments: theta_t, theta (..., d), two batches that broadcast; lam.
    Returns: a Record of the pair with the least slack in units of its tolerance.
    Raises: ValueError or TypeError naming the argument.
    """
    here = _check.theta("theta_t", theta_t, problem.dim)
    there = _check.theta("theta", theta, problem.dim)
    try:
        here, there = np.broadcast_arrays(here, there)
    except ValueError as problem_of_shapes:
        message = f"theta: shape {there.shape} does not broadcast with theta_t's {here.shape}"
        raise ValueError(message) from problem_of_shapes
    here, there = here.reshape(-1, problem.dim), there.reshape(-1, problem.dim)
    if len(here) == 0:
        raise ValueError("theta_t: is empty, one parameter at least is needed")
    rise = problem.f_mix(here, lam) - problem.f_mix(there, lam)
    tangent = (problem.grad_mix(here, lam) * (here - there)).sum(axis=-1)
    error = rounding(problem, here) + rounding(problem, there)
    worst = int(np.argmin((tangent - rise) / error))
    return Record(
        claim="A.5",
        statement="f_Mix(θ_t) - f_Mix(θ) <= ⟨∇f_Mix(θ_t), θ_t - θ⟩",
        kind="upper",
        bound=float(tangent[worst]),
        attained=float(rise[worst]),
        source="arXiv 2410.15483v3, Lemma A.5, eq. (46)",
        terms={"inner product": float(tangent[worst])},
        tolerance=float(error[worst]),
    )


def rounding(problem: Problem, theta: Array) -> Array:
    """(...): what rounding may add to f_Mix(theta), or to an inner product of a gradient with a vector no longer.

    A margin a_rᵀ(theta - o) is off by (d + 3) u ‖a_r‖(‖theta‖ + ‖o‖); values move with it, at slope 1, and their sum
    over R rows and N data adds (R + 10) u of their size, at most log(1+R) and the largest margin. A probability is off
    by twice the margins' error, but then so is the tangent of the same function at a shifted point: slope again.
    """
    out = np.zeros(theta.shape[:-1])
    for o in problem.objectives:
        reach = o.grad_bound * (np.sqrt((theta**2).sum(axis=-1)) + float(np.sqrt((o.origin**2).sum())))
        many = len(o.rows) + problem.dim + 13
        out = np.maximum(out, 4 * many * _U * (1 + np.log1p(len(o.rows)) + reach))
    return out
