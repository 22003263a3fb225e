"""The lower-bound family in balls: f_DPO = log(1 + e^{-c(θ - θ_ref)}), f_SFT = log(1 + e^{cθ}), d = 1.

Everything depends on θ through u = cθ and on θ_ref through x = cθ_ref; K = e^x.
Source: arXiv 2410.15483v3, App. A (Theorem 3.3); c = 1/2, θ_ref = 5 is our reconstruction of Table 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import arb

from toyopt.certify.exact import Exact, ball, exact, positive


@dataclass(frozen=True)
class Family:
    """A member of the lower-bound family: c > 0 and θ_ref, exact.

    Raises TypeError for floats, ValueError unless c > 0.
    """

    c: Exact = Fraction(1, 2)
    theta_ref: Exact = 5

    def __post_init__(self) -> None:
        positive(self.c, "c")
        exact(self.theta_ref, "theta_ref")

    @property
    def scale(self) -> Fraction:
        """Scale c as a fraction."""
        return Fraction(self.c)

    @property
    def x(self) -> Fraction:
        """Offset x = cθ_ref."""
        return self.scale * Fraction(self.theta_ref)

    @property
    def description(self) -> str:
        """Description of the family, in words."""
        return f"f_DPO = log(1+e^(-c(θ-θ_ref))), f_SFT = log(1+e^(cθ)), c = {self.scale}, cθ_ref = {self.x}"

    @property
    def inputs(self) -> tuple[tuple[str, Fraction], ...]:
        """Inputs of a certificate: (name, exact value) pairs."""
        return (("c", self.scale), ("theta_ref", Fraction(self.theta_ref)))


TABLE_2 = Family()


def sigma(v: arb) -> arb:
    """Compute σ(v) = 1/(1+e^{-v}); v occurs once, so no dependency is lost and nothing overflows."""
    return 1 / (1 + (-v).exp())


def softplus(v: arb) -> arb:
    """Compute L(v) = log(1+e^v), in the form that keeps relative precision on either side of 0."""
    return v + (-v).exp().log1p() if v.mid() > 0 else v.exp().log1p()


def curvature(v: arb) -> arb:
    """Compute q(v) = σ(v)σ(-v) = 1/(2 + e^v + e^{-v})."""
    return 1 / (2 + v.exp() + (-v).exp())


def f_dpo(u: arb, x: arb) -> arb:
    """Compute log(1+e^{x-u}), eq. (1) on the family."""
    return softplus(x - u)


def f_sft(u: arb) -> arb:
    """Compute log(1+e^u), eq. (4) on the family."""
    return softplus(u)


def f_mix(u: arb, lam: arb, x: arb) -> arb:
    """Compute λ f_DPO + (1-λ) f_SFT, eq. (6)."""
    return lam * f_dpo(u, x) + (1 - lam) * f_sft(u)


def slope(u: arb, lam: arb, x: arb) -> arb:
    """Compute f'_Mix,λ / c = (1-λ) σ(u) - λ σ(x-u), affine and decreasing in λ for fixed u."""
    return (1 - lam) * sigma(u) - lam * sigma(x - u)


def quadratic(lam: Any, K: Any) -> tuple[Any, Any, Any]:
    """Return the coefficients (a, b, d) of (1-λ)z² + (1-2λ)Kz - λK = 0, for balls and for polynomials alike."""
    return 1 - lam, (1 - 2 * lam) * K, -lam * K


def minimiser(lam: Fraction, x: Fraction, branch: int = 1) -> arb:
    """Compute u* = log z, z the root of `quadratic` (branch +1: the positive root); not finite unless z > 0."""
    K = ball(x).exp()
    a, b, d = quadratic(ball(lam), K)
    root = (b * b - 4 * a * d).sqrt()
    # Of the two equal forms of the positive root take the one that does not cancel.
    z: arb = -2 * d / (b + root) if branch == 1 and b.mid() > 0 else (-b + branch * root) / (2 * a)
    return z.log()


def optimum(lam: Fraction, x: Fraction) -> arb:
    """Enclose the infimum f*_Mix,λ."""
    return f_mix(minimiser(lam, x), ball(lam), ball(x))
