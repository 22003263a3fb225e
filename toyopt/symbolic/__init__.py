"""The paper's algebra, redone by machine (sympy): equations (22)-(38) of arXiv 2410.15483v3 from (1)-(5) alone.

From the softmax policy and definitions (1)-(5) as they stand, each equation's left-hand side is built by substitution
and differentiation, and its difference from the right-hand side as stated reduced to exactly 0. The paper's text at
hand has lost its formulas; the statements here are reconstructed from the prose. An equation that is not proven never
counts as true.

The features' dimension d and the number of outputs are numbers: d = 1, 2, 3 with 2 and 3 outputs. The cases "any d" (a
line `θ + t z`, see `definitions.Softmax.line`) hold in every dimension, for 2, 3 and mostly 4 outputs. The means over
the data, (30) and (33), are of two data.

>>> from toyopt.symbolic import derive
>>> derive("22").proven
True
"""

from __future__ import annotations

from collections.abc import Iterable

from toyopt.record import Record
from toyopt.symbolic import convexity, table2
from toyopt.symbolic.derivation import Derivation, Equation, Identity, same
from toyopt.symbolic.numeric import Agreement, against_problem

__all__ = [
    "Agreement",
    "Derivation",
    "Equation",
    "Identity",
    "against_problem",
    "derive",
    "derive_all",
    "equations",
    "records",
    "same",
]

_CLAIMS = {
    "A.1": ("‖g_DPO‖² ≤ 4β²Φ², ‖g_SFT‖² ≤ 4Φ²: residuals of the derivation", range(22, 29)),
    "A.2": ("∇²f_DPO ⪰ 0, ∇²f_SFT ⪰ 0: residuals of the derivation", range(29, 34)),
}


def equations() -> dict[str, Equation]:
    """Return every equation by its number, "22" to "38", and "minimiser"."""
    return {e.number: e for e in (*convexity.equations(), *table2.equations())}


def derive(number: str) -> Derivation:
    """Derive one equation; raise ValueError for a number that is not among `equations()`."""
    known = equations()
    if number not in known:
        raise ValueError(f"number: one of {', '.join(known)} is needed, got {number!r}")
    return known[number].derive()


def derive_all() -> tuple[Derivation, ...]:
    """Derive every equation, in about 10 seconds on one core."""
    return tuple(e.derive() for e in equations().values())


def records(derivations: Iterable[Derivation] | None = None) -> tuple[Record, Record]:
    """Return Propositions A.1 and A.2 as records: the residual of each equation is 0, or NaN if not proven.

    `terms` has the residual of each equation that the claim rests on, one that is missing from `derivations` (by
    default all) as NaN; `attained` is their sum. So the verdict is "holds" if all are proven, else "open": that an
    identity is not proven does not refute it.
    """
    derived = {d.equation: d for d in (derive_all() if derivations is None else derivations)}
    made = []
    for claim, (statement, numbers) in _CLAIMS.items():
        used = {str(n): derived.get(str(n)) for n in numbers}
        terms = {f"({n})": 0.0 if d is not None and d.proven else float("nan") for n, d in used.items()}
        source = f"arXiv 2410.15483v3, eqs. ({numbers[0]})-({numbers[-1]}), any d, 2 and 3 outputs"
        made.append(Record(claim, statement, "equal", 0.0, sum(terms.values()), source, "symbolic", terms))
    return made[0], made[1]
