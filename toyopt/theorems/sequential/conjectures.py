"""Two conjectures on Adam, held against runs: its exact speed, and where AdamW comes to rest. docs/theory.md, S13.

Numbers of runs prove neither: the records are open, unless what is proven refutes the conjecture.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from toyopt import _check
from toyopt._numbers import reads_numbers
from toyopt.algorithms import DPO, Constant, Sequential
from toyopt.examples import LowerBound
from toyopt.optimizers import Adam, AdamW
from toyopt.record import Record
from toyopt.theorems.sequential import memory
from toyopt.theorems.sequential.adam import check_decay, check_numbers, largest_ratio, speed

_U = 2.0**-53
_SOURCE = "beyond the paper, docs/theory.md, S13"


def wave_speed(a: float, beta1: float, beta2: float) -> float:
    """Compute the root of ρ = a (1-β1)/(1-β1 e^ρ) sqrt((1 - β2 e^{2ρ})/(1 - β2)), at which s falls by e^{-ρ} each step.

    Arguments: a > 0; 0 <= beta1 <= beta2 < 1. Source: beyond the paper, docs/theory.md, S13.
    """
    if beta2 == 0.0:
        return a
    top = -0.5 * math.log(beta2)  # at most -log β1

    def excess(rho: float) -> float:
        slowed = math.sqrt(max(1.0 - beta2 * math.expm1(2.0 * rho) / (1.0 - beta2), 0.0))
        return rho - a * (1.0 - beta1) / (1.0 - beta1 * math.exp(rho)) * slowed

    return float(brentq(excess, 0.0, top, xtol=1e-300, rtol=4 * 2.0**-52))


def resting_margin(c: float, weight_decay: float, epsilon: float) -> float:
    """Compute the w with γ w = c s/(s + ε/c), s = σ(-w), where AdamW's step on one objective and its decay cancel.

    DPO first, so that decay pulls w to 0. Arguments: c, weight_decay > 0; epsilon >= 0.
    Source: beyond the paper, docs/theory.md, S13.
    """
    most = c / weight_decay

    def excess(w: float) -> float:
        s = expit(-w)
        return float(weight_decay * w - c * s / (s + epsilon / c))

    return most if epsilon == 0.0 else float(brentq(excess, 0.0, most, xtol=1e-300, rtol=4 * 2.0**-52))


@reads_numbers
def adam_speed(
    *,
    T: int = 10_000,
    beta1: float = 0.9,
    beta2: float = 0.95,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 0.01,
) -> Record:
    """Compare Adam's measured speed for ε = 0 with the conjectured one, between the limits that are proven.

    Problem: T steps on f_DPO = log(1+e^{-c(theta-theta_ref)}) from theta_ref, alpha, beta1 and beta2 as in
        `sequential_adam`, ε = 0; the mean step of the second half of the run.
    Statement: v_T/T tends to `wave_speed`. A conjecture: the interval of its limit is what is proven, from `speed` of
        c alpha to `speed` of c alpha (1-β1)/(1-β1 e^{c alpha}).
    Kind: equal; open, or fails where the conjecture is outside what is proven. Source: docs/theory.md, S13.
    Arguments: T >= 2. Returns: a Record. Raises: ValueError or TypeError naming the argument.
    """
    from toyopt.simulate import simulate

    family, optimizer = LowerBound(c, theta_ref), Adam(beta1, beta2, 0.0)
    a, half = c * _check.real("alpha", alpha, above=0.0), _check.whole("T", T, low=2) // 2
    check_numbers(a, beta1, beta2)
    shared = {"theta0": [theta_ref], "optimizer": optimizer, "record": [half]}
    path = simulate(family.problem(), Sequential((T,), (DPO,)), Constant(alpha), **shared).path()  # type: ignore[arg-type]
    v = c * (path.theta[:, 0] - theta_ref)
    low, high = speed(a, beta2), speed(a * (1.0 - beta1) / (1.0 - beta1 * math.exp(a)), beta2)
    return Record(
        claim="S-wave",
        statement=f"conjecture: Adam, cα = {a:g}, β = ({beta1:g}, {beta2:g}), ε = 0: v_T/T tends to the wave's speed",
        kind="equal",
        bound=wave_speed(a, beta1, beta2),
        attained=float((v[-1] - v[1]) / (T - half)),
        source=_SOURCE,
        evidence="numerical",
        # Each step rounds θ, of at most |θ_ref| + |v|/c, and the increment by some twenty operations.
        tolerance=8 * _U * (4 + abs(c * theta_ref) + 2 * float(np.abs(v).max())),
        interval=(low, high),
        note=f"proven: the limit is in [{low:.6g}, {high:.6g}]",
    )


@reads_numbers
def adamw_rest(
    *,
    lam: float = 0.5,
    T: int = 50_000,
    weight_decay: float = 0.1,
    beta1: float = 0.9,
    beta2: float = 0.95,
    epsilon: float = 1e-8,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 0.01,
) -> Record:
    """Compare the gap after T + T steps of AdamW, DPO first, with the gap where step and decay cancel.

    Problem: as `sequential_adamw`. Statement: the gap tends to that at `resting_margin`. A conjecture: the interval of
        the limit is what is proven, from 0 to the ceiling.
    Kind: equal; open, or fails where the conjecture is above the ceiling. Source: docs/theory.md, S13.
    Arguments: as in `sequential_adamw`, T steps in each phase. Returns: a Record. Raises: as usual.
    """
    run, optimizer = memory.family(c, theta_ref, None, "dpo-first"), AdamW(beta1, beta2, epsilon)
    gamma = check_decay(weight_decay, alpha, beta1, beta2)
    steps = _check.whole("T", T, low=1)
    w, rounding = memory.follow(run, optimizer, alpha, steps, steps, gamma)
    most = c * max(abs(theta_ref), largest_ratio(beta1, beta2) / gamma)
    ceiling = max(float(run.gap(lam, end)) for end in (-most, most))
    return Record(
        claim="S-wave",
        statement=f"conjecture: AdamW, γ = {gamma:g}: the gap tends to that where the step and the decay cancel",
        kind="equal",
        bound=float(run.gap(lam, resting_margin(c, gamma, epsilon))),
        attained=float(run.gap(lam, w)),
        source=_SOURCE,
        evidence="numerical",
        tolerance=rounding + float(run.gap_rounding(most)),
        interval=(0.0, ceiling),
        scale=float(run.f_mix(lam, w)) + abs(run.x),
        note=f"proven: the gap is at most {ceiling:.6g} for all T",
    )
