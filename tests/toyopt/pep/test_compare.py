"""The optima beside the bounds: each bound covers its optimum, exact ones are attained, and smaller ones fail."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toyopt.pep.cli import standard
from toyopt.pep.compare import Row, WorstGap, claimed, rows, table, worst_gap
from toyopt.pep.methods import setting
from toyopt.theorems import total
from toyopt.theorems.maxright.bounds import average_terms, best_terms, last_terms

EQUAL: dict[str, Any] = {"lam": "3/10", "bounds": "1,1"}


@pytest.fixture(scope="module")
def shown() -> list[Row]:
    return [row for given in standard() for row in rows(given)]


@pytest.mark.slow
def test_no_bound_is_below_its_optimum_and_each_claim_is_tried(shown: list[Row]) -> None:
    assert {row.record.verdict for row in shown} == {"holds"}
    assert {row.claim for row in shown} == {
        *("A1", "A4", "A4, unequal C_i", "Theorem 4.1", "M2", "M4", "M4, closed form", "M6")
    }
    assert {(row.worst.given.method, row.worst.given.k) for row in shown} == {
        *(("mix", 1), ("alright", 1), ("maxright", 1), ("maxright", 2), ("maxright", 3))
    }


@pytest.mark.slow
def test_the_bounds_that_are_exact_are_attained(shown: list[Row]) -> None:
    """A5 for one function and for ALRIGHT with equal C_i; M4 and M2 where the heaviest objective is the steepest."""
    for row in shown:
        given = row.worst.given
        equal = len(set(given.bounds)) == 1
        if row.claim in ("A4", "M4") and equal:
            assert row.attained, row.record
        if row.claim in ("Theorem 4.1", "M4, closed form", "M6", "A4, unequal C_i") or (
            row.claim in ("A4", "M4") and not equal
        ):
            assert row.ratio < 0.99, row.record


@pytest.mark.slow
def test_a_program_on_which_the_solver_stalls_is_solved_with_a_larger_tolerance() -> None:
    """The README's setting, whose heavier objective is the steeper, so that M2 is attained (docs/theory.md, M3)."""
    (row,) = rows(setting("maxright", lam="0.4", bounds="1,2", steps="0.5,0.3,0.2", measure="average"))
    assert (row.claim, row.record.verdict, row.attained) == ("M2", "holds", True)


@pytest.mark.slow
def test_the_page_has_these_ratios(shown: list[Row]) -> None:
    """Every cell "bound: ratio" of the table in docs/theory.md, P2."""
    page = (Path(__file__).parents[3] / "docs/theory.md").read_text(encoding="utf-8")
    part = page[page.index("### P2.") : page.index("### P3.")]
    cells = 0
    for line in re.findall(r"^\| (?:Mix|ALRIGHT|MAXRIGHT).*$", part, re.MULTILINE):
        name, numbers, *gaps = (cell.strip() for cell in line.strip("|").split("|"))
        method, _, k = name.partition(", k = ")
        bounds = (1, 2) if "(1, 2)" in numbers else (1, 1)
        for measure, cell in zip(("last", "average", "best"), gaps, strict=True):
            for claim, ratio in re.findall(r"(for unequal C_i|[AM]\d): ([\d.]+)", cell):
                claim = "A4, unequal C_i" if "unequal" in claim else claim
                ratios = [
                    row.ratio
                    for row in shown
                    if (row.worst.given.method, row.worst.given.k, row.worst.given.measure, row.claim)
                    == (method.lower(), int(k or 1), measure, claim)
                    and row.worst.given.bounds == bounds
                ]
                assert ratios, line
                assert all(round(value, 3) == float(ratio) for value in ratios), (line, ratios)
                cells += 1
    assert cells == 18


@pytest.mark.slow
def test_a_bound_of_less_than_the_optimum_fails(shown: list[Row]) -> None:
    for row in shown:
        assert Row(row.worst, row.claim, 0.999 * row.worst.optimum).record.verdict == "fails"
        assert Row(row.worst, row.claim, (1 - 1e-6) * row.worst.optimum).record.verdict == "fails"
        assert not Row(row.worst, row.claim, 1.001 * row.worst.optimum).attained


