"""The exact constant: G_Mix,λ(θ_T) - λ log T -> λ(log η + cθ_ref) - f*_Mix,λ, with an explicit error.

With y = ηT (T_DPO = T_SFT = T, η <= 2) and K = e^x, x = cθ_ref, for all T >= T0:

    λ log(1 - B/y)  <=  G_Mix,λ(θ_T) - λ log T - κ_λ  <=  (λ/K + 1 - λ)/(y - B),
    B(y) = x + η²/2 + log(y + k) + (1 - η/2) log y,   k = Ψ(v_0) + δ(η)(1+η/4)σ(-v_0) + (η/2) log 2,
    κ_λ = λ(log η + x) - f*_Mix,λ.

Both sides vanish like (log T)/T.  Proof: docs/theory.md, part S.  For 'SFT first' read 1-λ for λ, -cθ_1 for v_0.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from flint import arb

from toyopt.certify import family as fam
from toyopt.certify.certificate import Certificate, Claim, Proof, certify
from toyopt.certify.exact import Exact, ball, count, integer_text, positive, weights
from toyopt.certify.phases import Phases


@dataclass(frozen=True)
class Constant:
    """The limit κ and the two-sided error at one T0, all in the left-hand ('DPO first') form."""

    kappa: arb
    below: arb
    above: arb


def sequential_constant(
    lam: Exact, error: Exact, *, T0: int, phases: Phases | None = None, prec: int = 128
) -> Certificate:
    """Prove |G_Mix,λ(θ_T) - μ log T - κ| <= error for all T_DPO = T_SFT = T >= T0; μ = λ (SFT first: 1-λ).

    Method: the bounds of this module's head; their conditions and their values are checked by balls at T0,
    and each is monotone beyond it.
    Source: beyond the paper (Theorem S).
    Raises TypeError for floats, ValueError for lam outside (0, 1), error <= 0, η > 2, T0 < 1, prec < 24.
    """
    (weight, _), bound, when = weights(lam), positive(error, "error"), count(T0, "T0")
    run = Phases() if phases is None else phases
    if run.eta > 2:
        raise ValueError(f"alpha must keep η = c²α <= 2 here, got alpha = {run.alpha!r}, η = {run.eta}")
    mu = weight if run.order == "dpo-first" else 1 - weight
    claim = Claim(
        "S-constant",
        f"Sequential, {run.order}: for λ = {weight} and all T_DPO = T_SFT = T >= {integer_text(when)}: "
        f"|G_Mix,λ(θ_T) - {mu} log T - κ| <= {bound}",
        (run.assumption,),
        "beyond the paper (Theorem S)",
        (*run.inputs, ("lam", weight), ("error", bound), ("T0", when)),
    )

    def body(proof: Proof) -> None:
        limit = prove_constant(proof, run, mu, when)
        proof.keep("κ", limit.kappa)
        proof.keep("κ + μ log T0", limit.kappa + ball(mu) * ball(when).log())
        proof.keep("error below at T0", limit.below)
        proof.keep("error above at T0", limit.above)
        proof.require(limit.below >= -ball(bound), f"the lower error at T0 is not >= -{bound}")
        proof.require(limit.above <= ball(bound), f"the upper error at T0 is not <= {bound}")

    rerun = partial(sequential_constant, lam, error, T0=T0, phases=run)
    return certify(claim, body, prec=prec, rerun=rerun)


def prove_constant(proof: Proof, run: Phases, mu: Fraction, T0: int) -> Constant:
    """Prove the six conditions of the theorem at T0 (each persists for T >= T0); return κ and the error at T0."""
    pot, eta, x = run.potential, ball(run.eta), ball(run.x)
    start, y, log2 = ball(run.first_start), ball(run.eta) * T0, arb(2).log()
    top, rest = pot.value(start) + pot.over(start), eta * log2 / 2
    k, at_0 = top + rest, 1 - rest  # at_0 is Ψ(0)
    proof.require(y + top >= at_0, "V(T0) >= 0")
    proof.require(y + k > 1, "ηT0 + k > 1")
    V_lo = pot.inverse(pot.value(start) + y - pot.under(start))
    w0 = -x - V_lo
    delta = pot.over(arb(0)) * 2  # σ(0) = 1/2, so this is δ(1 + η/4)
    proof.require(w0 + w0.exp() + delta + rest <= 0, "the first phase is long enough: w_T <= log(ηT)")
    B1 = x + (y + k).log() + eta * eta / 2
    proof.require(y - B1 >= at_0, "w_T >= 0 from T0 on")
    B = B1 + (1 - eta / 2) * y.log()
    growth = (y / (y + k)).max(arb(1)) + 1 - eta / 2
    proof.require(growth <= B, "B(y)/y decreases from T0 on")
    proof.require(y > B, "ηT0 > B")
    K = x.exp()
    kappa = ball(mu) * (eta.log() + x) - fam.optimum(mu, run.x)
    return Constant(kappa, ball(mu) * (-B / y).log1p(), (ball(mu) / K + ball(1 - mu)) / (y - B))
