"""Problem (15): minimise the largest weighted gap, `F(theta) = max_i w_i (f_i(theta) - f_i*)`, with a certificate.

By duality (convex in theta, linear in v on a compact simplex) `inf F = max_v inf_theta Σ_i v_i w_i (f_i - f_i*)`, so a
pair (theta, v) bounds the infimum from both sides: the certificate is the difference. The pair comes from SLSQP on the
epigraph (min t with every gap at most t) and is then polished by the KKT equations of the gaps that are equal to t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toyopt import _check
from toyopt._check import Array
from toyopt.optimum import falling_direction, minimise, weighted_value, without_falling
from toyopt.problem import Objective, Problem

# Between the certificate's two sides, relative to the values that are subtracted: each is a sum of a few rounded
# terms (some 1e-15), and a mixture's minimiser is found to a gradient of 1e-10, whose square moves its value.
_CLOSED = 1e-9


@dataclass(frozen=True, eq=False)
class WorstOptimum:
    """The infimum of F, eq. (15), and where there is one a minimiser.

    value        the infimum: `upper` if attained, else `lower`
    attained     whether some theta has it
    theta        (d,) a minimiser, or None
    direction    (d,) unit vector along which F falls to its infimum, or None
    values       (n,) every f_i (without weight decay) at theta, or its limit along the direction
    multipliers  (n,) v on the simplex: Σ_i v_i w_i grad f_i = 0 at theta
    lower        inf over theta of Σ_i v_i w_i (f_i - f_i*): no theta has a smaller F
    upper        F at theta, or its limit
    f_star       (n,) the subtracted values
    """

    value: float
    attained: bool
    theta: Array | None
    direction: Array | None
    values: Array
    multipliers: Array
    lower: float
    upper: float
    f_star: Array
    converged: bool

    @property
    def gap(self) -> float:
        """The certificate: the infimum lies in [lower, upper], up to the accuracy of `minimise` (1e-9 at worst)."""
        return self.upper - self.lower


def positive_weights(lam: float | Sequence[float], n: int) -> Array:
    """Return λ as weights that are all positive, (n,). Raises ValueError naming lam otherwise."""
    weights = _check.weights("lam", lam, n)
    if min(weights) <= 0.0:
        raise ValueError(f"lam: every weight must be positive (λ in (0, 1)), got {lam!r}")
    return np.array(weights)


def worst_gap(problem: Problem, lam: float | Sequence[float], f_star: ArrayLike, theta: ArrayLike) -> Array:
    """Return F(theta) = max_i w_i (f_i(theta) - f_star_i), (...), eq. (15), at theta of shape (..., d)."""
    weights = positive_weights(lam, len(problem))
    out: Array = (weights * (problem.values(theta) - optima("f_star", f_star, len(problem)))).max(axis=-1)
    return out


def optima(name: str, f_star: ArrayLike, n: int) -> Array:
    """Return `f_star` as an array, (n,); ValueError, with the argument's `name`, for another shape."""
    out = _check.array(name, f_star, 1)
    if len(out) != n:
        raise ValueError(f"{name}: {n} optima are needed, one an objective, got {len(out)}")
    return out


def minimise_worst(
    problem: Problem,
    lam: float | Sequence[float],
    f_star: ArrayLike | None = None,
    *,
    weight_decay: float = 0.0,
    near: ArrayLike | None = None,
) -> WorstOptimum:
    """Compute the infimum of F, problem (15) of arXiv 2410.15483v3, certified from both sides.

    lam           λ in (0, 1), or one positive weight an objective
    f_star        (n,) the value that is subtracted from each objective; None: its infimum (with its weight decay)
    weight_decay  >= 0; `(weight_decay/2)‖theta‖²` is added to every objective
    near          (d,) picks a minimiser where there are many; default the origin

    Raises ValueError or TypeError naming the argument. Never raises on slow convergence: see `converged`, `gap`.
    """
    n = len(problem)
    weights = positive_weights(lam, n)
    weight_decay = _check.real("weight_decay", weight_decay, low=0.0)
    start = np.zeros(problem.dim) if near is None else np.array(_check.theta("near", near, problem.dim))
    if f_star is None:
        f_star = [minimise(problem, tuple(np.eye(n)[i]), weight_decay=weight_decay).value for i in range(n)]
    dual = _Dual(problem, weights, optima("f_star", f_star, n), weight_decay)
    optimum = _epigraph(dual, start)
    mixed = None if optimum.converged else minimise(problem, lam, weight_decay=weight_decay, near=start).theta
    return optimum if mixed is None else min(optimum, _epigraph(dual, mixed), key=lambda one: abs(one.gap))


@dataclass(eq=False)
class _Dual:
    """The dual function inf_theta Σ_i v_i w_i (f_i - f_i*), and the gaps at a theta."""

    problem: Problem
    weights: Array
    f_star: Array
    weight_decay: float

    def value(self, v: Array) -> tuple[float, bool]:
        """Return the dual function at v, and whether its solver has converged."""
        share = v * self.weights
        optimum = minimise(self.problem, (share / share.sum()).tolist(), weight_decay=self.weight_decay)
        return float(share.sum()) * optimum.value - float(share @ self.f_star), optimum.converged

    def gaps(self, values: Array, theta: Array) -> Array:
        """Return the weighted gaps, (n,), at theta, where the objectives have these values without weight decay."""
        return self.weights * (values + self.weight_decay / 2 * float(theta @ theta) - self.f_star)

    def closed(self, gap: float, values: Array) -> bool:
        """Return whether a gap is within the rounding of the values that are subtracted."""
        return abs(gap) <= _CLOSED * (1.0 + float(np.abs(values).max()) + float(np.abs(self.f_star).max()))


