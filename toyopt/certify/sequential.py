"""Theorem S and Theorem 3.3: Sequential's gap is at least g for all T >= T0, for every λ in an interval.

Proof in docs/theory.md, part S.  In short, with y = ηT: phase 1 ends at most at V(T), Ψ(V) = Ψ(v_0) + ρy + E; phase 2
obeys Ψ(w_T) >= R(T) = Ψ(-x - V(T)) + y - η²/2.  R increases as soon as Ψ'(V)/ρ >= Ψ'(-x - V), which
1 + e^V - (η/2)σ(V) >= ρ(1 + e^{-x-V}) ensures; its left side increases once (1+e^V)² >= η/2, its right side
decreases, so one check at T0 holds for all later T.  Then w_T >= W = Ψ^{-1}(R(T0)), and `level.HalfLine` does the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from flint import arb, ctx, fmpz

from toyopt.certify.certificate import Certificate, Claim, Proof, UnprovenStep, certify, check_prec
from toyopt.certify.exact import Exact, Weights, ball, count, describe_weights, integer_text, positive, weights
from toyopt.certify.family import sigma
from toyopt.certify.level import HalfLine
from toyopt.certify.phases import Phases

LOWER_END = "lower bound of the last iterate's w (or v) from T0 on"  # the name of an enclosure


@dataclass(frozen=True)
class LastPhase(ABC):
    """Runs whose last phase has a length, or a total step, of at least some number."""

    run: Phases

    @abstractmethod
    def lower_end(self, proof: Proof, least: Any) -> arb:
        """Prove w >= W at the end of every last phase of at least `least`; return W, or raise `UnprovenStep`."""

    def line(self, lam: tuple[Fraction, Fraction]) -> HalfLine:
        """Return the half-line on which the second phase ends."""
        return HalfLine.of(self.run.family, lam, self.run.side)

    def reaches(self, least: Any, W: arb) -> bool:
        """Return whether `lower_end` proves at least W; for searches."""
        try:
            return bool(self.lower_end(Proof(), least) >= W)
        except UnprovenStep:
            return False

    def prove(self, proof: Proof, least: Any, lam: tuple[Fraction, Fraction], g: Fraction) -> None:
        """Prove G_Mix,λ >= g at the end of every last phase of at least `least`, for every λ in [lo, hi]."""
        W = self.lower_end(proof, least)
        proof.keep(LOWER_END, W)
        self.line(lam).prove(proof, W, ball(g))

    def best_g(self, least: Any, lam: tuple[Fraction, Fraction]) -> Fraction:
        """Search for the largest g with three decimals that `prove` reaches; 1/1000 if none."""
        line, low, high = self.line(lam), 1, 2
        try:
            W = self.lower_end(Proof(), least)
        except UnprovenStep:
            return Fraction(1, 1000)
        while line.holds(W, ball(Fraction(high, 1000))):
            low, high = high, 2 * high
        while high - low > 1:
            mid = (low + high) // 2
            low, high = (mid, high) if line.holds(W, ball(Fraction(mid, 1000))) else (low, mid)
        return Fraction(low, 1000)

    def least(self, lam: tuple[Fraction, Fraction], g: Fraction, *, most: int, unit: int) -> Fraction | None:
        """Search for about the least number that reaches g, rounded up to three digits; None beyond `most`.

        unit  the result is a multiple of it; 0: of any power of ten
        """
        W = least_w(self.line(lam), ball(g))
        if W is None:
            return None
        high = Fraction(1)
        while not self.reaches(high, W):
            high *= 2
            if high > most:
                return None
        step = max(Fraction(10) ** (len(str(int(high))) - 3), Fraction(unit))
        low, top = 0, -int(-high // step)
        while top - low > 1:
            mid = (low + top) // 2
            low, top = (low, mid) if self.reaches(mid * step, W) else (mid, top)
        return top * step if self.reaches(top * step, W) else high


@dataclass(frozen=True)
class PhaseLengths(LastPhase):
    """A run with the allowed lengths of its first phase: T_1 <= ratio T_2, or T_1 <= T_first for every T_2."""

    ratio: Fraction
    T_first: int | None

    @staticmethod
    def of(phases: Phases | None, ratio: Exact, T_first: int | None) -> PhaseLengths:
        """Return the checked input."""
        longest = None if T_first is None else count(T_first, "T_first", least=0)
        return PhaseLengths(Phases() if phases is None else phases, positive(ratio, "ratio"), longest)

    def second_start(self, T0: int) -> tuple[arb, arb]:
        """Compute (V, w_0): the upper end of the longest first phase at T_2 = T0, and the second phase's start."""
        pot, start = self.run.potential, ball(self.run.first_start)
        steps = self.ratio * T0 if self.T_first is None else Fraction(self.T_first)
        V = pot.inverse(pot.value(start) + ball(self.run.eta * steps) + pot.over(start))
        return V, self.run.second_start(V)

    def lower_end(self, proof: Proof, T0: int) -> arb:
        """Prove w_{T_2} >= W for all T_2 >= T0 and all allowed T_1; return W, or raise `UnprovenStep`."""
        pot, eta = self.run.potential, self.run.eta
        V, w0 = self.second_start(T0)
        if self.T_first is None:  # else w_0 does not depend on T_2 and R increases with y
            proof.require((1 + V.exp()) ** 2 >= ball(eta / 2), f"(1+e^V)² >= η/2 at T0 = {integer_text(T0)}")
            left, right = 1 + V.exp() - ball(eta / 2) * sigma(V), ball(self.ratio) * (1 + w0.exp())
            proof.require(left >= right, f"T -> R(T) increases beyond T0 = {integer_text(T0)}")
        W = pot.inverse(pot.value(w0) + ball(eta) * T0 - ball(eta**2 / 2))
        return W.lower()

    def lengths(self, T0: str) -> str:
        """Return the quantifiers over T_1, T_2, in words."""
        first, second = ("DPO", "SFT") if self.run.order == "dpo-first" else ("SFT", "DPO")
        factor = "" if self.ratio == 1 else f"{self.ratio} "
        longest = f"{factor}T_{second}" if self.T_first is None else integer_text(self.T_first)
        return f"Sequential, {first} first, all T_{second} >= {T0} and every T_{first} <= {longest}"


