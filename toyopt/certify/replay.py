"""How much replay is enough: bounds of Sequential's limit gap for intervals of the share p and of λ.

With share p of the first objective, the second phase comes to rest at θ*_p, in the left-hand form at u = cθ*_p. θ*_p
increases in p, so for p <= p_hi it lies on the half-line that ends at θ*_{p_hi}, and `level.HalfLine` bounds the gap
from below for every λ at once. From above: the gap decreases in p up to λ, and at a fixed θ it is convex in λ, as the
infimum of f_Mix,λ is concave in λ: the two ends of λ's interval decide at θ*_{p_lo}. Proof: docs/theory.md, S9.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial

from flint import arb

from toyopt.certify import family as fam
from toyopt.certify.certificate import Certificate, Claim, Proof, certify
from toyopt.certify.exact import Exact, Weights, ball, describe_weights, positive, weights
from toyopt.certify.level import HalfLine
from toyopt.certify.phases import Phases


def replay_gap(
    lam: Weights, p: Weights, low: Exact, high: Exact, *, phases: Phases | None = None, prec: int = 128
) -> Certificate:
    """Prove low <= lim G_Mix,λ(θ_T) <= high for every λ and every share p given, T_2 -> ∞.

    Source: beyond the paper (docs/theory.md, S9).
    Arguments: lam, p, points or intervals (lo, hi); every p at most the weight of the first objective and below 1/2;
        low, high > 0, exact; phases, the family and the order (its step and start do not matter).
    Raises TypeError for floats, ValueError for numbers outside these ranges, prec < 24.
    """
    (lo, hi), (least, most) = weights(lam), weights(p)
    run, bottom, top = Phases() if phases is None else phases, positive(low, "low"), positive(high, "high")
    first = (lo, hi) if run.side == "left" else (1 - hi, 1 - lo)
    if most > first[0] or most >= Fraction(1, 2):
        raise ValueError(f"p must be below 1/2 and at most the first objective's weight {first[0]}, got {p!r}")
    replayed = "DPO" if run.order == "dpo-first" else "SFT"
    claim = Claim(
        "S-replay",
        f"Sequential, {replayed} first, with replay of {replayed}, share p in [{least}, {most}], "
        f"{describe_weights(lo, hi)}: {bottom} <= lim G_Mix,λ(θ_T) <= {top} as the last phase grows",
        (f"{run.family.description}, full gradients, constant α with c²α <= 4, any start",),
        "beyond the paper (docs/theory.md, S9)",
        (*run.family.inputs, ("lam", (lo, hi)), ("p", (least, most)), ("low", bottom), ("high", top)),
    )

    def body(proof: Proof) -> None:
        x = ball(run.x)
        HalfLine(run.x, first[0]).prove(proof, (-fam.minimiser(most, run.x)).lower(), ball(bottom))
        rest = fam.minimiser(least, run.x)
        for weight in first:
            gap = fam.f_mix(rest, ball(weight), x) - fam.f_mix(fam.minimiser(weight, run.x), ball(weight), x)
            proof.keep(f"the gap for p = {least} and the first objective's weight {weight}", gap)
            proof.require(gap <= ball(top), f"the gap at p = {least} is at most {top} for the weight {weight}")

    return certify(claim, body, prec=prec, rerun=partial(replay_gap, lam, p, low, high, phases=run))


def limit(weight: Fraction, p: Fraction, phases: Phases) -> arb:
    """Return a ball around the limit gap for the first objective's weight and share p; for searches and tests."""
    x, best = ball(phases.x), fam.minimiser(weight, phases.x)
    return fam.f_mix(fam.minimiser(p, phases.x), ball(weight), x) - fam.f_mix(best, ball(weight), x)
