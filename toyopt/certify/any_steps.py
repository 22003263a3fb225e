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
from toyopt.certify.phases import Phases
from toyopt.certify.potential import Potential
from toyopt.certify.sequential import LastPhase

MOST = 2**400  # total step that a search tries


@dataclass(frozen=True)
class StepSums(LastPhase):
    """Runs with steps of at most `run.alpha`, whose first phase has at most `ratio` times the last one's total step."""

    ratio: Fraction

    def lower_end(self, proof: Proof, least: Fraction) -> arb:
        """Prove w_{T_2} >= W for all steps with y_2 >= least; return W, or raise `UnprovenStep`."""
        pot, start, eta = self.run.potential, ball(self.run.first_start), ball(self.run.eta / 2)
        V = pot.inverse(pot.value(start) + ball(self.ratio * least) + pot.over(start))
        w0 = self.run.second_start(V)
        proof.require((1 + V.exp()) ** 2 >= eta, f"(1+e^V)² >= e/2 at y0 = {least}")
        left, right = 1 + V.exp() - eta * sigma(V), ball(self.ratio) * (1 + w0.exp())
        proof.require(left >= right, f"y -> R(y) increases beyond y0 = {least}")
        plain = Potential(Fraction(0))
        return plain.inverse(plain.value(w0) + ball(least)).lower()


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
    with ctx.workprec(check_prec(prec)):
        least = plan.least((lo, hi), level, most=MOST, unit=0) if total is None else positive(total, "total")
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
        plan.prove(proof, least, (lo, hi), level)

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
    with ctx.workprec(check_prec(prec)):
        g = plan.best_g(positive(total, "total"), weights(lam))
    return sequential_gap_any_steps(lam, g, total=total, phases=phases, prec=prec, claim_id="3.3")