def sequential_gap(
    lam: Weights,
    g: Exact,
    *,
    T0: int | None = None,
    phases: Phases | None = None,
    ratio: Exact = 1,
    T_first: int | None = None,
    prec: int = 128,
    claim_id: str = "S",
) -> Certificate:
    """Prove G_Mix,λ(θ_T) >= g for every λ given, all T_2 >= T0 and every 0 <= T_1 <= ratio T_2.

    T_1, T_2 are the lengths of the first and the second phase (T_1 = T_2 = T is the paper's case); with
    T_first, every T_1 <= T_first instead.  g may be any positive number: each has its T0, the gap diverges.
    Method: `PhaseLengths.lower_end` (potential, one check at T0, monotone beyond it), then `HalfLine.prove`.
    If T0 is None, about the least T0 that this method proves is searched for first (`find_T0`).
    Source: arXiv 2410.15483v3, Theorem 3.3; the constants and the divergence are beyond the paper.
    Arguments: lam, a point or (lo, hi); g > 0, ratio > 0, exact; phases, the run.
    Raises TypeError for floats, ValueError for lam outside (0, 1), g or ratio <= 0, T0 < 1, prec < 24.
    """
    (lo, hi), level, plan = weights(lam), positive(g, "g"), PhaseLengths.of(phases, ratio, T_first)
    check_prec(prec)
    when = _search(plan, (lo, hi), level, prec) if T0 is None else count(T0, "T0")
    shown = "some T0" if when is None else integer_text(when)
    claim = Claim(
        claim_id,
        f"{plan.lengths(shown)}, {describe_weights(lo, hi)}: G_Mix,λ(θ_T) >= {level}",
        (plan.run.assumption,),
        "arXiv 2410.15483v3, Theorem 3.3" if claim_id == "3.3" else "beyond the paper (Theorem S)",
        (
            *plan.run.inputs,
            *(("lam", (lo, hi)), ("g", level), ("T0", when)),
            ("ratio", plan.ratio) if T_first is None else ("T_first", T_first),
        ),
    )

    def body(proof: Proof) -> None:
        if when is None:
            raise UnprovenStep("the search for a T0 at this precision")
        plan.prove(proof, when, (lo, hi), level)

    rerun = partial(sequential_gap, lam, g, T0=when, phases=plan.run, ratio=ratio, T_first=T_first, claim_id=claim_id)
    return certify(claim, body, prec=prec, rerun=rerun)


