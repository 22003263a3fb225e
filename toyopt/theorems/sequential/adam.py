"""Sequential with Adam: its gap grows linearly in T until the gradient is as small as ε, then like λ log T.

With a = c alpha, e = ε/c and s_t = σ(-v_t), a phase is v_{t+1} = v_t + a M_t/(sqrt(V_t) + e), M and V the averages of s
and s² with β1 and β2, bias-corrected. The margin moves ρ a step, ρ = a sqrt((1 - β2 e^{2ρ})/(1 - β2)), less than a and
than ½ log(1/β2), until e e^v is about a/ρ; then e^v grows by a/e a step. Beyond the paper: docs/theory.md, S12.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq

from toyopt import _check
from toyopt._numbers import reads_numbers
from toyopt.optimizers import Adam, AdamW
from toyopt.record import Record
from toyopt.theorems.sequential import memory
from toyopt.theorems.sequential.potential import advance, softplus
from toyopt.theorems.sequential.two_phases import Order

_U = 2.0**-53
_SOURCE = "beyond the paper, docs/theory.md, S12"


def speed(a: float, beta2: float) -> float:
    """Compute ρ(a), the root of ρ = a sqrt((1 - β2 e^{2ρ})/(1 - β2)): the margin's speed while ε does not matter.

    Arguments: a > 0; 0 <= beta2 < 1. Returns: a number in (0, a], less than ½ log(1/β2), rounded by some 4 u of itself.
    Source: beyond the paper, docs/theory.md, S12.
    """
    if beta2 == 0.0:
        return a
    top = min(a, -0.5 * math.log(beta2))

    def excess(rho: float) -> float:
        # 1 - β2 e^{2ρ} without cancelling: (1 - β2) - β2 (e^{2ρ} - 1)
        return rho - a * math.sqrt(max(1.0 - beta2 * math.expm1(2.0 * rho) / (1.0 - beta2), 0.0))

    return float(brentq(excess, 0.0, top, xtol=1e-300, rtol=4 * 2.0**-52)) if excess(top) > 0.0 else top


def lower(v0: float, a: float, beta2: float, e: float, T: int) -> float:
    """Compute a lower bound of v_T, (S.16) of docs/theory.md.

    Arguments: 0 < a <= 1, 0 <= beta1 <= beta2 < 1 (beta1 does not count), e >= 0, T >= 0.
    Returns: a float, rounded down by 64 u (4 + |v_0| + |v_T|) (1 + a/ρ); a bound for every larger start, too.
    """
    slow = a / (speed(a, beta2) * (1 - 8 * _U))  # rounded up: a slower line is a lower bound, too
    t_1, z = 0, v0
    if v0 < 700.0 and 1.0 + math.exp(v0) < slow:
        z = math.log(slow - 1.0)
        rise = (z - v0) + (math.exp(z) - math.exp(v0))
        t_1 = math.ceil((1.0 + e) * rise / a * (1 + 8 * _U))
    if t_1 >= T:
        bound = min(float(advance(v0, a * T / (1.0 + e), 0.0)), z) if t_1 else v0
    else:
        bound = _drift(z, slow, e, a * (T - t_1))
    return bound - 64 * _U * (4 + abs(v0) + abs(bound)) * (1.0 + slow)


def _drift(z: float, slow: float, e: float, rise: float) -> float:
    """Compute the u >= z with Φ(u) = Φ(z) + rise, Φ(u) = slow u + e (u + e^u)."""
    if e == 0.0:
        return z + rise / slow
    share = math.log(e / (slow + e))
    return float(advance(z + share, rise / (slow + e), 0.0)) - share  # in u + log share, Φ is y + e^y


def upper(v0: float, a: float, beta1: float, beta2: float, e: float, T: int) -> float:
    """Compute an upper bound of v_T, (S.17) and (S.18) of docs/theory.md, the least by several k.

    Arguments: 0 < a <= 1, 0 <= beta1 <= beta2 < 1, beta1 e^a < 1, e >= 0, T >= 0.
    Returns: a float, rounded up by 64 u (4 + |v_0| + |v_T|); a bound for every smaller start, too.
    """
    kappa = (1.0 - beta1) / (1.0 - beta1 * math.exp(a))
    slowest = speed(a * kappa, beta2)
    best, near = v0 + a * T, (np.linspace(-6.0, 4.0, 41) - v0) / a  # steps to a margin near 0
    for k in np.unique(np.concatenate([[0.0], np.geomspace(1.0, T + 1.0, 48) - 1.0, near.clip(0.0, T)]).astype(int)):
        Z = max(v0 + a * k, math.log(kappa * a / slowest) - _log_root(v0, a, beta2, int(k)))
        rho = speed(a * kappa * (1.0 + math.exp(-Z)), beta2)
        best = min(best, Z + rho * (T - k))
        if e > 0.0:
            j = np.linspace(k, T, 33).astype(int)
            line = np.minimum(v0 + a * j, Z + rho * (j - k))
            with np.errstate(divide="ignore"):
                gain = np.log(kappa * math.expm1(a) / e * (T - j))
            best = min(best, float(np.logaddexp(line, gain).min()))
    return best + 64 * _U * (4 + abs(v0) + abs(best))


def _log_root(v0: float, a: float, beta2: float, k: int) -> float:
    """Compute log S_k, S_k² = (1-β2) Σ_{i<=k} β2^{k-i} σ(-v_0-ai)², from the last terms alone where there are many."""
    lags = np.arange(0 if beta2 == 0.0 else min(k, int(4.0 / -math.log(beta2)) + 1, 4096), -1, -1)
    logs = lags * (math.log(beta2) if beta2 else 0.0) - 2.0 * softplus(v0 + a * (k - lags))
    return 0.5 * (float(np.logaddexp.reduce(logs)) + math.log1p(-beta2))


@reads_numbers
def sequential_adam(
    *,
    lam: float,
    T_DPO: int,
    T_SFT: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 0.01,
    theta_1: float | None = None,
    order: Order = "dpo-first",
) -> tuple[Record, ...]:
    """Compute both sides of Theorem S for Adam: bounds of Sequential's gap, linear in T before ε counts, and its limit.

    Problem: f_DPO = log(1+e^{-c(theta-theta_ref)}), f_SFT = log(1+e^{c theta}), full gradients, constant alpha with
        c alpha <= 1, beta1 <= beta2, beta1 e^{c alpha} < 1, any start; `toyopt.Adam` without weight decay, its memory
        reset between the phases.
    Statement: min G_Mix,λ <= G_Mix,λ(theta_T) <= max G_Mix,λ over an enclosure of theta_T, whose ends move ρ a step,
        less than min(c alpha, ½ log(1/β2)), until the gradient is as small as ε; and for ε > 0 |G_Mix,λ(theta_T) - μ
        log(c² alpha T_2/ε) - (μ c theta_ref - f*_Mix,λ)| <= an explicit error, which tends to 0 as T_2 -> ∞; μ = λ (DPO
        first) or 1-λ, T_2 the last phase's length.
    Kind: lower, and upper once or twice. Source: beyond the paper, docs/theory.md, S12.
    Arguments: lam in (0, 1); T_DPO, T_SFT >= 1; beta1, beta2, epsilon as in `toyopt.Adam`; c, theta_ref, alpha, theta_1
        (None: theta_ref), order.
    Returns: three Records; two for epsilon = 0. Raises: ValueError or TypeError naming the argument.
    """
    run, optimizer = memory.family(c, theta_ref, theta_1, order), Adam(beta1, beta2, epsilon)
    a, e = c * _check.real("alpha", alpha, above=0.0), epsilon / c
    check_numbers(a, beta1, beta2)
    T_1, T_2 = memory.lengths(T_DPO, T_SFT, order)
    start = run.start
    lowest, highest = memory.turned(run, lower(start, a, beta2, e, T_1), upper(start, a, beta1, beta2, e, T_1))
    low, high = lower(lowest, a, beta2, e, T_2), upper(highest, a, beta1, beta2, e, T_2)
    w, rounding = memory.follow(run, optimizer, alpha, T_1, T_2)
    rho, most = speed(a, beta2), -0.5 * math.log(beta2) if beta2 else math.inf
    note = f"speed {rho:.6g} a step, less than min(cα, ½ log(1/β2)) = min({a:.6g}, {most:.6g})"
    log_y = math.log(a * T_2 / e) if e else None
    law = f"c²α {'T_SFT' if order == 'dpo-first' else 'T_DPO'}/ε"
    return memory.records("S-adam", _SOURCE, run, lam, low, high, w, rounding, log_y, law, note)


def check_numbers(a: float, beta1: float, beta2: float) -> None:
    """Raise ValueError unless the theorem's conditions hold."""
    if a > 1.0:
        raise ValueError(f"alpha: must keep c alpha <= 1, got c alpha = {a!r}")
    if beta1 > beta2:
        raise ValueError(f"beta1: must be at most beta2 = {beta2!r}, got {beta1!r}")
    if not beta1 * math.exp(a) < 1.0:
        raise ValueError(f"beta1: must keep beta1 e^(c alpha) < 1, got {beta1!r} with c alpha = {a!r}")


