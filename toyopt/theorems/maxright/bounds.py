"""The bounds for MAXRIGHT as formulas: claims M, M-last, M-stale and M-opt of docs/theory.md, part M, terms separately.

Throughout: n >= 2 convex objectives with (sub)gradients of norm at most C_i, positive weights λ_i, any constants f_i*,
`F = max_i λ_i (f_i - f_i*)`, C = max_i C_i, λ̄ = max_i λ_i, D the distance of the start from a comparator theta*, T
iterates theta_1 .. theta_T and T-1 updates. None of these formulas is in arXiv 2410.15483, which leaves MAXRIGHT
without a guarantee. Every bound is one of `F(...) - F(theta*)` and is the sum of the terms returned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt.minimax import positive_weights
from toyopt.theorems.alright.last_iterate import exact_bound, harmonic


def constants(lam: float | Sequence[float], grad_bounds: ArrayLike) -> tuple[Array, Array]:
    """Return (n,) weights and (n,) C_i, checked."""
    bounds = _check.array("grad_bounds", grad_bounds, 1)
    if len(bounds) < 2:
        raise ValueError(f"grad_bounds: one an objective is needed, two at least, got {bounds.tolist()}")
    if bounds.min() < 0.0:
        raise ValueError(f"grad_bounds: must be at least 0, got {bounds.min()!r}")
    return positive_weights(lam, len(bounds)), bounds


def best_terms(
    lam: float | Sequence[float], grad_bounds: ArrayLike, *, distance: float, alpha0: float, T: int
) -> dict[str, float]:
    """Compute M for the best iterate: each weight is paired with the gradient bound of its own objective.

    Problem     as in the module's docstring; full gradients; constant step α = alpha0/√T
    Statement   min_t F(theta_t) - F(theta*) <= max_i λ_i (D²/(2 α0) + α0 C_i²/2) / √T
    Kind        upper, and attained in the limit (docs/theory.md, M3)
    Source      beyond the paper, docs/theory.md, M2

    lam, grad_bounds  the weights λ and (n,) the C_i
    distance          D = ‖theta_1 - theta*‖
    alpha0, T         the step is alpha0/√T; T >= 1 iterates

    Returns     {"distance", "steps"}
    Raises      ValueError or TypeError naming the argument
    """
    weights, bounds = constants(lam, grad_bounds)
    distance, alpha0, T = _run(distance, alpha0, T)
    far = weights * distance**2 / (2.0 * alpha0 * math.sqrt(T))
    noise = weights * alpha0 * bounds**2 / (2.0 * math.sqrt(T))
    worst = int(np.argmax(far + noise))
    return {"distance": float(far[worst]), "steps": float(noise[worst])}


def average_terms(
    lam: float | Sequence[float], grad_bounds: ArrayLike, *, distance: float, alpha0: float, T: int
) -> dict[str, float]:
    """Compute M for the average iterate, and for stochastic steps also for the best iterate.

    Problem     as in the module's docstring; E‖g_t‖² <= C_i² given the past suffices; constant step α = alpha0/√T
    Statement   F(mean of theta_1 .. theta_T) - F(theta*) <= mean_t F(theta_t) - F(theta*)
                <= λ̄ (D²/(2 α0) + α0 C²/2) / √T, in expectation if the steps are stochastic, for any comparator
    Kind        upper; the second term is attained in the limit (docs/theory.md, M3)
    Source      beyond the paper, docs/theory.md, M2

    lam, grad_bounds, distance, alpha0, T  as for `best_terms`

    Returns     {"distance", "steps"}
    Raises      ValueError or TypeError naming the argument
    """
    weights, bounds = constants(lam, grad_bounds)
    distance, alpha0, T = _run(distance, alpha0, T)
    heavy, steep = float(weights.max()), float(bounds.max())
    return {
        "distance": heavy * distance**2 / (2.0 * alpha0 * math.sqrt(T)),
        "steps": heavy * alpha0 * steep**2 / (2.0 * math.sqrt(T)),
    }


def last_terms(
    lam: float | Sequence[float], grad_bounds: ArrayLike, *, distance: float, alpha0: float, T: int
) -> dict[str, float]:
    """Compute M-last: the last iterate for any λ in (0, 1), without a factor max λ_i / min λ_i.

    Problem     as for `average_terms`
    Statement   E F(theta_T) - F(theta*) <= (λ̄/√T) (D²/(2 α0) + (α0 C²/2)(1 + H_{T-1})), H the harmonic number
    Kind        upper; `last_exact_terms` is sharper, and cannot be improved
    Source      beyond the paper, docs/theory.md, M4

    lam, grad_bounds, distance, alpha0, T  as for `best_terms`

    Returns     {"distance", "steps", "log"}; "log" is the term with H_{T-1}
    Raises      ValueError or TypeError naming the argument
    """
    terms = average_terms(lam, grad_bounds, distance=distance, alpha0=alpha0, T=T)
    return terms | {"log": terms["steps"] * harmonic(T - 1)}


def last_exact_terms(
    lam: float | Sequence[float], grad_bounds: ArrayLike, *, distance: float, alphas: ArrayLike
) -> dict[str, float]:
    """Compute M-last at its sharpest, for any positive steps: λ̄ times the subgradient method's exact worst case.

    Problem     as for `average_terms`, but with any α_1 .. α_{T-1} > 0
    Statement   E F(theta_T) - F(theta*) <= λ̄ E(α, D, C), E from `toyopt.theorems.last_iterate.exact_bound`.
                For the constant step it is at most λ̄ (D²/(2 α0 √T (2 - 1/T)) + (1 + O_{T-1}) C² α0/(2√T)), O_n = 1 +
                1/3 + .. + 1/(2n-1); for α_t = (D/(C√T))(1 - t/T) it is λ̄ D C/√T, without a logarithm
    Kind        upper, and attained in the limit if the heaviest objective has the largest C_i: tight in every argument
    Source      beyond the paper, docs/theory.md, M4; for one objective arXiv 2307.11134

    lam, grad_bounds  as for `best_terms`; one C_i at least is positive
    distance          D >= 0
    alphas            (T-1,) the step sizes of the T-1 updates

    Returns     {"distance", "steps"}
    Raises      ValueError or TypeError naming the argument
    """
    weights, bounds = constants(lam, grad_bounds)
    distance = _check.real("distance", distance, low=0.0)
    steep = _check.real("grad_bounds", float(bounds.max()), above=0.0)
    terms = exact_bound(alphas, distance, steep)
    heavy = float(weights.max())
    return {"distance": heavy * terms["distance"], "steps": heavy * terms["noise"]}


def scaled_terms(lam: float | Sequence[float], grad_bounds: ArrayLike, *, distance: float, T: int) -> dict[str, float]:
    """Compute M-scaled: steps multiplied by λ_i are the subgradient method on F; no logarithm for linear decay.

    Problem     as for `average_terms`; theta_{t+1} = theta_t - α_t λ_i g_t with α_t = (D/(L√T))(1 - t/T),
                L = max_i λ_i C_i
    Statement   E F(theta_T) - F(theta*) <= D L / √T
    Kind        upper; at most the best that tuning α0 gives for unscaled steps, since L <= λ̄ C
    Source      beyond the paper, docs/theory.md, M5, after arXiv 2310.07831, Theorem 1

    lam, grad_bounds, distance, T  as for `best_terms`

    Returns     {"distance", "steps"}, two equal terms D L/(2√T)
    Raises      ValueError or TypeError naming the argument
    """
    weights, bounds = constants(lam, grad_bounds)
    half = _check.real("distance", distance, low=0.0) * float((weights * bounds).max()) / 2.0
    half /= math.sqrt(_check.whole("T", T, low=1))
    return {"distance": half, "steps": half}


@dataclass(frozen=True)
class Staleness:
    """Bounds of the cost of stale gaps: see `staleness`.

    worst  on the best iterate, if every step is taken to have the oldest gaps of its period
    mean   on the mean of F(theta_t), hence on the average and the best iterate
    last   on the last iterate
    """

    worst: float
    mean: float
    last: float


def staleness(lam: float | Sequence[float], grad_bounds: ArrayLike, *, alpha: float, k: int, T: int) -> Staleness:
    """Compute M-stale: the loss of memory-efficient MAXRIGHT (eq. (18), (19)) by gaps up to k-1 steps old.

    Problem     as in the module's docstring, with ‖g_t‖ <= C_i surely and exact gaps; constant step α
    Statement   the j-th step after a max evaluation (j = 0 .. k-1) steps on an objective whose weighted gap is at
                least F(theta_t) - e(j), with e(0) = 0 and, L_1 >= L_2 the two largest λ_i C_i, for j >= 1
                    n = 2:  e(j) = α C (L_1 j + L_2)        n > 2:  e(j) = α C (L_1 + L_2) j .
                Put  n = 2:  d(j) = e(j) + α C (λ̄ - λ_) C_ j,  C_ of the lighter weight λ_;  n > 2:  d = (λ̄/λ_) e.
                The bounds of M and M-last then grow by at most
                    best   min( max_j e(j) on `best_terms`, mean d on `average_terms` )
                    mean   (1/T) Σ_{t=1..T} d((t-1) mod k)
                    last   min over κ = 1 .. T of  α C L_1 (κ-1)/2 + Σ_{m=0..T-1} d((T-m-1) mod k) / max(m+1, κ)
    Kind        upper. For n = 2 no ratio λ̄/λ_ enters, and `worst` is at most α C max_i λ_i C_i k
    Source      beyond the paper, docs/theory.md, M6

    lam, grad_bounds  as for `best_terms`
    alpha             the step size itself, alpha0/√T
    k, T              k >= 1 (1: nothing is stale, all three are 0), T >= 1

    Returns     Staleness(worst, mean, last)
    Raises      ValueError or TypeError naming the argument
    """
    weights, bounds = constants(lam, grad_bounds)
    alpha = _check.real("alpha", alpha, above=0.0)
    k, T = _check.whole("k", k, low=1), _check.whole("T", T, low=1)
    steep, slopes = float(bounds.max()), np.sort(weights * bounds)[::-1]
    j = np.arange(min(k, T), dtype=np.float64)
    if len(weights) == 2:
        light = int(np.argmin(weights))
        error = np.where(j > 0, alpha * steep * (slopes[0] * j + slopes[1]), 0.0)
        drift = error + alpha * steep * (weights.max() - weights.min()) * bounds[light] * j
    else:
        error = alpha * steep * (slopes[0] + slopes[1]) * j
        drift = error * weights.max() / weights.min()
    every = drift[np.arange(T) % k]  # d at t = 1 .. T
    m = np.arange(1.0, T + 1.0)
    near = np.cumsum(every[::-1])  # near[κ-1]: of the last κ iterates
    far = np.append(np.cumsum((every[::-1] / m)[::-1])[::-1], 0.0)[1:]  # far[κ-1]: of those before
    last = alpha * steep * slopes[0] * (m - 1.0) / 2.0 + near / m + far
    return Staleness(float(error.max()), math.fsum(every) / T, float(last.min()))


def optimum_error_terms(lam: float | Sequence[float], errors: ArrayLike) -> dict[str, float]:
    """Compute M-opt: the cost of wrong optima, the spread of their weighted errors.

    Problem     any objectives; F with f_i*, and F^ with f_i* + e_i in its place
    Statement   F(theta) - F(theta') <= F^(theta) - F^(theta') + max_i λ_i e_i - min_i λ_i e_i for all theta, theta';
                so a minimiser of F^ has F at most that spread above inf F
    Kind        upper, attained in the limit; at most 2 max_i λ_i |e_i|, and half of that for errors of one sign
    Source      beyond the paper, docs/theory.md, M7

    lam, errors  the weights and (n,) the e_i = estimate - truth

    Returns     {"over": max_i λ_i e_i, "under": -min_i λ_i e_i}
    Raises      ValueError or TypeError naming the argument
    """
    off = _check.array("errors", errors, 1)
    weighted = positive_weights(lam, len(off)) * off
    return {"over": float(weighted.max()), "under": -float(weighted.min())}


def _run(distance: float, alpha0: float, T: int) -> tuple[float, float, int]:
    return (
        _check.real("distance", distance, low=0.0),
        _check.real("alpha0", alpha0, above=0.0),
        _check.whole("T", T, low=1),
    )
