"""Derivations: identities between a side from the definitions and a side as stated, with their proofs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import sympy as sp

from toyopt.symbolic.normal import Normaliser

Sign = Literal["nonnegative", "positive"]


@dataclass(frozen=True)
class Identity:
    """left = right, entry by entry, and optionally a sign that the right-hand side visibly has.

    name   the claim, in words or symbols
    left   from the definitions, by substitution and differentiation alone
    right  as stated
    slack  symbols of `right` that stand for an expression known to be non-negative, such as Φ² - ‖φ‖²
    sign   if given, sympy must infer it of every entry of `right` from its form and its symbols' own signs
    """

    name: str
    left: tuple[sp.Expr, ...]
    right: tuple[sp.Expr, ...]
    slack: Mapping[sp.Symbol, sp.Expr] = field(default_factory=dict)
    sign: Sign | None = None

    def residuals(self) -> tuple[sp.Expr, ...]:
        """Compute the numerators of left - right in normal form: all exactly 0 if the identity is proven.

        NaN where there is no entry or no normal form.
        """
        normal, pairs = Normaliser(), zip(self.left, self.right, strict=True)
        try:
            return tuple(normal.numerator(a - b.subs(self.slack)) for a, b in pairs) or (sp.nan,)
        except TypeError:
            return (sp.nan,)

    @property
    def proven(self) -> bool:
        """Whether every residual is exactly 0 and the sign, if one is claimed, is inferred; False proves nothing."""
        if self.sign is not None and not all(getattr(b, f"is_{self.sign}") is True for b in self.right):
            return False
        return all(r == 0 for r in self.residuals())


def same(
    name: str,
    left: sp.Expr | sp.Matrix,
    right: sp.Expr | sp.Matrix,
    *,
    slack: Mapping[sp.Symbol, sp.Expr] | None = None,
    sign: Sign | None = None,
) -> Identity:
    """Return the identity between scalars, or between matrices of one shape, entry by entry."""
    a, b = (side if isinstance(side, sp.MatrixBase) else sp.Matrix([side]) for side in (left, right))
    if a.shape != b.shape:
        raise ValueError(f"{name}: the sides have shapes {a.shape} and {b.shape}")
    return Identity(name, tuple(a), tuple(b), slack or {}, sign)


@dataclass(frozen=True)
class Equation:
    """A numbered equation with its identities, case by case.

    number     as in arXiv 2410.15483v3, without parentheses, or a name if the paper does not number the equation
    statement  in LaTeX, reconstructed: the text at hand has the equation's number and the prose around it
    cases      by label, a function that builds the identities
    """

    number: str
    statement: str
    cases: Mapping[str, Callable[[], Iterable[Identity]]]

    def derive(self) -> Derivation:
        """Derive the equation in every case."""
        start = time.perf_counter()
        built = [(label, identity) for label, build in self.cases.items() for identity in build()]
        failed = tuple(f"{label}: {identity.name}" for label, identity in built if not identity.proven)
        first = built[0][1] if built else Identity("", (), ())
        left, right = ("; ".join(map(str, side)) for side in (first.left, first.right))
        seconds = time.perf_counter() - start
        return Derivation(self.number, self.statement, left, right, tuple(self.cases), len(built), failed, seconds)


@dataclass(frozen=True)
class Derivation:
    """The outcome of the derivation of one equation.

    equation    its number in arXiv 2410.15483v3, or a name
    statement   the equation in LaTeX
    left        the first identity of the first case: its side from the definitions
    right       its side as stated
    cases       the dimensions and numbers of outputs that were tried
    identities  the number of identities in all cases
    not_proven  the identities that were not proven, as "case: identity"
    seconds     wall-clock time
    """

    equation: str
    statement: str
    left: str
    right: str
    cases: tuple[str, ...]
    identities: int
    not_proven: tuple[str, ...]
    seconds: float

    @property
    def proven(self) -> bool:
        """Whether every identity of every case was reduced to exactly 0 = 0, and there was one."""
        return self.identities > 0 and not self.not_proven

    def __str__(self) -> str:
        verdict = "proven" if self.proven else "not proven: " + "; ".join(self.not_proven)
        return f"({self.equation}) {verdict} ({self.identities} identities, {self.seconds:.2f} s)  {self.statement}"