def check_decay(weight_decay: float, alpha: float, beta1: float, beta2: float) -> float:
    """Return γ; raise ValueError unless |theta| is bounded by it."""
    gamma = _check.real("weight_decay", weight_decay, above=0.0)
    if not _check.real("alpha", alpha, above=0.0) * gamma <= 1.0:
        raise ValueError(f"weight_decay: must keep alpha weight_decay <= 1, got {gamma!r} with alpha = {alpha!r}")
    if not beta1**2 < beta2:
        raise ValueError(f"beta1: must keep beta1² < beta2 = {beta2!r}, got {beta1!r}")
    return gamma


def largest_ratio(beta1: float, beta2: float) -> float:
    """Compute R with |m/(1-β1^n)| <= R sqrt(v/(1-β2^n)) for all gradients and n; inf unless β1² < β2.

    By Cauchy and Schwarz, with weights p_j and q_j of the two averages, R_n² = Σ p_j²/q_j. Once β1^n is below 2^-60 it
    differs from its limit by less than rounding. Source: beyond the paper, docs/theory.md, S12.
    """
    if beta1 == 0.0:
        return math.sqrt(1.0 / (1.0 - beta2))
    if not beta1**2 < beta2:
        return math.inf
    n, q = np.arange(1.0, 2.0 + math.ceil(42.0 / -math.log(beta1))), beta1**2 / beta2
    squares = ((1 - beta1) / (1 - beta1**n)) ** 2 * (1 - beta2**n) / (1 - beta2) * (1 - q**n) / (1 - q)
    return math.sqrt(max(float(squares.max()), (1 - beta1) ** 2 / ((1 - beta2) * (1 - q))))


