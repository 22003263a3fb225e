"""Certificates of the gap with replay, over intervals of the share and of λ."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from toyopt.certify import Phases, replay_gap
from toyopt.certify.replay import limit
from toyopt.theorems.sequential.replay import limit_gap
from toyopt.theorems.sequential.two_phases import TwoPhases


def test_a_point_is_enclosed_as_tightly_as_asked() -> None:
    """The gap for λ = 1/2, p = 1/100 is 2.046467: a millionth to either side is proven, and no more."""
    assert float(limit(Fraction(1, 2), Fraction(1, 100), Phases())) == pytest.approx(2.0464674, abs=1e-7)
    assert replay_gap("1/2", "1/100", "2.046467", "2.046468").proven
    for low, high in (("2.046468", "2.047"), ("2.046", "2.046467")):
        assert not replay_gap("1/2", "1/100", low, high).proven
    assert replay_gap("1/2", "1/100", 2, 3).recheck().proven


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
def test_an_interval_holds_at_every_point(order) -> None:
    found = replay_gap(("3/10", "7/10"), ("1/100", "1/10"), "1/5", "15/4", phases=Phases(order=order))
    assert found.proven
    run = TwoPhases(order=order)
    gaps = [limit_gap(run, lam, p) for lam in np.linspace(0.3, 0.7, 9) for p in np.geomspace(0.01, 0.1, 9)]
    assert 0.2 <= min(gaps) < 0.22
    assert 3.7 < max(gaps) <= 3.75
    tighter = (("22/100", "15/4"), ("1/5", "37/10"))
    for low, high in tighter:
        assert not replay_gap(("3/10", "7/10"), ("1/100", "1/10"), low, high, phases=Phases(order=order)).proven


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("1/2", ("1/10", "6/10"), 1, 2), ValueError, "p must be below 1/2"),
        (("1/10", "2/10", 1, 2), ValueError, "at most the first objective's weight 1/10"),
        (("1/2", 0.1, 1, 2), TypeError, "0.1"),
        (("1/2", "1/10", 0, 2), ValueError, "low"),
        (("1/2", "1/10", 1, -2), ValueError, "high"),
    ],
)
def test_a_wrong_argument_is_named(arguments, error, words) -> None:
    with pytest.raises(error, match=words):
        replay_gap(*arguments)
