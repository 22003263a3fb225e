"""What the laws of heavy ball and of Adam share: Sequential's two phases by an optimizer with memory, and its records.

The family is that of `two_phases`, in the margins v = c(theta - theta_ref) and w = -c theta (DPO first). The memory is
reset between the phases, as `toyopt.simulate` and the trainer do by default. docs/theory.md, S11 and S12.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from toyopt import _check
from toyopt._check import Array
from toyopt.algorithms import DPO, SFT, Constant, Sequential
from toyopt.examples import LowerBound
from toyopt.optimizers import Optimizer
from toyopt.record import Record
from toyopt.theorems.sequential.potential import softplus
from toyopt.theorems.sequential.two_phases import Order, TwoPhases

_U = 2.0**-53
FARTHEST = 340.0  # margin from which on e^{-2v}, the squared gradient, comes near the least float


def family(c: float, theta_ref: float, theta_1: float | None, order: Order) -> TwoPhases:
    """Return the family and its start, with a step that is not used: η = 1."""
    return TwoPhases(c, theta_ref, 1.0 / _check.real("c", c, above=0.0) ** 2, theta_1, order)


def lengths(T_DPO: int, T_SFT: int, order: Order) -> tuple[int, int]:
    """Return (T_1, T_2), the lengths of the phases in their order, at least 1 each."""
    T_DPO, T_SFT = _check.whole("T_DPO", T_DPO, low=1), _check.whole("T_SFT", T_SFT, low=1)
    return (T_DPO, T_SFT) if order == "dpo-first" else (T_SFT, T_DPO)


def margins(run: TwoPhases, theta: Array) -> Array:
    """Compute w, the variable of the second phase, at theta."""
    return -run.c * theta if run.order == "dpo-first" else run.c * (theta - run.theta_ref)


def follow(
    run: TwoPhases, optimizer: Optimizer, alpha: float, T_1: int, T_2: int, weight_decay: float = 0.0
) -> tuple[float, float]:
    """Compute w at the end of T_1 and T_2 steps of alpha in the simulator, and a bound of its rounding.

    A step rounds v by at most ξ = 8 u (4 + |x| + the largest |v|) max(1, c² alpha): θ's own rounding, that of the
    margin in the exponent, and some twenty operations on the increment. The bounds of a run with errors ξ are those of
    an exact run moved by at most T ξ, and its increments change by the factor 1 + 2 T ξ at most, hence its length by
    2 T ξ of itself. A heavy ball repeats an error 1/(1-μ) times. Where the squared gradient of an Adam without ε
    leaves the floats, the run is none of Adam: w is nan.
    """
    from toyopt.simulate import simulate

    theta = run.theta_ref if run.theta_1 is None else run.theta_1
    order = (DPO, SFT) if run.order == "dpo-first" else (SFT, DPO)
    result = simulate(
        LowerBound(run.c, run.theta_ref).problem(),
        Sequential((T_1, T_2), order),
        Constant(alpha),
        theta0=[theta],
        weight_decay=weight_decay,
        optimizer=optimizer,
        record=[T_1],
    )
    w_1, w = margins(run, result.path().theta[1:, 0]).tolist()
    largest = max(abs(run.start), abs(run.x + w_1), abs(w_1), abs(w))  # v_{T_1} = -x - w_0
    if largest > FARTHEST and getattr(optimizer, "epsilon", 1.0) < math.exp(-FARTHEST):
        return math.nan, 0.0
    once = 8 * _U * (4 + abs(run.x) + largest) * max(1.0, run.c**2 * alpha)
    repeats = 1.0 / (1.0 - getattr(optimizer, "momentum", 0.0))
    return w, (T_1 + T_2) * once * repeats * (1 + 4 * largest)


def records(
    claim: str,
    source: str,
    run: TwoPhases,
    lam: float,
    low: float,
    high: float,
    w: float,
    rounding: float,
    log_y: float | None,
    law: str,
    note: str,
) -> tuple[Record, ...]:
    """Return both bounds of G_Mix,λ(theta_T) by low <= w <= high, and its distance from μ log y + μ x - f*.

    log_y  log of the number y that e^w tends to, or None: no third record
    law    y in symbols
    """
    mu, turn = run.weight(lam), run.turning_w(lam)
    size = max(abs(low), abs(high))
    error = float(run.gap_rounding(size))
    ends = float(run.gap(lam, low)), float(run.gap(lam, high))
    least = 0.0 if low <= turn <= high else max(min(ends) - error, 0.0)
    attained = math.nan
    if math.isnan(w):
        note += f"; the run is not followed: beyond a margin of {FARTHEST:g} the squared gradient leaves the floats"
    else:
        attained, rounding = float(run.gap(lam, w)), rounding + float(run.gap_rounding(w))
    optimum = float(run.f_mix(lam, turn))
    scale = optimum + abs(run.x) + size
    weight = "λ" if run.order == "dpo-first" else "(1-λ)"

    def one(kind: Literal["lower", "upper"], text: str, bound: float, value: float, more: float = 0.0) -> Record:
        return Record(claim, text, kind, bound, value, source, tolerance=rounding + more, scale=scale, note=note)

    both = (
        one("lower", "G_Mix,λ(θ_T) >= min G_Mix,λ over the enclosure of θ_T", least, attained),
        one("upper", "G_Mix,λ(θ_T) <= max G_Mix,λ over the enclosure of θ_T", max(ends) + error, attained),
    )
    if log_y is None:
        return both

    def rest(v: float) -> float:
        return float(mu * softplus(-run.x - v) + (1 - mu) * softplus(-v))

    more = float(run.gap_rounding(size + abs(log_y)))
    below, above = mu * (low - log_y) + rest(high) - more, mu * (high - log_y) + rest(low) + more
    distance = abs(attained - mu * (log_y + run.x) + optimum)
    text = f"|G_Mix,λ(θ_T) - {weight} log({law}) - {weight} cθ_ref + f*| <= an explicit error"
    return (*both, one("upper", text, max(-below, above), distance, more))


def turned(run: TwoPhases, low: float, high: float) -> tuple[float, float]:
    """Return the least and the largest start w_0 = -x - v of the second phase, rounded outwards."""
    moved = 8 * _U * (abs(run.x) + abs(run.start) + np.maximum(abs(low), abs(high)))
    return -run.x - high - moved, -run.x - low + moved