@reads_numbers
def sequential_adamw(
    *,
    lam: float,
    T_DPO: int,
    T_SFT: int,
    weight_decay: float = 0.1,
    beta1: float = 0.9,
    beta2: float = 0.95,
    epsilon: float = 1e-8,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 0.01,
    theta_1: float | None = None,
    order: Order = "dpo-first",
) -> Record:
    """Compute both sides of AdamW's ceiling: with weight decay γ the gap stays bounded, whatever T.

    Problem: any objectives; here the family, full gradients, alpha with alpha γ <= 1, β1² < β2, any start; the memory
        kept or reset.
    Statement: |theta_t| <= max(|theta_1|, R/γ) for all t, R of `largest_ratio`, so G_Mix,λ(theta_T) is at most its
        largest value between these ends.
    Kind: upper. Source: beyond the paper, docs/theory.md, S12; the bound of |theta| is well known.
    Arguments: weight_decay > 0, γ; the others as in `sequential_adam`. Returns: a Record. Raises: as usual.
    """
    run, optimizer = memory.family(c, theta_ref, theta_1, order), AdamW(beta1, beta2, epsilon)
    gamma = check_decay(weight_decay, alpha, beta1, beta2)
    T_1, T_2 = memory.lengths(T_DPO, T_SFT, order)
    start = theta_ref if theta_1 is None else theta_1
    most = max(abs(start), largest_ratio(beta1, beta2) / gamma) * (1 + 64 * _U)
    reach = max(float(run.gap(lam, w)) for w in memory.margins(run, np.array([-most, most])))
    w, rounding = memory.follow(run, optimizer, alpha, T_1, T_2, gamma)
    return Record(
        claim="S-adam",
        statement=f"AdamW, γ = {gamma:g}: G_Mix,λ(θ_T) <= max G_Mix,λ over |θ| <= max(|θ_1|, R/γ), whatever T",
        kind="upper",
        bound=reach + float(run.gap_rounding(c * most)),
        attained=float(run.gap(lam, w)),
        source=_SOURCE,
        tolerance=rounding,
        scale=float(run.f_mix(lam, w)) + abs(run.x),
    )
