"""What mutants of Lemma P and Theorem S in floats showed to be untested: how equations are solved, roundings' signs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import pytest

from toyopt.theorems.sequential import potential as pt
from toyopt.theorems.sequential.two_phases import TwoPhases

U = 2.0**-53


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many values of its equation each search for a zero took."""
    counts: list[int] = []
    plain = pt._newton

    def counting(low: Any, high: Any, equation: Callable[[Any], Any]) -> Any:
        counts.append(0)

        def counted(x: Any) -> Any:
            counts[-1] += 1
            return equation(x)

        return plain(low, high, counted)

    monkeypatch.setattr(pt, "_newton", counting)
    return counts


SIZES = np.concatenate([np.linspace(-40, 40, 161), np.geomspace(41, 1e300, 40), -np.geomspace(41, 1e300, 40)])


@pytest.mark.parametrize("eta", [0.0, 0.25, 1.0, 2.5, 4.0])
def test_newton_converges_fast(looked: list[int], eta: float) -> None:
    """With the true slope, from the right end of an interval that is short: bisection would take some 60 values."""
    pt.inverse_potential(SIZES, eta)
    assert looked.pop() <= 7
    v, rise = np.meshgrid(np.geomspace(0.01, 3000, 40), np.append(0.0, np.geomspace(1e-6, 1e300, 60)))
    pt.advance(v, rise, eta)
    assert looked.pop() <= 6


def test_a_zero_is_found_also_where_slopes_mislead() -> None:
    """Slopes far too small lead out of the interval at every step: it is halved instead, in some 60 values."""
    looks = 0

    def equation(x: Any) -> tuple[Any, Any]:
        nonlocal looks
        looks += 1
        return x - [0.3, 0.7], np.full(2, 1e-30)

    assert pt._newton(np.zeros(2), np.ones(2), equation) == pytest.approx([0.3, 0.7], rel=0, abs=16 * U)
    assert 40 < looks < 70


def test_a_zero_at_an_end_or_hit_exactly_is_kept() -> None:
    for low, high, zero in ((0.0, 4.0, 4.0), (0.0, 4.0, 3.0), (0.0, 4.0, 0.0), (-8.0, 0.0, -8.0), (2.0, 2.0, 2.0)):
        ends = np.array([low]), np.array([high])
        assert pt._newton(*ends, lambda x, zero=zero: (x - zero, np.ones(1))).tolist() == [zero]


def test_single_precision_is_not_kept() -> None:
    assert float(pt.softplus(np.float32(-40.0))) == pytest.approx(math.exp(-40.0), rel=1e-14, abs=0)


def test_starts_near_0_are_advanced_alike() -> None:
    """Below 0 the inverse is used and above 0 an increment: no jump, for small and large rises of either kind."""
    for eta in (0.0, 1.0, 4.0):
        for rise in (0.0, 1e-9, 0.5, 3.0, 1e6):
            below, above = pt.advance([-1e-14, 1e-14], rise, eta)
            assert above == pytest.approx(below, rel=0, abs=64 * U * (4 + abs(below)))
    assert (pt.advance([-2.0, 2.0], [-0.5, 0.0], 1.0) <= [-2.0, 2.0]).all()


ENDS = [(-20.0, -5.0), (5.0, 20.0), (-20.0, 30.0), (-30.0, 20.0)]


@pytest.mark.parametrize(("low", "high"), ENDS)
def test_the_gaps_bounds_are_widened_to_either_side(monkeypatch: pytest.MonkeyPatch, low: float, high: float) -> None:
    """By 16 u (4 + |x| + |w|) for the w farther from 0; c = 1, x = 0, λ = 1/2, so that the minimiser is 0."""
    monkeypatch.setattr(TwoPhases, "enclosure", lambda *_: (np.array(low), np.array(high)))
    least, greatest = TwoPhases(1.0, 0.0, 1.0).gap_bounds(0.5, 1, 1)
    gaps = sorted(w / 2 + math.log1p(math.exp(-w)) - math.log(2) for w in (abs(low), abs(high)))
    error = 16 * U * (4 + max(abs(low), abs(high)))
    assert float(greatest - gaps[1]) == pytest.approx(error, rel=0.1, abs=0)
    if low < 0 < high:
        assert least == 0.0
    else:
        assert float(gaps[0] - least) == pytest.approx(error, rel=0.1, abs=0)


@pytest.mark.parametrize(("low", "high"), ENDS)
@pytest.mark.parametrize("T", [1, 10**12])
def test_the_remainder_is_widened_to_either_side(
    monkeypatch: pytest.MonkeyPatch, low: float, high: float, T: int
) -> None:
    """By 16 u (4 + |x| + |w| + |log y|), y = ηT: as by `gap_rounding`."""
    monkeypatch.setattr(TwoPhases, "enclosure", lambda *_: (np.array(low), np.array(high)))
    run, x = TwoPhases(1.0, 0.5, 1 / 8), mpmath.mpf(0.5)
    log_y = mpmath.log(mpmath.mpf(T) / 8)
    falls = [
        mpmath.log(1 + mpmath.exp(-x - w)) / 4 + 3 * mpmath.log(1 + mpmath.exp(-mpmath.mpf(w))) / 4 for w in (low, high)
    ]
    error = float(16 * U * (4 + x + max(abs(low), abs(high)) + abs(log_y)))
    below, above = run.remainder(0.25, T, T)
    assert float((low - log_y) / 4 + falls[1] - below) == pytest.approx(error, rel=0.1, abs=0)
    assert float(above - (high - log_y) / 4 - falls[0]) == pytest.approx(error, rel=0.1, abs=0)


@pytest.mark.parametrize(("alpha", "words"), [(-1.0, "must be more than 0, got -1.0"), (0.0, "must be more than 0")])
def test_alpha_is_positive(alpha: float, words: str) -> None:
    with pytest.raises(ValueError, match=f"^alpha: {re.escape(words)}"):
        TwoPhases(alpha=alpha)


def test_an_eta_that_underflows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^alpha: must keep 0 < c² alpha"):
        TwoPhases(c=1e-170)


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
@pytest.mark.parametrize("lam", [0.0, 1.0, -0.1, 1.1])
def test_the_weight_is_inside_for_either_order(order: str, lam: float) -> None:
    run = TwoPhases(order=order)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^lam: must be in \(0, 1\)"):
        run.weight(lam)
    assert run.weight(0.25) == (0.25 if order == "dpo-first" else 0.75)
