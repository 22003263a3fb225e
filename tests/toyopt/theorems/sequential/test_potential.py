"""Lemma P in floats: the potential, its inverse and the envelope, against balls and against runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st

from toyopt import certify as cf
from toyopt.theorems.sequential import potential as pt

ETAS = st.one_of(st.sampled_from([0.01, 0.25, 1.0, 2.0, 4.0]), st.floats(1e-3, 4.0))


STARTS = st.one_of(st.floats(-40.0, 40.0), st.sampled_from([0.0, -700.0, 700.0, 5000.0]))


def slow_run(v: float, eta: float, steps: int) -> float:
    """The recursion, as it is written; σ(-v) without overflow."""
    for _ in range(steps):
        v += eta * (math.exp(-v) / (1 + math.exp(-v)) if v > 0 else 1 / (1 + math.exp(v)))
    return v


def balls_envelope(v0: float, eta: float, T: int) -> tuple[arb, arb]:
    """`envelope`'s two bounds in balls: Lemma P from `toyopt.certify`, corollary (i), and the chord of all steps."""
    start, y = arb(v0), arb(eta) * T
    low, high = cf.Potential(Fraction(eta)).envelope(start, T)
    first = cf.Potential(Fraction(0)).inverse(start + start.exp() + y)
    return low.max(first), high.min(start + y / (1 + start.exp()))


@pytest.mark.slow
@given(st.floats(-1e4, 690.0), st.floats(0.0, 4.0))
def test_the_inverse_inverts(v: float, eta: float) -> None:
    y = pt.potential(v, eta)
    # Ψ is off by a few ulp of |v| + e^v (1 + |v|), and Ψ' >= 0.82 and >= e^v/2.
    assert pt.inverse_potential(y, eta) == pytest.approx(v, abs=64 * 2**-53 * (1 + abs(v)))


@given(st.floats(-30.0, 300.0), st.floats(0.0, 1e9), st.floats(0.0, 4.0))
def test_advance_is_the_inverse_after_a_rise(v: float, rise: float, eta: float) -> None:
    direct = pt.inverse_potential(pt.potential(v, eta) + rise, eta)
    assert pt.advance(v, rise, eta) == pytest.approx(float(direct), abs=64 * 2**-53 * (4 + abs(v) + abs(float(direct))))


def test_extreme_arguments_stay_finite() -> None:
    for eta in (0.0, 0.25, 4.0):
        np.testing.assert_allclose(pt.inverse_potential([1e300, -1e300], eta), [math.log(1e300), -1e300], rtol=1e-12)
        assert pt.advance(5000.0, 1e300, eta) == 5000.0
    low, high = pt.envelope([5000.0, 0.0, -5000.0], 4.0, [[10**300], [10**6]])
    assert np.isfinite([low, high]).all()
    # v_T = log(ηT) (1 + o(1)) from every start.
    assert low[0, 1] == pytest.approx(math.log(4e300), rel=1e-12)
    assert low[0, 1] <= math.log(4e300) + 1e-9
    assert pt.delta(1e-3) == pytest.approx(1e-6 / 6 + 1e-9 / 24 + 1e-12 / 120, rel=1e-14)


def ball_cases() -> list[tuple[float, float, int]]:
    rng = np.random.default_rng(3)
    cases = []
    for size in (1.0, 6.0, 40.0, 300.0):
        for eta in (1e-3, 0.25, 1.0, 2.5, 4.0):
            for decades in (2, 6, 12, 40):
                cases.append((float(size * rng.normal()), eta, int(10 ** rng.uniform(0, decades))))
    return cases


def ball_distance(v0: float, eta: float, T: int) -> float:
    """How far outside of the balls' bounds the floats' are, in units of the stated rounding: the larger of the two."""
    low, high = pt.envelope(v0, eta, T)
    with ctx.workprec(1200):  # e^{v_0} is as large as e^{900}
        true_low, true_high = balls_envelope(v0, eta, T)
        below, above = float(true_low - arb(float(low))), float(arb(float(high)) - true_high)
    units = (below / float(pt.envelope_rounding(v0, low)), above / float(pt.envelope_rounding(v0, high)))
    return max(abs(u - 1) for u in units)  # 1: widened by the rounding, as it should be


@pytest.mark.slow
def test_the_envelope_is_that_of_the_balls() -> None:
    assert max(ball_distance(*case) for case in ball_cases()) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("shortfall", lambda v0, eta: eta / 2 / (1 + np.exp(np.minimum(v0, 300))) ** 2),  # η for η²
        ("shortfall", lambda v0, eta: eta**2 / 2 / (1 + np.exp(np.minimum(v0, 300)))),  # σ for σ²
        ("excess", lambda v0, eta: pt.delta(eta) / (1 + np.exp(np.minimum(v0, 300)))),  # without 1 + η/4
        ("delta", lambda eta: math.expm1(eta) / eta - 1),  # η²/2 is not taken off
        ("delta", lambda eta: eta**2 / 6),  # the first term of the series alone
        ("expit", lambda v: 1 / (1 + np.exp(np.clip(v, -700, 700)))),  # σ(v) for σ(-v)
        ("softplus", lambda v: 2 * np.logaddexp(0, v)),  # η for η/2 in Ψ
    ],
)
def test_a_wrong_envelope_is_detected_by_the_balls(monkeypatch: pytest.MonkeyPatch, name: str, wrong: Callable) -> None:
    monkeypatch.setattr(pt, name, wrong)
    assert max(ball_distance(*case) for case in ball_cases() if abs(case[0]) < 20) > 100


