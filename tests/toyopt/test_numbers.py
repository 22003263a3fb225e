"""Numbers as users write them: one value, whatever its type."""

from __future__ import annotations

import inspect
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from toyopt import _numbers
from toyopt import theorems as th


@pytest.mark.parametrize("value", [0.1, "0.1", "1/10", "1e-1", Fraction(1, 10)])
def test_a_tenth_is_one_tenth_however_it_is_written(value: Any) -> None:
    assert _numbers.exact("x", value) == Fraction(1, 10)


@pytest.mark.parametrize("value", [1000, 1000.0, "1000", "1e3", Fraction(1000)])
def test_a_whole_number_is_one_however_it_is_written(value: Any) -> None:
    number = _numbers.whole("T", value, low=1)
    assert (number, type(number)) == (1000, int)


@pytest.mark.parametrize(
    ("value", "error"),
    [(True, TypeError), (None, TypeError), (1j, TypeError), ("x", ValueError), ("1/0", ValueError), ("", ValueError)]
    + [(float(bad), ValueError) for bad in ("inf", "-inf", "nan")],
)
def test_what_is_no_number_is_named(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^lam: a number such as 0\.5 or \"1/2\" is needed, got "):
        _numbers.exact("lam", value)


@pytest.mark.parametrize("value", [0, 0.5, "1/2", -3])
def test_a_whole_number_has_a_range(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^T: a whole number of at least 1 is needed, got "):
        _numbers.whole("T", value, low=1)


def test_numbers_as_text_become_numbers_and_all_else_stays() -> None:
    assert _numbers.plain("lam", "1/4") == 0.25
    assert type(_numbers.plain("lam", Fraction(1, 4))) is float
    assert _numbers.plain("lam", ("1/4", 0.5)) == (0.25, 0.5)
    assert _numbers.plain("theta_1", ["1/2", 3]) == [0.5, 3]
    assert (_numbers.plain("T", 1e3), type(_numbers.plain("T", "1e3"))) == (1000, int)
    for name, value in (("lam", "x"), ("T", 2.5), ("T", float("inf")), ("T", float("nan")), ("lam", 0.3)):
        assert _numbers.plain(name, value) is value
    array = np.ones(3)
    assert _numbers.plain("theta_1", array) is array


def test_every_claims_function_reads_numbers_as_text() -> None:
    """The wrapper is on each function of a claim that has a number among its arguments."""
    exact = {"theorem_33", "certified_33"}  # these take fractions themselves
    for name in th.__all__:
        function = getattr(th, name)
        if not inspect.isfunction(function) or "Record" not in str(inspect.signature(function).return_annotation):
            continue
        numbers = (_numbers.REAL | _numbers.WHOLE) & set(inspect.signature(function).parameters)
        if numbers and name not in exact:
            assert hasattr(function, "__wrapped__"), name


def test_text_and_numbers_give_the_same_records() -> None:
    by_text = th.theorem_s(lam="3/10", T_DPO="20", T_SFT=2e1, alpha="1/2", theta_1="1")  # type: ignore[arg-type]
    assert by_text == th.theorem_s(lam=0.3, T_DPO=20, T_SFT=20, alpha=0.5, theta_1=1.0)
    low, high = th.thm_33(lam=("1/10", "1/2"), T0="200"), th.thm_33(lam=(0.1, 0.5), T0=200)
    assert low == high
