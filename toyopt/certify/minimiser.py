"""The closed-form minimiser of f_Mix on the lower-bound family, at one weight or for an interval of them."""

from __future__ import annotations

from fractions import Fraction
from functools import partial, reduce

from flint import arb, fmpq_mpoly_ctx

from toyopt.certify import family as fam
from toyopt.certify.certificate import Certificate, Claim, Proof, certify
from toyopt.certify.exact import Exact, Weights, ball, describe_weights, positive, weights
from toyopt.certify.family import TABLE_2, Family


def closed_form_minimiser(
    lam: Weights,
    *,
    family: Family = TABLE_2,
    tol: Exact | None = None,
    branch: int = 1,
    prec: int = 128,
    max_pieces: int = 20_000,
) -> Certificate:
    """Prove that θ* = log(z)/c, z the positive root of (1-λ)z² + (1-2λ)Kz - λK = 0, minimises f_Mix,λ.

    Statement: for every λ given, f_Mix,λ has exactly one minimiser, it is log(z)/c, and on each piece of λ it
    lies in an interval no wider than `tol` (default 1e-20 at a point, 1/4 on an interval).
    Method: (i) in Q[λ,K,z], exactly: (1-λ)z(K+z) - λK(1+z) is the quadratic, so f'_Mix/c is the quadratic
    over (K+z)(1+z) > 0 at z = e^{cθ}; (ii) by balls: f'_Mix < 0 at the left end and > 0 at the right end of
    the interval (f'_Mix is affine and decreasing in λ, so one end of the piece decides); (iii) uniqueness:
    f''_Mix = c²(λ q(x-u) + (1-λ) q(u)), q = σ(1-σ), is positive on it, by balls, and everywhere.
    An interval of λ is subdivided until each piece is narrow enough.
    Source: beyond the paper (Theorem S), for f_Mix of arXiv 2410.15483v3, eq. (6).
    Arguments: lam, a point or (lo, hi); branch, which root is claimed (-1 is wrong, for tests).
    Raises TypeError for floats, ValueError for lam outside (0, 1), tol <= 0, branch not ±1, prec < 24.
    """
    lo, hi = weights(lam)
    width = positive(tol, "tol") if tol is not None else Fraction(1, 10**20) if lo == hi else Fraction(1, 4)
    if branch not in (1, -1):
        raise ValueError(f"branch must be 1 or -1, got {branch!r}")
    sign = "positive" if branch == 1 else "negative"
    claim = Claim(
        "minimiser",
        f"for {describe_weights(lo, hi)}: f_Mix,λ has exactly one minimiser, log(z)/c with z the {sign} root of "
        f"(1-λ)z² + (1-2λ)Kz - λK, enclosed to {width}",
        (family.description + ", K = e^(cθ_ref)",),
        "beyond the paper; f_Mix: arXiv 2410.15483v3, eq. (6)",
        (*family.inputs, ("lam", (lo, hi)), ("tol", width), ("branch", branch)),
    )

    def body(proof: Proof) -> None:
        _identity(proof)
        ends = _cover(proof, family, (lo, hi), width * family.scale, branch, max_pieces)
        c = ball(family.scale)
        proof.keep("θ*", ends[0].union(ends[1]) / c)
        for w in (lo, hi):
            proof.keep(f"θ* at λ = {w}", fam.minimiser(w, family.x) / c)

    rerun = partial(closed_form_minimiser, lam, family=family, tol=tol, branch=branch, max_pieces=max_pieces)
    return certify(claim, body, prec=prec, rerun=rerun)


def _identity(proof: Proof) -> None:
    """Prove that (1-λ)z(K+z) - λK(1+z) is `family.quadratic`, as polynomials over Q."""
    lam, K, z = fmpq_mpoly_ctx.get(("lam", "K", "z")).gens()
    a, b, d = fam.quadratic(lam, K)
    numerator = (1 - lam) * z * (K + z) - lam * K * (1 + z)
    proof.require(bool(numerator == a * z * z + b * z + d), "f'_Mix(θ)(K+z)(1+z)/c is not the quadratic in z")


def _cover(
    proof: Proof, family: Family, lam: tuple[Fraction, Fraction], width: Fraction, branch: int, max_pieces: int
) -> tuple[arb, arb]:
    """Prove a sign change of f'_Mix on every piece of λ; return the outermost ends in u = cθ."""
    x, margin = ball(family.x), ball(width) / 8
    todo, ends = [lam], []
    while todo:
        lo, hi = todo.pop()
        left = fam.minimiser(lo, family.x, branch) - margin
        right = fam.minimiser(hi, family.x, branch) + margin
        where = f"λ in [{float(lo):.8g}, {float(hi):.8g}]"
        proof.require(left.is_finite() and right.is_finite(), f"a positive root z, {where}")
        if not right - left <= ball(width):
            proof.require(lo < hi and proof.pieces < max_pieces, f"width of the enclosure of θ*, {where}")
            mid = (lo + hi) / 2
            todo += [(mid, hi), (lo, mid)]
            continue
        proof.require(fam.slope(left, ball(lo), x) < 0, f"f'_Mix < 0 left of θ*, {where}")
        proof.require(fam.slope(right, ball(hi), x) > 0, f"f'_Mix > 0 right of θ*, {where}")
        u, weight = left.union(right), ball(lo).union(ball(hi))
        bend = weight * fam.curvature(x - u) + (1 - weight) * fam.curvature(u)
        proof.require(bend > 0, f"f''_Mix > 0 near θ*, {where}")
        ends += [left, right]
    return reduce(arb.min, ends), reduce(arb.max, ends)