def _epigraph(dual: _Dual, start: Array) -> WorstOptimum:
    """Minimise t subject to every weighted gap <= t, of the parts that do not fall for ever."""
    problem = dual.problem
    direction = (
        None if dual.weight_decay > 0.0 else falling_direction(np.concatenate([o.rows for o in problem.objectives]))
    )
    parts = [[(1.0, o)] if direction is None else without_falling(1.0, o, direction) for o in problem.objectives]
    theta, v = _kkt(dual, parts, start)
    v = np.where(v > 1e-12, v, 0.0)  # less is rounding
    v = v / v.sum()
    values = np.array([weighted_value(part, 0.0, theta) for part in parts])
    upper = float(dual.gaps(values, theta).max())
    lower, known = dual.value(v)
    if direction is not None:
        far = _far_enough(dual, theta, direction, v, upper)
        if far is not None:
            theta, direction, values = far, None, problem.values(far)
            upper = float(dual.gaps(values, theta).max())
    return WorstOptimum(
        value=upper if direction is None else lower,
        attained=direction is None,
        theta=theta if direction is None else None,
        direction=direction,
        values=values,
        multipliers=v,
        lower=lower,
        upper=upper,
        f_star=dual.f_star,
        converged=known and dual.closed(upper - lower, values),
    )


def _far_enough(dual: _Dual, theta: Array, direction: Array, v: Array, level: float) -> Array | None:
    """Return a point on the ray where F has its infimum, or None.

    Such a point exists if the objectives with multipliers do not fall along the ray: their values stay, and the other
    objectives, whose limits are below the level, reach the level at a finite length.
    """
    support = [o.rows for o, share in zip(dual.problem.objectives, v, strict=True) if share > 0.0]
    if falling_direction(np.concatenate(support)) is not None:
        return None
    for exponent in range(60):
        far = theta + 2.0**exponent * direction
        gaps = dual.gaps(dual.problem.values(far), far)
        if dual.closed(gaps.max() - level, dual.problem.values(far)) and (gaps[v == 0.0] < gaps.max()).all():
            return np.asarray(far)
    return None


def _kkt(dual: _Dual, parts: list[list[tuple[float, Objective]]], start: Array) -> tuple[Array, Array]:
    """Return (theta, v): SLSQP's solution of the epigraph, then the KKT equations of its active objectives."""
    from scipy.optimize import minimize, root

    n, d, decay = len(parts), dual.problem.dim, dual.weight_decay

    # In units in which the longest row is about 1: the solvers' first steps and tolerances are absolute.
    unit = max(float(np.abs(o.rows).max()) for o in dual.problem.objectives) or 1.0

    def gaps(y: Array) -> Array:
        return dual.gaps(np.array([weighted_value(part, 0.0, y / unit) for part in parts]), y / unit)

    def grads(y: Array) -> Array:
        rows = [sum((w * o.grad(y / unit) for w, o in part), decay * y / unit) for part in parts]
        return dual.weights[:, None] * np.stack(rows) / unit

    y = unit * start
    answer = minimize(
        lambda x: x[-1],
        np.append(y, gaps(y).max()),
        jac=lambda _: np.append(np.zeros(d), 1.0),
        constraints={
            "type": "ineq",
            "fun": lambda x: x[-1] - gaps(x[:-1]),
            "jac": lambda x: np.column_stack([-grads(x[:-1]), np.ones(n)]),
        },
        options={"ftol": 1e-15},  # of SLSQP, the default where there are constraints
    )
    y = np.asarray(answer.x[:-1])
    level = gaps(y)
    near = _multipliers(grads(y), level)
    active = np.flatnonzero(level >= level.max() - 1e-5 * (1.0 + abs(level.max())))
    equations = partial(_equations, gaps=gaps, grads=grads, active=active, d=d)
    polished = root(equations, np.concatenate([y, [level.max()], near[active]]), method="lm").x
    v = np.zeros(n)
    v[active] = polished[d + 1 :]
    better = gaps(polished[:d]).max() <= level.max() + 1e-13 and v.min() >= -1e-12
    return (polished[:d] / unit, v) if better else (y / unit, near)


def _equations(
    x: Array, *, gaps: Callable[[Array], Array], grads: Callable[[Array], Array], active: NDArray[np.intp], d: int
) -> Array:
    """Return the residuals of Σ v_i w_i grad f_i = 0, of active gaps equal to t, and of Σ v_i = 1."""
    theta, t, v = x[:d], x[d], x[d + 1 :]
    return np.concatenate([v @ grads(theta)[active], gaps(theta)[active] - t, [v.sum() - 1.0]])


def _multipliers(grads: Array, gaps: Array) -> Array:
    """Return v on the simplex, (n,), that makes Σ v_i grad_i shortest, over the objectives near the largest gap."""
    from scipy.optimize import nnls

    near = gaps >= gaps.max() - 1e-5 * (1.0 + abs(gaps.max()))
    scale = max(float(np.abs(grads).max()), 1e-300)
    rows = np.vstack([(grads[near] / scale).T, np.ones(near.sum())])
    solution, _ = nnls(rows, np.eye(len(rows))[-1])  # its scale is free, its ratios are those of the shortest
    v = np.zeros(len(gaps))
    v[near] = solution / solution.sum()
    return v
