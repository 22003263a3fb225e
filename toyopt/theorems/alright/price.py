"""The price of ALRIGHT's coin: the limit of √T E G(theta_T), and the distance from it at each T.

Steps alpha0/√T, an isolated minimiser theta* of f_Mix: √T E G(theta_T) -> (alpha0/4) Σ λ_i ‖∇f_i(theta*)‖², with an
error of O(1/√T) that is explicit. For two objectives the sum is λ(1-λ)‖∇f_DPO - ∇f_SFT‖². Proof: docs/theory.md, A10.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.algorithms import InverseRootHorizon
from toyopt.problem import Problem
from toyopt.progress import counted
from toyopt.record import Evidence, Record
from toyopt.theorems.alright.last_iterate import Terms
from toyopt.theorems.alright.local import LocalConstants
from toyopt.theorems.alright.thm_41 import LastIterate
from toyopt.theorems.lemmas import noise_level

RADII = 60  # radii r that the moment bounds are tried with; each is valid, the best is taken


def price_limit(local: LocalConstants, alpha0: float) -> float:
    """Compute the limit of √T E G(theta_T): (alpha0/4) Σ_j p_j ‖∇f_j(theta*)‖².

    Source: beyond the paper, docs/theory.md, A10. Arguments: local of the problem and λ; alpha0 > 0: steps alpha0/√T.
    Raises: ValueError or TypeError naming alpha0.
    """
    return _check.real("alpha0", alpha0, above=0.0) * local.noise / 4


def quadratic_gap(local: LocalConstants, theta_1: Array, alpha: float, T: int) -> float:
    """Compute E G(theta_T) where every f_j is replaced by its gradient at theta* and the common Hessian H.

    Statement: ½ x_1ᵀ A^{2(T-1)} H x_1 + (alpha/4) tr(C (I - alpha H/2)^{-1} (I - A^{2(T-1)})), A = I - alpha H, C the
        covariance of the drawn gradient at theta*.
    Source: beyond the paper, docs/theory.md, A10 (P.2). Arguments: theta_1 (d,); alpha > 0 with alpha ‖H‖ <= 1; T >= 1.
    """
    h, x = local.curvatures, local.axes.T @ (theta_1 - local.theta_star)
    variances = local.p @ (local.gradients @ local.axes) ** 2
    left = (1.0 - alpha * h) ** (2 * (T - 1))
    start = float(x**2 * left @ h) / 2
    return start + alpha / 4 * float((variances * (1.0 - left) / (1.0 - alpha * h / 2)).sum())


def quadratic_error(local: LocalConstants, theta_1: Array, alpha: float, T: int) -> Terms:
    """Bound |E G(theta_T) - quadratic_gap|, in O(T).

    Statement: docs/theory.md, A10, (P.3)-(P.5): moments of theta_t - theta* by an exponential potential, then the
        errors of the quadratic model, weighted by how much of them is left at T. Of the order alpha².
    Kind: upper. Source: beyond the paper, docs/theory.md, A10.
    Arguments: as `quadratic_gap`, and alpha L <= 1.
    Returns: {"drift", "noise", "value"}: of the mean step, of the noise's change around theta*, of G itself; NaN where
        the steps are too long for the moment bounds.
    """
    if alpha * local.L > 1.0:
        return dict.fromkeys(("drift", "noise", "value"), math.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = _errors(local, float(np.linalg.norm(theta_1 - local.theta_star)), alpha, T)
    sums = np.where(np.isfinite(parts.sum(axis=0)), parts.sum(axis=0), math.inf)
    best = parts[:, int(np.argmin(sums))] if np.isfinite(sums).any() else np.full(3, math.nan)
    return dict(zip(("drift", "noise", "value"), map(float, best), strict=True))


@dataclass(frozen=True, eq=False)
class Moments:
    """Upper bounds of moments of x = theta_t - theta*, (RADII,) one for each radius r of the potential.

    second, fourth  of E‖x‖², E‖x‖⁴; mean of ‖E x‖; third of ‖E x⊗x⊗x‖ (Frobenius)
    """

    second: Array
    fourth: Array
    mean: Array
    third: Array


def moment_bounds(local: LocalConstants, start: float, alpha: float, T: int) -> Iterator[Moments]:
    """Yield the bounds for t = 1 .. T, by the recursions (P.3) and (P.4).

    Kind: upper. Source: beyond the paper, docs/theory.md, A10.
    Arguments: start = ‖theta_1 - theta*‖; alpha > 0 with alpha L <= 1; T >= 1.
    """
    p, L = local.p, local.smooth
    c, C2, B = local.noise, float(p @ local.grad_bounds**2), float(local.grad_bounds.max())
    mu, M = float(local.curvatures[0]), float(p @ local.third)
    S, squares = float(p @ (L * np.linalg.norm(local.gradients, axis=1))), float(p @ L**2)
    r = np.geomspace(1e-3, 30.0, RADII) / local.width
    kappa, m = 2.0 / r, local.slope(r) / r
    grown, reach = np.exp(kappa * alpha * B), np.sinh(kappa * alpha * B)
    Z = (alpha * kappa) ** 2 * C2 * grown
    u = np.cosh(kappa * start) - 1.0
    v, b, tau = u**2, np.full_like(r, start), np.full_like(r, start**3)
    for t in range(T):
        m2, m4 = 2.0 * u / kappa**2, 4.0 * v / kappa**4
        yield Moments(m2, m4, b, tau)
        if t == T - 1:
            return
        b = (1 - alpha * mu) * b + alpha / 2 * M * m2
        tau = (1 - alpha * mu) ** 3 * tau + 1.5 * alpha * M * m4 + 2 * alpha**3 * B * C2
        tau += 3 * alpha**2 * (c * b + 2 * S * m2 + squares * np.sqrt(m2 * m4))
        spread = (alpha * kappa) ** 2 * C2 * (grown * np.sqrt(v + 2 * u) + reach) ** 2
        u, v = (
            np.maximum(1 - 2 * alpha * m + Z / 2, 0.0) * u + Z / 2,
            np.maximum(1 - 4 * alpha * m + Z, 0.0) * v + Z * u + spread,
        )


def _errors(local: LocalConstants, start: float, alpha: float, T: int) -> Array:
    """Compute (3, RADII) the terms of (P.5), of the mean step, the noise and the value, for each radius."""
    p, a, L = local.p, np.linalg.norm(local.gradients, axis=1), local.smooth
    S, bend = float(p @ (L * a)), float(p @ (a * local.third) + p @ L**2)
    h = np.unique(local.curvatures)
    left = (h / 2 * (1.0 - alpha * h) ** (2 * np.arange(T - 1)[:, None])).max(axis=1)  # q_s = ‖V_s‖
    out = np.zeros((3, RADII))
    both = zip([*left[::-1].tolist(), 0.0], moment_bounds(local, start, alpha, T), strict=True)
    for q, x in counted(both, T, "bounds of moments"):
        out[0] += q * alpha * (local.skew * x.third + local.fourth / 3 * x.fourth)
        out[1] += q * alpha**2 * (2 * S * x.mean + bend * x.second)
    out[2] = local.skew * x.third / 6 + local.fourth / 24 * x.fourth
    return out


@dataclass(frozen=True)
class Price:
    """√T E G(theta_T) of one setting with its interval, its limit, and the bound of their difference by terms.

    rounding  a bound of the floating point error of √T E G; `evidence` and `failure` are those of the interval
    """

    limit: float
    mean: float
    low: float
    high: float
    terms: Terms
    rounding: float
    evidence: Evidence
    failure: float

    @property
    def bound(self) -> float:
        """Bound of |√T E G - limit|; NaN where the steps are too long for it."""
        return math.fsum(self.terms.values())


@reads_numbers
def price_at(
    problem: Problem, *, lam: float | Sequence[float], alpha0: float, T: int, theta_1: ArrayLike, **options: Any
) -> Price:
    """Compute √T E G(theta_T) of ALRIGHT with steps alpha0/√T, its limit, and the bound of their difference.

    Source: beyond the paper, docs/theory.md, A10. Arguments, raises: as `alright_price`.
    """
    T, alpha0 = _check.whole("T", T, low=2), _check.real("alpha0", alpha0, above=0.0)
    start, schedule = _check.theta("theta_1", theta_1, problem.dim), InverseRootHorizon(alpha0, T)
    local = LocalConstants.of(problem, lam, stochastic=bool(options.get("stochastic", False)))
    options |= {"theta_1": start, "theta_star": local.theta_star}
    gap = LastIterate.of(problem, lam=lam, schedule=schedule, T=T, C=math.sqrt(noise_level(problem, lam)), **options)
    root, alpha, limit = math.sqrt(T), alpha0 / math.sqrt(T), price_limit(local, alpha0)
    terms = {name: root * value for name, value in quadratic_error(local, start, alpha, T).items()}
    terms["horizon"] = abs(root * quadratic_gap(local, start, alpha, T) - limit)
    # theta* is off by residual/mu at most to first order, and the limit then by alpha0/2 Σ p_j L_j ‖a_j‖ of that.
    moved = 2.0 * local.residual / float(local.curvatures[0])
    steep = float(local.p @ (local.smooth * np.linalg.norm(local.gradients, axis=1)))
    terms["solver"] = alpha0 / 2 * steep * moved
    e = gap.expectation
    low = min(max(e.low, 0.0), e.mean)  # no gap is negative
    return Price(limit, root * e.mean, root * low, root * e.high, terms, root * gap.tolerance, e.evidence, e.failure)


@reads_numbers
def alright_price(
    problem: Problem, *, lam: float | Sequence[float], alpha0: float, T: int, theta_1: ArrayLike, **options: Any
) -> Record:
    """Compare √T E G(theta_T) of ALRIGHT with its limit: a constant, without a logarithm and without D.

    Problem: softmax objectives; λ or weights such that f_Mix has an isolated minimiser theta*; steps alpha0/√T with
        alpha0 L/√T <= 1; full or stochastic gradients.
    Statement: |√T E G(theta_T) - (alpha0/4) Σ_i λ_i ‖∇f_i(theta*)‖²| <= √T (error of the quadratic model)
        + |√T (its gap) - the limit|, which is O(1/√T). With stochastic gradients the sum is over the data.
    Kind: upper. Source: beyond the paper, docs/theory.md, A10.
    Arguments: lam; alpha0 > 0; T >= 2 iterates; theta_1 (d,); options: stochastic, method, limit, nodes, runs, seed,
        failure of `expected_gap`.
    Returns: a Record, open where the steps are too long for the bound, or the interval of E G too wide; terms "drift",
        "noise", "value", "horizon" (of the quadratic model at T) and "solver" (of theta*).
    Raises: ValueError where f_Mix has no isolated minimiser; as `thm_41` otherwise.
    """
    price = price_at(problem, lam=lam, alpha0=alpha0, T=T, theta_1=theta_1, **options)
    ends = sorted(abs(end - price.limit) for end in (price.low, price.high))
    note = f"√T E G = {price.mean:.6g}, in [{price.low:.6g}, {price.high:.6g}]; its limit is {price.limit:.6g}"
    if math.isnan(price.bound):
        note += "; the steps are too long for the bound: take a larger T or a smaller alpha0"
    interval = (0.0 if price.low <= price.limit <= price.high else ends[0], ends[1])
    return Record(
        claim="A-price",
        statement="|√T E G_Mix,λ(θ_T) - (α0/4) Σ λ_i ‖∇f_i(θ*)‖²| <= an explicit O(1/√T)",
        kind="upper",
        bound=price.bound,
        attained=abs(price.mean - price.limit),
        source="beyond the paper, docs/theory.md, A10",
        evidence=price.evidence,
        terms=price.terms,
        tolerance=price.rounding,
        interval=interval if price.low < price.high else None,
        failure=price.failure,
        scale=max(price.limit, abs(price.mean)),
        note=note,
    )
