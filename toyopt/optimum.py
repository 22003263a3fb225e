"""Optima: of one objective, of a mixture, the ideal point and the Pareto front, also where an infimum is not attained.

Softmax objectives often have no minimiser: their value falls for ever along some direction. Each is a mean of
`log(1 + Σ exp(a_rᵀ(theta - o)))`, so whether that happens is a question about the rows alone. The infimum is
attained unless some u has `a_rᵀu <= 0` for all rows and `< 0` for one. A linear program finds the u that makes the
most rows fall; along it exactly these rows vanish, and the infimum of the rest is attained (docs/theory.md, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toyopt import _check
from toyopt._check import Array
from toyopt.examples import LowerBound
from toyopt.problem import Objective, Problem

# Below this gradient norm, in units of the largest row, the value is within rounding of the optimum for any
# curvature that is not itself below 1e-9.
_STATIONARY = 1e-10
_ROUNDING = 2.0**-51  # of a row that is scaled to length 1, in each coordinate


@dataclass(frozen=True, eq=False)
class Optimum:
    """The infimum of a mixture and, where there is one, a minimiser.

    value      the infimum of `Σ_i w_i f_i + (weight_decay/2) ‖theta‖²`
    attained   whether some theta has it
    theta      (d,) the minimiser nearest to `near`; None if it is not attained
    direction  (d,) unit vector along which the value falls to the infimum; None if it is attained
    values     (n,) every objective there, or its limit along the direction (inf where it grows)
    grad_norm  the residual gradient's norm
    converged  whether the gradient is small beside the rows' size, and the rows that fall are proven to be so, up to
               rounding: see `recession`. Without it no field but `grad_norm` is to be relied on
    """

    value: float
    attained: bool
    theta: Array | None
    direction: Array | None
    values: Array
    grad_norm: float
    converged: bool


def minimise(
    problem: Problem,
    lam: float | Sequence[float],
    *,
    weight_decay: float = 0.0,
    near: ArrayLike | None = None,
) -> Optimum:
    """Compute the infimum of `f_Mix,λ` (eq. (6)), with `(weight_decay/2)‖theta‖²` added if asked.

    lam           λ in [0, 1] (1: DPO alone), or one weight an objective
    weight_decay  >= 0; if positive, a minimiser exists and is unique
    near          (d,) picks a minimiser where there are many; default the origin

    Raises ValueError or TypeError naming the argument. Never raises on slow convergence: see `converged`.
    """
    weights = np.array(_check.weights("lam", lam, len(problem)))
    weight_decay = _check.real("weight_decay", weight_decay, low=0.0)
    start = np.zeros(problem.dim) if near is None else np.array(_check.theta("near", near, problem.dim))
    active = [(w, o) for w, o in zip(weights, problem.objectives, strict=True) if w > 0.0]
    direction, proven = None, True
    if weight_decay == 0.0:
        direction, proven = recession(np.concatenate([o.rows for _, o in active]))
        if direction is not None:
            active = [part for w, o in active for part in without_falling(w, o, direction)]
    theta, grad_norm = _solve(active, weight_decay, start)
    scale = max((_lengths(o.rows).max() for _, o in active), default=0.0)
    return Optimum(
        value=weighted_value(active, weight_decay, theta),
        attained=direction is None,
        theta=theta if direction is None else None,
        direction=direction,
        values=np.array([_limit(o, theta, direction) for o in problem.objectives]),
        grad_norm=grad_norm,
        converged=proven and bool(grad_norm <= _STATIONARY * scale),
    )


def ideal_point(problem: Problem) -> Array:
    """Return every objective's own infimum, (n,), which no single theta need have."""
    n = len(problem)
    return np.array([minimise(problem, tuple(np.eye(n)[i])).value for i in range(n)])


@dataclass(frozen=True, eq=False)
class ParetoFront:
    """The optima of `f_Mix,λ` along λ.

    For 0 < λ < 1 each that is attained is Pareto optimal. Where one is not attained, `values` are limits along a
    direction: no theta has them, and none need be Pareto optimal (on Table 3 each is dominated).
    """

    lam: Array  # (m,) or (m, n)
    theta: Array  # (m, d), NaN where not attained
    values: Array  # (m, n)
    attained: NDArray[np.bool_]  # (m,)


