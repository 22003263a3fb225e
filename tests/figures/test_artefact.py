"""Checks, empirical claims and data of an artefact."""

from __future__ import annotations

import math

import numpy as np
import pytest

from figures.artefact import Check, Data, empirical, equal, lower, upper


def test_checks() -> None:
    assert upper("n", "s", 1.0, 1.0).holds
    assert not upper("n", "s", 1.0, 1.1).holds
    assert lower("n", "s", 1.0, 1.0).holds
    assert not lower("n", "s", 1.0, 0.9).holds
    assert equal("n", "s", 1.0, 1.0 + 1e-9, tolerance=1e-8).holds
    assert not equal("n", "s", 1.0, 1.0 + 1e-7, tolerance=1e-8).holds
    for make in (upper, lower):
        assert not make("n", "s", math.nan, 1.0).holds
        assert not make("n", "s", 1.0, math.nan).holds
    with pytest.raises(ValueError, match="NaN"):
        Check("n", "s", "upper", 1.0, math.nan, holds=True)


@pytest.mark.parametrize(
    ("interval", "kind", "verdict"),
    [
        ((0.2, 0.9), "upper", "seen"),
        ((0.2, 1.0), "upper", "seen"),
        ((0.2, 1.1), "upper", "mixed"),
        ((1.0, 1.1), "upper", "mixed"),
        ((1.1, 1.2), "upper", "not seen"),
        ((1.1, 1.2), "lower", "seen"),
        ((0.9, 1.2), "lower", "mixed"),
        ((0.2, 0.9), "lower", "not seen"),
        ((math.nan, 0.9), "upper", "mixed"),
        ((0.2, math.nan), "lower", "mixed"),
    ],
)
def test_the_verdict_is_read_from_the_whole_interval(interval: tuple[float, float], kind: str, verdict: str) -> None:
    check = empirical("n", "s", 0.9, interval, 1.0, kind)  # type: ignore[arg-type]
    assert (check.verdict, check.holds, check.must_hold) == (verdict, verdict == "seen", False)
    assert repr(check.interval) == repr(interval)


def test_what_is_no_empirical_claim() -> None:
    assert empirical("n", "s", math.nan, (0.1, 0.2), 1.0, "upper").verdict == "mixed"
    with pytest.raises(ValueError, match="upper or lower, got 'equal'"):
        empirical("n", "s", 1.0, (0.1, 0.2), 1.0, "equal")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="begin before it ends"):
        empirical("n", "s", 1.0, (0.3, 0.2), 1.0, "upper")
    with pytest.raises(ValueError, match="must be one of seen, mixed, not seen, got 'perhaps'"):
        Check("n", "s", "upper", 1.0, 1.0, True, must_hold=False, verdict="perhaps")
    with pytest.raises(ValueError, match="need not hold"):
        Check("n", "s", "upper", 1.0, 1.0, True, verdict="seen")


def test_the_columns_of_a_table_have_one_length() -> None:
    with pytest.raises(ValueError, match="beside: columns"):
        Data(table={"x": np.arange(3)}, beside={"a": np.arange(2), "b": np.arange(3)})
