"""Theorem S in float64: where Sequential ends on the lower-bound family, its gap from both sides, and its constant.

The family is `toyopt.examples.LowerBound`. With u = c theta, x = c theta_ref, η = c²α, either order is two runs of
v_{t+1} = v_t + ησ(-v_t): the second starts from w_0 = -x - v_{T_1}, and the gap at its end is that of `DPO first` at
u = -w_{T_2}, with the weight μ = λ (DPO first) or 1-λ (SFT first). Beyond the paper: docs/theory.md, S; proofs in balls
are in `toyopt.certify`, here are numbers for any float parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.examples import LowerBound
from toyopt.optimum import lower_bound_minimiser
from toyopt.record import Record
from toyopt.theorems.sequential.potential import (
    advance,
    delta,
    envelope,
    excess,
    inverse_potential,
    lengths,
    potential,
    shortfall,
    softplus,
)

Order = Literal["dpo-first", "sft-first"]

_U = 2.0**-53
_SOURCE = "beyond the paper, docs/theory.md, part S"


@dataclass(frozen=True)
class TwoPhases:
    """Sequential on the family with full gradients and a constant step: c > 0, alpha > 0, η = c² alpha <= 4.

    theta_1 defaults to theta_ref. Raises ValueError or TypeError naming the argument.
    """

    c: float = 0.5
    theta_ref: float = 5.0
    alpha: float = 1.0
    theta_1: float | None = None
    order: Order = "dpo-first"

    def __post_init__(self) -> None:
        _check.real("c", self.c, above=0.0)
        _check.real("theta_ref", self.theta_ref)
        _check.real("alpha", self.alpha, above=0.0)
        if self.theta_1 is not None:
            _check.real("theta_1", self.theta_1)
        if not 0.0 < self.eta <= 4.0:
            raise ValueError(f"alpha: must keep 0 < c² alpha <= 4, got {self.alpha!r} with c = {self.c!r}")
        if abs(self.x) > 700.0:
            raise ValueError(f"theta_ref: must keep |c theta_ref| <= 700, got {self.theta_ref!r} with c = {self.c!r}")
        if self.order not in ("dpo-first", "sft-first"):
            raise ValueError(f"order: 'dpo-first' or 'sft-first' is needed, got {self.order!r}")

    @property
    def eta(self) -> float:
        """Step η = c² alpha of the recursion."""
        return self.c**2 * self.alpha

    @property
    def x(self) -> float:
        """Offset x = c theta_ref."""
        return self.c * self.theta_ref

    @property
    def start(self) -> float:
        """Start v_0 of the first phase: c(theta_1 - theta_ref) (DPO first) or -c theta_1 (SFT first)."""
        theta = self.theta_ref if self.theta_1 is None else self.theta_1
        return self.c * (theta - self.theta_ref) if self.order == "dpo-first" else -self.c * theta

    def weight(self, lam: float) -> float:
        """Return μ: λ (DPO first) or 1-λ (SFT first); raise ValueError unless 0 < λ < 1."""
        lam = _check.real("lam", lam)
        if not 0.0 < lam < 1.0:
            raise ValueError(f"lam: must be in (0, 1) for a minimiser to exist, got {lam!r}")
        return lam if self.order == "dpo-first" else 1.0 - lam

    def phases(self, T_DPO: ArrayLike, T_SFT: ArrayLike) -> tuple[Array, Array]:
        """Return (T_1, T_2), the lengths in the order of the phases, broadcast."""
        both = np.broadcast_arrays(lengths("T_DPO", T_DPO), lengths("T_SFT", T_SFT))
        dpo, sft = both
        return (dpo, sft) if self.order == "dpo-first" else (sft, dpo)

    def theta(self, w: ArrayLike) -> Array:
        """Compute the parameter at w, the variable of the second phase."""
        u = -np.asarray(w) if self.order == "dpo-first" else self.x + np.asarray(w)
        return np.asarray(u / self.c)

    def turning_w(self, lam: float) -> float:
        """Compute -c theta*_μ, the w at which the gap is 0."""
        return -self.c * lower_bound_minimiser(LowerBound(self.c, self.theta_ref), self.weight(lam))

    def f_mix(self, lam: float, w: ArrayLike) -> Array:
        """Compute f_Mix,λ (eq. (6)) at w: μ log(1+e^{x+w}) + (1-μ) log(1+e^{-w})."""
        mu, w = self.weight(lam), np.asarray(w)
        return mu * softplus(self.x + w) + (1 - mu) * softplus(-w)

    def gap(self, lam: float, w: ArrayLike) -> Array:
        """Compute G_Mix,λ (eq. (6)) at w, to `gap_rounding`."""
        return self.f_mix(lam, w) - self.f_mix(lam, self.turning_w(lam))

    def gap_rounding(self, w: ArrayLike) -> Array:
        """Bound the rounding of the gap: 16 u (4 + |x| + |w|), for two values of at most |x| + |w| + 2 log 2.

        Each has two sums, exp, log1p and a product, together 6 u of its size; f_Mix is flat at its minimiser.
        """
        return 16 * _U * (4 + abs(self.x) + np.abs(w))

    def enclosure(self, T_DPO: ArrayLike, T_SFT: ArrayLike) -> tuple[Array, Array]:
        """Compute bounds of w_{T_2} by Lemma P for each phase: F' is in [0, 1], so ordered runs stay ordered."""
        first, second = self.phases(T_DPO, T_SFT)
        low, high = envelope(self.start, self.eta, first)
        # A bound of the rounding of c(theta_1 - theta_ref), c theta_ref, c² alpha and -x - v in w_0.
        moved = 8 * _U * (abs(self.x) + abs(self.start) + np.maximum(np.abs(low), np.abs(high)))
        below, above = -self.x - high - moved, -self.x - low + moved
        return envelope(below, self.eta, second)[0], envelope(above, self.eta, second)[1]

    def gap_bounds(self, lam: float, T_DPO: ArrayLike, T_SFT: ArrayLike) -> tuple[Array, Array]:
        """Compute the minimum and maximum of G_Mix,λ over `enclosure`: at its ends, by convexity, or 0 inside.

        Valid for all T_DPO, T_SFT >= 0; both are widened by a bound of their rounding.
        """
        low, high = self.enclosure(T_DPO, T_SFT)
        ends, turn = np.stack([self.gap(lam, low), self.gap(lam, high)]), self.turning_w(lam)
        error = self.gap_rounding(np.maximum(np.abs(low), np.abs(high)))
        least = np.where((low <= turn) & (turn <= high), 0.0, ends.min(axis=0) - error)
        return np.maximum(least, 0.0), ends.max(axis=0) + error

    def constant(self, lam: float) -> float:
        """Compute κ_λ = μ (log η + c theta_ref) - f*_Mix,λ, the limit of G_Mix,λ(theta_T) - μ log T_2."""
        return self.weight(lam) * (math.log(self.eta) + self.x) - float(self.f_mix(lam, self.turning_w(lam)))

    def remainder(self, lam: float, T_DPO: ArrayLike, T_SFT: ArrayLike) -> tuple[Array, Array]:
        """Compute bounds of G_Mix,λ(theta_T) - μ log T_2 - κ_λ.

        With w = w_{T_2} in `enclosure` and y = ηT_2 > 0 this is

        μ (w - log y) + μ log(1 + e^{-x-w}) + (1-μ) log(1 + e^{-w}).
        """
        mu, (low, high) = self.weight(lam), self.enclosure(T_DPO, T_SFT)
        second = self.phases(T_DPO, T_SFT)[1]
        if (second < 1).any():
            raise ValueError(f"{'T_SFT' if self.order == 'dpo-first' else 'T_DPO'}: must be at least 1, got 0")
        log_y = math.log(self.eta) + np.log(second)

        def rest(w: Array) -> Array:
            return mu * softplus(-self.x - w) + (1 - mu) * softplus(-w)

        error = self.gap_rounding(np.maximum(np.abs(low), np.abs(high)) + np.abs(log_y))
        return mu * (low - log_y) + rest(high) - error, mu * (high - log_y) + rest(low) + error

    def limit_error(self, lam: float, T: ArrayLike) -> tuple[Array, Array]:
        """Compute (below, above), bounds of G_Mix,λ(theta_T') - μ log T' - κ_λ for all T' = T_DPO = T_SFT >= T.

        docs/theory.md, (S.6), under its conditions 1 to 4 and η <= 2; nan where one fails. Both are O((log T)/T).
        Condition 1 is that y + k > 1, and follows: from 4, y/(y+k) <= B < y. So does T >= 1, hence y > `under`.
        """
        mu, eta, x, v0 = self.weight(lam), self.eta, self.x, self.start
        y, half_log = eta * lengths("T", T), eta / 2 * math.log(2)
        over, under = float(excess(v0, eta)), float(shortfall(v0, eta))
        k = float(potential(v0, eta)) + over + half_log
        with np.errstate(all="ignore"):
            omega = -x - advance(v0, np.maximum(y, under) - under, eta)
            B = x + eta**2 / 2 + np.log(y + k) + (1 - eta / 2) * np.log(y)
            good = omega + np.exp(omega) + delta(eta) * (1 + eta / 4) + half_log <= 0
            good &= y - x - np.log(y + k) - eta**2 / 2 >= 1 - half_log
            good &= (np.maximum(1.0, y / (y + k)) + 1 - eta / 2 <= B) & (y > B) & (eta <= 2)
            below, above = mu * np.log1p(-B / y), (mu * math.exp(-x) + 1 - mu) / (y - B)
        return np.where(good, below, np.nan), np.where(good, above, np.nan)

    def lower_end(self, T0: int) -> float:
        """Compute W with w_T >= W for all T_DPO = T_SFT = T >= T0 (docs/theory.md, Theorem S); nan if (S.5) fails.

        (S.5)'s second part, over e^V, is 1 - (η/2)σ(-V) >= e^{w_0-V}, as σ(V) = e^V σ(-V). The first follows from it,
        1 + e^V >= η/2.
        """
        y, eta, v0 = self.eta * _check.whole("T0", T0, low=1), self.eta, self.start
        V = float(advance(v0, y + excess(v0, eta), eta))
        w0 = -self.x - V
        with np.errstate(over="ignore"):
            if not 1 - eta / 2 * expit(-V) >= np.exp(w0 - V):
                return math.nan
        return float(inverse_potential(potential(w0, eta) + y - eta**2 / 2, eta))

    def last(self, T_DPO: ArrayLike, T_SFT: ArrayLike) -> Array:
        """Compute w_{T_2} by the recursion itself, step by step with compensated sums, to `run_rounding`.

        About 10 to 30 ns a step; the first phase is run once for all its lengths, the second side by side.
        """
        from toyopt.theorems.sequential import _recursion

        first, second = self.phases(T_DPO, T_SFT)
        stops, place = np.unique(first.reshape(-1).astype(np.int64), return_inverse=True)
        w0 = -self.x - _recursion.one_run(self.start, self.eta, stops)[place]
        steps = second.reshape(-1).astype(np.int64)
        order = np.argsort(-steps)
        out = np.empty(len(steps))
        out[order] = _recursion.many_runs(w0[order], self.eta, steps[order])
        return out.reshape(first.shape)

    def run_rounding(self, T_DPO: ArrayLike, T_SFT: ArrayLike) -> Array:
        """Bound the rounding of `last`: with M = max(|v_0|, |v_T|), u ((v_T-v_0)(16+M) + 8M) a phase.

        An increment s is off by 6 u s (η, exp, sum, quotient, the compensated sum) and, as exp uses only the leading
        part of v, by u |v| s; increments add up to v_T - v_0, and F brings errors no further apart. What the
        compensation itself loses, T u² M, is less than u M as T < 2^53. The start, x, the last rounding: 8 u M.
        """
        first, _ = self.phases(T_DPO, T_SFT)
        low, high = envelope(self.start, self.eta, first)
        v = np.maximum(np.abs(low), np.abs(high))
        end = np.maximum(*np.abs(self.enclosure(T_DPO, T_SFT)))
        M, N = np.maximum(v, abs(self.start)), np.maximum(v + abs(self.x), end)
        return np.asarray(_U * ((M + v) * (16 + M) + 8 * (M + N) + (N + end) * (16 + N)))


