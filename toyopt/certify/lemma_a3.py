"""Lemma A.3 on a concrete pair of runs, by balls."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from itertools import groupby

from toyopt.certify.certificate import Certificate, Claim, Proof, certify
from toyopt.certify.exact import Exact, ball, exact
from toyopt.certify.trajectory import enclose_phase


def lemma_a3(
    c: Exact,
    steps: Sequence[Exact],
    theta_0: Exact,
    theta_0_prime: Exact,
    *,
    divisor: Exact = 4,
    prec: int = 96,
) -> Certificate:
    """Prove Lemma A.3 on a pair of runs: θ_T - θ'_T >= (θ_0 - θ'_0) Π(1 - c a_t/divisor) >= 0.

    θ_{t+1} = θ_t + a_t(1 - σ(cθ_t)), the same for θ'; 0 < c a_t <= 4; θ_0 >= θ'_0.  The lemma has divisor 4.
    Method: both runs enclosed by the centred form, the product exactly as a ball.
    Source: arXiv 2410.15483v3, Lemma A.3.
    Raises TypeError for floats, ValueError for c <= 0, no steps, c a_t outside (0, 4], θ_0 < θ'_0, prec < 24.
    """
    scale, d, sizes, high, low = _checked(c, steps, theta_0, theta_0_prime, divisor)
    claim = Claim(
        "A.3",
        f"after {len(sizes)} steps from θ_0 = {high}, θ'_0 = {low}: θ_T - θ'_T >= (θ_0-θ'_0) Π(1 - c a_t/{d}) >= 0",
        (f"c = {scale}, a_t in [{min(sizes)}, {max(sizes)}], c a_t <= 4",),
        "arXiv 2410.15483v3, Lemma A.3",
        (
            ("c", scale),
            ("theta_0", high),
            ("theta_0_prime", low),
            ("divisor", d),
            ("steps", ", ".join(f"{a} ×{len(list(same))}" for a, same in groupby(sizes))),
        ),
    )

    def body(proof: Proof) -> None:
        v, v_prime = ball(scale * high), ball(scale * low)
        bound = ball(high - low)
        for a in sizes:
            v, v_prime = (enclose_phase(s, scale * a, 1) for s in (v, v_prime))
            bound *= 1 - ball(scale * a / d)
        proof.pieces += 2 * len(sizes)
        apart = (v - v_prime) / ball(scale)
        proof.keep("θ_T - θ'_T", apart)
        proof.keep("bound", bound)
        proof.require(high == low or apart >= bound, "θ_T - θ'_T >= (θ_0-θ'_0) Π(1 - c a_t/d)")
        # A factor 1 - c a_t/4 is >= 0 by assumption; a product of balls at c a_t = 4 is exactly 0.
        proof.require(bound >= 0, "the product is >= 0")

    rerun = partial(lemma_a3, c, steps, theta_0, theta_0_prime, divisor=divisor)
    return certify(claim, body, prec=prec, rerun=rerun)


def _checked(
    c: Exact, steps: Sequence[Exact], theta_0: Exact, theta_0_prime: Exact, divisor: Exact
) -> tuple[Fraction, Fraction, list[Fraction], Fraction, Fraction]:
    """Check the assumptions of the lemma; return c, the divisor, the steps and the two starts as fractions."""
    scale, d = exact(c, "c"), exact(divisor, "divisor")
    sizes = [exact(a, "steps") for a in steps]
    high, low = exact(theta_0, "theta_0"), exact(theta_0_prime, "theta_0_prime")
    if scale <= 0 or d <= 0:
        raise ValueError(f"c and divisor must be positive, got {c!r}, {divisor!r}")
    if not sizes or not all(0 < scale * a <= 4 for a in sizes):
        raise ValueError(f"steps must be non-empty with 0 < c a_t <= 4, got c = {c!r}, steps = {steps!r:.80}")
    if high < low:
        raise ValueError(f"theta_0 must be at least theta_0_prime, got {theta_0!r} < {theta_0_prime!r}")
    return scale, d, sizes, high, low
