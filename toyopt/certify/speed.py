"""Adam's speed without ε: the condition of docs/theory.md, S13, checked by balls.

The steps are at most D in the limit, at first a = c alpha; then μ(D)ρ(a), μ(D) = (1-β1)/(1-β1 e^D), ρ(a) the root of
ρ = a sqrt((1 - β2 e^{2ρ})/(1-β2)). Once 2Dβ1e^D/(1-β1e^D) < 1 the limits of M/s agree.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial

from flint import arb

from toyopt.certify.certificate import Certificate, Claim, Proof, certify
from toyopt.certify.exact import Exact, ball, exact, positive

_ROUNDS, _HALVINGS = 200, 80


def adam_speed(
    alpha: Exact = "1/100", *, beta1: Exact = "9/10", beta2: Exact = "95/100", c: Exact = "1/2", prec: int = 128
) -> Certificate:
    """Prove that Adam's margin moves at the wave's speed in the limit: v_T/T -> ρ for ε = 0, from any start.

    ρ is the root of ρ = a (1-β1)/(1-β1e^ρ) sqrt((1 - β2e^{2ρ})/(1-β2)), a = cα; its enclosure is kept.
    Source: beyond the paper (docs/theory.md, S13).
    Arguments: alpha, c > 0; 0 <= beta1 <= beta2 < 1; all exact.
    Raises TypeError for floats, ValueError for numbers outside these ranges, prec < 24.
    """
    step, scale = positive(alpha, "alpha"), positive(c, "c")
    first, second = exact(beta1, "beta1"), exact(beta2, "beta2")
    if not 0 <= first <= second < 1:
        raise ValueError(f"beta1 and beta2 must keep 0 <= beta1 <= beta2 < 1, got {beta1!r} and {beta2!r}")
    claim = Claim(
        "S-speed",
        f"Adam, α = {step}, β = ({first}, {second}), ε = 0: v_T/T tends to the speed of the wave",
        (f"f = log(1+e^(-v)), v = ±{scale}θ + a constant, any start, full gradients",),
        "beyond the paper (docs/theory.md, S13)",
        (("alpha", step), ("beta1", first), ("beta2", second), ("c", scale)),
    )

    def body(proof: Proof) -> None:
        a, b = ball(scale * step), ball(first)
        proof.require(bool(a <= 1), "cα <= 1")
        proof.require(bool(b * a.exp() < 1), "β1 e^(cα) < 1")
        proof.require(bool(a * (1 - b) <= 1 - b * a.exp()), "cα (1-β1)/(1-β1e^(cα)) <= 1")
        rho = _slowest(a, second)
        most = a
        for _ in range(_ROUNDS):
            proof.pieces += 1
            grown = b * most.exp()
            if bool(2 * most * grown < 1 - grown):
                proof.keep("the largest step for which 2Dβ1e^D < 1 - β1e^D was checked", most)
                proof.keep("the wave's speed", _wave(a, first, second))
                return
            new = ((1 - b) / (1 - grown) * rho).upper()
            if not bool(new < most * ball(Fraction(9999, 10000))):
                break
            most = new
        proof.require(False, f"2Dβ1e^D < 1 - β1e^D at D = {float(most.mid()):.6g}: the steps are too long for β1")

    return certify(claim, body, prec=prec, rerun=partial(adam_speed, alpha, beta1=beta1, beta2=beta2, c=c))


def _slowest(a: arb, beta2: Fraction) -> arb:
    """Compute an upper bound of the root of ρ = a sqrt((1 - β2e^{2ρ})/(1-β2))."""
    b = ball(beta2)
    return _root(lambda rho: rho * rho * (1 - b) - a * a * (1 - b * (2 * rho).exp()), a)[1]


def _wave(a: arb, beta1: Fraction, beta2: Fraction) -> arb:
    """Enclose the wave's speed, the only root, as ρ(1-β1e^ρ)/sqrt(1-β2e^{2ρ}) increases for β1 <= β2."""
    b1, b2 = ball(beta1), ball(beta2)

    def excess(rho: arb) -> arb:
        return (rho * (1 - b1 * rho.exp())) ** 2 * (1 - b2) - (a * (1 - b1)) ** 2 * (1 - b2 * (2 * rho).exp())

    low, high = _root(excess, a)
    return low.union(high)


def _root(excess: Callable[[arb], arb], top: arb) -> tuple[arb, arb]:
    """Compute proven bounds in [0, top] of the only sign change of a function that is negative at 0."""
    low, high = arb(0), top.upper()
    for _ in range(_HALVINGS):
        mid = ((low + high) / 2).mid()
        if bool(excess(mid) > 0):
            high = mid
        elif bool(excess(mid) < 0):
            low = mid
        else:
            break
    return low, high
