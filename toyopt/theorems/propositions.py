"""Propositions A.1 (bounded gradients) and A.2 (convexity) of arXiv 2410.15483v3, eq. (20)-(33)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.problem import Objective, Problem
from toyopt.record import Record

_U = 2.0**-53


@reads_numbers
def prop_a1(problem: Problem, theta: ArrayLike, *, beta: float | None = None) -> tuple[Record, ...]:
    """Compute both sides of Proposition A.1: gradients are bounded, pointwise and in the mean of squares.

    Problem: features of norm at most Φ (Assumption 3.2); the objectives of `Problem.dpo_sft`, in this order.
    Statement: for every theta, mean over the data of ‖g_DPO‖² <= C1² = 4β²Φ², of ‖g_SFT‖² <= C2² = 4Φ²; for every
        datum ‖g_DPO‖ <= 2βΦ, ‖g_SFT‖ <= 2Φ. Sharper, with the data's own C1 = β max‖Δ‖, C2 = max‖φ(y,x)-φ(y',x)‖, and
        sharper still in the mean of squares: the mean over the data of each datum's own squared constant.
    Kind: upper. Strict for every theta and approached as theta grows, so the data's own constants cannot be improved.
    Source: arXiv 2410.15483v3, eq. (20), (21).
    Arguments: theta (..., d) any batch of parameters; the worst of it is reported. beta: DPO's temperature; without it
        the paper's constants of eq. (20) are left out, since a `Problem` keeps the products beta Δ alone.
    Returns: Records: for DPO, then SFT: pointwise against the own constant, mean square against the own constant, mean
        square against the data's mean, and the first two against the paper's constant. `terms` has one term, the bound.
    Raises: ValueError if the problem has not two objectives, has no Φ, or theta has not d entries; if beta is not > 0.
    """
    if len(problem) != 2:
        raise ValueError(f"problem: the paper's two objectives are needed, got {len(problem)}")
    if problem.phi is None:
        raise ValueError("problem: a feature bound phi is needed, got None")
    at = _check.theta("theta", theta, problem.dim).reshape(-1, problem.dim)
    if len(at) == 0:
        raise ValueError("theta: is empty, one parameter at least is needed")
    dpo, sft = problem.objectives
    own = [*_records(dpo, at, "g_DPO", "eq. (20)", "C1"), *_records(sft, at, "g_SFT", "eq. (21)", "C2")]
    paper = _records(sft, at, "g_SFT", "eq. (21)", "2Φ", 2 * problem.phi)
    if beta is not None:
        beta = _check.real("beta", beta, above=0.0)
        paper = (*_records(dpo, at, "g_DPO", "eq. (20)", "2βΦ", 2 * beta * problem.phi), *paper)
    return (*own, *paper)


def _records(
    objective: Objective, theta: Array, gradient: str, equation: str, letter: str, constant: float | None = None
) -> tuple[Record, ...]:
    """Return the records of one objective: pointwise and mean square, and for the data's own constant their mean."""
    c = objective.grad_bound if constant is None else constant
    squares = (objective.data_grads(theta) ** 2).sum(axis=-1)  # (M, N)
    mean_square = float(squares.mean(axis=-1).max())
    # A gradient is Σ p_r a_r with Σ p_r < 1 but for the rounding of the p_r (5 u each) and of a sum of so many terms.
    relative = (len(objective.rows) + theta.shape[-1] + 10) * _U
    source = f"arXiv 2410.15483v3, {equation}"

    def record(statement: str, bound: float, attained: float, power: int) -> Record:
        return Record(
            claim="A.1",
            statement=statement,
            kind="upper",
            bound=bound,
            attained=attained,
            source=source,
            terms={letter if power == 1 else f"({letter})²": bound},
            tolerance=power * relative * bound,
        )

    out = [
        record(f"‖{gradient}‖ <= {letter} for every datum", c, float(np.sqrt(squares.max())), 1),
        record(f"mean ‖{gradient}‖² <= ({letter})²", c**2, mean_square, 2),
    ]
    if constant is None:
        each = np.maximum.reduceat((objective.rows**2).sum(axis=1), objective.starts)
        statement = f"mean ‖{gradient}‖² <= mean of each datum's own {letter}²"
        out.append(record(statement, float(each.mean()), mean_square, 2))
    return tuple(out)


@reads_numbers
def prop_a2(problem: Problem, theta: ArrayLike, *, lam: float | Sequence[float]) -> Record:
    """Compute both sides of Proposition A.2: the Hessian of f_Mix,λ has no negative eigenvalue.

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
        scale=1.0,  # the trace
    )


def relative_eigenvalues(hessians: Array) -> Array:
    """Compute (...) the minimum eigenvalue over the trace; 0 where the matrix is zero."""
    scale = np.abs(hessians).max(axis=(-2, -1))
    unit = hessians / np.where(scale > 0, scale, 1.0)[..., None, None]  # LAPACK squares: denormals would vanish
    trace = np.abs(np.trace(unit, axis1=-2, axis2=-1))
    out: Array = np.linalg.eigvalsh(unit)[..., 0] / np.where(trace > 0, trace, 1.0)
    return out


def eigenvalue_tolerance(dim: int, summands: int) -> float:
    """Bound the rounding of the minimum eigenvalue of a positive semidefinite matrix, over its trace.

    The matrix is a sum of w ΔΔᵀ, w >= 0: an entry is off by (summands + 5) u Σ w|Δ_i||Δ_j|, a matrix of norm at most
    the trace. The symmetric eigensolver is backward stable: off by at most 10 d u times the norm, which is at most the
    trace.
    """
    return (summands + 5 + 10 * dim) * _U
