"""Everywhere left (or right) of a the mixed gap is at least g: the half-line claim behind Theorem 3.3."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Literal

from flint import arb

from toyopt.certify import family as fam
from toyopt.certify.certificate import Certificate, Claim, Proof, UnprovenStep, certify
from toyopt.certify.exact import Exact, Weights, ball, describe_weights, exact, positive, weights
from toyopt.certify.family import TABLE_2, Family

Side = Literal["left", "right"]


@dataclass(frozen=True)
class HalfLine:
    """The half-line u <= -w with the weights [lo, 1), x = cθ_ref; a right half-line is first reflected.

    u -> x - u exchanges f_DPO and f_SFT on the family, so 'u >= x + w at weight λ' is 'u <= -w at 1-λ'.
    """

    x: Fraction
    lo: Fraction

    @staticmethod
    def of(family: Family, lam: tuple[Fraction, Fraction], side: Side) -> HalfLine:
        """Return the half-line problem in the left-hand form."""
        return HalfLine(family.x, lam[0] if side == "left" else 1 - lam[1])

    def prove(self, proof: Proof, w: arb, g: arb) -> None:
        """Prove G_Mix,λ(u) >= g for every λ in [lo, 1) and every u <= -w; raise `UnprovenStep` at a step that fails."""
        a, x, lo = -w, ball(self.x), ball(self.lo)
        where = f"λ = {float(self.lo):.10g} (in the left-hand form)"
        # f'_Mix,λ(a) decreases in λ, so it is negative from lo on; convexity then gives f_Mix(u) >= f_Mix(a).
        proof.require(fam.slope(a, lo, x) < 0, f"f'_Mix(a) < 0 at {where}")
        # Any b is a witness: G_Mix,λ(a) >= f_Mix,λ(a) - f_Mix,λ(b).  If b > a, f_DPO falls and f_SFT rises from
        # a to b, so the right side increases in λ, and λ = lo decides for all.  The minimiser is the best b;
        # b > a needs no check: with b <= a, f'_Mix(a) < 0 would give f_Mix(b) >= f_Mix(a), and gap >= g > 0 fail.
        b = fam.minimiser(self.lo, self.x).mid()
        gap = fam.f_mix(a, lo, x) - fam.f_mix(b, lo, x)
        proof.require(gap >= g, f"G_Mix(a) >= g at {where}")

    def holds(self, w: arb, g: arb) -> bool:
        """Return whether `prove` succeeds; for searches."""
        try:
            self.prove(Proof(), w, g)
        except UnprovenStep:
            return False
        return True


def gap_on_half_line(
    a: Exact, g: Exact, lam: Weights, *, side: Side = "left", family: Family = TABLE_2, prec: int = 128
) -> Certificate:
    """Prove G_Mix,λ(θ) >= g for every θ <= a (side 'left') or every θ >= a ('right'), for every λ given.

    Method: f'_Mix,λ(a) < 0 (balls; f' decreases in λ, so the least λ decides), so by convexity f_Mix,λ(θ) >=
    f_Mix,λ(a) for θ <= a; and G_Mix,λ(a) >= f_Mix,λ(a) - f_Mix,λ(b) >= g with a witness b right of a: that
    difference increases in λ, so again the least λ decides.  So a proof for (lo, hi) holds on all of
    [lo, 1).  Right: by reflection, the greatest λ decides, and it holds on all of (0, hi].
    Source: beyond the paper (Theorem S); G_Mix: arXiv 2410.15483v3, eq. (6).
    Arguments: a, g > 0, exact; lam, a point or (lo, hi).
    Raises TypeError for floats, ValueError for lam outside (0, 1), g <= 0, an unknown side, prec < 24.
    """
    point, level, (lo, hi) = exact(a, "a"), positive(g, "g"), weights(lam)
    if side not in ("left", "right"):
        raise ValueError(f"side must be 'left' or 'right', got {side!r}")
    relation = "<=" if side == "left" else ">="
    claim = Claim(
        "half-line",
        f"for {describe_weights(lo, hi)} and every θ {relation} {point}: G_Mix,λ(θ) >= {level}",
        (family.description,),
        "beyond the paper; G_Mix: arXiv 2410.15483v3, eq. (6)",
        (*family.inputs, ("a", point), ("g", level), ("lam", (lo, hi)), ("side", side)),
    )

    def body(proof: Proof) -> None:
        u = family.scale * point
        w = -u if side == "left" else u - family.x
        HalfLine.of(family, (lo, hi), side).prove(proof, ball(w), ball(level))

    rerun = partial(gap_on_half_line, a, g, lam, side=side, family=family)
    return certify(claim, body, prec=prec, rerun=rerun)
