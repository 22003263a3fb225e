"""Adam's speed by balls: its enclosure holds the root, and long steps are not proven."""

from __future__ import annotations

import pytest
from scipy.optimize import brentq

from toyopt.certify import adam_speed


@pytest.mark.parametrize(
    ("alpha", "beta1", "beta2", "proven"),
    [
        ("1/100", "9/10", "95/100", True),
        ("1/10", "9/10", "95/100", True),
        ("1/100", "9/10", "999/1000", True),
        (2, 0, "1/2", True),
        ("1/5", "9/10", "95/100", False),
        ("8/100", "95/100", "96/100", False),
        (3, 0, "1/2", False),
    ],
)
def test_short_steps_are_proven_to_reach_the_waves_speed(alpha, beta1, beta2, proven) -> None:
    found = adam_speed(alpha, beta1=beta1, beta2=beta2)
    assert found.proven is proven, str(found)
    if proven:
        assert found.recheck().proven


def test_the_enclosure_holds_the_root_of_the_equation() -> None:
    """Squared and multiplied out, the equation of the page, solved by another program."""
    from math import exp

    kept = adam_speed("1/10").enclosure("the wave's speed")
    root = brentq(
        lambda r: (r * (1 - 0.9 * exp(r))) ** 2 * 0.05 - (0.05 * 0.1) ** 2 * (1 - 0.95 * exp(2 * r)), 0.01, 0.025
    )
    assert float(kept.low) - 1e-12 <= root <= float(kept.high) + 1e-12
    assert kept.high - kept.low < 1e-20


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"alpha": 0.01}, TypeError, "alpha must be exact"),
        ({"alpha": 0}, ValueError, "alpha must be positive"),
        ({"beta1": "99/100"}, ValueError, "beta1 and beta2 must keep"),
        ({"beta2": 1}, ValueError, "beta1 and beta2 must keep"),
    ],
)
def test_a_wrong_argument_is_named(arguments, error, words) -> None:
    with pytest.raises(error, match=words):
        adam_speed(**arguments)
