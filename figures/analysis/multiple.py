"""Correction of the empirical verdicts for being many: Holm's step-down (Scandinavian Journal of Statistics 6, 1979).

A verdict belongs to a two-sided test of "the mean is equal to the bound", at the level of its interval. Over a family
of such tests, Holm's procedure rejects any true one with a probability of at most `LEVEL`, whatever their dependence.
The family of a verdict is the claims of its artefact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

CONFIDENCE = 0.95  # of the interval of a mean over seeds
LEVEL = round(1.0 - CONFIDENCE, 12)  # of a single test, and of a whole family
MARK = "†"  # beside a verdict that survives

Claim = Mapping[str, Any]  # an empirical claim with the fields of `figures.artefact.Check`


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the same order: reject those at most α for a family-wise level α.

    A p-value that is NaN belongs to a test that could not be made (one seed): it stays NaN, and the family is without
    it. Raises ValueError for a value outside [0, 1].
    """
    if wrong := [p for p in p_values if not (math.isnan(p) or 0.0 <= p <= 1.0)]:
        raise ValueError(f"p_values: must be in [0, 1] or NaN, got {wrong[0]}")
    known = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    adjusted, least = [math.nan] * len(p_values), 0.0
    for rank, i in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted


def adjusted(claims: Sequence[Claim]) -> list[float]:
    """Return the adjusted p-values of one family of claims; all NaN if a claim was recorded without a p-value."""
    p_values = [claim.get("p_value") for claim in claims]
    if any(p is None for p in p_values):
        return [math.nan] * len(claims)
    return holm([float(p) for p in p_values if p is not None])  # "nan" in JSON


def with_adjusted(checks: Sequence[Claim]) -> list[dict[str, Any]]:
    """Return the checks of an artefact; its empirical claims, which are a family, have `p_holm` beside `p_value`."""
    known = iter(adjusted([check for check in checks if check["verdict"]]))
    return [{"p_value": None, **check, "p_holm": next(known)} if check["verdict"] else dict(check) for check in checks]


def survives(claim: Claim) -> bool:
    """Return whether the verdict of a claim that has `p_holm` is seen or not seen, and survives the correction."""
    return claim["verdict"] != "mixed" and float(claim["p_holm"]) <= LEVEL


def marked(claim: Claim) -> str:
    """Return the verdict of a claim that has `p_holm`, with `MARK` if it survives the correction."""
    return f"{claim['verdict']}{MARK if survives(claim) else ''}"


def survivors(claims: Sequence[Claim]) -> int:
    """Return the number of verdicts that survive the correction over these claims as one family."""
    return sum(map(survives, with_adjusted(claims)))
