"""Sequential by LoRA of any rank: it forgets λ log(T log T), and only an exactly balanced start stays near the base.

The weights are W_0 + BA, and the family's parameter is the entry θ = pᵀ(W_0 + BA)q, p and q of length 1. With a = Aq
and b = Bᵀp, both (r,), θ = θ_0 + <a, b>, and a step moves a along b and b along a. So a + b and a - b are multiplied by
numbers: Q and R, c/4 times their squared lengths, follow one recursion of two numbers whatever the rank, and the margin
is Q - R less a constant. Beyond the paper: docs/theory.md, S14.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import expi, expit, lambertw

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.record import Record
from toyopt.theorems.sequential import memory
from toyopt.theorems.sequential.potential import softplus
from toyopt.theorems.sequential.two_phases import Order, TwoPhases

_U = 2.0**-53
_SOURCE = "beyond the paper, docs/theory.md, S14"
_FARTHEST = 200.0  # of margins and parts at the start: e^200 to the third power is a float
_LEVELS = 64

Interval = tuple[float, float]


@dataclass(frozen=True)
class Pair:
    """Bounds of log Q and of log R, the growing and the shrinking part of a phase; -inf stands for a part that is 0."""

    Q: Interval
    R: Interval

    @property
    def product(self) -> float:
        """Upper bound of Q R, which no step increases."""
        return math.exp(min(self.Q[1] + self.R[1], 700.0))

    @property
    def turned(self) -> Pair:
        """The parts as the next phase has them: the shrinking one grows."""
        return Pair(self.R, self.Q)


def advance(pair: Pair, k: float, h: float, T: int, product: float) -> Pair:
    """Compute bounds of both parts after T steps of Q <- Q(1+hs)², R <- R(1-hs)², s = σ(k + R - Q).

    Statement: (S.23) to (S.25) of docs/theory.md. Arguments: 0 < h < 1; |k| <= 200; T >= 0; product, a bound of Q R.
    Returns: a Pair, rounded outwards by 64 u of the sizes of the logarithms, of Q and of k.
    """
    if T == 0:
        return pair
    if pair.Q[1] == -math.inf:
        fast, slow = float(expit(k + math.exp(pair.R[1]))), float(expit(k))
        shrunk = pair.R[0] + 2 * T * math.log1p(-h * fast), pair.R[1] + 2 * T * math.log1p(-h * slow)
        return Pair(pair.Q, (shrunk[0] - _room(shrunk[0]), shrunk[1] + _room(shrunk[1])))
    low = _inverse(pair.Q[0], k, 2.0 / (2.0 - h), 2.0 * h * T)
    low = max(low - _room(low, pair.Q[0], math.exp(low), k), pair.Q[0])
    high = _upper(pair, k, h, T, product)
    fall = -math.log1p(-h) / math.log1p(h)
    least = pair.R[0] - fall * (high - pair.Q[0]) if pair.R[0] > -math.inf else -math.inf
    most = min(pair.R[1], math.log(product) - low if product > 0.0 else -math.inf)
    return Pair((low, high), (least - _room(least) if least > -math.inf else least, most))


def _room(*sizes: float) -> float:
    """Return the room for the rounding of a bound that is made of numbers of these sizes."""
    return 64 * _U * (4.0 + math.fsum(abs(size) for size in sizes))


def _integral(log_q: float, k: float) -> float:
    """Compute e^{-k} Ei(Q) at Q = e^{log_q}, without overflow as long as Q - k is below 700."""
    if log_q < -40.0:
        return math.exp(-k) * (np.euler_gamma + log_q)
    Q = math.exp(min(log_q, 7.5))  # beyond, the value counts only as a number that is too large
    if Q < 600.0:
        return float(expi(Q)) * math.exp(-k)
    tail = math.fsum(math.factorial(n) / Q**n for n in range(20))  # the next term is below 1e-35
    return math.exp(min(Q - k, 700.0)) / Q * tail


def _inverse(log_q: float, k: float, A: float, rise: float) -> float:
    """Compute the l >= log_q with Φ(l) = Φ(log_q) + rise, Φ(l) = A l + e^{-k} Ei(e^l)."""
    goal = _integral(log_q, k) + rise
    return _root(lambda log: A * (log - log_q) + _integral(log, k) - goal, log_q)


def _root(excess: Callable[[float], float], start: float) -> float:
    """Find the zero beyond `start` of an increasing function; `start` if the function is not negative there."""
    if excess(start) >= 0.0:
        return start
    wide = 0.125
    while excess(start + wide) < 0.0:
        wide *= 2.0
    return float(brentq(excess, start, start + wide, xtol=4 * _U, rtol=8 * _U))


def _upper(pair: Pair, k: float, h: float, T: int, product: float) -> float:
    """Compute an upper bound of log Q by (S.24): the least by several levels from which R is small."""
    best = pair.Q[1] + 2.0 * T * math.log1p(h)
    first = max(pair.Q[1], -700.0)
    levels = np.linspace(first, max(math.log(abs(k) + 60.0), first + 1.0), _LEVELS)
    for level in (None, *levels.tolist()):
        if level is None:  # from the start on
            low, top, shrinking = pair.Q[0], pair.Q[1], math.exp(pair.R[1])
        else:  # from the first step at which Q is at least the level
            low, top = level, level + 2.0 * math.log1p(h)
            shrinking = min(math.exp(pair.R[1]), product * math.exp(-level))
        if top >= best or math.exp(top) > abs(k) + 140.0:
            continue
        best = min(best, _upper_from(low, top, k + shrinking, h, T))
    return best + _room(best, math.exp(best), k)


def _upper_from(low: float, top: float, k: float, h: float, T: int) -> float:
    """Compute an upper bound of log Q after T steps from log Q in [low, top], R as a part of k."""
    peak = float(lambertw(math.exp(k - 1.0)).real) if k < 700.0 else k  # of Q σ(k - Q), at Q = 1 + peak
    if (start := math.exp(low)) > 1.0 + peak:
        peak = start * float(expit(k - start))
    jump = (2.0 * h + h * h) * peak * (1 + 16 * _U)
    if jump > 300.0:
        return math.inf
    bent = h * (math.expm1(jump) / jump if jump > 0.0 else 1.0)  # hκ
    goal = top + _integral(top, k) - bent * float(softplus(start - k)) + 2.0 * h * T * (1 + 8 * _U)
    # (S.24)'s left side increases where e^{Q-k} >= hκQ, Q >= 1
    rising = _root(lambda log: math.exp(log) - log - k - math.log(bent), 0.0)

    def excess(log: float) -> float:
        return log + _integral(log, k) - bent * float(softplus(math.exp(log) - k)) - goal

    return _root(excess, max(top, rising))


def margins(pair: Pair, k: float, product: float) -> Interval:
    """Compute bounds of the margin Q - R - k."""
    low, high = math.exp(pair.Q[0]), math.exp(pair.Q[1])
    most = min(math.exp(pair.R[1]), product / low if low > 0.0 else math.inf)
    room = _room(high, k, most)
    return low - most - k - room, high - math.exp(pair.R[0]) - k + room


def limit_margin(k: float, h: float, T: int) -> float:
    """Compute log y, e^{-k} Ei(k + log y) = 2hT: the margin that T steps from any unbalanced start tend to."""
    goal = 2.0 * h * T
    return math.exp(_root(lambda log: _integral(log, k) - goal, -1.5)) - k  # Ei(e^{-1.5}) < 0


def follow(logs: Interval, ks: Interval, h: float, T_1: int, T_2: int) -> tuple[float, float]:
    """Compute the margin at the end of both phases by the recursion itself, and a bound of its rounding.

    logs are those of Q and R at the start. With l the largest logarithm in size, a step rounds log Q and log R by
    4 u (4 + l), and s by ε = 8 u (1 + 2N + |k|) of itself, N the largest part: the inequalities (S.23), (S.24) of such
    a run have 2hT(1 ± ε), which moves log Q by 2hTε/(1 + e^w), and the errors of log Q, which move it by their sum;
    those of the part that grows next, by their sum over 1 + e^w.
    """
    from toyopt.theorems.sequential import _recursion

    turn = _recursion.low_rank_run(*logs, ks[0], h, T_1)
    end = _recursion.low_rank_run(turn[1], turn[0], ks[1], h, T_2)
    w = math.exp(end[0]) - math.exp(end[1]) - ks[1]
    reached = [log for log in (*logs, *turn, *end) if log > -math.inf]
    N, once = math.exp(max(reached)), 4 * (4.0 + max(map(abs, reached)))
    slope = 8 * (1.0 + 2 * N + max(map(abs, ks)))
    later = (2 * h * T_2 * slope + T_1 * once) / (1.0 + math.exp(min(w, 700.0)))
    return w, _U * (N * ((T_1 + T_2 + 8) * once + later) + slope)


def start(run: TwoPhases, alpha: float, a: Array, b: Array) -> tuple[Interval, Interval, float]:
    """Return log Q and log R at the start, b turned so that phase 1 raises <a, b>, both constants k, and c alpha."""
    h = run.c * _check.real("alpha", alpha, above=0.0)
    if not h < 1.0:
        raise ValueError(f"alpha: must keep c alpha < 1, got {alpha!r} with c = {run.c!r}")
    if a.shape != b.shape:
        raise ValueError(f"b: as many numbers as in a are needed, the rank {len(a)}, got {len(b)}")
    if not (a @ a + b @ b) > 0.0:
        raise ValueError("a: a and b are 0, so that no step moves the adapter; give one of them another start")
    b = b if run.order == "dpo-first" else -b
    parts = [run.c / 4.0 * float(part @ part) for part in (a + b, a - b)]
    k = run.c * float(a @ b) - run.start
    if max(abs(k), abs(run.x - k), *parts) > _FARTHEST:
        raise ValueError(
            f"theta_1: c(θ_0 - θ_ref), cθ_0, c|a + b|²/4 and c|a - b|²/4 must be at most {_FARTHEST:g} in size, got "
            f"{-k:g}, {run.x - k:g}, {parts[0]:g} and {parts[1]:g}"
        )
    log_q, log_r = (math.log(part) if part > 0.0 else -math.inf for part in parts)
    return (log_q, log_r), (k, run.x - k), h


def enclosures(logs: Interval, ks: Interval, h: float, T_1: int, T_2: int) -> tuple[Pair, Pair, float]:
    """Compute bounds of the parts after each phase, and of their product at the start."""
    first = Pair(*((log, log) if log == -math.inf else (log - _room(log), log + _room(log)) for log in logs))
    turn = advance(first, ks[0], h, T_1, first.product)
    return turn, advance(turn.turned, ks[1], h, T_2, first.product), first.product


@reads_numbers
def sequential_low_rank(
    *,
    lam: float,
    T_DPO: int,
    T_SFT: int,
    a: float | Sequence[float] = 1.0,
    b: float | Sequence[float] = 0.0,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 1.0,
    theta_1: float | None = None,
    order: Order = "dpo-first",
) -> tuple[Record, ...]:
    """Compute both sides of Theorem S for LoRA: bounds of Sequential's gap, and λ log(T log T) or the base's gap.

    Problem: θ = θ_0 + <a, b>, a = Aq and b = Bᵀp the adapter's vectors in R^r, any rank r; f_DPO =
        log(1+e^{-c(theta-theta_ref)}), f_SFT = log(1+e^{c theta}), full gradients in A and B, constant alpha with
        c alpha < 1, one adapter for both phases, any start; LoRA starts from b = 0.
    Statement: min G_Mix,λ <= G_Mix,λ(theta_T) <= max G_Mix,λ over an enclosure of theta_T; and, where the last phase
        has something to grow from (a ≠ b, DPO first), |G_Mix,λ(theta_T) - μ log y - (μ c theta_ref - f*_Mix,λ)| <= an
        explicit error that tends to 0 with T_2 -> ∞, e^{-k} Ei(k + log y) = 2 c alpha T_2, k = c θ_0 (DPO first), so
        that log y = log(T_2 log T_2) + O(1); μ = λ (DPO first) or 1-λ. For a = b the gap tends to that of the base.
    Kind: lower, and upper twice. Source: beyond the paper, docs/theory.md, S14.
    Arguments: lam in (0, 1); T_DPO, T_SFT >= 1; a, b: numbers (rank 1) or r numbers each; c, theta_ref, alpha, theta_1
        (None: theta_ref), the start, so that θ_0 = theta_1 - <a, b>; order. LoRA's factor s is in a, b and alpha:
        s^½ a, s^½ b and s alpha.
    Returns: three Records. Raises: ValueError or TypeError naming the argument.
    """
    run = memory.family(c, theta_ref, theta_1, order)
    vectors = [_check.array(name, np.atleast_1d(np.asarray(v)), 1) for name, v in (("a", a), ("b", b))]
    logs, ks, h = start(run, alpha, *vectors)
    T_1, T_2 = memory.lengths(T_DPO, T_SFT, order)
    turn, end, product = enclosures(logs, ks, h, T_1, T_2)
    low, high = margins(end, ks[1], product)
    w, rounding = follow(logs, ks, h, T_1, T_2)
    last, base = ("T_SFT", ks[1] / c) if order == "dpo-first" else ("T_DPO", ks[0] / c)
    note = f"rank {len(vectors[0])}, the base is θ_0 = {base:.6g}"
    shared = ("S-lora", _SOURCE, run, lam, low, high, w, rounding)
    if turn.R[1] > -math.inf:
        y = limit_margin(ks[1], h, T_2)
        note += (
            f"; y = {math.exp(y):.6g}, e^(-k) Ei(k + log y) = 2cα {last}; all weights: c²α {last} = {c * h * T_2:.6g}"
        )
        return memory.records(*shared, y, "y", note)
    below, above, *_ = memory.records(*shared, None, "", note)
    rest = float(run.gap(lam, -ks[1]))
    away = max(abs(bound.bound - rest) for bound in (below, above))
    text = "|G_Mix,λ(θ_T) - G_Mix,λ(θ_0)| <= an explicit error, as the start is balanced"
    return below, above, replace(below, statement=text, kind="upper", bound=away, attained=abs(below.attained - rest))