def find_T0(
    lam: Weights,
    g: Exact,
    *,
    phases: Phases | None = None,
    ratio: Exact = 1,
    T_first: int | None = None,
    prec: int = 128,
) -> int:
    """Search for about the least T0 for which `sequential_gap` succeeds; the result is no proof.

    From 10^20 on it is rounded up to 15 digits.  Raises as `sequential_gap`, and ValueError if none is found.
    """
    plan = PhaseLengths.of(phases, ratio, T_first)
    T0 = _search(plan, weights(lam), positive(g, "g"), check_prec(prec))
    if T0 is None:
        raise ValueError(f"no T0 was found for lam = {lam!r}, g = {g!r} at prec = {prec}")
    return T0


def _search(plan: PhaseLengths, lam: tuple[Fraction, Fraction], g: Fraction, prec: int) -> int | None:
    with ctx.workprec(prec):
        W = least_w(plan.line(lam), ball(g))
        if W is None:
            return None
        pot, eta = plan.run.potential, ball(plan.run.eta)
        try:
            y = goal = pot.value(W) + ball(plan.run.eta**2 / 2)
            for _ in range(60):  # y <- Ψ(W) + η²/2 - Ψ(w_0(y)) contracts like (log y)/y
                old, y = y, (goal - pot.value(plan.second_start(_floor(y / eta))[1])).mid()
                if abs(old - y) < eta / 4:
                    break
        except UnprovenStep:
            return None
        T = _floor(y / eta)
        step = max(1, T >> 60)
        for _ in range(80):
            T = _round_up(T)
            if plan.reaches(T, W):
                return T
            T, step = T + step, 2 * step
    return None


def _floor(value: arb) -> int:
    """Return the integer part of the midpoint, at least 1."""
    return max(1, int(value.mid().floor().unique_fmpz() or 1))


def _round_up(T: int) -> int:
    """Round T up to 15 digits from 10^20 on, so that a statement can contain it."""
    if T < 10**20:
        return T
    unit: int = 10 ** (len(fmpz(T).str()) - 15)
    return -(-T // unit) * unit


def least_w(line: HalfLine, goal: arb) -> arb | None:
    """Search for about the least w with G >= goal for all u <= -w, by bisection; None if beyond 2^17."""
    bad, good = arb(-8), arb(8)
    while not line.holds(good, goal):
        bad, good = good, 2 * good
        if good > 2**17:
            return None
    for _ in range(48):
        mid = ((bad + good) / 2).mid()
        if line.holds(mid, goal):
            good = mid
        else:
            bad = mid
    return good


def theorem_3_3(
    lam: Weights = ("1/100", "99/100"), *, T0: int, phases: Phases | None = None, prec: int = 128
) -> Certificate:
    """Prove Theorem 3.3 on the family: G_Mix,λ(θ_T) >= g > 0 for every λ given and all T >= T0.

    g is found by a search (the largest 3-digit decimal that holds) and then proven by `sequential_gap`.
    Source: arXiv 2410.15483v3, Theorem 3.3.  Raises as `sequential_gap`; a T0 too small for every g >= 0.001
    gives 'not proven'.
    """
    plan = PhaseLengths.of(phases, 1, None)
    with ctx.workprec(check_prec(prec)):
        g = plan.best_g(count(T0, "T0"), weights(lam))
    return sequential_gap(lam, g, T0=T0, phases=phases, prec=prec, claim_id="3.3")
