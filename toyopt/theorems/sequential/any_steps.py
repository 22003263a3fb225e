"""Sequential with any step sizes: its gap is λ log of the last phase's total learning rate, plus a constant.

The family and its two phases are those of `two_phases`; here the steps may be any positive numbers, of any order, up to
a largest one. With e the largest c² alpha_t, y_1 and y_2 the sums of c² alpha_t over the phases, no other property of
the steps counts: docs/theory.md, S8. No schedule keeps Sequential from forgetting but one whose steps sum to little.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.record import Record
from toyopt.schedules import Constant, Cosine, InverseTime, Schedule, ZamaniGlineur
from toyopt.theorems.sequential.potential import (
    advance,
    envelope_of_sum,
    excess,
    inverse_potential,
    potential,
    softplus,
)
from toyopt.theorems.sequential.thm_33 import interval
from toyopt.theorems.sequential.two_phases import Order, TwoPhases

_U = 2.0**-53
_SOURCE = "beyond the paper, docs/theory.md, S8"


def enclosure(run: TwoPhases, first: ArrayLike, last: ArrayLike) -> tuple[Array, Array]:
    """Compute bounds of w_{T_2} for any steps of at most `run.alpha` with the sums y_1 = `first` and y_2 = `last`."""
    low, high = envelope_of_sum(run.start, run.eta, first)
    # A bound of the rounding of c(theta_1 - theta_ref), c theta_ref, c² alpha and -x - v in w_0.
    moved = 8 * _U * (abs(run.x) + abs(run.start) + np.maximum(np.abs(low), np.abs(high)))
    below, above = -run.x - high - moved, -run.x - low + moved
    return envelope_of_sum(below, run.eta, last)[0], envelope_of_sum(above, run.eta, last)[1]


def gap_bounds(run: TwoPhases, lam: float, first: ArrayLike, last: ArrayLike) -> tuple[Array, Array]:
    """Compute the minimum and maximum of G_Mix,λ over `enclosure`, widened by a bound of their rounding."""
    low, high = enclosure(run, first, last)
    ends, turn = np.stack([run.gap(lam, low), run.gap(lam, high)]), run.turning_w(lam)
    error = run.gap_rounding(np.maximum(np.abs(low), np.abs(high)))
    least = np.where((low <= turn) & (turn <= high), 0.0, ends.min(axis=0) - error)
    return np.maximum(least, 0.0), ends.max(axis=0) + error


def constant(run: TwoPhases, lam: float) -> float:
    """Compute μ c theta_ref - f*_Mix,λ, the limit of G_Mix,λ(theta_T) - μ log y_2."""
    return run.weight(lam) * run.x - float(run.f_mix(lam, run.turning_w(lam)))


def remainder(run: TwoPhases, lam: float, first: ArrayLike, last: ArrayLike) -> tuple[Array, Array]:
    """Compute bounds of G_Mix,λ(theta_T) - μ log y_2 - `constant`, by `enclosure`; y_2 > 0.

    It is μ (w - log y_2) + μ log(1 + e^{-x-w}) + (1-μ) log(1 + e^{-w}), of the order (log y_1 + log y_2)/y_2.
    """
    mu, (low, high) = run.weight(lam), enclosure(run, first, last)
    log_y = np.log(np.asarray(last, dtype=np.float64))

    def rest(w: Array) -> Array:
        return mu * softplus(-run.x - w) + (1 - mu) * softplus(-w)

    error = run.gap_rounding(np.maximum(np.abs(low), np.abs(high)) + np.abs(log_y))
    return mu * (low - log_y) + rest(high) - error, mu * (high - log_y) + rest(low) + error


def lower_end(run: TwoPhases, total: float, ratio: float = 1.0) -> float:
    """Compute W with w_{T_2} >= W for all steps of at most `run.alpha` with y_2 >= total and y_1 <= ratio y_2, or nan.

    It is nan if (S.9) of docs/theory.md fails at `total`. In floats: `sequential_gap_any_steps` proves it.
    """
    eta, v0 = run.eta, run.start
    V = float(advance(v0, ratio * total + excess(v0, eta), eta))
    w0 = -run.x - V
    with np.errstate(over="ignore"):
        # Over e^V, as σ(V) = e^V σ(-V); and the first part, at which the left side begins to increase.
        rises = np.exp(-V) + 1 - eta / 2 * expit(-V) >= ratio * (np.exp(-V) + np.exp(w0 - V))
        if not (rises and (1 + np.exp(V)) ** 2 >= eta / 2):
            return math.nan
    return float(inverse_potential(potential(w0, 0.0) + total, 0.0))


def level_any_steps(run: TwoPhases, lam: tuple[float, float], total: float) -> float:
    """Compute a g with G_Mix,λ >= g for every λ in [lo, hi] and all steps as in `lower_end`, ratio 1; or nan."""
    low, high = interval(lam)
    deciding, W = low if run.order == "dpo-first" else high, lower_end(run, total)
    if not run.turning_w(deciding) < W:  # also for nan
        return math.nan
    return float(run.gap(deciding, W) - run.gap_rounding(W))


def follow(run: TwoPhases, dpo: Array, sft: Array) -> tuple[float, float]:
    """Compute w_{T_2} by the recursion with these steps, (T,) each, and a bound of its rounding.

    The rounding is that of `TwoPhases.run_rounding`, with the ends of the run itself in place of the enclosure's.
    """
    from toyopt.theorems.sequential import _recursion

    first, last = (dpo, sft) if run.order == "dpo-first" else (sft, dpo)
    v = float(_recursion.run_of_steps(run.start, run.c**2 * first))
    w0 = -run.x - v
    w = float(_recursion.run_of_steps(w0, run.c**2 * last))
    M, N = max(abs(v), abs(run.start)), max(abs(w0), abs(w))
    return w, _U * ((M + abs(v)) * (17 + M) + 8 * (M + N) + (N + abs(w)) * (17 + N))


def schedules(alpha: float, T: int) -> dict[str, Schedule]:
    """Return the schedules of the figures and checks, by name, none of them above alpha, for T updates."""
    return {
        "constant": Constant(alpha),
        "α0/√T": Constant(min(alpha, 4.0 * alpha / math.sqrt(T))),
        "cosine": Cosine(alpha, T),
        "linear decay": ZamaniGlineur(alpha * (T + 1) ** 1.5 / T, 1.0, T),
        "1/t": InverseTime(alpha),
    }


SCHEDULES = tuple(schedules(1.0, 1))


def steps_of_shape(name: str, alpha: float, T: int) -> Array:
    """Return (T,) the steps of one of `schedules`."""
    return np.asarray(schedules(alpha, T)[name].at(np.arange(1, T + 1)), dtype=np.float64)


def shaped(name: str, alpha: float, total: float) -> Array:
    """Return steps of at most alpha with the sum `total`: a shape of `schedules`, stretched, then steps of one length.

    The shape has 4 total/alpha steps. A shape that cannot have the sum (1/t) is
    cut at alpha and followed by equal steps.
    """
    steps = steps_of_shape(name, alpha, math.ceil(4.0 * total / alpha))
    steps = np.minimum(steps * (total / float(steps.sum())), alpha)
    missing = max(total - float(steps.sum()), 0.0)
    more = math.ceil(missing / alpha * (1.0 - 1e-9))
    return np.concatenate([steps, np.full(more, missing / max(more, 1))])


@reads_numbers
def sequential_any_steps(
    *,
    lam: float,
    alphas_DPO: ArrayLike,
    alphas_SFT: ArrayLike,
    c: float = 0.5,
    theta_ref: float = 5.0,
    theta_1: float | None = None,
    order: Order = "dpo-first",
) -> tuple[Record, Record, Record]:
    """Compute both sides of Theorem S for any step sizes: bounds of Sequential's gap, and λ log of the total step.

    Problem: f_DPO = log(1+e^{-c(theta-theta_ref)}), f_SFT = log(1+e^{c theta}), full gradients, any steps with 0 < c²
        alpha_t <= 4, any start.
    Statement: min G_Mix,λ <= G_Mix,λ(theta_T) <= max G_Mix,λ over the enclosure of theta_T by the sums of the steps;
        and |G_Mix,λ(theta_T) - μ log y_2 - (μ c theta_ref - f*_Mix,λ)| <= an explicit error, y_2 the sum of c² alpha_t
        over the last phase; μ = λ (DPO first) or 1-λ.
    Kind: lower, and upper twice. Source: beyond the paper, docs/theory.md, S8; Theorem 3.3 of arXiv 2410.15483v3 has a
        sequence of steps.
    Arguments: lam in (0, 1); alphas_DPO (T_DPO,), alphas_SFT (T_SFT,) the alpha_t of the phases, one at least in each;
        c, theta_ref, theta_1 (None: theta_ref), order.
    Returns: three Records. Raises: ValueError or TypeError naming the argument.
    """
    steps = [_check.array(name, value, 1) for name, value in (("alphas_DPO", alphas_DPO), ("alphas_SFT", alphas_SFT))]
    for name, own in zip(("alphas_DPO", "alphas_SFT"), steps, strict=True):
        if len(own) == 0 or not (own > 0).all():
            wrong = "no step" if len(own) == 0 else repr(float(own[~(own > 0)][0]))
            raise ValueError(f"{name}: one step at least and all of them positive are needed, got {wrong}")
    run = TwoPhases(c, theta_ref, float(max(own.max() for own in steps)), theta_1, order)
    sums = [c**2 * float(own.sum()) for own in steps]
    first, last = sums if order == "dpo-first" else sums[::-1]
    w, rounding = follow(run, *steps)
    attained, rounding = float(run.gap(lam, w)), rounding + float(run.gap_rounding(w))
    low, high = (float(g) for g in gap_bounds(run, lam, first, last))
    growth, offset = run.weight(lam) * math.log(last), constant(run, lam)
    error = max(abs(float(end)) for end in remainder(run, lam, first, last))
    size = float(run.f_mix(lam, run.turning_w(lam))) + abs(growth) + abs(offset)
    total = "c²Σα over SFT" if order == "dpo-first" else "c²Σα over DPO"

    def record(kind: Literal["lower", "upper"], text: str, bound: float, value: float, more: float = 0.0) -> Record:
        return Record("S-steps", text, kind, bound, value, _SOURCE, tolerance=rounding + more, scale=size)

    where = "over the enclosure of θ_T by the sums of its steps"
    mu = "λ" if order == "dpo-first" else "(1-λ)"
    return (
        record("lower", f"G_Mix,λ(θ_T) >= min G_Mix,λ {where}", low, attained),
        record("upper", f"G_Mix,λ(θ_T) <= max G_Mix,λ {where}", high, attained),
        record(
            "upper",
            f"|G_Mix,λ(θ_T) - {mu} log({total}) - {mu} cθ_ref + f*| <= an explicit error",
            error,
            abs(attained - growth - offset),
            float(run.gap_rounding(growth)),
        ),
    )


@reads_numbers
def thm_33_any_steps(
    *,
    lam: tuple[float, float] = (0.01, 0.99),
    total: float = 250.0,
    g: float | None = None,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 1.0,
    theta_1: float | None = None,
    order: Order = "dpo-first",
) -> Record:
    """Compute both sides of Theorem 3.3 with a sequence of steps, as the paper states it: the gap stays above g.

    Problem: as `sequential_any_steps`.
    Statement: G_Mix,λ(theta_T) >= g > 0 for every λ in [lo, hi] and every sequence of steps of at most alpha with y_2
        >= total and y_1 <= y_2, y the sums of c² alpha_t.
    Kind: lower, with an interval of the infimum over λ and sequences: from `level_any_steps` (0 where it finds none) to
        the least gap of some runs, the attained value: 9 values of λ, the `schedules` with sums from total to 8 total.
    Source: arXiv 2410.15483v3, Theorem 3.3; docs/theory.md, S8. In balls: `certified_33` with total.
    Arguments: lam (lo, hi), 0 < lo <= hi < 1; total > 0; g, a level, or None for `level_any_steps`; the others as in
        `thm_33`. Returns: a Record. Raises: as usual.
    """
    run, (low, high) = TwoPhases(c, theta_ref, alpha, theta_1, order), interval(lam)
    total = _check.real("total", total, above=0.0)
    proven = level_any_steps(run, (low, high), total)
    bound = proven if g is None else _check.real("g", g, above=0.0)
    sums = [times * total / c**2 for times in (1.0, 8.0)]
    runs = [follow(run, steps, steps) for y in sums for name in SCHEDULES for steps in [shaped(name, alpha, y)]]
    ends, roundings = zip(*runs, strict=True)
    w = np.array(ends)
    gaps = np.stack([run.gap(float(weight), w) for weight in np.linspace(low, high, 9)])
    k = int(gaps.min(axis=0).argmin())
    least = float(gaps.min())
    return Record(
        claim="3.3",
        statement=f"Sequential, {order}, any steps <= {alpha:g}: G_Mix,λ(θ_T) >= g for λ in [{low:g}, {high:g}] and "
        f"c²Σα over the last phase >= {total:g}, over the first at most that",
        kind="lower",
        bound=bound,
        attained=least,
        source="arXiv 2410.15483v3, Theorem 3.3; docs/theory.md, S8",
        terms={"g": bound},
        tolerance=roundings[k] + float(run.gap_rounding(w[k])),
        interval=(0.0 if math.isnan(proven) else min(proven, least), least),
        note="no level is proven for this total" if math.isnan(proven) else f"proven to be at least {proven:.6g}",
    )