def pareto_front(problem: Problem, lams: Sequence[float] | Array) -> ParetoFront:
    """Compute the whole front by scalarisation, since the objectives are convex (Prop. A.2).

    At λ = 0 or 1 one objective does not count: there the other's value is that of the minimiser nearest to the
    origin, which is only weakly Pareto optimal if there are several.
    """
    lams = np.asarray(lams, dtype=np.float64)
    if lams.size == 0:
        raise ValueError("lams: is empty, one λ at least is needed")
    optima = [minimise(problem, lam) for lam in lams]
    nothing = np.full(problem.dim, np.nan)
    return ParetoFront(
        lam=lams,
        theta=np.stack([nothing if o.theta is None else o.theta for o in optima]),
        values=np.stack([o.values for o in optima]),
        attained=np.array([o.attained for o in optima]),
    )


def lower_bound_minimiser(family: LowerBound, lam: float) -> float:
    """Return theta*_λ of f_Mix,λ on the family of Theorem 3.3, in closed form, for λ in (0, 1).

    With K = e^{c theta_ref}, z = e^{c theta*} is the positive root of (1-λ)z² + (1-2λ)Kz - λK = 0. Computed from
    the logarithm of the root of the pair that does not cancel.
    """
    lam = _check.real("lam", lam)
    if not 0.0 < lam < 1.0:
        raise ValueError(f"lam: must be in (0, 1) for a minimiser to exist, got {lam!r}")
    log_k = family.c * family.theta_ref
    if abs(log_k) > 700:
        raise ValueError(f"family: |c theta_ref| must be at most 700, got {abs(log_k):g}")
    b = 1.0 - 2.0 * lam
    root = math.sqrt(b * b + 4.0 * lam * (1.0 - lam) * math.exp(-log_k))
    log_z = math.log(2.0 * lam / (b + root)) if b >= 0.0 else log_k + math.log((root - b) / (2.0 * (1.0 - lam)))
    return log_z / family.c


def _lengths(rows: Array) -> Array:
    return np.asarray(np.linalg.norm(rows, axis=1))


def falling_direction(rows: Array) -> Array | None:
    """Return the direction of `recession`: a unit u with rows·u <= 0, or None."""
    return recession(rows)[0]


def recession(rows: Array) -> tuple[Array | None, bool]:
    """Find a unit u with rows·u <= 0 that makes as many rows as possible fall, None if none can, and test it.

    The linear program is solved to 1e-7, so that it takes an angle of 1e-9 between two rows for none. Two facts
    prove its answer up to rounding: the rows that do not fall are orthogonal to a u along which the others fall, and
    positive weights cancel them (Stiemke's alternative), so that no direction makes one of them fall.

    rows     (m, d)
    Returns  (d,) u or None, and whether both facts hold of it
    """
    rows = np.ascontiguousarray(rows, dtype=np.float64)
    u, proven = _recession(rows.tobytes(), rows.shape[1])
    return None if u is None else u.copy(), proven


@lru_cache(maxsize=1024)
def _recession(content: bytes, dim: int) -> tuple[Array | None, bool]:
    """Compute the answer of `recession`, once for the same rows: a front asks for them at every λ."""
    from scipy.optimize import linprog

    rows = np.frombuffer(content).reshape(-1, dim)
    norms = _lengths(rows)
    unit = rows[norms > 0.0] / norms[norms > 0.0, None]
    m, d = unit.shape
    # max Σ s over unit·u + s <= 0, 0 <= s <= 1: the u with a_rᵀu <= 0 are a cone, so at the optimum every s is 0 or 1.
    answer = linprog(
        np.concatenate([np.zeros(d), -np.ones(m)]),
        A_ub=np.hstack([unit, np.eye(m)]),
        b_ub=np.zeros(m),
        bounds=[(None, None)] * d + [(0.0, 1.0)] * m,
    )
    if answer.status != 0:
        raise RuntimeError(f"the linear program for the recession directions failed: {answer.message}")
    weights = -np.asarray(answer.ineqlin.marginals)  # at least 1 for a row that does not fall, 0 for others
    if -answer.fun < 0.5:
        return None, _cancel(unit, weights)
    u = np.asarray(answer.x[:d])
    u = np.asarray(u / np.linalg.norm(u))
    falls = _falls(unit, u)
    across = _orthogonal(unit[~falls], u)
    length = float(np.linalg.norm(across))
    proven = length > 0.5 and bool(_falls(unit[falls], across / length).all())
    return u, proven and _cancel(unit[~falls], weights[~falls])


