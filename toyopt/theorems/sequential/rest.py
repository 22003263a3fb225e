"""AdamW comes to rest where its step and its decay cancel, as long as its memory is short beside its steps.

With w the margin of the last phase, s = σ(-w), a = c alpha, e = ε/c: w <- w - αγ(w - w_d) + a M/(sqrt(V) + e). A margin
that moves at most δ a step keeps M/(sqrt(V) + e) near φ(w) = s/(s + e), the closer the smaller δ is, so that w is near
the only zero of cφ(w) - γ(w - w_d), and then moves still less. Beyond the paper: docs/theory.md, S13.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from toyopt._numbers import reads_numbers
from toyopt.optimizers import AdamW
from toyopt.record import Record
from toyopt.theorems.sequential import memory
from toyopt.theorems.sequential.adam import check_decay
from toyopt.theorems.sequential.two_phases import Order, TwoPhases

_U = 2.0**-53
_SOURCE = "beyond the paper, docs/theory.md, S13"


@dataclass(frozen=True)
class Averages:
    """Bounds of M/s and of sqrt(V)/s while the margin moves at most `delta` a step: (S.20) of docs/theory.md."""

    delta: float
    beta1: float
    beta2: float

    @property
    def mean(self) -> tuple[float, float]:
        """Bounds of M/s; the upper one is inf where β1 e^δ >= 1."""
        k = self.beta1 / (1.0 - self.beta1)
        grown = k * math.expm1(self.delta)
        return 1.0 / (1.0 - k * math.expm1(-self.delta)), 1.0 / (1.0 - grown) if grown < 1.0 else math.inf

    @property
    def root(self) -> tuple[float, float]:
        """Bounds of sqrt(V)/s; the upper one is inf where β2 e^{2δ} >= 1."""
        k = self.beta2 / (1.0 - self.beta2)
        grown = k * math.expm1(2.0 * self.delta)
        low = 1.0 / math.sqrt(1.0 - k * math.expm1(-2.0 * self.delta))
        return low, 1.0 / math.sqrt(1.0 - grown) if grown < 1.0 else math.inf

    @property
    def ratio(self) -> tuple[float, float]:
        """Bounds of M/(sqrt(V) + e) in units of φ = s/(s + e), whatever e >= 0."""
        return self.mean[0] / self.root[1], self.mean[1] / self.root[0]


def resting_margin(c: float, weight_decay: float, epsilon: float, home: float = 0.0, times: float = 1.0) -> float:
    """Compute the w with γ (w - home) = c times s/(s + ε/c), s = σ(-w), where AdamW's step and its decay cancel.

    Arguments: c, weight_decay > 0; epsilon, times >= 0; home is the margin at θ = 0: 0 for DPO first, -c θ_ref for SFT
    first. Source: beyond the paper, docs/theory.md, S13.
    """
    most = c * times / weight_decay

    def excess(w: float) -> float:
        s = expit(-w)
        return float(weight_decay * (w - home) - c * times * s / (s + epsilon / c))

    if epsilon == 0.0 or most == 0.0:
        return home + most
    return float(brentq(excess, home, home + most, xtol=1e-300, rtol=4 * 2.0**-52, maxiter=5000))


def follow(
    run: TwoPhases, optimizer: AdamW, alpha: float, gamma: float, T_1: int, T_2: int
) -> tuple[float, float, float]:
    """Compute w, M/s and sqrt(V)/s of the last of T_1 and T_2 steps of alpha, by the recursion of the margins."""
    from toyopt.theorems.sequential import _recursion

    numbers = run.c * alpha, optimizer.epsilon / run.c, alpha * gamma
    betas = optimizer.beta1, optimizer.beta2
    first, last = homes(run)
    v, *_ = _recursion.adamw_run(run.start, *numbers, first, *betas, T_1)
    _, w, mean, square = _recursion.adamw_run(-run.x - v, *numbers, last, *betas, T_2)
    s = float(expit(-w))
    return (w, mean / s, math.sqrt(square) / s) if s > 0.0 else (w, math.inf, math.inf)


def homes(run: TwoPhases) -> tuple[float, float]:
    """Return the margins at θ = 0, to which the decay pulls: of the first phase and of the last."""
    return (-run.x, 0.0) if run.order == "dpo-first" else (0.0, -run.x)


def trapped(
    w: float, mean: float, root: float, rest: tuple[float, float, float, float], alpha: float, optimizer: AdamW
) -> tuple[float, float] | None:
    """Compute the least interval, of those tried, that w never leaves; None if there is none.

    rest: c, γ, ε and the margin at θ = 0. The state is in the set of (S.21) of docs/theory.md, which no step leaves.
    """
    c, gamma, epsilon, home = rest
    for delta in np.geomspace(1e-9, 1.0, 400):
        kept = Averages(float(delta), optimizer.beta1, optimizer.beta2)
        (below, above), (least, most) = kept.ratio, kept.mean
        if not (math.isfinite(above) and alpha * gamma + c * alpha * above / 4.0 <= 1.0):
            return None
        low, high = (resting_margin(c, gamma, epsilon, home, times) for times in (below, above))
        s = float(expit(-low))
        moves = c * alpha * (above - below) * s / (s + epsilon / c)
        inside = low <= w <= high and least <= mean <= most and kept.root[0] <= root <= kept.root[1]
        if inside and moves <= delta:
            return low, high
    return None


@reads_numbers
def adamw_comes_to_rest(
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
) -> tuple[Record, Record, Record]:
    """Compute both sides of AdamW's rest: bounds of the gap after T_2 and all later steps, and its distance from rest.

    Problem: f_DPO = log(1+e^{-c(theta-theta_ref)}), f_SFT = log(1+e^{c theta}), full gradients, constant alpha, weight
        decay γ with alpha γ <= 1, β1² < β2, any start; `toyopt.AdamW`, its memory reset between the phases.
    Statement: from step T_2/2 of the last phase on the margin stays in an interval around the w* with γ(w* - w_d) =
        c s/(s + ε/c), s = σ(-w*), where step and decay cancel; w_d is the margin at θ = 0. So for T_2 and all later
        steps G_Mix,λ is between its ends, and near its value at w*. If the memory is short enough
        (`toyopt.certify.adamw_rest`), every run ends in every such interval: the gap tends to that at w*.
    Kind: lower, and upper twice; open where the run has not come near to rest. Source: docs/theory.md, S13.
    Arguments: weight_decay > 0, γ; the others as in `sequential_adam`. Returns: three Records. Raises: as usual.
    """
    run, optimizer = memory.family(c, theta_ref, theta_1, order), AdamW(beta1, beta2, epsilon)
    gamma = check_decay(weight_decay, alpha, beta1, beta2)
    T_1, T_2 = memory.lengths(T_DPO, T_SFT, order)
    home = homes(run)[1]
    state = follow(run, optimizer, alpha, gamma, T_1, max(T_2 // 2, 1))
    ends = trapped(*state, (c, gamma, epsilon, home), alpha, optimizer)
    w, rounding = memory.follow(run, optimizer, alpha, T_1, T_2, gamma)
    rest, turn = resting_margin(c, gamma, epsilon, home), run.turning_w(lam)
    low, high = (math.nan, math.nan) if ends is None else ends
    gaps = [float(run.gap(lam, end)) for end in (low, high)]
    error, attained = float(run.gap_rounding(max(abs(w), abs(rest)))), float(run.gap(lam, w))
    least = 0.0 if low <= turn <= high else min(gaps) - error
    there = float(run.gap(lam, rest))
    tolerance, scale = rounding + 2 * error, float(run.f_mix(lam, w)) + abs(run.x)
    note = (
        "the run is not near rest yet" if ends is None else f"rest at w = {rest:.10g}, w in [{low:.10g}, {high:.10g}]"
    )
    text = f"AdamW, γ = {gamma:g}, β = ({beta1:g}, {beta2:g}), after T and all later steps: "

    def one(kind: Literal["lower", "upper"], words: str, bound: float, value: float) -> Record:
        statement = text + words
        return Record("S-rest", statement, kind, bound, value, _SOURCE, tolerance=tolerance, scale=scale, note=note)

    return (
        one("lower", "G_Mix,λ(θ_T) >= min G_Mix,λ over the interval that is never left", least, attained),
        one("upper", "G_Mix,λ(θ_T) <= max G_Mix,λ over the interval that is never left", max(gaps) + error, attained),
        one(
            "upper",
            "|G_Mix,λ(θ_T) - G_Mix,λ at rest| <= its largest over that interval",
            max(abs(gap - there) for gap in gaps) + error,
            abs(attained - there),
        ),
    )
