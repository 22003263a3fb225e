"""A checked statement with its number and tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A checked statement.

    group       the part of the trainer
    claim       the statement
    difference  the number that is small if the statement holds; None for statements without a number
    tolerance   the largest difference at which the statement holds
    holds       whether the statement holds; None if the statement does not apply to the model
    note        rows, layers or reasons, in words
    """

    group: str
    claim: str
    difference: float | None
    tolerance: float | None
    holds: bool | None
    note: str = ""


def compared(group: str, claim: str, difference: float, tolerance: float, note: str = "") -> Finding:
    """Return the finding that a difference is at most a tolerance; a difference that is not finite is too large."""
    return Finding(group, claim, difference, tolerance, math.isfinite(difference) and difference <= tolerance, note)


def stated(group: str, claim: str, holds: bool | None, note: str = "") -> Finding:
    """Return a finding without a number; None: the statement does not apply."""
    return Finding(group, claim, None, None, holds, note)