def _cancel(unit: Array, weights: Array) -> bool:
    """Return whether positive weights near these make the sum of the rows 0."""
    return bool((_orthogonal(unit.T, weights) > 0.5 * weights).all())  # a half: more than rounding of 0


def _orthogonal(rows: Array, vector: Array) -> Array:
    """Return the part of a vector that is orthogonal to all rows; a row of rounding's size is none."""
    if rows.size == 0:
        return vector
    _, sizes, right = np.linalg.svd(rows, full_matrices=False)
    basis = right[sizes > max(rows.shape) * _ROUNDING * sizes[0]]
    return np.asarray(vector - basis.T @ (basis @ vector))


def _falls(rows: Array, direction: Array) -> NDArray[np.bool_]:
    # The program puts rows that fall at -1 or less before u is scaled to length 1; 1e-9 is its own tolerance.
    return np.asarray(rows @ direction < -1e-9 * _lengths(rows))


def without_falling(weight: float, objective: Objective, direction: Array) -> list[tuple[float, Objective]]:
    """Return the limit of an objective along the direction, as a weight and an objective; nothing if the limit is 0."""
    stays = ~_falls(objective.rows, direction)
    counts = np.add.reduceat(stays.astype(np.int64), objective.starts)
    if not stays.any():
        return []
    kept = Objective(objective.name, objective.rows[stays], counts[counts > 0], objective.origin)
    return [(weight * kept.size / objective.size, kept)]


def _limit(objective: Objective, theta: Array, direction: Array | None) -> float:
    """Return the objective at theta, or its limit along the direction from there."""
    if direction is None:
        return float(objective.value(theta))
    if _falls(objective.rows, -direction).any():  # it grows
        return math.inf
    return weighted_value(without_falling(1.0, objective, direction), 0.0, theta)


def weighted_value(parts: list[tuple[float, Objective]], weight_decay: float, theta: Array) -> float:
    """Return `Σ w f(theta) + (weight_decay/2) ‖theta‖²` over weights and objectives; 0 where there are none."""
    return float(sum(w * o.value(theta) for w, o in parts)) + weight_decay / 2 * float(theta @ theta)


def _solve(active: list[tuple[float, Objective]], weight_decay: float, start: Array) -> tuple[Array, float]:
    """Minimise the weighted sum where a minimiser exists: the one nearest to `start`, and the residual gradient."""
    from scipy.optimize import minimize, root

    if not active:
        return start, 0.0
    if weight_decay > 0.0:
        basis = np.eye(len(start))
    else:  # only the span of the rows matters; nothing moves across it
        _, sizes, right = np.linalg.svd(np.concatenate([o.rows for _, o in active]), full_matrices=False)
        basis = right[sizes > 1e-12 * sizes[0]].T
    if basis.shape[1] == 0:
        return start, 0.0

    def value(y: Array) -> float:
        return weighted_value(active, weight_decay, start + basis @ y)

    def grad(y: Array) -> Array:
        theta = start + basis @ y
        total = sum((w * o.grad(theta) for w, o in active), weight_decay * theta)
        return np.asarray(basis.T @ total)

    def hess(y: Array) -> Array:
        theta = start + basis @ y
        total = sum((w * o.hess(theta) for w, o in active), weight_decay * np.eye(len(start)))
        return np.asarray(basis.T @ total @ basis)

    y = np.zeros(basis.shape[1])
    y = minimize(value, y, jac=grad, hess=hess, method="trust-exact", options={"gtol": 1e-9, "maxiter": 5_000}).x
    # Where values no longer distinguish iterates, gradients still do.
    polished = root(grad, y, jac=hess, options={"xtol": 1e-15}).x
    if np.linalg.norm(grad(polished)) < np.linalg.norm(grad(y)):
        y = polished
    return start + basis @ y, float(np.linalg.norm(grad(y)))
