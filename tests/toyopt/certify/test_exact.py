"""Exact input: floats are refused, fractions and decimal strings are not."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from toyopt import certify as cf
from toyopt.certify.exact import exact, integer_text
from toyopt.certify.family import minimiser


@pytest.mark.parametrize(
    "call",
    [
        lambda: cf.logistic_variance(0.25),  # type: ignore[arg-type]
        lambda: cf.chord(4.0),  # type: ignore[arg-type]
        lambda: cf.exp_remainder("4", 0.1),  # type: ignore[arg-type]
        lambda: cf.closed_form_minimiser(0.5),  # type: ignore[arg-type]
        lambda: cf.closed_form_minimiser(("1/3", 0.5)),  # type: ignore[arg-type]
        lambda: cf.gap_on_half_line(-20.0, 1, "1/2"),  # type: ignore[arg-type]
        lambda: cf.sequential_gap("1/2", 1.0),  # type: ignore[arg-type]
        lambda: cf.sequential_gap("1/2", True),
        lambda: cf.Family(c=0.5),  # type: ignore[arg-type]
        lambda: cf.Phases(alpha=1.0),  # type: ignore[arg-type]
        lambda: cf.Phases(theta_1=5.0),  # type: ignore[arg-type]
        lambda: cf.lemma_a3("1/2", [0.1], 1, 0),  # type: ignore[list-item]
    ],
)
def test_floats_are_refused_with_advice(call: Any) -> None:
    with pytest.raises(TypeError, match=r"must be exact .* Fraction or a string"):
        call()


@pytest.mark.parametrize("steps", [1.0, "1", True])
def test_steps_and_bits_are_ints(steps: Any) -> None:
    with pytest.raises(TypeError, match="T0 must be an int"):
        cf.sequential_gap("1/2", 1, T0=steps)
    with pytest.raises(TypeError, match="prec must be an int"):
        cf.logistic_variance(prec=steps)


def test_exact_numbers() -> None:
    assert exact("0.1", "a") == Fraction(1, 10) != Fraction(0.1)
    assert exact("1e-3", "a") == Fraction(1, 1000)
    assert exact(Fraction(2, 3), "a") == Fraction(2, 3)
    assert integer_text(10**20) == "1e20"
    assert integer_text(120) == "120"
    # A few thousand digits, beyond what str(int) allows.
    assert len(integer_text(10**6000 + 1)) == 6001
    assert not minimiser(Fraction(1, 2), Fraction(5, 2), branch=-1).is_finite()


def test_a_long_whole_number_is_written_with_an_exponent() -> None:
    assert integer_text(10**11) == "1" + 11 * "0"
    assert integer_text(12 * 10**12) == "12e12"
