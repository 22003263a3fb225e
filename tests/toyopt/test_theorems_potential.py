"""Lemma P in floats: against 128-bit balls, against runs, and with wrong formulas beside the right ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

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


def test_the_envelope_is_that_of_the_balls() -> None:
    assert max(ball_distance(*case) for case in ball_cases()) < 0.2


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
def test_a_wrong_envelope_is_seen_by_the_balls(monkeypatch: pytest.MonkeyPatch, name: str, wrong: Callable) -> None:
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
