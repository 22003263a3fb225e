"""Adam without ε moves at the speed of a wave: each step the gradient falls by the same factor.

With s = σ(-v), m = M/s and n = V/s² a step is a m/sqrt(n), and the next m and n follow from it. Bounds of m give bounds
of n, both give bounds of the step, and these give closer bounds of m. Beyond the paper: docs/theory.md, S13.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq

from toyopt import _check
from toyopt._numbers import reads_numbers
from toyopt.algorithms import DPO, Constant, Sequential
from toyopt.examples import LowerBound
from toyopt.optimizers import Adam
from toyopt.record import Record
from toyopt.theorems.sequential import memory
from toyopt.theorems.sequential.adam import check_numbers, speed

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


def settled(
    state: tuple[float, float, float], steps: int, a: float, beta1: float, beta2: float
) -> tuple[float, float] | None:
    """Compute bounds of every later step from one state of Adam, ε = 0; None if the state is in no set that was tried.

    The sets are those of (S.22) of docs/theory.md, m within a factor 1 + z of the wave's, which no step leaves.
    Arguments: state, the margin v, m = M/s and n = V/s² at one step; steps, the number of steps up to it, from which on
    the correction of the bias counts at most β^steps; the others as in `wave_speed`.
    """
    (v, m, n), rho = state, wave_speed(a, beta1, beta2)
    center, short = (1.0 - beta1) / (1.0 - beta1 * math.exp(rho)), -math.expm1(-max(v, 0.0))
    late1, late2 = beta1 * short * (1.0 - beta1**steps), beta2 * short**2 * (1.0 - beta2**steps)
    for z in np.geomspace(1e-10, 1.0, 200):
        x, y, part = center / (1.0 + z), center * (1.0 + z), z / 64.0
        if a * y > 1.0:
            return None
        most = (a * y / speed(a * y, beta2)) ** 2 * (1.0 + part)
        least = max((a * x / speed(a * x, beta2)) ** 2 * (1.0 - part), 1.0)
        low, high = a * x / math.sqrt(most), a * y / math.sqrt(least)
        kept = (
            beta1 * y * math.exp(high) + 1.0 - beta1 <= y,
            late1 * x * math.exp(low) + 1.0 - beta1 >= x,
            beta2 * most * math.exp(2.0 * a * y / math.sqrt(most)) + 1.0 - beta2 <= most,
            late2 * least * math.exp(2.0 * a * x / math.sqrt(least)) + 1.0 - beta2 >= least,
            x <= m <= y and least <= n <= most,
        )
        if all(kept):
            return low, high
    return None


@reads_numbers
def adam_reaches_speed(
    *,
    T: int = 10_000,
    beta1: float = 0.9,
    beta2: float = 0.95,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 0.01,
) -> tuple[Record, Record]:
    """Compute both sides of Adam's speed for ε = 0: bounds of every step from T/2 on, and the mean step up to T.

    Problem: f_DPO = log(1+e^{-c(theta-theta_ref)}) from theta_ref, full gradients, constant alpha, beta1 and beta2 as
        in `sequential_adam`, ε = 0.
    Statement: from step T/2 on M/s and V/s² stay in intervals around the wave's, s = σ(-v), so that every later step of
        the margin is between two numbers around `wave_speed`. If `toyopt.certify.adam_speed` proves it for cα and the
        betas, every run comes to every such interval: v_T/T tends to `wave_speed`.
    Kind: lower and upper; open where the run has not come near to the wave. Source: docs/theory.md, S13.
    Arguments: T >= 2. Returns: two Records. Raises: ValueError or TypeError naming the argument.
    """
    from toyopt.simulate import simulate
    from toyopt.theorems.sequential import _recursion

    family, optimizer = LowerBound(c, theta_ref), Adam(beta1, beta2, 0.0)
    a, half = c * _check.real("alpha", alpha, above=0.0), _check.whole("T", T, low=2) // 2
    check_numbers(a, beta1, beta2)
    _, before, mean, square = _recursion.adamw_run(0.0, a, 0.0, 0.0, 0.0, beta1, beta2, half)
    ends = None
    if before <= memory.FARTHEST:  # beyond it s² leaves the floats
        s = 1.0 / (1.0 + math.exp(before))
        ends = settled((before, mean / s, square / s**2), half, a, beta1, beta2)
    shared: dict[str, Any] = {"theta0": [theta_ref], "optimizer": optimizer, "record": [half]}
    path = simulate(family.problem(), Sequential((T,), (DPO,)), Constant(alpha), **shared).path()
    v = c * (path.theta[:, 0] - theta_ref)
    # Each step rounds θ, of at most |θ_ref| + |v|/c, and the increment by some twenty operations.
    tolerance = 8 * _U * (4 + abs(c * theta_ref) + 2 * float(np.abs(v).max()))
    low, high = (math.nan, math.nan) if ends is None else ends
    note = f"the wave's speed is {wave_speed(a, beta1, beta2):.10g}; "
    if before <= memory.FARTHEST:
        note += "the run is not near it yet" if ends is None else f"every later step is in [{low:.10g}, {high:.10g}]"
    else:
        note += f"the bounds are not computed, as v = {before:.4g} at T/2"
    attained = float((v[-1] - v[1]) / (T - half))
    if v.max() > memory.FARTHEST:
        attained, note = math.nan, note + f"; not followed: beyond v = {memory.FARTHEST:g} s² leaves the floats"
    text = f"Adam, cα = {a:g}, β = ({beta1:g}, {beta2:g}), ε = 0: the mean step from T/2 to T is "

    def one(kind: Literal["lower", "upper"], words: str, bound: float) -> Record:
        return Record("S-speed", text + words, kind, bound, attained, _SOURCE, tolerance=tolerance, note=note)

    return one("lower", "at least the least that is left", low), one("upper", "at most the largest", high)
