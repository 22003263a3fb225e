"""The softmax policy and definitions (1)-(5) of arXiv 2410.15483v3, for one datum.

The normalisers stand in every probability, and every gradient is sympy's derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sympy as sp

from toyopt.symbolic.normal import tidy

BETA = sp.Symbol("beta", positive=True)
PHI = sp.Symbol("Phi", positive=True)


def sigma(x: sp.Expr) -> sp.Expr:
    """Return the sigmoid of x."""
    return 1 / (1 + sp.exp(-x))


@dataclass(frozen=True)
class Softmax:
    """One input whose outputs have the logits `offset_i + θᵀφ_i`, and `ref_offset_i + θ_refᵀφ_i` under π_ref.

    The policy of the paper has no offsets. They serve to derive for any dimension at once: see `line`.
    Output 0 is the chosen one, or the one that SFT demonstrates; output 1 is the rejected one.
    """

    theta: tuple[sp.Expr, ...]
    theta_ref: tuple[sp.Expr, ...]
    features: tuple[sp.Matrix, ...]
    offset: tuple[sp.Expr, ...]
    ref_offset: tuple[sp.Expr, ...]
    beta: sp.Expr = BETA

    @classmethod
    def of(
        cls,
        features: Sequence[sp.Matrix],
        theta: Sequence[sp.Expr],
        theta_ref: Sequence[sp.Expr],
        beta: sp.Expr = BETA,
    ) -> Softmax:
        """Return the paper's policy, of logits `θᵀφ(y,x)`."""
        none = (sp.Integer(0),) * len(features)
        return cls(tuple(theta), tuple(theta_ref), tuple(features), none, none, beta)

    @classmethod
    def general(cls, dim: int, outputs: int, name: str = "phi") -> Softmax:
        """Return a datum with symbols for every coordinate of every feature, for θ and for θ_ref."""
        features = [
            sp.ImmutableMatrix([sp.Symbol(f"{name}_{i}{k}", real=True) for k in range(dim)]) for i in range(outputs)
        ]
        theta = [sp.Symbol(f"theta_{k}", real=True) for k in range(dim)]
        theta_ref = [sp.Symbol(f"theta_ref{k}", real=True) for k in range(dim)]
        return cls.of(features, theta, theta_ref)

    @classmethod
    def line(cls, outputs: int, name: str = "a") -> Softmax:
        """Return a line `θ + t z` in any dimension, as a problem in t alone.

        With `s_i = θᵀφ_i`, `r_i = θ_refᵀφ_i` and `a_i = zᵀφ_i` free, the logits are `s_i + t a_i`. An identity between
        derivatives along every line is one between gradients, and between Hessians (polarisation); one between
        squared norms is a sum over z = e_1, ..., e_d.
        """

        def symbols(letter: str) -> tuple[sp.Symbol, ...]:
            return tuple(sp.Symbol(f"{letter}{name}_{i}", real=True) for i in range(outputs))

        features = tuple(sp.ImmutableMatrix([a]) for a in symbols(""))
        return cls((sp.Symbol("t", real=True),), (sp.Integer(0),), features, symbols("s"), symbols("r"))

    @property
    def outputs(self) -> range:
        """Indices of the outputs."""
        return range(len(self.features))

    @property
    def direction(self) -> sp.Matrix:
        """Symbols (d, 1) of a vector z, for the quadratic form of a Hessian."""
        return sp.Matrix([sp.Symbol(f"z_{k}", real=True) for k in range(len(self.theta))])

    def logits(self) -> list[sp.Expr]:
        """Return θᵀφ(y,x) of every output."""
        return [o + sp.Matrix(self.theta).dot(phi) for o, phi in zip(self.offset, self.features, strict=True)]

    def policy(self, i: int) -> sp.Expr:
        """Return π_θ(y_i|x), section 3.2."""
        weights = [sp.exp(x) for x in self.logits()]
        return weights[i] / sp.Add(*weights)

    def reference(self, i: int) -> sp.Expr:
        """Return π_ref(y_i|x)."""
        ref = sp.Matrix(self.theta_ref)
        weights = [sp.exp(o + ref.dot(phi)) for o, phi in zip(self.ref_offset, self.features, strict=True)]
        return weights[i] / sp.Add(*weights)

    def log_normaliser(self) -> sp.Expr:
        """Return log Σ_y' exp(θᵀφ(y',x))."""
        return sp.log(sp.Add(*(sp.exp(x) for x in self.logits())))

    def grad(self, f: sp.Expr) -> sp.Matrix:
        """Return (d, 1) the gradient of an expression in θ.

        The expression is put in normal form first, so that sympy differentiates `θᵀφ - log Σ exp` instead of the
        logarithm of a quotient: the same function, ten times as fast. Tests compare both derivatives.
        """
        plain = tidy(f)
        return sp.Matrix([sp.diff(plain, x) for x in self.theta])

    def hess(self, f: sp.Expr) -> sp.Matrix:
        """Return (d, d) the Hessian of an expression in θ."""
        # One derivative at a time: of several at once sympy factors the result, which costs more than all the rest.
        return sp.Matrix([[sp.diff(g, x) for x in self.theta] for g in self.grad(f)])

    def h(self) -> sp.Expr:
        """Return h, eq. (3)."""
        chosen, rejected = (self.beta * sp.log(self.policy(i) / self.reference(i)) for i in (0, 1))
        return sigma(chosen - rejected)

    def f_dpo(self) -> sp.Expr:
        """Return the datum's term of eq. (1)."""
        return -sp.log(self.h())

    def g_dpo(self) -> sp.Matrix:
        """Return g_DPO, eq. (2)."""
        return -self.beta * (1 - self.h()) * self.grad(sp.log(self.policy(0)) - sp.log(self.policy(1)))

    def f_sft(self) -> sp.Expr:
        """Return the datum's term of eq. (4)."""
        return -sp.log(self.policy(0))

    def g_sft(self) -> sp.Matrix:
        """Return g_SFT, eq. (5)."""
        return -self.grad(sp.log(self.policy(0)))
