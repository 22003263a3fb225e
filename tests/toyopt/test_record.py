"""Verdict, slack and text of a record."""

from __future__ import annotations

import math
from typing import Any

import pytest

from toyopt.theorems import Record

TINY = 2.0**-22  # a tolerance that is less than 1e-6 of the sides, and exact in sums with them


def one(kind: str, attained: float, **changes: Any) -> Record:
    settings: dict[str, Any] = {"kind": kind, "bound": 1.0, "attained": attained, "source": "s", "tolerance": TINY}
    return Record("X", "x", **(settings | changes))


@pytest.mark.parametrize(
    ("record", "verdict", "slack"),
    [
        (one("upper", 0.5), "holds", 0.5),
        (one("upper", 1 + TINY), "holds", -TINY),  # the tolerance itself is allowed
        (one("upper", 1 + 1.01 * TINY), "fails", -1.01 * TINY),
        (one("lower", 1.5), "holds", 0.5),
        (one("lower", 1 - TINY), "holds", -TINY),
        (one("lower", 1 - 1.01 * TINY), "fails", -1.01 * TINY),
        (one("equal", 1 + TINY), "holds", -TINY),
        (one("equal", 1 - 1.01 * TINY), "fails", -1.01 * TINY),
        (one("upper", math.nan), "open", math.nan),
        (one("upper", 0.5, bound=math.nan), "open", math.nan),
        (one("upper", 1.0, interval=(0.9, 1 + TINY)), "holds", 0.0),
        (one("upper", 1.0, interval=(0.9, 1.26)), "open", 0.0),
        (one("upper", 1.5, interval=(1 + TINY, 2.0)), "open", -0.5),
        (one("upper", 1.5, interval=(1.26, 2.0)), "fails", -0.5),
        (one("lower", 1.0, interval=(1 - TINY, 1.1)), "holds", 0.0),
        (one("lower", 1.0, interval=(0.74, 1.1)), "open", 0.0),
        (one("lower", 0.5, interval=(0.0, 1 - TINY)), "open", -0.5),
        (one("lower", 0.5, interval=(0.0, 0.74)), "fails", -0.5),
        (one("equal", 1.0, interval=(1 - TINY, 1 + TINY)), "holds", 0.0),
        (one("equal", 1.0, interval=(1 - TINY, 1.1)), "open", 0.0),
        (one("equal", 1.0, interval=(0.9, 1 + TINY)), "open", 0.0),
        (one("equal", 1.0, interval=(0.0, 100.0)), "open", 0.0),  # however near the middle, the width counts
        (one("equal", 1.5, interval=(1 + TINY, 2.0)), "open", -0.5),
        (one("equal", 1.5, interval=(1.26, 2.0)), "fails", -0.5),
        (one("equal", 0.5, interval=(0.0, 1 - TINY)), "open", -0.5),
        (one("equal", 0.5, interval=(0.0, 0.74)), "fails", -0.5),
        (one("upper", 3.0, interval=(0.1, 0.2)), "open", -2.0),  # an interval that is not of this value
        (one("lower", -1.0, interval=(1.1, 1.2)), "open", -2.0),
        (one("upper", 0.5, interval=(math.nan, 0.6)), "open", 0.5),
    ],
)
def test_verdict_and_slack(record: Record, verdict: str, slack: float) -> None:
    assert record.verdict == verdict
    assert record.slack == pytest.approx(slack, nan_ok=True)


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (one("upper", 0.668, bound=0.0354, tolerance=32.3), "open"),
        (one("upper", 1.0, tolerance=1e-3), "open"),
        (one("upper", 0.5, tolerance=0.5), "holds"),  # by the tolerance at least, so nothing depends on it
        (one("upper", 0.5, tolerance=0.51), "open"),
        (one("upper", 1.5, tolerance=0.25), "fails"),
        (one("lower", 1.5, tolerance=0.5), "holds"),
        (one("lower", 1.5, tolerance=0.51), "open"),
        (one("equal", 1.0, tolerance=1e-3), "open"),
        (one("equal", 1.5, tolerance=0.25), "fails"),
        (one("equal", 0.0, bound=0.0, tolerance=1e-9), "open"),
        (one("equal", 0.0, bound=0.0, tolerance=1e-9, scale=1.0), "holds"),  # differences of numbers of size 1
        (one("equal", 0.0, bound=0.0, tolerance=1e-3, scale=1.0), "open"),
        (one("equal", 0.0, bound=0.0, tolerance=0.0), "holds"),
        (one("equal", 1.0, tolerance=1e-6), "holds"),
        (one("equal", 1.0, tolerance=1.01e-6), "open"),
        (one("upper", 1.0, tolerance=1e-3, interval=(0.9, 1.0)), "open"),
        (one("upper", 0.9, tolerance=0.099, interval=(0.8, 0.9)), "holds"),
    ],
)
def test_a_tolerance_that_could_hold_the_difference_leaves_the_claim_open(record: Record, verdict: str) -> None:
    assert record.verdict == verdict


def test_a_record_in_print() -> None:
    plain = one("upper", 0.5, tolerance=0.0, terms={"a": 0.25, "b": 0.75})
    assert (
        str(plain) == "X: x  [s]\n  holds: attained 0.5 <= bound 1, tolerance 0 (property)\n  bound from a 0.25, b 0.75"
    )
    drawn = one("lower", 1.5, tolerance=0.0, interval=(1.25, 2.0), failure=1e-6, evidence="statistical")
    assert str(drawn) == (
        "X: x  [s]\n  holds: attained 1.5 >= bound 1, tolerance 0 (statistical)\n"
        "  attained in [1.25, 2] with probability at least 1 - 1e-06"
    )
    rounded = one("upper", 0.5, tolerance=1.23e-9, note="as it is")
    assert str(rounded).splitlines()[1:] == [
        "  holds: attained 0.5 <= bound 1, tolerance 1.23e-09 (property)",
        "  as it is",
    ]
    grid = one("equal", 1.0, tolerance=0.0, interval=(1.0, 2.0))
    assert str(grid) == "X: x  [s]\n  open: attained 1 == bound 1, tolerance 0 (property)\n  attained in [1, 2]"


@pytest.mark.parametrize(("attained", "sign"), [(1.0, "=="), (1 + TINY, "≈"), (1.5, "=?="), (1 + 1e-14, "==")])
def test_numbers_that_differ_are_not_printed_as_equal(attained: float, sign: str) -> None:
    assert f"{attained:.10g} {sign} bound 1, tolerance 2.38e-07 (" in str(one("equal", attained))
