"""AdamW comes to rest: the condition of docs/theory.md, S13, checked by balls.

A margin that moves at most δ a step in the limit moves at most B(δ) = a(Ω₊(δ) + Ω₋(δ)), a = c alpha; at first δ = aR.
Once 2aU(δ) < δ, U convex with U(0) = 0 and B <= 2aU, no δ > 0 is left.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial

from flint import arb

from toyopt.certify.certificate import Certificate, Claim, Proof, certify
from toyopt.certify.exact import Exact, ball, exact, positive

_ROUNDS = 400


def adamw_rest(
    alpha: Exact = "1/100",
    *,
    beta1: Exact = "9/10",
    beta2: Exact = "95/100",
    weight_decay: Exact = "1/10",
    c: Exact = "1/2",
    prec: int = 128,
) -> Certificate:
    """Prove that AdamW's margin in the last phase tends to the w* where its step and its decay cancel, from any start.

    γ(w* - w_d) = c s/(s + ε/c), s = σ(-w*), w_d the margin at θ = 0; every ε >= 0, every θ_ref, both orders.
    Source: beyond the paper (docs/theory.md, S13).
    Arguments: alpha, weight_decay, c > 0; 0 <= beta1, beta2 < 1; all exact.
    Raises TypeError for floats, ValueError for numbers outside these ranges, prec < 24.
    """
    step, decay, scale = positive(alpha, "alpha"), positive(weight_decay, "weight_decay"), positive(c, "c")
    first, second = _below_1(beta1, "beta1"), _below_1(beta2, "beta2")
    claim = Claim(
        "S-rest",
        f"AdamW, α = {step}, γ = {decay}, β = ({first}, {second}), every ε >= 0, in either order: the last phase's "
        "margin tends to the one where step and decay cancel",
        (f"f_DPO = log(1+e^(-c(θ-θ_ref))), f_SFT = log(1+e^(cθ)), c = {scale}, any θ_ref and start, full gradients",),
        "beyond the paper (docs/theory.md, S13)",
        (("alpha", step), ("beta1", first), ("beta2", second), ("weight_decay", decay), ("c", scale)),
    )

    def body(proof: Proof) -> None:
        proof.require(first**2 < second or first == 0, "β1² < β2, so that steps are bounded")
        a = ball(scale * step)
        ratio = ball(first**2 / second) if first else arb(0)
        delta = (a * (1 - ball(first)) / ((1 - ball(second)) * (1 - ratio)).sqrt()).upper()
        above, _, _ = _moves(delta, first, second)
        proof.require(
            bool(ball(step * decay) + a * (1 + above) / 4 <= 1), "αγ + a(1 + Ω₊)/4 <= 1, so that no step overshoots"
        )
        for _ in range(_ROUNDS):
            above, below, both = _moves(delta, first, second)
            proof.pieces += 1
            if bool(2 * a * both < delta):
                proof.keep("the largest move of the margin for which 2aU(δ) < δ was checked", delta)
                return
            new = (a * (above + below)).upper()
            if not bool(new < delta * ball(Fraction(999, 1000))):
                break
            delta = new
        proof.require(False, f"2aU(δ) < δ at δ = {float(delta.mid()):.6g}: the memory is too long for these steps")

    return certify(
        claim,
        body,
        prec=prec,
        rerun=partial(adamw_rest, alpha, beta1=beta1, beta2=beta2, weight_decay=weight_decay, c=c),
    )


def _below_1(value: Exact, name: str) -> Fraction:
    """Return an exact number in [0, 1)."""
    number = exact(value, name)
    if not 0 <= number < 1:
        raise ValueError(f"{name} must be at least 0 and less than 1, got {value!r}")
    return number


def _moves(delta: arb, beta1: Fraction, beta2: Fraction) -> tuple[arb, arb, arb]:
    """Compute Ω₊, Ω₋ and U at δ; inf, 1 and inf where an average has no bound."""
    k1, k2 = ball(beta1 / (1 - beta1)), ball(beta2 / (1 - beta2))
    mean, root = 1 - k1 * delta.expm1(), 1 - k2 * (2 * delta).expm1()
    small, infinite = 1 - k1 * (-delta).expm1(), arb("inf")
    above = (1 - k2 * (-2 * delta).expm1()).sqrt() / mean - 1 if bool(mean > 0) else infinite
    if not bool(root > 0):
        return above, arb(1), infinite
    return above, 1 - root.sqrt() / small, 1 / (mean * root.sqrt()) - 1 if bool(mean > 0) else infinite
