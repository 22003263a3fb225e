"""Theorem 3.3 for LoRA of any rank: G_Mix,λ >= g for all last phases of at least T0 steps.

Proof in docs/theory.md, S14. One adapter for both phases, B = 0 at the start, q = c‖a‖²/4 with a = Aq: both parts begin
at q. With h = c alpha, k = c(θ_ref - θ_1) (DPO first), ρ = log(1-h)/log(1/(1+h)): after T_1 <= T steps the growing part
is at most U(T), Φ(U(T)) = Φ(U_0) + 2h(T - T0), Φ(Q) = log Q + e^{-k'} Ei(Q) - hκL(Q-k'), k' = k + q; so phase 2 has at
least q^{1+ρ}/U(T)^ρ to grow from, and its own part obeys m log Q + e^{-k_2} Ei(Q) >= R(T), m = 2/(2-h),
which increases from T0 on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from flint import arb, ctx

from toyopt.certify.certificate import Certificate, Claim, Proof, UnprovenStep, certify, check_prec
from toyopt.certify.exact import Exact, Weights, ball, count, describe_weights, integer_text, positive, weights
from toyopt.certify.family import sigma, softplus
from toyopt.certify.phases import Phases
from toyopt.certify.sequential import LastPhase

_HALVINGS = 60
MOST = 2**300  # steps that a search tries


@dataclass(frozen=True)
class Adapter(LastPhase):
    """LoRA from B = 0 with ‖Aq‖² = `size`, trained by `run`, whose step keeps h = c alpha below 1.

    Raises TypeError for floats, ValueError for a size that is not positive, and for h >= 1.
    """

    size: Fraction

    def __post_init__(self) -> None:
        if not self.h < 1:
            raise ValueError(f"alpha must keep c alpha < 1, got alpha = {self.run.alpha!r}, c alpha = {self.h}")

    @property
    def h(self) -> Fraction:
        """Step h = c alpha of the recursion."""
        return self.run.family.scale * Fraction(self.run.alpha)

    @property
    def part(self) -> Fraction:
        """Both parts at the start, q = c‖a‖²/4."""
        return self.run.family.scale * self.size / 4

    def lower_end(self, proof: Proof, least: int | Fraction) -> arb:
        """Prove w_{T_2} >= W for all T_2 >= T0 = least and every T_1 <= T_2; return W, or raise `UnprovenStep`."""
        T0 = int(least)
        h, q, k = ball(self.h), ball(self.part), ball(-self.run.first_start)
        last = ball(self.run.x) - k
        shifted, rise = k + q, 2 * h * ball(Fraction(T0))
        peak = (shifted - 1).exp().lambertw()  # of Q σ(k' - Q)
        grown = q if bool(q > 1 + peak) else 1 + peak
        jump = ((2 + h) * h * grown * sigma(shifted - grown)).upper()
        bent = h * jump.expm1() / jump

        def first(Q: arb) -> arb:
            return Q.log() + (-shifted).exp() * Q.ei() - bent * softplus(Q - shifted)

        U = _beyond(first, first(q) + rise, q)
        proof.require(first(U) >= first(q) + rise, f"Φ(U) >= Φ(q) + 2hT0 at U = {float(U.mid()):.6g}")
        proof.require((U - shifted).exp() >= bent * (1 + U), "e^{U-k'} >= hκ(1+U): Φ and its slope increase beyond U")
        fall = -(-h).log1p() / h.log1p()
        share = 2 / (2 - h) + (-last).exp()
        slope = 1 + (U - shifted).exp() - bent * U * sigma(U - shifted)
        proof.require(slope >= fall * share, f"T -> R(T) increases beyond T0 = {integer_text(T0)}")
        smallest = (1 + fall) * q.log() - fall * U.log()
        goal = share * smallest + (-last).exp() * arb.const_euler() + rise

        def second(Q: arb) -> arb:
            return 2 / (2 - h) * Q.log() + (-last).exp() * Q.ei()

        Q = _below(second, goal)
        proof.require(second(Q) <= goal, f"Φ_2(Q) <= R(T0) at Q = {float(Q.mid()):.6g}")
        return (Q - q * q / Q - last).lower()


def low_rank_gap(
    lam: Weights,
    g: Exact,
    *,
    T0: int | None = None,
    size: Exact = 1,
    phases: Phases | None = None,
    prec: int = 128,
) -> Certificate:
    """Prove G_Mix,λ(θ_T) >= g for LoRA of any rank, every λ given, all T_2 >= T0 and every 0 <= T_1 <= T_2.

    One adapter for both phases, B = 0 at the start, on top of θ_1. If T0 is None, about the least that this method
    proves is searched for first, to three digits.
    Source: beyond the paper (docs/theory.md, S14); Theorem 3.3 of arXiv 2410.15483v3 for adapters.
    Arguments: lam, a point or (lo, hi); g > 0; size > 0, ‖Aq‖² at the start; all exact; phases, the family, step, start
        θ_1 and order, c alpha < 1.
    Raises TypeError for floats, ValueError for lam outside (0, 1), g or size <= 0, c alpha >= 1, T0 < 1, prec < 24.
    """
    (lo, hi), level = weights(lam), positive(g, "g")
    plan = Adapter(Phases() if phases is None else phases, positive(size, "size"))
    with ctx.workprec(check_prec(prec)):
        found = plan.least((lo, hi), level, most=MOST, unit=1) if T0 is None else count(T0, "T0")
    when = None if found is None else int(found)
    first, second = ("DPO", "SFT") if plan.run.order == "dpo-first" else ("SFT", "DPO")
    shown = "some T0" if when is None else integer_text(when)
    claim = Claim(
        "S-lora",
        f"Sequential by LoRA of any rank, B = 0 at the start, ‖Aq‖² = {plan.size}, {first} first, all T_{second} >= "
        f"{shown} and every T_{first} <= T_{second}, {describe_weights(lo, hi)}: G_Mix,λ(θ_T) >= {level}",
        (plan.run.assumption,),
        "beyond the paper (docs/theory.md, S14)",
        (*plan.run.inputs, ("lam", (lo, hi)), ("g", level), ("T0", when), ("size", plan.size)),
    )

    def body(proof: Proof) -> None:
        if when is None:
            raise UnprovenStep("the search for a T0 at this precision")
        plan.prove(proof, when, (lo, hi), level)

    rerun = partial(low_rank_gap, lam, g, T0=when, size=size, phases=plan.run)
    return certify(claim, body, prec=prec, rerun=rerun)


def _beyond(value: Callable[[arb], arb], goal: arb, start: arb) -> arb:
    """Search for a Q slightly beyond the last with value(Q) = goal; the caller proves it."""
    low, high = start.mid(), 2 * start.mid() + 1
    while not bool(value(high) > goal):
        low, high = high, 2 * high
        if high > 2**40:
            raise UnprovenStep("the search for a bound of the first phase at this precision")
    for _ in range(_HALVINGS):
        mid = ((low + high) / 2).mid()
        low, high = (low, mid) if bool(value(mid) > goal) else (mid, high)
    return high


def _below(value: Callable[[arb], arb], goal: arb) -> arb:
    """Search for a Q slightly before that with value(Q) = goal, value increasing; the caller proves it."""
    low, high = arb(1), arb(2)
    while not bool(value(low) < goal):
        low, high = (low / 2).mid(), low
        if low < arb(2) ** -4096:
            raise UnprovenStep("the search for a bound of the last phase at this precision")
    while bool(value(high) < goal):
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        mid = ((low + high) / 2).mid()
        low, high = (mid, high) if bool(value(mid) < goal) else (low, mid)
    return low
