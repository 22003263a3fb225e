"""Equations (34)-(38) of arXiv 2410.15483v3, Appendix A.2, and the minimiser of f_Mix: the lower-bound example.

The numbers of Table 2 are lost in the text at hand. The derivation is for the family of which the reconstructed table
is the member c = 1/2: features `φ_w = a + c`, `φ_l = a` and `φ_y = b`, `φ_y' = b + c`, any real a and b, c > 0, β = 1.
Which of the two gradients bears which number is lost as well: objectives first, then gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import sympy as sp

from toyopt.examples import TABLE2
from toyopt.symbolic.definitions import Softmax, sigma
from toyopt.symbolic.derivation import Equation, Identity, same

LAM = sp.Symbol("lambda", positive=True)
MU = sp.Symbol("mu", positive=True)  # 1-λ, for λ in (0,1)


@dataclass(frozen=True)
class Example:
    """The two data of the lower-bound example, with the c that stands in their simplified objectives."""

    dpo: Softmax
    sft: Softmax
    c: sp.Expr

    @classmethod
    def of(cls, chosen: sp.Expr, rejected: sp.Expr, target: sp.Expr, other: sp.Expr, c: sp.Expr) -> Example:
        """Return the example of four features."""
        theta, ref = [sp.Symbol("theta", real=True)], [sp.Symbol("theta_ref", real=True)]
        dpo, sft = (
            Softmax.of([sp.ImmutableMatrix([x]) for x in pair], theta, ref, beta=sp.Integer(1))
            for pair in ((chosen, rejected), (target, other))
        )
        return cls(dpo, sft, c)

    @classmethod
    def reconstructed(cls) -> Example:
        """Return Table 2 of `toyopt.examples`; its features are dyadic, so nothing is rounded."""
        chosen, rejected, target, other = (sp.Rational(row.feature[0]) for row in TABLE2)
        return cls.of(chosen, rejected, target, other, sp.Rational(1, 2))

    @classmethod
    def general(cls) -> Example:
        """Return the family, with symbols a, b and c > 0."""
        a, b = sp.symbols("a b", real=True)
        c = sp.Symbol("c", positive=True)
        return cls.of(a + c, a, b, b + c, c)

    @property
    def theta(self) -> sp.Symbol:
        """Parameter θ."""
        return self.dpo.theta[0]

    @property
    def distance(self) -> sp.Expr:
        """Margin c(θ-θ_ref)."""
        return self.c * (self.theta - self.dpo.theta_ref[0])


def eq34(e: Example) -> Iterator[Identity]:
    """Yield the reference objective, eq. (34), and its strict decrease, so that no minimiser exists."""
    left = -sp.log(e.dpo.policy(0))
    yield same("-log π_θ(y_w|x) = log(1+e^{-cθ})", left, sp.log(1 + sp.exp(-e.c * e.theta)))
    falling = e.c / (1 + sp.exp(e.c * e.theta))
    yield same("it falls strictly", -sp.diff(left, e.theta), falling, sign="positive")


def eq35(e: Example) -> Iterator[Identity]:
    """Yield f_DPO, eq. (35), from eq. (1)."""
    yield same("f_DPO = log(1+e^{-c(θ-θ_ref)})", e.dpo.f_dpo(), sp.log(1 + sp.exp(-e.distance)))


def eq36(e: Example) -> Iterator[Identity]:
    """Yield f_SFT, eq. (36), from eq. (4)."""
    yield same("f_SFT = log(1+e^{cθ})", e.sft.f_sft(), sp.log(1 + sp.exp(e.c * e.theta)))


def eq37(e: Example) -> Iterator[Identity]:
    """Yield ∇f_DPO, eq. (37), from eq. (2) and as the derivative of eq. (1)."""
    right = sp.Matrix([-e.c * (1 - sigma(e.distance))])
    yield same("g_DPO = -c(1-σ(c(θ-θ_ref)))", e.dpo.g_dpo(), right)
    yield same("∇f_DPO = -c(1-σ(c(θ-θ_ref)))", e.dpo.grad(e.dpo.f_dpo()), right)


def eq38(e: Example) -> Iterator[Identity]:
    """Yield ∇f_SFT, eq. (38), from eq. (5) and as the derivative of eq. (4)."""
    right = sp.Matrix([e.c * (1 - sigma(-e.c * e.theta))])
    yield same("g_SFT = c(1-σ(-cθ))", e.sft.g_sft(), right)
    yield same("∇f_SFT = c(1-σ(-cθ))", e.sft.grad(e.sft.f_sft()), right)


def quadratic(z: sp.Expr, K: sp.Expr) -> sp.Expr:
    """Return (1-λ)z² + (1-2λ)Kz - λK, whose positive root is e^{cθ*}."""
    return (1 - LAM) * z**2 + (1 - 2 * LAM) * K * z - LAM * K


def minimiser(e: Example) -> Iterator[Identity]:
    """Yield that ∇f_Mix has the sign of the quadratic in `z = e^{cθ}`, which has one positive root."""
    z, K = sp.exp(e.c * e.theta), sp.exp(e.c * e.dpo.theta_ref[0])
    slope = sp.diff(LAM * e.dpo.f_dpo() + (1 - LAM) * e.sft.f_sft(), e.theta)
    yield same("∇f_Mix = c q(z)/((1+z)(K+z))", slope, e.c * quadratic(z, K) / ((1 + z) * (K + z)))
    k = sp.Symbol("K", positive=True)
    root = sp.sqrt(sp.expand((1 - 2 * LAM) ** 2 * k**2 + 4 * LAM * (1 - LAM) * k))
    up, down = (((2 * LAM - 1) * k + sign * root) / (2 * (1 - LAM)) for sign in (1, -1))
    yield same("q(z₊) = 0", quadratic(up, k), sp.Integer(0))
    yield same("q(z₋) = 0", quadratic(down, k), sp.Integer(0))
    yield same("-z₊z₋ = λK/(1-λ) > 0", -up * down, LAM * k / MU, slack={MU: 1 - LAM}, sign="positive")


_STATEMENTS: tuple[tuple[str, Callable[[Example], Iterator[Identity]], str], ...] = (
    ("34", eq34, r"-\log\pi_\theta(y_w|x_{DPO})=\log(1+e^{-c\theta})"),
    ("35", eq35, r"f_{DPO}(\theta)=\log(1+e^{-c(\theta-\theta_{ref})})"),
    ("36", eq36, r"f_{SFT}(\theta)=\log(1+e^{c\theta})"),
    ("37", eq37, r"\nabla f_{DPO}(\theta)=-c(1-\sigma(c(\theta-\theta_{ref})))"),
    ("38", eq38, r"\nabla f_{SFT}(\theta)=c(1-\sigma(-c\theta))"),
    ("minimiser", minimiser, r"(1-\lambda)z^2+(1-2\lambda)Kz-\lambda K=0,\ z=e^{c\theta^*_\lambda}"),
)


def equations() -> tuple[Equation, ...]:
    """Return equations (34)-(38) and the minimiser's, for the reconstructed Table 2 and for the family."""
    cases = {"Table 2 (reconstructed)": Example.reconstructed(), "any a, b, c": Example.general()}
    return tuple(
        Equation(number, statement, {label: partial(build, e) for label, e in cases.items()})
        for number, build, statement in _STATEMENTS
    )
