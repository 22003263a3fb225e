"""Claim M-unequal: MAXRIGHT's average and last iterate where a lighter objective is the steeper one.

The bounds of M2 and M4 have λ̄C² where F itself has slopes of at most L = max λ_i C_i and a step is at most αC long.
Here the factor κ = λ̄C/L between λ̄C² and CL is replaced by its logarithm. Proof: docs/theory.md, M12.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._numbers import reads_numbers
from toyopt.record import Record
from toyopt.theorems.alright.last_iterate import harmonic
from toyopt.theorems.maxright import bounds
from toyopt.theorems.maxright.setting import MaxrightSetting

GAINS = 8.0  # the κ from which the logarithm is less than κ/2


def logarithm(kappa: float) -> float:
    """Compute g(κ) = min(κ/2, min over m = 1, 2, .. of m + κ/2^m), at most 2 + log_2 κ; κ >= 1."""
    kappa = _check.real("kappa", kappa, low=1.0)
    return min(kappa / 2.0, *(m + kappa / 2.0**m for m in range(1, 3 + math.ceil(math.log2(kappa)))))


def steepness(lam: float | Sequence[float], grad_bounds: ArrayLike) -> tuple[float, float]:
    """Compute C L and κ = λ̄ C/L >= 1 for weights λ and (n,) C_i, L = max λ_i C_i; raise as `unequal_terms`."""
    weights, C = bounds.constants(lam, grad_bounds)
    steep = _check.real("grad_bounds", float(C.max()), above=0.0)
    L = float((weights * C).max())
    return steep * L, max(float(weights.max()) * steep / L, 1.0)


def unequal_terms(
    lam: float | Sequence[float], grad_bounds: ArrayLike, *, distance: float, alpha0: float, T: int
) -> dict[str, float]:
    """Compute M-unequal for the average iterate: the steps' term has C L g(κ) in place of λ̄ C²/2.

    Problem     as in the docstring of `bounds`, with ‖g_t‖ <= C_i surely; constant step α = alpha0/√T
    Statement   F(mean of theta_1 .. theta_T) - F(theta*) <= mean_t F(theta_t) - F(theta*)
                <= (λ̄ D²/(2 α0) + α0 C L g(κ)) / √T, g as in `logarithm`; in expectation if the steps are stochastic
    Kind        upper. At most `average_terms`, and less for κ > 8; below α0 C L it cannot be for all κ
    Source      beyond the paper, docs/theory.md, M12

    lam, grad_bounds, distance, alpha0, T  as for `bounds.best_terms`; one C_i at least is positive

    Returns     {"distance", "steps"}
    Raises      ValueError or TypeError naming the argument
    """
    terms = bounds.average_terms(lam, grad_bounds, distance=distance, alpha0=alpha0, T=T)
    product, kappa = steepness(lam, grad_bounds)
    return terms | {"steps": alpha0 * product * logarithm(kappa) / math.sqrt(T)}


def unequal_last_terms(
    lam: float | Sequence[float], grad_bounds: ArrayLike, *, distance: float, alpha0: float, T: int
) -> dict[str, float]:
    """Compute M-unequal for the last iterate.

    Statement   F(theta_T) - F(theta*) <= (λ̄ D²/(2 α0) + α0 C L g(κ) (1 + H_{T-1})) / √T
    Kind        upper; at most `bounds.last_terms`. Else as `unequal_terms`.

    Returns     {"distance", "steps", "log"}
    """
    terms = unequal_terms(lam, grad_bounds, distance=distance, alpha0=alpha0, T=T)
    return terms | {"log": terms["steps"] * harmonic(T - 1)}


@reads_numbers
def maxright_unequal(setting: MaxrightSetting) -> tuple[Record, Record]:
    """Compute both sides of claim M-unequal: the average and the last iterate of MAXRIGHT.

    Problem     as for claim M; constant step
    Statement   `unequal_terms` and `unequal_last_terms`
    Kind        upper. Source: beyond the paper, docs/theory.md, M12

    setting     from `maxright_setting`

    Returns     the records of the average and the last iterate
    Raises      ValueError if all C_i are 0
    """
    run, reach = setting.run(), setting.alpha0 * math.sqrt(setting.T)
    numbers: dict[str, Any] = {"distance": setting.distance, "alpha0": setting.alpha0, "T": setting.T}
    average = unequal_terms(setting.lam, setting.grad_bounds, **numbers)
    last = unequal_last_terms(setting.lam, setting.grad_bounds, **numbers)
    head = "<= (λ̄ D²/2α0 + α0 C L g(κ)"
    return (
        setting.record("M-unequal", f"F(mean θ_t) - F(θ*) {head})/√T", "12", average, run.average, reach),
        setting.record("M-unequal", f"F(θ_T) - F(θ*) {head} (1 + H_{{T-1}}))/√T", "12", last, run.last, reach),
    )
