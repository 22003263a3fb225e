"""What a claim's function returns: both sides of the statement, computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["upper", "lower", "equal"]
How = Literal["symbolic", "certified", "enumerated", "property", "statistical"]
Verdict = Literal["holds", "fails", "open"]


@dataclass(frozen=True)
class Record:
    """One claim on one problem: the bound, its terms, and what was attained.

    claim      the ledger's name: "4.1", "A.3", "M-last", ...
    statement  the claim in symbols
    kind       upper: attained <= bound; lower: attained >= bound; equal
    bound      the claim's side
    attained   the problem's side: a number, or the estimate of a mean with its `interval`
    terms      the bound's terms by name, summing to `bound` where they are a sum (else say how in the docstring)
    source     the equation and version, or "beyond the paper" and the section of docs/theory.md
    how        the evidence this record gives
    tolerance  what floating point may add; each function derives its own
    interval   a confidence interval for what was attained, and `failure` the probability that it misses
    """

    claim: str
    statement: str
    kind: Kind
    bound: float
    attained: float
    source: str
    how: How = "property"
    terms: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = 0.0
    interval: tuple[float, float] | None = None
    failure: float = 0.0

    @property
    def slack(self) -> float:
        """How far the attained value is on the right side of the bound; negative where it is on the wrong one."""
        if self.kind == "upper":
            return self.bound - self.attained
        if self.kind == "lower":
            return self.attained - self.bound
        return -abs(self.attained - self.bound)

    @property
    def verdict(self) -> Verdict:
        """Holds or fails; open if a side is NaN, or if the bound lies inside the confidence interval."""
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
        terms = ", ".join(f"{name} {value:.6g}" for name, value in self.terms.items())
        lines = [
            f"{self.claim}: {self.statement}  [{self.source}]",
            f"  {self.verdict}: attained {self.attained:.10g} {relation} bound {self.bound:.10g} ({self.how})",
        ]
        if terms:
            lines.append(f"  bound from {terms}")
        if self.interval is not None:
            low, high = self.interval
            but = f", but with probability {self.failure:g}" if self.failure else ""
            lines.append(f"  attained in [{low:.10g}, {high:.10g}]{but}")
        return "\n".join(lines)
