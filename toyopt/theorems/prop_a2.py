"""Proposition A.2: f_DPO, f_SFT and f_Mix,λ are convex, arXiv 2410.15483v3, eq. (29)-(33)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt.problem import Problem
from toyopt.theorems.record import Record

_U = 2.0**-53


def prop_a2(problem: Problem, theta: ArrayLike, *, lam: float | Sequence[float]) -> Record:
    """The Hessian of f_Mix,λ has no negative eigenvalue.

    Problem: any; λ in [0, 1] (λ = 1: f_DPO, λ = 0: f_SFT), or weights.
    Statement: ∇²f_Mix,λ(theta) ⪰ 0 for every theta.
    Kind: lower: the smallest eigenvalue over the batch is at least 0, up to `tolerance`.
    Source: arXiv 2410.15483v3, Proposition A.2, eq. (29)-(33).
    Arguments: theta (..., d) any batch of parameters; lam.
    Returns: a Record; attained is the smallest eigenvalue over the batch, relative to the trace of its Hessian where
        that is positive (so that parameters where the curvature vanishes count as much as others).
    Raises: ValueError or TypeError naming the argument.
    """
    at = _check.theta("theta", theta, problem.dim).reshape(-1, problem.dim)
    if len(at) == 0:
        raise ValueError("theta: is empty, one parameter at least is needed")
    pairs = sum(int((o.counts * (o.counts + 1) // 2).sum()) for o in problem.objectives)
    return Record(
        claim="A.2",
        statement="the smallest eigenvalue of ∇²f_Mix,λ, in units of its trace, is >= 0",
        kind="lower",
        bound=0.0,
        attained=float(relative_eigenvalues(problem.hess_mix(at, lam)).min()),
        source="arXiv 2410.15483v3, Proposition A.2, eq. (29)-(33)",
        terms={"zero": 0.0},
        tolerance=eigenvalue_tolerance(problem.dim, pairs + len(problem)),
    )


def relative_eigenvalues(hessians: Array) -> Array:
    """(...): the smallest eigenvalue over the trace; 0 where the matrix is zero."""
    scale = np.abs(hessians).max(axis=(-2, -1))
    unit = hessians / np.where(scale > 0, scale, 1.0)[..., None, None]  # LAPACK squares: denormals would vanish
    trace = np.abs(np.trace(unit, axis1=-2, axis2=-1))
    out: Array = np.linalg.eigvalsh(unit)[..., 0] / np.where(trace > 0, trace, 1.0)
    return out


def eigenvalue_tolerance(dim: int, summands: int) -> float:
    """How far below 0 rounding may put the smallest eigenvalue of a positive semidefinite matrix, over its trace.

    The matrix is a sum of w ΔΔᵀ, w >= 0: an entry is off by (summands + 5) u Σ w|Δ_i||Δ_j|, a matrix of norm at most
    the trace. The symmetric eigensolver is backward stable: off by at most 10 d u times the norm, which is at most the
    trace.
    """
    return (summands + 5 + 10 * dim) * _U
