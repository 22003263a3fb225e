"""The statement type of the package: one claim on one problem with both of its sides, computed.

`toyopt.theorems` returns it, a certificate of `toyopt.certify` holds one, and an entry of `toyopt.ledger` holds all
records of a claim. Programs read its fields; `statement` and `note` are text for people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["upper", "lower", "equal"]
Evidence = Literal["symbolic", "certified", "proof", "enumerated", "property", "statistical", "numerical"]
Verdict = Literal["holds", "fails", "open"]

# Strongest first: proven by algebra, by balls, on the page (docs/theory.md); summed over all paths, on many problems,
# by a confidence interval; a conjecture, by the numbers of some runs.
EVIDENCE: tuple[Evidence, ...] = (
    *("symbolic", "certified", "proof", "enumerated", "property", "statistical", "numerical"),
)

# A tolerance above this part of the numbers that are compared could hold a difference that matters: within such a
# tolerance a record is open. Rounding alone is some 1e-13 of them.
RESOLUTION = 1e-6


@dataclass(frozen=True)
class Record:
    """One claim on one problem: the bound, its terms, and the attained value.

    claim      the claim's name in the ledger: "4.1", "A.3", "M-last", ...
    statement  the claim in symbols
    kind       upper: attained <= bound; lower: attained >= bound; equal
    bound      the side of the claim
    attained   the side of the problem: a number, or the estimate of a mean with its `interval`
    source     the equation and version, or "beyond the paper" and the section of docs/theory.md
    evidence   the kind of evidence that this record gives, one of `EVIDENCE`
    terms      the bound's terms by name; they sum to `bound` unless the docstring of the function differs
    tolerance  an absolute bound of the error of floating point in `attained - bound`; each function derives its own
    interval   a confidence interval of `attained`, or None
    failure    the probability that `interval` does not contain the expectation
    scale      the size of the numbers whose difference a side is, where they are larger than the sides themselves
    note       a sentence on this record, such as the step at which a proof stopped, or ""
    """

    claim: str
    statement: str
    kind: Kind
    bound: float
    attained: float
    source: str
    evidence: Evidence = "property"
    terms: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = 0.0
    interval: tuple[float, float] | None = None
    failure: float = 0.0
    scale: float = 0.0
    note: str = ""

    @property
    def slack(self) -> float:
        """Distance of the attained value from the bound, positive on the side that the claim allows."""
        if self.kind == "upper":
            return self.bound - self.attained
        if self.kind == "lower":
            return self.attained - self.bound
        return -abs(self.attained - self.bound)

    @property
    def verdict(self) -> Verdict:
        """Verdict on the claim: "holds" or "fails" as far as tolerance and interval decide it, else "open".

        The claim fails if no value of the interval (without one: `attained`) meets it within the tolerance. It holds
        if every value does, where the tolerance is at most `RESOLUTION` of the numbers compared; under a larger
        tolerance it holds only if every value is on the claimed side by the tolerance at least, so that an equality is
        open. It is open, too, if a side is NaN, if `attained` is outside its own interval, and if the evidence is
        "numerical".
        """
        low, high = (self.attained, self.attained) if self.interval is None else self.interval
        if math.isnan(self.bound) or not low - self.tolerance <= self.attained <= high + self.tolerance:
            return "open"
        if self.kind == "equal":
            ends = sorted((abs(low - self.bound), abs(high - self.bound)))
            least, most = 0.0 if low <= self.bound <= high else ends[0], ends[1]
        elif self.kind == "upper":
            least, most = low - self.bound, high - self.bound
        else:
            least, most = self.bound - high, self.bound - low
        if least > self.tolerance:
            return "fails"
        if self.evidence == "numerical":
            return "open"
        size = max(abs(self.bound), abs(self.attained), self.scale)
        return (
            "holds" if most <= (self.tolerance if self.tolerance <= RESOLUTION * size else -self.tolerance) else "open"
        )

    def __str__(self) -> str:
        sides = f"{self.attained:.10g}", f"{self.bound:.10g}"
        equal = "==" if sides[0] == sides[1] else "≈" if self.verdict == "holds" else "=?="
        relation = {"upper": "<=", "lower": ">=", "equal": equal}[self.kind]
        lines = [
            f"{self.claim}: {self.statement}  [{self.source}]",
            f"  {self.verdict}: attained {sides[0]} {relation} bound {sides[1]}, tolerance {self.tolerance:.3g} "
            f"({self.evidence})",
        ]
        if self.note:
            lines.append(f"  {self.note}")
        if self.terms:
            lines.append("  bound from " + ", ".join(f"{name} {value:.6g}" for name, value in self.terms.items()))
        if self.interval is not None:
            low, high = self.interval
            probability = f" with probability at least 1 - {self.failure:g}" if self.failure else ""
            lines.append(f"  attained in [{low:.10g}, {high:.10g}]{probability}")
        return "\n".join(lines)