def test_what_was_not_solved_is_open() -> None:
    worst = WorstGap(setting("mix", **EQUAL, steps="1/2"), math.nan, math.nan, ())
    row = Row(worst, "A4", 1.0)
    assert (row.record.verdict, row.attained) == ("open", False)
    assert "nan" in table([row])[1]


def test_the_bounds_of_maxright_are_the_theorems() -> None:
    numbers: dict[str, Any] = {"distance": 1.5, "alpha0": 0.5 * math.sqrt(3), "T": 3}
    for measure, formula in (("average", average_terms), ("best", best_terms)):
        given = setting("maxright", lam="1/4", bounds="3,2", steps="1/2,1/2", distance="3/2", measure=measure)
        assert claimed(given) == {"M2": pytest.approx(total(formula(0.25, [3.0, 2.0], **numbers)))}
    last = claimed(setting("maxright", lam="1/4", bounds="3,2", steps="1/2,1/2", distance="3/2"))
    assert last["M4, closed form"] == pytest.approx(total(last_terms(0.25, [3.0, 2.0], **numbers)))
    # By hand, T = 3 and α = 1/2: b_3² = 1/2, then b + α/b twice; b_1² = 2.53125 is more than D/C.
    b = math.sqrt(0.5)
    for _ in range(2):
        b += 0.5 / b
    B = max(b**2, 1.5 / 3)
    assert last["M4"] == pytest.approx(0.75 * (1.5**2 / (2 * B) + 4.5 * (B - 2)))


def test_the_average_of_any_steps_is_weighted_by_them() -> None:
    """Σ over t = 1 .. 3 with α_3 = α_2, by hand, and the same for MAXRIGHT times the heaviest weight."""
    by_hand = (1 + 1 * (0.25 + 0.0625 + 0.0625)) / (2 * 1.0)
    given = setting("mix", **EQUAL, steps="1/2,1/4", measure="average")
    assert claimed(given) == {"A1": pytest.approx(by_hand)}
    given = setting("maxright", **EQUAL, steps="1/2,1/4", measure="average")
    assert claimed(given) == {"M2": pytest.approx(0.7 * by_hand)}
    assert {row.record.verdict for row in rows(given)} == {"holds"}
    assert claimed(replace(given, measure="best")) == claimed(given)


@pytest.mark.slow
def test_random_steps_and_weights_stay_below_the_bounds() -> None:
    rng = np.random.default_rng(4)
    for method in ("mix", "maxright", "maxright"):
        for measure in ("last", "average", "best"):
            given = setting(
                method,
                lam=str(round(float(rng.uniform(0.05, 0.95)), 3)),
                bounds=[round(float(c), 3) for c in rng.uniform(0.2, 3.0, size=2)],
                steps=[round(float(a), 3) for a in rng.exponential(size=2) + 0.01],
                distance=round(float(rng.exponential()) + 0.1, 3),
                measure=measure,
            )
            assert all(row.record.verdict == "holds" for row in rows(given)), given


def test_a_table_has_a_line_for_each_bound() -> None:
    lines = table(rows(setting("maxright", **EQUAL, steps="1/2")))
    assert len(lines) == 3
    assert lines[0].split() == ["setting", "gap", "optimum", "bound", "ratio", "verdict"]
    assert "holds, attained" in lines[1]
    assert lines[2].endswith("holds")


def test_the_optimum_is_the_largest_of_the_programs() -> None:
    worst = worst_gap(setting("maxright", lam="4/5", bounds="1,2", steps="1/2,1/2"))
    assert len(worst.solved) == 4
    assert worst.optimum == max(solution.optimum for _, solution in worst.solved)
    assert len({round(solution.optimum, 6) for _, solution in worst.solved}) > 1
