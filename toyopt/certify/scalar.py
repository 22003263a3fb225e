"""The scalar inequalities under Lemma A.3 and Theorem S, each with the claimed constant as an argument."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

from flint import arb, fmpq, fmpq_poly

from toyopt.certify.certificate import Certificate, Claim, Proof, certify
from toyopt.certify.exact import Exact, ball, exact, positive

BEYOND = "beyond the paper"
TERMS = 40  # of the series in `exp_tail_slope`


def logistic_variance(bound: Exact = "1/4", *, prec: int = 64) -> Certificate:
    """Prove σ(v)(1-σ(v)) <= bound for every real v.

    Statement: with s = σ(v), bound - s(1-s) = (s - 1/2)² + (bound - 1/4) >= 0.
    Method: the identity is checked in Q[s], exactly; then bound - 1/4 >= 0 is a comparison of fractions.
    Source: used by Lemma A.3, arXiv 2410.15483v3, and by every smoothness constant.
    Arguments: bound, exact.  Raises TypeError for a float.
    """
    b = exact(bound, "bound")
    claim = Claim(
        "sigma(1-sigma)",
        f"σ(v)(1-σ(v)) <= {b} for every real v",
        (),
        "arXiv 2410.15483v3, Lemma A.3",
        (("bound", b),),
    )

    def body(proof: Proof) -> None:
        s, spare = fmpq_poly([0, 1]), fmpq(b.numerator, b.denominator) - fmpq(1, 4)
        left = fmpq_poly([fmpq(b.numerator, b.denominator)]) - s * (1 - s)
        proof.require(bool(left == (s - fmpq(1, 2)) ** 2 + spare), "the square (s - 1/2)² does not complete")
        proof.require(bool(spare >= 0), f"bound - 1/4 = {spare} is not >= 0")

    return certify(claim, body, prec=prec, rerun=partial(logistic_variance, bound))


def chord(eta_max: Exact = 4, factor: Exact = 1, *, prec: int = 64) -> Certificate:
    """Prove e^s <= 1 + factor s(e^η - 1)/η for all 0 <= s <= η, 0 < η <= eta_max.

    Method: at fixed η the difference is concave in s, so it is least at s = 0, where it is 0, or at s = η,
    where it is (factor - 1)(e^η - 1); that is >= 0 iff factor >= 1, for e^η > 1 (balls at eta_max, and
    monotonicity below: e^η - 1 has the sign of η).
    Source: beyond the paper (envelope (a) of Theorem S).
    Raises TypeError for floats, ValueError unless eta_max > 0.
    """
    top, k = positive(eta_max, "eta_max"), exact(factor, "factor")
    claim = Claim(
        "chord",
        f"e^s <= 1 + {k} s(e^η-1)/η for all 0 <= s <= η, 0 < η <= {top}",
        (),
        BEYOND,
        (("eta_max", top), ("factor", k)),
    )

    def body(proof: Proof) -> None:
        proof.require(ball(top).expm1() > 0, f"e^η - 1 > 0 at η = {top}")
        proof.require(k - 1 >= 0, f"at s = η the difference is (factor - 1)(e^η - 1), factor - 1 = {k - 1}")

    return certify(claim, body, prec=prec, rerun=partial(chord, eta_max, factor))


def exp_tail(s: arb, order: int, terms: int) -> arb:
    """Enclose φ_order(s) = (e^s - Σ_{n<order} s^n/n!)/s^order = Σ_n s^n/(n+order)!, s >= 0, by its series.

    The remainder after N = `terms` terms lies in [0, s^N e^s/(N+order)!].
    """
    total, power = arb(0), arb(1)
    for n in range(terms):
        total += power / arb(n + order).fac()
        power *= s
    rest = power * s.exp() / arb(terms + order).fac()
    return total + arb(0).union(rest)


def exp_tail_slope(s: arb) -> arb:
    """Enclose φ_3'(s) = Σ_n n s^{n-1}/(n+3)! = φ_3 - 3 φ_4 for s >= 0, as n/(n+3)! = 1/(n+2)! - 3/(n+3)!."""
    return exp_tail(s, 3, TERMS) - 3 * exp_tail(s, 4, TERMS)


def exp_remainder(eta_max: Exact = 4, least: Exact = "1/6", *, prec: int = 64, max_pieces: int = 2000) -> Certificate:
    """Prove that φ(s) = (e^s - 1 - s - s²/2)/s³ increases on [0, eta_max] and is at least `least`.

    It gives s²/2 <= e^s - 1 - s <= s²/2 + s³φ(η) on [0, η], the two one-step inequalities of the potential
    (`potential.Potential`).  Method: φ' = φ_3 - 3φ_4 (φ_k as in `exp_tail`) is proven positive on each piece
    of an adaptive subdivision, by balls; then φ(0) = 1/6 is the least value.
    Source: beyond the paper (Theorem S).  Raises TypeError for floats, ValueError unless eta_max > 0.
    """
    top, low = positive(eta_max, "eta_max"), exact(least, "least")
    claim = Claim(
        "exp-remainder",
        f"φ(s) = (e^s-1-s-s²/2)/s³ is increasing on [0, {top}] and at least {low} there",
        (),
        BEYOND,
        (("eta_max", top), ("least", low), ("max_pieces", max_pieces)),
    )

    def body(proof: Proof) -> None:
        proof.require(Fraction(1, 6) >= low, f"φ(0) = 1/6 is not >= {low}")
        todo = [(Fraction(0), top)]
        while todo:
            lo, hi = todo.pop()
            s = ball(lo).union(ball(hi))
            if exp_tail_slope(s) > 0:
                proof.pieces += 1
                continue
            proof.require(proof.pieces + len(todo) < max_pieces, f"φ' > 0 on [{float(lo):.6g}, {float(hi):.6g}]")
            mid = (lo + hi) / 2
            todo += [(mid, hi), (lo, mid)]
        proof.keep(f"φ({top})", exp_tail(ball(top), 3, 60))

    rerun = partial(exp_remainder, eta_max, least, max_pieces=max_pieces)
    return certify(claim, body, prec=prec, rerun=rerun)
