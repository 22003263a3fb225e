"""Verdict, slack and text of a record."""

from __future__ import annotations

import math
from typing import Any

import pytest

from toyopt.theorems import Record


def one(kind: str, attained: float, **changes: Any) -> Record:
    settings: dict[str, Any] = {"kind": kind, "bound": 1.0, "attained": attained, "source": "s", "tolerance": 0.25}
    return Record("X", "x", **(settings | changes))


@pytest.mark.parametrize(
    ("record", "verdict", "slack"),
    [
        (one("upper", 0.5), "holds", 0.5),
        (one("upper", 1.25), "holds", -0.25),  # the tolerance itself is allowed
        (one("upper", 1.26), "fails", -0.26),
        (one("lower", 1.5), "holds", 0.5),
        (one("lower", 0.75), "holds", -0.25),
        (one("lower", 0.74), "fails", -0.26),
        (one("equal", 1.25), "holds", -0.25),
        (one("equal", 0.74), "fails", -0.26),
        (one("upper", math.nan), "open", math.nan),
        (one("upper", 0.5, bound=math.nan), "open", math.nan),
        (one("upper", 1.0, interval=(0.9, 1.25)), "holds", 0.0),
        (one("upper", 1.0, interval=(0.9, 1.26)), "open", 0.0),
        (one("upper", 1.5, interval=(1.25, 2.0)), "open", -0.5),
        (one("upper", 1.5, interval=(1.26, 2.0)), "fails", -0.5),
        (one("lower", 1.0, interval=(0.75, 1.1)), "holds", 0.0),
        (one("lower", 1.0, interval=(0.74, 1.1)), "open", 0.0),
        (one("lower", 0.5, interval=(0.0, 0.75)), "open", -0.5),
        (one("lower", 0.5, interval=(0.0, 0.74)), "fails", -0.5),
        (one("equal", 1.5, interval=(1.25, 2.0)), "holds", -0.5),
        (one("equal", 1.5, interval=(1.26, 2.0)), "fails", -0.5),
        (one("equal", 0.5, interval=(0.0, 0.75)), "holds", -0.5),
        (one("equal", 0.5, interval=(0.0, 0.74)), "fails", -0.5),
    ],
)
def test_verdict_and_slack(record: Record, verdict: str, slack: float) -> None:
    assert record.verdict == verdict
    assert record.slack == pytest.approx(slack, nan_ok=True)


def test_a_record_in_print() -> None:
    plain = one("upper", 0.5, tolerance=0.0, terms={"a": 0.25, "b": 0.75})
    assert str(plain) == "X: x  [s]\n  holds: attained 0.5 <= bound 1 (property)\n  bound from a 0.25, b 0.75"
    drawn = one("lower", 1.5, tolerance=0.0, interval=(1.25, 2.0), failure=1e-6, evidence="statistical")
    assert str(drawn) == (
        "X: x  [s]\n  holds: attained 1.5 >= bound 1 (statistical)\n"
        "  attained in [1.25, 2] with probability at least 1 - 1e-06"
    )
    rounded = one("upper", 0.5, tolerance=1.23e-9, note="as it is")
    assert str(rounded).splitlines()[1:] == [
        "  holds: attained 0.5 <= bound 1 (property, tolerance 1.23e-09)",
        "  as it is",
    ]
    grid = one("equal", 1.0, tolerance=0.0, interval=(1.0, 2.0))
    assert str(grid) == "X: x  [s]\n  holds: attained 1 == bound 1 (property)\n  attained in [1, 2]"