@given(STARTS, ETAS, st.integers(0, 300))
def test_the_envelope_contains_every_run(v0: float, eta: float, T: int) -> None:
    low, high = pt.envelope(v0, eta, T)
    # A run's own rounding: T steps of an ulp of |v|, brought no further apart.
    room = 4 * 2**-53 * (T + 2) * (4 + abs(v0) + abs(float(high)))
    assert low - room <= slow_run(v0, eta, T) <= high + room
    if T == 0:
        assert high - low <= 2 * pt.envelope_rounding(v0, v0) * 1.01


def plain_bounds(v0: float, eta: float, T: int, wrong: str = "") -> tuple[float, float]:
    """Lemma P as it is stated, or with one thing wrong: the numbers that Ψ(v_T) - Ψ(v_0) lies between."""
    s = 1 / (1 + math.exp(v0 if wrong != "σ(v_0)" else -v0))
    square = 0.0 if wrong == "no error below" else eta**2
    steps = {"T - 1": T - 1, "T + 1": T + 1}.get(wrong, T)
    over = pt.delta(eta) * (1 + eta / 4) * s
    if wrong == "no error above":
        over = 0.0
    return eta * steps - square / 2 * s**2, eta * steps + over


def violations(wrong: str = "") -> int:
    """How many of some runs lie outside of the bounds, by more than the rounding of 300 steps."""
    count = 0
    for v0 in (-30.0, -6.0, -3.0, -1.0, 0.0, 1.0, 3.0):
        for eta in (0.05, 0.25, 1.0, 2.0, 4.0):
            for T in (1, 3, 30, 300):
                low, high = plain_bounds(v0, eta, T, wrong)
                psi = (1.0 if wrong != "η for η/2 in Ψ" else 2.0) * eta
                end = slow_run(v0, eta, T)
                rise = end + math.exp(end) - psi / 2 * math.log1p(math.exp(end))
                rise -= v0 + math.exp(v0) - psi / 2 * math.log1p(math.exp(v0))
                count += not low - 1e-9 <= rise <= high + 1e-9
    return count


def test_lemma_p_holds() -> None:
    assert violations() == 0


@pytest.mark.parametrize("wrong", ["σ(v_0)", "T - 1", "T + 1", "no error above", "no error below", "η for η/2 in Ψ"])
def test_lemma_p_with_one_thing_wrong_does_not(wrong: str) -> None:
    assert violations(wrong) > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pt.potential("1", 1.0), "v: "),
        (lambda: pt.potential([[1], [1, 2]], 1.0), "v: "),
        (lambda: pt.inverse_potential(math.nan, 1.0), "y: .*nan"),
        (lambda: pt.envelope(0.0, 4.5, 3), "eta: .*4.5"),
        (lambda: pt.envelope(0.0, 0.0, 3), "eta: .*0.0"),
        (lambda: pt.envelope(0.0, 1.0, -3), "T: .*-3"),
        (lambda: pt.envelope(0.0, 1.0, 2.5), "T: .*2.5"),
        (lambda: pt.advance(1.0, -1.0, 1.0), "rise: .*-1"),
    ],
)
def test_wrong_input(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


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


def test_delta_and_the_errors_by_hand() -> None:
    """δ(η) = (e^η - 1 - η - η²/2)/η; σ(-v_0) at v_0 = 0 is 1/2."""
    for eta in (1.0, 4.0):
        assert pt.delta(eta) == pytest.approx((math.exp(eta) - 1 - eta - eta**2 / 2) / eta, rel=1e-14)
        assert pt.excess(0.0, eta) == pytest.approx(pt.delta(eta) * (1 + eta / 4) / 2, rel=1e-14)
        assert pt.shortfall(0.0, eta) == pytest.approx(eta**2 / 8, rel=1e-14)
    assert pt.delta(0.0) == 0.0


def test_softplus_and_shapes() -> None:
    assert pt.softplus([-800.0, 0.0, 800.0]) == pytest.approx([0.0, math.log(2), 800.0])
    assert pt.softplus(-40.0) == pytest.approx(math.exp(-40.0), rel=1e-14, abs=0)
    assert pt.potential([[1.0], [2.0]], 0.5).shape == (2, 1)
    assert np.isinf(pt.potential(800.0, 1.0))
