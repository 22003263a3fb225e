"""Sequential with replay: a share p of the first objective in the second phase bounds what is forgotten by λ log(1/p).

The family and the first phase are those of `two_phases`. The second phase is gradient descent on p f_first + (1-p)
f_second, p < 1/2. Beyond the paper: docs/theory.md, S9.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy.special import expit

from toyopt import _check
from toyopt._numbers import reads_numbers
from toyopt.examples import LowerBound
from toyopt.optimum import lower_bound_minimiser
from toyopt.record import Record
from toyopt.theorems.sequential.any_steps import constant
from toyopt.theorems.sequential.potential import advance, envelope
from toyopt.theorems.sequential.two_phases import Order, TwoPhases

_U = 2.0**-53
_SOURCE = "beyond the paper, docs/theory.md, S9"


def share(p: float) -> float:
    """Return p, checked to lie in (0, 1/2)."""
    p = _check.real("p", p, above=0.0)
    if not p < 0.5:
        raise ValueError(f"p: must be in (0, 1/2), got {p!r}")
    return p


def resting_w(run: TwoPhases, p: float) -> float:
    """Compute the w at which the second phase with share p comes to rest, -c theta*_p (DPO first)."""
    return -run.c * lower_bound_minimiser(LowerBound(run.c, run.theta_ref), share(p))


def limit_gap(run: TwoPhases, lam: float, p: float) -> float:
    """Compute G_Mix,λ where the second phase with share p comes to rest, its limit for T_2 -> ∞."""
    return float(run.gap(lam, resting_w(run, p)))


def limit_error(run: TwoPhases, lam: float, p: float) -> tuple[float, float]:
    """Compute (below, above), bounds of `limit_gap` - μ log(1/p) - (μ c theta_ref - f*_Mix,λ), both O(p)."""
    mu, p = run.weight(lam), share(p)
    s = p / (1.0 - 2.0 * p)
    below = mu * math.log1p(-p) - max(0.0, 2.0 * mu - 1.0) * s
    return below, 2.0 * mu * math.exp(-run.x) * s + max(0.0, 1.0 - 2.0 * mu) * s


def enclosure(run: TwoPhases, p: float, first: int, second: int) -> tuple[float, float]:
    """Compute bounds of w after `first` steps of phase 1 and `second` of phase 2 with share p: docs/theory.md, S9."""
    low, high = (float(end) for end in envelope(run.start, run.eta, first))
    moved = 8 * _U * (abs(run.x) + abs(run.start) + max(abs(low), abs(high)))
    below, above, rest = -run.x - high - moved, -run.x - low + moved, resting_w(run, p)
    room = 32 * _U * (4.0 + abs(rest))  # of the closed form of the rest
    top = min(float(envelope(above, run.eta, second)[1]), max(above, rest + room))
    if below >= rest:
        return rest - room, top
    reached = below
    if p < 1.0 / 3.0:
        half = math.log((1.0 - 3.0 * p) / (2.0 * p))
        grown = float(advance(below, run.eta * second * (1.0 - p) / 2.0 * (1.0 - 8 * _U), 0.0))
        reached = max(below, min(grown, half) - room - 32 * _U * (4.0 + abs(below) + abs(grown)))
    return min(reached, rest - room), top


def follow(run: TwoPhases, p: float, first: int, second: int) -> tuple[float, float]:
    """Compute w after the two phases by their recursions, and a bound of its rounding: T half-ulps and the slopes'."""
    v = run.start
    for _ in range(first):
        v += run.eta * float(expit(-v))
    w = -run.x - v
    size = max(abs(run.start), abs(v), abs(w))
    for _ in range(second):
        w += run.eta * ((1.0 - p) * float(expit(-w)) - p * float(expit(run.x + w)))
    size = max(size, abs(w)) + abs(run.x)
    return w, _U * (first + second) * (size + 8.0 * run.eta * (1.0 + size)) + 8 * _U * size


@reads_numbers
def sequential_replay(
    *,
    lam: float,
    p: float,
    T_DPO: int,
    T_SFT: int,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 1.0,
    theta_1: float | None = None,
    order: Order = "dpo-first",
) -> tuple[Record, Record, Record]:
    """Compute both sides of Sequential with replay: bounds of its gap, and its limit for a long second phase.

    Problem: f_DPO = log(1+e^{-c(theta-theta_ref)}), f_SFT = log(1+e^{c theta}), full gradients, constant alpha, 0 < η =
        c² alpha <= 4; the second phase steps on p of the first objective and 1-p of the second, 0 < p < 1/2.
    Statement: G_Mix,λ(theta_T) lies between its minimum and maximum over an enclosure of theta_T, whose ends are of the
        order μ log min(ηT_2, 1/p) + O(1); and |lim_T G - μ log(1/p) - (μ c theta_ref - f*_Mix,λ)| <= O(p), explicit.
    Kind: lower, and upper twice. Source: beyond the paper, docs/theory.md, S9.
    Arguments: lam in (0, 1); p; T_DPO, T_SFT >= 0 the updates of the phases; c, theta_ref, alpha, theta_1 (None:
        theta_ref), order. Returns: three Records. Raises: ValueError or TypeError naming the argument.
    """
    run, p = TwoPhases(c, theta_ref, alpha, theta_1, order), share(p)
    lengths = (_check.whole("T_DPO", T_DPO, low=0), _check.whole("T_SFT", T_SFT, low=0))
    first, second = lengths if order == "dpo-first" else lengths[::-1]
    ends, turn = enclosure(run, p, first, second), run.turning_w(lam)
    w, rounding = follow(run, p, first, second)
    error = float(run.gap_rounding(max(map(abs, ends))))
    gaps = [float(run.gap(lam, end)) for end in ends]
    low = 0.0 if ends[0] <= turn <= ends[1] else max(min(gaps) - error, 0.0)
    attained, rounding = float(run.gap(lam, w)), rounding + float(run.gap_rounding(w))
    offset, growth = constant(run, lam), run.weight(lam) * math.log(1.0 / p)
    size = float(run.f_mix(lam, turn)) + abs(offset) + abs(growth) + abs(w)
    mu = "λ" if order == "dpo-first" else "(1-λ)"

    def record(kind: Literal["lower", "upper"], text: str, bound: float, value: float, more: float) -> Record:
        return Record("S-replay", text, kind, bound, value, _SOURCE, tolerance=more, scale=size)

    where = f"over the enclosure of θ_T for a share of {p:g}"
    away = limit_gap(run, lam, p) - growth - offset
    return (
        record("lower", f"G_Mix,λ(θ_T) >= min G_Mix,λ {where}", low, attained, rounding),
        record("upper", f"G_Mix,λ(θ_T) <= max G_Mix,λ {where}", max(gaps) + error, attained, rounding),
        record(
            "upper",
            f"|lim G_Mix,λ(θ_T) - {mu} log(1/p) - {mu} cθ_ref + f*| <= an explicit error of the order p = {p:g}",
            max(map(abs, limit_error(run, lam, p))),
            abs(away),
            2.0 * float(run.gap_rounding(np.abs(resting_w(run, p)) + growth)),
        ),
    )
