"""Exact input: integers, fractions and decimal strings become balls; a float is refused.

A float such as 0.1 is not the decimal number 0.1, so a proof about the float would prove another claim.
"""

from __future__ import annotations

from fractions import Fraction
from numbers import Rational

from flint import arb, fmpq, fmpz

Exact = int | Fraction | str
Weights = Exact | tuple[Exact, Exact]


def exact(value: Exact, name: str) -> Fraction:
    """Return `value` as a fraction; raise TypeError for a float or bool, ValueError for a string that is no number."""
    if isinstance(value, str):
        try:
            return Fraction(value)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{name} must be a number such as '0.1' or '1/10', got {value!r}") from None
    if isinstance(value, bool) or not isinstance(value, Rational):
        raise TypeError(
            f"{name} must be exact (an int, a Fraction or a string such as '0.1'), got {value!r}: "
            "a proof cannot start from a float"
        )
    return Fraction(value)


def positive(value: Exact, name: str) -> Fraction:
    """Return `value` as a positive fraction; raise as `exact`, and ValueError unless positive."""
    number = exact(value, name)
    if number <= 0:
        raise ValueError(f"{name} must be positive, got {value!r}")
    return number


def count(value: int, name: str, *, least: int = 1) -> int:
    """Return a number of steps; raise TypeError unless an int, ValueError below `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value


def weights(lam: Weights) -> tuple[Fraction, Fraction]:
    """Return λ, a point or an interval, as (lo, hi) with 0 < lo <= hi < 1; raise ValueError otherwise."""
    pair = lam if isinstance(lam, tuple) else (lam, lam)
    if len(pair) != 2:
        raise ValueError(f"lam must be a number or a pair (lo, hi), got {lam!r}")
    lo, hi = exact(pair[0], "lam"), exact(pair[1], "lam")
    if min(lo, hi) <= 0 or max(lo, hi) >= 1:
        raise ValueError(f"lam must lie in (0, 1), got {lam!r}")
    if lo > hi:
        raise ValueError(f"lam must be a pair (lo, hi) with lo <= hi, got the empty interval {lam!r}")
    return lo, hi


def ball(value: Fraction | int) -> arb:
    """Return a ball around an exact number, at the working precision."""
    number = Fraction(value)
    return arb(fmpq(number.numerator, number.denominator))


def integer_text(number: int) -> str:
    """Return an int as an exact string of any length, 12 or more trailing zeros as an exponent."""
    text: str = fmpz(number).str()
    short = text.rstrip("0")
    return f"{short}e{len(text) - len(short)}" if len(text) - len(short) >= 12 else text


def describe_weights(lo: Fraction, hi: Fraction) -> str:
    """Return λ in words: 'λ = 1/2' or 'every λ in [1/100, 99/100]'."""
    return f"λ = {lo}" if lo == hi else f"every λ in [{lo}, {hi}]"
