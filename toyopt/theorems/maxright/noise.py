"""Claim M-noise: MAXRIGHT that decides by estimated gaps, and the number of rows that a decision needs.

The errors e_i of the weighted gaps may depend on the past in any way, but not on the draw of the step's own gradient:
gaps are estimated on other rows than the step's. Proofs: docs/theory.md, M10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.algorithms import Controller, Maxright
from toyopt.minimax import worst_gap
from toyopt.progress import counted
from toyopt.record import Record
from toyopt.theorems.alright.last_iterate import weights_of_steps
from toyopt.theorems.maxright import bounds
from toyopt.theorems.maxright.setting import MaxrightSetting


@dataclass(frozen=True)
class NoiseCost:
    """Bounds of the cost of noisy gaps: see `noise_cost`.

    worst       on the best iterate, for full gradients
    mean        on the mean of F(theta_t), hence on the average and the best iterate
    last        on the last iterate, beside `last_terms`
    last_exact  on the last iterate, beside `last_exact_terms`
    """

    worst: float
    mean: float
    last: float
    last_exact: float


def noise_cost(
    lam: float | Sequence[float], grad_bounds: ArrayLike, *, distance: float, alpha: float, spread: ArrayLike
) -> NoiseCost:
    """Compute M-noise: the terms that errors of the gaps add to MAXRIGHT's guarantees.

    Problem     as in the docstring of `bounds`; at theta_t, t = 1 .. T-1, the step is on the objective with the largest
                λ_i (f_i - f_i*) + e_i; constant step α
    Statement   with δ_t >= E[max_i e_i - min_i e_i], at most 2 E max_i |e_i|, and d_t = (λ̄/λ_) δ_t, d_T = 0, the bounds
                of M and M-last grow by at most
                    best        min( max_t δ_t on `best_terms` if it holds surely and gradients are full, mean )
                    mean        (1/T) Σ_t d_t, on `average_terms`
                    last        min over κ = 1 .. T of  α C L_1 (κ-1)/2 + Σ_{m=0..T-1} d_{T-m} / max(m+1, κ)
                    last_exact  Σ_{t<T} d_t α/(α + b_{t+1}²), b the weights of `exact_bound`
    Kind        upper. Source: beyond the paper, docs/theory.md, M10

    lam, grad_bounds  the weights λ and (n,) the C_i, one at least positive
    distance          D = ‖theta_1 - theta*‖
    alpha             the step size itself, alpha0/√T
    spread            (T-1,) the δ_t >= 0 of the T-1 decisions

    Returns     NoiseCost
    Raises      ValueError or TypeError naming the argument
    """
    weights, steep = bounds.constants(lam, grad_bounds)
    D, alpha = _check.real("distance", distance, low=0.0), _check.real("alpha", alpha, above=0.0)
    delta = _check.array("spread", spread, 1)
    if len(delta) == 0 or delta.min() < 0.0:
        raise ValueError(f"spread: one number >= 0 a decision is needed, got {delta.tolist()}")
    C, slope = _check.real("grad_bounds", float(steep.max()), above=0.0), float((weights * steep).max())
    d = np.append(delta * (weights.max() / weights.min()), 0.0)
    T = len(d)
    m = np.arange(1.0, T + 1.0)
    near = np.cumsum(d[::-1])  # near[κ-1]: of the last κ iterates
    far = np.append(np.cumsum((d[::-1] / m)[::-1])[::-1], 0.0)[1:]  # far[κ-1]: of those before
    last = alpha * C * slope * (m - 1.0) / 2.0 + near / m + far
    squares = weights_of_steps(np.full(T - 1, alpha), D, C)[1:] ** 2
    exact = float(d[:-1] @ (alpha / (alpha + squares)))
    return NoiseCost(float(delta.max()), math.fsum(d) / T, float(last.min()), exact)


@reads_numbers
def maxright_noisy(setting: MaxrightSetting, errors: ArrayLike) -> tuple[Record, Record, Record]:
    """Compute both sides of claim M-noise: MAXRIGHT that decides by gaps with given errors.

    Problem    as for claim M, full gradients; whatever the errors are, the statement is about each run
    Statement  the bounds of M and M-last, and `noise_cost` with the errors' own spreads on top; the smaller one where
               there are two
    Kind       upper. Source: beyond the paper, docs/theory.md, M10

    setting    from `maxright_setting`, without seeds
    errors     (T-1, n) errors of the weighted gaps λ_i (f_i - f_i*) at theta_1 .. theta_{T-1}

    Returns    the records of the best, the average and the last iterate, the cost under "noise"
    Raises     ValueError or TypeError naming errors or setting
    """
    if setting.seeds is not None:
        raise ValueError(f"setting: full gradients are needed, got {len(setting.seeds)} seeds; leave them out")
    noise = _check.array("errors", errors, 2)
    if noise.shape != (setting.T - 1, len(setting.problem)):
        raise ValueError(f"errors: shape {(setting.T - 1, len(setting.problem))} is needed, got {noise.shape}")
    alpha = setting.alpha0 / math.sqrt(setting.T)
    cost = noise_cost(
        setting.lam,
        setting.grad_bounds,
        distance=setting.distance,
        alpha=alpha,
        spread=noise.max(axis=1) - noise.min(axis=1),
    )
    exact = bounds.last_exact_terms(
        setting.lam, setting.grad_bounds, distance=setting.distance, alphas=np.full(setting.T - 1, alpha)
    )
    average = setting.terms("average") | {"noise": cost.mean}
    best = _smaller(setting.terms("best") | {"noise": cost.worst}, average)
    last = _smaller(setting.terms("last") | {"noise": cost.last}, exact | {"noise": cost.last_exact})
    points = noisy_run(setting, noise)
    reach, noisy = setting.alpha0 * math.sqrt(setting.T), "as for exact gaps, and the cost of their errors"
    return (
        setting.record("M-noise", f"min_t F(θ_t) - F(θ*): {noisy}", "10", best, points[0], reach),
        setting.record("M-noise", f"F(mean θ_t) - F(θ*): {noisy}", "10", average, points[1], reach),
        setting.record("M-noise", f"F(θ_T) - F(θ*): {noisy}", "10", last, points[2], reach),
    )


def noisy_run(setting: MaxrightSetting, errors: Array) -> tuple[Array, Array, Array]:
    """Run T-1 full-gradient updates of MAXRIGHT on gaps with errors (T-1, n).

    Returns the best iterate by F, the average and the last, each (1, d).
    """
    control = Controller(Maxright(setting.lam, tuple(setting.f_star.tolist())), len(setting.problem))
    alpha, theta = setting.alpha0 / math.sqrt(setting.T), setting.theta_1.copy()
    path, off = [theta], errors / np.array(setting.lam)
    for error in counted(off, len(off), "steps"):
        values = setting.problem.values(theta)
        decision = control.decide(dict(enumerate((values + error).tolist())))
        assert decision is not None
        assert decision.index is not None  # MAXRIGHT has no end, and steps on one objective
        theta = theta - alpha * setting.problem.objectives[decision.index].grad(theta)
        control.record()
        path.append(theta)
    iterates = np.stack(path)
    best = int(np.argmin(worst_gap(setting.problem, setting.lam, setting.f_star, iterates)))
    return iterates[best : best + 1], iterates.mean(axis=0, keepdims=True), iterates[-1:]


def _smaller(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """Return the terms with the smaller sum."""
    return min(first, second, key=lambda terms: math.fsum(terms.values()))


def rows_for_decision(
    sd: float,
    difference: float,
    *,
    failure: float,
    correlation: float = 0.0,
    rows: Literal["normal", "any"] = "normal",
) -> int:
    """Compute how many rows an estimate needs so that the sign of a difference of weighted gaps is right.

    Problem     m independent rows, each an unbiased estimate of the difference with standard deviation sd; or beside
                each a control variate of known mean with the given correlation, at its best coefficient
    Statement   the mean of m >= (sd/difference)² (1 - correlation²) K rows has the wrong sign with probability
                `failure` at most; K = z², z the normal quantile of 1 - failure, for normal rows (or so many that their
                mean is), K = (1 - failure)/failure for any rows at all (Cantelli)
    Kind        exact for normal rows; upper for any
    Source      beyond the paper, docs/theory.md, M10

    sd           > 0, of one row: for independent rows of two objectives √(λ² s_1² + (1-λ)² s_2²)
    difference   > 0, of the weighted gaps, whose sign is to be decided
    failure      in (0, 1/2)
    correlation  in [-1, 1]

    Returns     m >= 1
    Raises      ValueError or TypeError naming the argument
    """
    sd, difference = _check.real("sd", sd, above=0.0), _check.real("difference", difference, above=0.0)
    failure, rho = _check.real("failure", failure, above=0.0), _check.real("correlation", correlation)
    if failure >= 0.5:
        raise ValueError(f"failure: must be less than 1/2, which a coin attains, got {failure!r}")
    if abs(rho) > 1.0:
        raise ValueError(f"correlation: must be in [-1, 1], got {rho!r}")
    if rows not in ("normal", "any"):
        raise ValueError(f"rows: 'normal' or 'any' is needed, got {rows!r}")
    factor = NormalDist().inv_cdf(1.0 - failure) ** 2 if rows == "normal" else (1.0 - failure) / failure
    return max(1, math.ceil((sd / difference) ** 2 * (1.0 - rho**2) * factor))
