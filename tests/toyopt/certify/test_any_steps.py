"""Certificates for every schedule: what is proven, what is not, and what their conditions are for."""

from __future__ import annotations

from fractions import Fraction

import pytest
from flint import arb, ctx

from toyopt.certify import Family, Phases, sequential_gap, sequential_gap_any_steps, theorem_3_3_any_steps
from toyopt.certify.any_steps import StepSums
from toyopt.certify.certificate import Proof, UnprovenStep
from toyopt.certify.sequential import LOWER_END


def test_the_least_total_is_found_to_three_digits() -> None:
    found = sequential_gap_any_steps("1/2", 1)
    assert found.proven
    assert dict(found.inputs)["total"] == Fraction("18.9")
    assert not sequential_gap_any_steps("1/2", 1, total="18.8").proven
    assert "c²Σα over SFT >= 189/10 and over DPO <= that over SFT" in found.statement
    assert found.recheck().proven
    half = sequential_gap_any_steps("1/2", 1, ratio="1/2")
    assert dict(half.inputs)["total"] < Fraction("18.9")
    assert "DPO <= 1/2 times that over SFT" in half.statement


def test_a_schedule_is_a_little_weaker_than_a_constant_step() -> None:
    """75 constant steps of 1 are a sum of 18.75, 76 of 19."""
    assert sequential_gap("1/2", 1, T0=75).proven
    assert sequential_gap_any_steps("1/2", 1, total=19).proven
    both = sequential_gap_any_steps(("1/100", "99/100"), "1/500", total=250)
    assert both.proven
    assert theorem_3_3_any_steps(total=250).proven
    assert not theorem_3_3_any_steps(total=10).proven


def test_the_largest_step_counts() -> None:
    """A larger one makes the first phase's error larger, and so the total."""
    totals = [dict(sequential_gap_any_steps("1/2", 1, phases=Phases(alpha=a)).inputs)["total"] for a in (1, 8, 16)]
    assert totals[0] < totals[1] < totals[2] < 2 * totals[0]


def test_the_end_is_that_of_the_formulas() -> None:
    """V and W solved by bisection in 60 digits, from Ψ_e and Ψ_0 as they stand on the page."""
    plan, total = StepSums(Phases(alpha=4, theta_1=3), Fraction(1)), Fraction(40)
    with ctx.workprec(200):
        e = arb(1)

        def solve(f, y: arb) -> arb:
            low, high = arb(-50), arb(50)
            for _ in range(190):
                mid = ((low + high) / 2).mid()
                low, high = (mid, high) if f(mid) < y else (low, mid)
            return low

        def psi(v: arb) -> arb:
            return v + v.exp() - e / 2 * (1 + v.exp()).log()

        start = arb(-1)
        error = (e.exp() - 1 - e - e * e / 2) / e * (1 + e / 4) / (1 + start.exp())
        V = solve(psi, psi(start) + 40 + error)
        w0 = -arb("2.5") - V
        W = solve(lambda v: v + v.exp(), w0 + w0.exp() + 40)
        assert abs(plan.lower_end(Proof(), total) - W) < arb("1e-30")


def test_the_conditions_stop_a_proof() -> None:
    """With a first phase 10^9 times as long the end falls with y at first: R increases later alone."""
    plan = StepSums(Phases(family=Family("1/2", -60)), Fraction(10**9))
    with pytest.raises(UnprovenStep, match="y -> R"):
        plan.lower_end(Proof(), Fraction(1, 10**9))
    assert sequential_gap_any_steps("1/2", 1, total=1).stopped_at is not None
    assert LOWER_END in dict(sequential_gap_any_steps("1/2", 1).enclosures)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"total": 0}, ValueError, "total"),
        ({"total": 0.5}, TypeError, "total"),
        ({"ratio": 0}, ValueError, "ratio"),
        ({"prec": 8}, ValueError, "prec"),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        sequential_gap_any_steps("1/2", 1, **wrong)
