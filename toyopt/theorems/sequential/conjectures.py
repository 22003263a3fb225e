"""Two conjectures on Adam, held against runs: its speed and AdamW's rest beyond what is proven. docs/theory.md, S13.

Numbers of runs prove neither: the records are open, unless what is proven refutes the conjecture.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from toyopt import _check
from toyopt._numbers import reads_numbers
from toyopt.algorithms import DPO, Constant, Sequential
from toyopt.examples import LowerBound
from toyopt.optimizers import Adam, AdamW
from toyopt.record import Record
from toyopt.theorems.sequential import memory
from toyopt.theorems.sequential.adam import check_decay, check_numbers, largest_ratio, speed
from toyopt.theorems.sequential.rest import resting_margin
from toyopt.theorems.sequential.wave import wave_speed

_U = 2.0**-53
_SOURCE = "beyond the paper, docs/theory.md, S13"


@reads_numbers
def adam_speed(
    *,
    T: int = 10_000,
    beta1: float = 0.9,
    beta2: float = 0.95,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 0.2,
) -> Record:
    """Compare Adam's measured speed for ε = 0 with the conjectured one, between the limits that are proven.

    Problem: T steps on f_DPO = log(1+e^{-c(theta-theta_ref)}) from theta_ref, alpha, beta1 and beta2 as in
        `sequential_adam`, ε = 0; the mean step of the second half of the run.
    Statement: v_T/T tends to `wave_speed`. A theorem for short steps (`adam_reaches_speed`), else a conjecture: the
        interval of its limit is what is proven, from `speed` of c alpha
        to `speed` of c alpha (1-β1)/(1-β1 e^{c alpha}).
    Kind: equal; open, or fails where the conjecture is outside what is proven. Source: docs/theory.md, S13.
    Arguments: T >= 2. Returns: a Record. Raises: ValueError or TypeError naming the argument.
    """
    from toyopt.simulate import simulate

    family, optimizer = LowerBound(c, theta_ref), Adam(beta1, beta2, 0.0)
    a, half = c * _check.real("alpha", alpha, above=0.0), _check.whole("T", T, low=2) // 2
    check_numbers(a, beta1, beta2)
    shared: dict[str, Any] = {"theta0": [theta_ref], "optimizer": optimizer, "record": [half]}
    path = simulate(family.problem(), Sequential((T,), (DPO,)), Constant(alpha), **shared).path()
    v = c * (path.theta[:, 0] - theta_ref)
    low, high = speed(a, beta2), speed(a * (1.0 - beta1) / (1.0 - beta1 * math.exp(a)), beta2)
    return Record(
        claim="S-wave",
        statement=f"conjecture: Adam, cα = {a:g}, β = ({beta1:g}, {beta2:g}), ε = 0: v_T/T tends to the wave's speed",
        kind="equal",
        bound=wave_speed(a, beta1, beta2),
        attained=float((v[-1] - v[1]) / (T - half)) if v.max() <= memory.FARTHEST else math.nan,
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
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 0.01,
) -> Record:
    """Compare the gap after T + T steps of AdamW, DPO first, with the gap where step and decay cancel.

    Problem: as `sequential_adamw`. Statement: the gap tends to that at `resting_margin`. A theorem where the memory is
        short (`adamw_comes_to_rest`), else a conjecture: the interval of the limit is what is proven, from 0 to the
        ceiling.
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
        statement=f"conjecture: AdamW, γ = {gamma:g}: β2 = {beta2:g}: the gap tends to that where the step "
        "and the decay cancel",
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