@reads_numbers
def theorem_s(
    *,
    lam: float,
    T_DPO: int,
    T_SFT: int,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 1.0,
    theta_1: float | None = None,
    order: Order = "dpo-first",
    limit: int = 10**9,
) -> tuple[Record, Record, Record]:
    """Compute both sides of Theorem S: bounds of Sequential's gap, and λ log T_SFT + κ with its error.

    Problem: f_DPO = log(1+e^{-c(theta-theta_ref)}), f_SFT = log(1+e^{c theta}), full gradients, constant alpha, 0 < η =
        c² alpha <= 4, any start; T_DPO and T_SFT steps on each, in either order.
    Statement: min G_Mix,λ <= G_Mix,λ(theta_T) <= max G_Mix,λ over Lemma P's enclosure of theta_T; and
        |G_Mix,λ(theta_T) - μ log T_2 - κ_λ| <= an explicit error, κ_λ = μ (log η + c theta_ref) - f*_Mix,λ; μ = λ and
        T_2 = T_SFT (DPO first), 1-λ and T_DPO (SFT first).
    Kind: lower, and upper twice: the third record's attained value is the distance of the gap from μ log T_2 + κ_λ, its
        bound the error: that of (S.6), which holds and decreases for all later T, where T_DPO = T_SFT and its
        conditions hold, else the error of Lemma P.
    Source: beyond the paper, docs/theory.md, part S. Sharpens Theorem 3.3 of arXiv 2410.15483v3.
    Arguments: lam in (0, 1); T_DPO, T_SFT >= 0, the last phase's >= 1; c, theta_ref, alpha, theta_1 (None: theta_ref),
        order; limit: longer phases are not followed, attained is nan and the verdict open.
    Returns: three Records; terms of the bounds of the gap: "growth" (μ log T_2), "constant" (κ_λ) and "remainder"; of
        the error: "error". Raises: as usual.
    """
    run = TwoPhases(c, theta_ref, alpha, theta_1, order)
    T_DPO, T_SFT = _check.whole("T_DPO", T_DPO, low=0), _check.whole("T_SFT", T_SFT, low=0)
    below, above = (float(e) for e in run.remainder(lam, T_DPO, T_SFT))
    derivation = "Lemma P"
    if T_DPO == T_SFT and not math.isnan(float(run.limit_error(lam, T_DPO)[0])):
        (below, above), derivation = (float(e) for e in run.limit_error(lam, T_DPO)), "(S.6)"
    low, high = (float(g) for g in run.gap_bounds(lam, T_DPO, T_SFT))
    attained, rounding = math.nan, 0.0
    if max(T_DPO, T_SFT) <= limit:
        w = float(run.last(T_DPO, T_SFT))
        attained = float(run.gap(lam, w))
        rounding = float(run.run_rounding(T_DPO, T_SFT) + run.gap_rounding(w))
    mu, last = ("λ", "T_SFT") if order == "dpo-first" else ("(1-λ)", "T_DPO")
    growth = run.weight(lam) * math.log(T_SFT if order == "dpo-first" else T_DPO)
    constant = run.constant(lam)
    # A gap is the difference of two values of f_Mix, which its rounding is measured by.
    size = float(run.f_mix(lam, run.turning_w(lam))) + abs(growth) + abs(constant)

    def bounds(kind: Literal["lower", "upper"], text: str, bound: float) -> Record:
        terms = {"growth": growth, "constant": constant, "remainder": bound - growth - constant}
        return Record("S", text, kind, bound, attained, _SOURCE, terms=terms, tolerance=rounding, scale=size)

    where, error = "over Lemma P's enclosure of θ_T", max(-below, above)
    distance = Record(
        claim="S",
        statement=f"|G_Mix,λ(θ_T) - {mu} log {last} - κ_λ| <= an explicit error by {derivation}",
        kind="upper",
        bound=error,
        attained=abs(attained - growth - constant),
        source=_SOURCE,
        terms={"error": error},
        # growth and κ_λ: a logarithm, a product and the rounding of f*.
        tolerance=rounding + float(run.gap_rounding(growth)),
        scale=size,
    )
    return (
        bounds("lower", f"G_Mix,λ(θ_T) >= min G_Mix,λ {where}", low),
        bounds("upper", f"G_Mix,λ(θ_T) <= max G_Mix,λ {where}", high),
        distance,
    )
