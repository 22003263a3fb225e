"""Slopes between neighbouring sizes, their bar, the table and the figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import growth, report
from benchmarks.growth import Curve, draw, measured

SIZES = (10.0, 100.0, 1000.0)


def power(exponent: float, constant: float = 0.0) -> np.ndarray:
    return constant + np.asarray(SIZES) ** exponent


@pytest.mark.parametrize(("exponent", "holds"), [(0.5, True), (1.0, True), (1.14, True), (1.16, False), (2.0, False)])
def test_the_slope_of_a_power_is_its_exponent_and_counts_rounded_to_a_tenth(exponent: float, holds: bool) -> None:
    curve = Curve("job", "rows", SIZES, {"llm": power(exponent)})
    assert curve.slopes("llm") == pytest.approx([exponent] * 2)
    assert curve.holds() == holds


def test_a_constant_part_makes_a_slope_smaller() -> None:
    plain, more = (Curve("job", "rows", SIZES, {"llm": power(1.0, constant)}) for constant in (0.0, 50.0))
    assert (more.slopes("llm") < plain.slopes("llm")).all()


def test_only_one_bend_is_enough_to_miss_the_bar() -> None:
    assert Curve("job", "rows", SIZES, {"llm": np.array([1.0, 10.0, 200.0])}).met() == [True, False]


def test_a_slope_that_another_side_has_too_is_excused_where_the_curve_says_so() -> None:
    costs = {"llm": power(1.4), "TRL": power(1.5)}
    assert not Curve("job", "tokens", SIZES, costs).holds()
    assert Curve("job", "tokens", SIZES, costs, excused=True).holds()
    assert not Curve("job", "tokens", SIZES, {"llm": power(1.7), "TRL": power(1.5)}, excused=True).holds()


def test_a_cost_that_is_not_known_meets_no_bar() -> None:
    assert not Curve("job", "rows", SIZES, {"llm": np.array([1.0, np.nan, 100.0])}).holds()


def test_each_size_has_its_least_cost_and_sides_take_turns() -> None:
    calls: list[str] = []

    def side(name: str, costs: list[float]) -> float:
        calls.append(name)
        return costs.pop()

    ours, theirs = [1.0, 3.0], [5.0, 4.0]
    sides = {"llm": lambda _: side("llm", ours), "TRL": lambda _: side("TRL", theirs)}
    curve = measured("job", "rows", [7], sides, repeats=2)
    assert calls == ["llm", "TRL", "llm", "TRL"]
    assert {name: costs.tolist() for name, costs in curve.costs.items()} == {"llm": [1.0], "TRL": [4.0]}


def test_the_table_has_a_line_a_size_with_the_slopes_of_both_sides() -> None:
    curve = Curve("job", "rows", SIZES, {"llm": power(1.0) * 2**20, "TRL": power(2.0) * 2**20}, "bytes")
    assert report.headers([curve]) == growth.HEADERS
    assert report.lines(curve) == [
        ("10 rows", "10 MiB", "TRL 100 MiB", "", "", ""),
        ("100 rows", "100 MiB", "TRL 9.77 GiB", "1.00", "2.00", "yes"),
        ("1,000 rows", "1e+03 MiB", "TRL 977 GiB", "1.00", "2.00", "yes"),
    ]


def test_all_curves_are_drawn_into_one_file(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    curves = [Curve(f"job {i}", "rows", SIZES, {"llm": power(1.0), "TRL": power(1.2)}) for i in range(4)]
    draw(curves, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes()[:4] == b"\x89PNG"
