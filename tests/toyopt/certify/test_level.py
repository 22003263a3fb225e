"""The half-line claim: sharp at a point, and not proven beyond."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import pytest
from support.certified_runs import stops

from toyopt import certify as cf

WIDE = ("1/100", "99/100")


def gap(lam: str, theta: int) -> Any:
    """G_Mix on Table 2 from the definition, by mpmath's own minimisation: the oracle."""
    weight = mpmath.mpf(Fraction(lam).numerator) / Fraction(lam).denominator

    def f(t: Any) -> Any:
        return weight * mpmath.log1p(mpmath.exp(-(t - 5) / 2)) + (1 - weight) * mpmath.log1p(mpmath.exp(t / 2))

    best = mpmath.findroot(lambda t: mpmath.diff(f, t), 2.5)
    return f(mpmath.mpf(theta)) - f(best)


@pytest.mark.parametrize(("side", "a"), [("left", -20), ("right", 25)])
@pytest.mark.parametrize("lam", ["1/3", "1/2", "3/4"])
def test_half_line_is_sharp_at_a_point(lam: str, side: Any, a: int) -> None:
    with mpmath.workdps(30):
        true = Fraction(mpmath.nstr(gap(lam, a), 15))
    just_below, just_above = true * Fraction("0.99999999999"), true * Fraction("1.00000000001")
    assert cf.gap_on_half_line(a, just_below, lam, side=side).proven
    stops(cf.gap_on_half_line(a, just_above, lam, side=side), "G_Mix(a) >= g")


def test_half_line_on_an_interval() -> None:
    assert cf.gap_on_half_line(-20, "1/50", WIDE).proven
    assert cf.gap_on_half_line(25, "1/50", WIDE, side="right").proven
    stops(cf.gap_on_half_line(-20, "1/10", WIDE), "λ = 0.01")
    # Only the end that decides may matter: the lower one on the left, the upper one on the right.
    assert cf.gap_on_half_line(-20, 4, ("1/2", "99/100")).proven
    stops(cf.gap_on_half_line(-20, 4, ("1/4", "99/100")), "λ = 0.25")
    assert cf.gap_on_half_line(25, 4, ("1/100", "1/2"), side="right").proven
    stops(cf.gap_on_half_line(25, 4, ("1/100", "3/4"), side="right"), "λ = 0.25")
    # The point a must lie left of every minimiser: θ* = -9.17 at λ = 1/100.
    stops(cf.gap_on_half_line(-9, "1e-9", WIDE), "f'_Mix(a) < 0")
    assert cf.gap_on_half_line(-10, "1e-6", WIDE).proven


def test_lambda_and_side_are_not_swapped() -> None:
    """Far left the gap is about 12.5 λ, far right about 12.5 (1-λ)."""
    assert cf.gap_on_half_line(-20, 8, "3/4").proven
    stops(cf.gap_on_half_line(-20, 8, "1/4"), "G_Mix(a) >= g")
    assert cf.gap_on_half_line(25, 8, "1/4", side="right").proven
    stops(cf.gap_on_half_line(25, 8, "3/4", side="right"), "G_Mix(a) >= g")
    stops(cf.gap_on_half_line(25, 1, "1/2", side="left"), "f'_Mix(a) < 0")
    stops(cf.gap_on_half_line(-20, 1, "1/2", side="right"), "f'_Mix(a) < 0")


def test_low_precision_is_not_a_false_proof() -> None:
    with mpmath.workdps(30):
        close = Fraction(mpmath.nstr(gap("1/2", -20), 15)) * Fraction("0.99999999999")
    stops(cf.gap_on_half_line(-20, close, "1/2", prec=24), "G_Mix(a) >= g")
    assert cf.gap_on_half_line(-20, close, "1/2", prec=24).recheck(128).proven
