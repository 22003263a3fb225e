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
Evidence = Literal["symbolic", "certified", "enumerated", "property", "statistical"]
Verdict = Literal["holds", "fails", "open"]

EVIDENCE: tuple[Evidence, ...] = ("symbolic", "certified", "enumerated", "property", "statistical")  # strongest first


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
    tolerance  an absolute bound of the error of floating point; each function derives its own
    interval   a confidence interval of `attained`, or None
    failure    the probability that `interval` does not contain the expectation
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
        """Verdict within the tolerance: "open" if a side is NaN or the bound lies inside the confidence interval."""
        if math.isnan(self.bound) or math.isnan(self.attained):
            return "open"
        if self.interval is None:
            return "holds" if self.slack >= -self.tolerance else "fails"
        low, high = self.interval
        if self.kind == "equal":
            return "holds" if low - self.tolerance <= self.bound <= high + self.tolerance else "fails"
        worst, best = (high, low) if self.kind == "upper" else (low, high)
        sign = 1.0 if self.kind == "upper" else -1.0
        if sign * (worst - self.bound) <= self.tolerance:
            return "holds"
        return "fails" if sign * (best - self.bound) > self.tolerance else "open"

    def __str__(self) -> str:
        relation = {"upper": "<=", "lower": ">=", "equal": "=="}[self.kind]
        within = f", tolerance {self.tolerance:.3g}" if self.tolerance else ""
        lines = [
            f"{self.claim}: {self.statement}  [{self.source}]",
            f"  {self.verdict}: attained {self.attained:.10g} {relation} bound {self.bound:.10g} "
            f"({self.evidence}{within})",
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
