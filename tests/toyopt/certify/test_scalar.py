"""The scalar inequalities, with wrong constants that are not proven."""

from __future__ import annotations

import mpmath
import pytest
from support.certified_runs import stops

from toyopt import certify as cf


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
