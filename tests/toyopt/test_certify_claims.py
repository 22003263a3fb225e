"""Scalar inequalities, the minimiser and the half-line: proven, and not proven as soon as they are a bit too strong."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import pytest

from toyopt import certify as cf
from toyopt.certify import family as fam

WIDE = ("1/100", "99/100")


def stops(certificate: cf.Certificate, words: str) -> None:
    """A claim that must not be proven: it says so, and where."""
    assert certificate.status == "not proven"
    assert certificate.stopped_at is not None
    assert words in certificate.stopped_at


def test_logistic_variance() -> None:
    assert cf.logistic_variance().proven
    assert cf.logistic_variance("0.26").proven
    stops(cf.logistic_variance("0.24999999999999999999"), "bound - 1/4")


def test_chord() -> None:
    assert cf.chord().proven
    assert cf.chord(100).proven
    stops(cf.chord(4, "0.999999999999"), "at s = η")


def test_exp_remainder() -> None:
    assert cf.exp_remainder().proven
    assert cf.exp_remainder("1/1000").proven
    stops(cf.exp_remainder(4, "0.1667"), "φ(0)")
    stops(cf.exp_remainder(300, max_pieces=20), "φ' > 0 on")


def test_exp_tail_slope_is_the_derivative() -> None:
    from flint import arb

    from toyopt.certify.scalar import exp_tail_slope

    with mpmath.workdps(40):
        for s in ("0.5", "3"):
            true = mpmath.diff(lambda t: (mpmath.exp(t) - 1 - t - t**2 / 2) / t**3, mpmath.mpf(s))
            # 53 bits and 40 terms of size below 1.
            assert float(exp_tail_slope(arb(s))) == pytest.approx(float(true), rel=1e-12)


def test_exp_tail_contains_the_function() -> None:
    from flint import arb

    from toyopt.certify.scalar import exp_tail

    with mpmath.workdps(60):
        for s in (0.5, 1, 4):
            true = (mpmath.exp(s) - 1 - s - mpmath.mpf(s) ** 2 / 2) / mpmath.mpf(s) ** 3
            # A bare series of five terms is off by more than its remainder says it can be below.
            for terms in (1, 5, 30):
                inside = exp_tail(arb(s), 3, terms)
                assert float(inside.lower()) <= true <= float(inside.upper())


@pytest.mark.parametrize("lam", ["1/2", "1/100", "0.99", WIDE, ("1/3", "2/3")])
def test_minimiser(lam: Any) -> None:
    assert cf.closed_form_minimiser(lam).proven
    assert cf.closed_form_minimiser(lam, family=cf.Family("3/2", "-7/3")).proven
    stops(cf.closed_form_minimiser(lam, branch=-1), "a positive root z")


def test_minimiser_needs_pieces_and_precision() -> None:
    stops(cf.closed_form_minimiser(WIDE, max_pieces=50), "width of the enclosure")
    stops(cf.closed_form_minimiser("1/2", prec=53), "width of the enclosure")  # 1e-20 is beyond 53 bits
    assert cf.closed_form_minimiser("1/2", prec=53, tol="1e-12").proven


@pytest.mark.parametrize(
    "wrong",
    [
        lambda lam, K: (1 - lam, (1 - lam) * K, -lam * K),  # 1-λ for 1-2λ
        lambda lam, K: (lam, (2 * lam - 1) * K, (lam - 1) * K),  # λ and 1-λ swapped
        lambda lam, K: (1 - lam, (1 - 2 * lam) * K, -lam),  # K missing
    ],
)
def test_a_wrong_quadratic_is_caught(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fam, "quadratic", wrong)
    stops(cf.closed_form_minimiser("1/3"), "is not the quadratic in z")


def test_a_wrong_minimiser_is_caught_by_the_sign_change(monkeypatch: pytest.MonkeyPatch) -> None:
    right = fam.minimiser
    for shift, words in ((1, "f'_Mix < 0 left"), (-1, "f'_Mix > 0 right")):

        def moved(lam: Fraction, x: Fraction, branch: int = 1, shift: int = shift) -> Any:
            return right(lam, x, branch) + shift

        monkeypatch.setattr(fam, "minimiser", moved)
        stops(cf.closed_form_minimiser("1/3"), words)


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
