"""Numbers as users write them: 0.5, 1, Fraction(1, 2), "1/2" and "0.5" are one λ; 1000, 1e3 and "1000" one T."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeVar

Result = TypeVar("Result")

# Arguments of the claims' functions that are whole numbers, and that are real ones; all others pass as they are.
WHOLE = frozenset({"T", "T0", "T_DPO", "T_SFT", "k", "last"})
REAL = frozenset(
    "lam alpha alpha0 theta_1 theta_2 theta_ref c p psi g total epsilon first second D C theta theta_prime beta "
    "momentum beta1 beta2 weight_decay evaluation a b".split()
)

WORDS = frozenset({"order", "schedule", "problem"})  # arguments of the claims that are no numbers
LARGEST, LEAST = 10**150, Fraction(1, 10**75)  # size of a real number that is not 0: its powers are floats, too


def exact(name: str, value: Any) -> Fraction:
    """Return a number as a fraction; a float stands for the shortest decimal that is read as it, as it was typed.

    Raises TypeError for anything but numbers and text, ValueError for text that is no number, and for inf and nan.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction | str):
        raise TypeError(f'{name}: a number such as 0.5 or "1/2" is needed, got {value!r}')
    try:
        return Fraction(repr(float(value)) if isinstance(value, float) else value)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f'{name}: a number such as 0.5 or "1/2" is needed, got {value!r}') from None


def whole(name: str, value: Any, *, low: int) -> int:
    """Return a whole number, at least `low`, however it is written: 1000, 1e3, "1000".

    Raises as `exact`, and ValueError for other numbers.
    """
    number = exact(name, value)
    if number.denominator != 1 or number < low:
        raise ValueError(f"{name}: a whole number of at least {low} is needed, got {value!r}")
    return int(number)


def plain(name: str, value: Any) -> Any:
    """Return text and fractions as floats, or as whole numbers for T; also inside a tuple or list; else the value.

    The function that takes the argument checks its type and range.
    """
    if isinstance(value, tuple | list):
        kind = tuple if isinstance(value, tuple) else list
        return kind(plain(name, item) for item in value)
    try:
        number = Fraction(value) if isinstance(value, str) else value
        if name in WHOLE and isinstance(number, float | Fraction) and number == int(number):
            return int(number)
        return float(number) if isinstance(value, str | Fraction) else value
    except (ValueError, OverflowError, ZeroDivisionError):
        return value


def reads_numbers(function: Callable[..., Result]) -> Callable[..., Result]:
    """Return the function with its number arguments (`WHOLE`, `REAL`) passed through `plain`; decorates each claim."""
    signature = inspect.signature(function)
    numbers = (WHOLE | REAL) & set(signature.parameters)

    @functools.wraps(function)
    def with_numbers(*args: Any, **named: Any) -> Result:
        given = signature.bind(*args, **named)
        for name in numbers & given.arguments.keys():
            given.arguments[name] = plain(name, given.arguments[name])
        return function(*given.args, **given.kwargs)

    return with_numbers
