"""The two phases of Sequential on the family, as two runs of one logistic recursion.

DPO first: phase 1 is v_{t+1} = v_t + ησ(-v_t) in v = c(θ-θ_ref), η = c²α; phase 2 is the same in w = -cθ,
from w_0 = -x - v_{T_1}, x = cθ_ref.  SFT first: phase 1 runs in w = -cθ, phase 2 in v = -x - w.  So either
order is one start in phase 1, the map s -> -x - s, and the same recursion again; and by the reflection
u -> x - u the final gap of 'SFT first' at λ is that of 'DPO first' at 1-λ (`level.HalfLine`).
Source: arXiv 2410.15483v3, eqs. (7), (8), Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from flint import arb

from toyopt.certify.exact import Exact, ball, exact, positive
from toyopt.certify.family import TABLE_2, Family
from toyopt.certify.level import Side
from toyopt.certify.potential import Potential

Order = Literal["dpo-first", "sft-first"]


@dataclass(frozen=True)
class Phases:
    """Sequential with constant step α from θ_1 (default θ_ref), in either order.

    TypeError for floats; ValueError unless α > 0, η = c²α <= 4 and the order is known.
    """

    family: Family = TABLE_2
    alpha: Exact = 1
    theta_1: Exact | None = None
    order: Order = "dpo-first"

    def __post_init__(self) -> None:
        positive(self.alpha, "alpha")
        if self.theta_1 is not None:
            exact(self.theta_1, "theta_1")
        if self.eta > 4:
            raise ValueError(f"alpha must keep η = c²α <= 4, got alpha = {self.alpha!r}, η = {self.eta}")
        if self.order not in ("dpo-first", "sft-first"):
            raise ValueError(f"order must be 'dpo-first' or 'sft-first', got {self.order!r}")

    @property
    def eta(self) -> Fraction:
        """Step η = c²α of the recursion."""
        return self.family.scale**2 * Fraction(self.alpha)

    @property
    def x(self) -> Fraction:
        """Offset x = cθ_ref."""
        return self.family.x

    @property
    def first_start(self) -> Fraction:
        """Start of the first phase: c(θ_1-θ_ref) (DPO first) or -cθ_1 (SFT first)."""
        u = self.x if self.theta_1 is None else self.family.scale * Fraction(self.theta_1)
        return u - self.x if self.order == "dpo-first" else -u

    @property
    def side(self) -> Side:
        """Side of the minimiser on which the second phase ends."""
        return "left" if self.order == "dpo-first" else "right"

    @property
    def potential(self) -> Potential:
        """Potential Ψ for this η."""
        return Potential(self.eta)

    def second_start(self, first_end: arb) -> arb:
        """Compute w_0 = -x - v_{T_1}, the start of the second phase."""
        return -ball(self.x) - first_end

    def theta(self, w: arb) -> arb:
        """Compute θ from the variable w of the second phase."""
        u = -w if self.order == "dpo-first" else ball(self.x) + w
        return u / ball(self.family.scale)

    @property
    def inputs(self) -> tuple[tuple[str, Fraction | str], ...]:
        """Inputs of a certificate: (name, exact value) pairs."""
        start = self.family.theta_ref if self.theta_1 is None else self.theta_1
        return (
            *self.family.inputs,
            ("alpha", Fraction(self.alpha)),
            ("theta_1", Fraction(start)),
            ("order", self.order),
        )

    @property
    def assumption(self) -> str:
        """Assumption of a certificate: the setting, in words."""
        pairs = ", ".join(f"{name} = {value}" for name, value in self.inputs)
        return f"f_DPO = log(1+e^(-c(θ-θ_ref))), f_SFT = log(1+e^(cθ)), full gradients, constant α: {pairs}"
