"""Theorem S for any step sizes: G_Mix,λ >= g for every schedule whose last phase has a large enough total step.

Proof in docs/theory.md, S8. With e = c² alpha, alpha the largest step, y_1 and y_2 the sums of c² alpha_t over the
phases, Ψ_e the potential with e and Ψ_0(v) = v + e^v: phase 1 ends at most at V(y_2), Ψ_e(V) = Ψ_e(v_0) + ρy_2 + E;
phase 2 obeys Ψ_0(w_T) >= R(y_2) = Ψ_0(-x - V(y_2)) + y_2. R increases from y0 on if 1 + e^V - (e/2)σ(V) >=
ρ(1 + e^{-x-V}) and (1+e^V)² >= e/2 there. Then w_T >= W = Ψ_0^{-1}(R(y0)), and `level.HalfLine` does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from flint import arb, ctx

from toyopt.certify.certificate import Certificate, Claim, Proof, UnprovenStep, certify, check_prec
from toyopt.certify.exact import Exact, Weights, ball, describe_weights, positive, weights
from toyopt.certify.family import sigma
from toyopt.certify.level import HalfLine
from toyopt.certify.phases import Phases
from toyopt.certify.potential import Potential
from toyopt.certify.sequential import LOWER_END, least_w

_DIGITS = 3  # of the total that a search returns


@dataclass(frozen=True)
class StepSums:
    """Runs with steps of at most `run.alpha`, whose first phase has at most `ratio` times the last one's total step."""

    run: Phases
    ratio: Fraction

    def lower_end(self, proof: Proof, total: Fraction) -> arb:
        """Prove w_{T_2} >= W for all steps with y_2 >= total; return W, or raise `UnprovenStep`."""
        pot, start, eta = self.run.potential, ball(self.run.first_start), ball(self.run.eta / 2)
        V = pot.inverse(pot.value(start) + ball(self.ratio * total) + pot.over(start))
        w0 = self.run.second_start(V)
        proof.require((1 + V.exp()) ** 2 >= eta, f"(1+e^V)² >= e/2 at y0 = {total}")
        left, right = 1 + V.exp() - eta * sigma(V), ball(self.ratio) * (1 + w0.exp())
        proof.require(left >= right, f"y -> R(y) increases beyond y0 = {total}")
        plain = Potential(Fraction(0))
        return plain.inverse(plain.value(w0) + ball(total)).lower()

    def line(self, lam: tuple[Fraction, Fraction]) -> HalfLine:
        """Return the half-line on which the second phase ends."""
        return HalfLine.of(self.run.family, lam, self.run.side)

    def reaches(self, total: Fraction, W: arb) -> bool:
        """Return whether `lower_end` proves at least W; for searches."""
        try:
            return bool(self.lower_end(Proof(), total) >= W)
        except UnprovenStep:
            return False


def sequential_gap_any_steps(
    lam: Weights,
    g: Exact,
    *,
    total: Exact | None = None,
    phases: Phases | None = None,
    ratio: Exact = 1,
    prec: int = 128,
    claim_id: str = "S-steps",
) -> Certificate:
    """Prove G_Mix,λ(θ_T) >= g for every λ given and every schedule with c²Σα_t >= total over the last phase.

    The steps may be any positive numbers of at most `phases.alpha`, in any order and number; those of the first phase
    sum to at most `ratio` times those of the last. If total is None, about the least that this method proves is
    searched for first, to three digits.
    Source: arXiv 2410.15483v3, Theorem 3.3, which has a sequence of steps; the divergence is beyond the paper.
    Arguments: lam, a point or (lo, hi); g, total, ratio > 0, exact; phases, the family, the largest step, start, order.
    Raises TypeError for floats, ValueError for lam outside (0, 1), g, total or ratio <= 0, prec < 24.
    """
    (lo, hi), level = weights(lam), positive(g, "g")
    plan = StepSums(Phases() if phases is None else phases, positive(ratio, "ratio"))
    check_prec(prec)
    least = _search(plan, (lo, hi), level, prec) if total is None else positive(total, "total")
    first, second = ("DPO", "SFT") if plan.run.order == "dpo-first" else ("SFT", "DPO")
    factor = "" if plan.ratio == 1 else f"{plan.ratio} times "
    claim = Claim(
        claim_id,
        f"Sequential, {first} first, all steps <= {plan.run.alpha}, c²Σα over {second} >= "
        f"{'some y0' if least is None else least} and over {first} <= {factor}that over {second}, "
        f"{describe_weights(lo, hi)}: G_Mix,λ(θ_T) >= {level}",
        (plan.run.assumption.replace("constant α", "any steps of at most alpha"),),
        "arXiv 2410.15483v3, Theorem 3.3" if claim_id == "3.3" else "beyond the paper (Theorem S)",
        (*plan.run.inputs, ("lam", (lo, hi)), ("g", level), ("total", least), ("ratio", plan.ratio)),
    )

    def body(proof: Proof) -> None:
        if least is None:
            raise UnprovenStep("the search for a total at this precision")
        W = plan.lower_end(proof, least)
        proof.keep(LOWER_END, W)
        plan.line((lo, hi)).prove(proof, W, ball(level))

    rerun = partial(sequential_gap_any_steps, lam, g, total=least, phases=plan.run, ratio=ratio, claim_id=claim_id)
    return certify(claim, body, prec=prec, rerun=rerun)


def theorem_3_3_any_steps(
    lam: Weights = ("1/100", "99/100"), *, total: Exact, phases: Phases | None = None, prec: int = 128
) -> Certificate:
    """Prove Theorem 3.3 for every schedule: G_Mix,λ(θ_T) >= g > 0 wherever c²Σα_t >= total over the last phase.

    g is found by a search (the largest with three decimals that holds) and then proven by `sequential_gap_any_steps`.
    Source: arXiv 2410.15483v3, Theorem 3.3. Raises as that; a total too small for g >= 0.001 gives 'not proven'.
    """
    plan = StepSums(Phases() if phases is None else phases, Fraction(1))
    line, low, high = plan.line(weights(lam)), 1, 2
    with ctx.workprec(check_prec(prec)):
        try:
            W = plan.lower_end(Proof(), positive(total, "total"))
        except UnprovenStep:
            high = low + 1  # nothing holds: 1/1000 is tried, and says where it stops
        else:
            while line.holds(W, ball(Fraction(high, 1000))):
                low, high = high, 2 * high
        while high - low > 1:
            mid = (low + high) // 2
            low, high = (mid, high) if line.holds(W, ball(Fraction(mid, 1000))) else (low, mid)
    g = Fraction(low, 1000)
    return sequential_gap_any_steps(lam, g, total=total, phases=phases, prec=prec, claim_id="3.3")


def _search(plan: StepSums, lam: tuple[Fraction, Fraction], g: Fraction, prec: int) -> Fraction | None:
    """Search for about the least total that reaches g, rounded up to `_DIGITS` digits."""
    with ctx.workprec(prec):
        W = least_w(plan.line(lam), ball(g))
        if W is None:
            return None
        high = Fraction(1)
        while not plan.reaches(high, W):
            high *= 2
            if high > 2**400:
                return None
        unit = Fraction(10) ** (len(str(int(high))) - _DIGITS)
        low, top = 0, -int(-high // unit)
        while top - low > 1:
            mid = (low + top) // 2
            low, top = (low, mid) if plan.reaches(mid * unit, W) else (mid, top)
        return top * unit if plan.reaches(top * unit, W) else high
