"""The bounds on the last iterate: their values by hand, and their order."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt.theorems import (
    best_free_step,
    defazio_bound,
    exact_bound,
    half_log_bound,
    harmonic_bound,
    last_iterate_is_exact,
    linear_decay_bound,
    log_bound,
    mean_step_bound,
    orabona_bound,
    total,
    worst_case,
)
from toyopt.theorems.alright.last_iterate import harmonic, odd_harmonic

STEPS = st.lists(st.floats(0.001, 10), min_size=1, max_size=30)


SIZES = st.floats(0.05, 20)


D, C, ALPHA0 = 1.3, 0.8, 1.7  # unequal, and none of them 1


def test_log_and_harmonic_forms_by_hand() -> None:
    """T = 3: distance 1.69/(3.4 √3); noise 0.64·1.7/(2√3) times 2 + log 2, or 1 + 1 + 1/2."""
    root = math.sqrt(3)
    assert log_bound(D, C, ALPHA0, 3) == pytest.approx(
        {"distance": 1.69 / (3.4 * root), "noise": 1.088 / (2 * root) * (2 + math.log(2))}, rel=1e-15
    )
    assert harmonic_bound(D, C, ALPHA0, 3) == pytest.approx(
        {"distance": 1.69 / (3.4 * root), "noise": 1.088 / (2 * root) * 2.5}, rel=1e-15
    )
    assert half_log_bound(D, C, ALPHA0, 3) == pytest.approx(
        {"distance": 1.69 / (3.4 * root * (2 - 1 / 3)), "noise": 1.088 / (2 * root) * (1 + 1 + 1 / 3)}, rel=1e-15
    )


def test_the_numbers_at_eight() -> None:
    """At T = 8 and D = C = alpha0 = 1 the paper's bound is 0.812 and the exact worst case 0.574."""
    assert total(harmonic_bound(1, 1, 1, 8)) == pytest.approx(0.8119101, abs=1e-7)
    assert total(exact_bound(np.full(7, 8**-0.5), 1, 1)) == pytest.approx(0.5741921, abs=1e-7)
    assert last_iterate_is_exact(np.full(7, 8**-0.5), 1, 1).attained == pytest.approx(0.5741921, abs=1e-7)


def test_any_schedule_forms_by_hand() -> None:
    """Three steps 0.5, 0.4, 0.2 and alpha_T = 0.1: T = 4."""
    a = [0.5, 0.4, 0.2, 0.1]
    noise = 0.32 * (0.01 + 0.25 / 3 + 0.16 / 2 + 0.04 / 1)
    assert orabona_bound(a, D, C) == pytest.approx({"distance": 1.69 / 0.8, "noise": noise / 0.1}, rel=1e-14)
    noise = 0.32 * (0.1 + 0.25 / 0.7 + 0.16 / 0.3 + 0.04 / 0.1)
    assert defazio_bound(a, D, C) == pytest.approx({"distance": 1.69 / 2.4, "noise": noise}, rel=1e-14)


@pytest.mark.slow
@given(STEPS, SIZES, SIZES)
def test_no_free_step_makes_defazios_bound_smaller(steps: list[float], d: float, c: float) -> None:
    """Against 200 others over six decades: the bound is for any, and only the best is of interest."""
    free = best_free_step(steps, d, c)
    least = total(defazio_bound([*steps, free], d, c))
    assert total(exact_bound(steps, d, c)) <= least * (1 + 1e-12)
    for other in free * np.logspace(-3, 3, 200):
        assert total(defazio_bound([*steps, other], d, c)) >= least * (1 - 1e-12)


def test_the_free_step_by_hand() -> None:
    """One step a, D/C = r: 1 - r²/(a+x)² - a²/x² = 0; r = 0 gives x = a."""
    assert best_free_step([0.3], 0.0, 2.0) == pytest.approx(0.3, rel=1e-11)
    assert best_free_step([1.0], 2.0 * math.sqrt(6.75), 2.0) == pytest.approx(2.0, rel=1e-11)  # 6.75/9 + 1/4 = 1
    # A last step of 1e-9 is a bad one for the free step: the bound would be 2.5e6 or so for nothing.
    steps = [0.5] * 10 + [1e-9]
    assert total(defazio_bound([*steps, 1e-9], 1.0, 1.0)) > 1e6
    assert total(defazio_bound([*steps, best_free_step(steps, 1.0, 1.0)], 1.0, 1.0)) < 2.0


def test_exact_bound_by_hand() -> None:
    """T = 2: m_1 = 2√alpha, so D²/(8 alpha) + C² alpha where D <= 4 alpha C, else DC - C² alpha."""
    assert total(exact_bound([0.6], D, C)) == pytest.approx(1.69 / 4.8 + 0.64 * 0.6, rel=1e-14)
    assert total(exact_bound([0.3], 3.0, C)) == pytest.approx(2.4 - 0.64 * 0.3, rel=1e-14)
    # T = 3, steps 0.9 then 0.1: m_2 = 2√0.1 is less than √0.9, so m_1 = 2√0.9 and what is left of m_2 does not count.
    assert total(exact_bound([0.9, 0.1], D, C)) == pytest.approx(1.69 / 7.2 + 0.32 * (3.6 - 2.0), rel=1e-14)
    # T = 3, constant 0.5: m_2 = 2√0.5, m_1 = 2.5√0.5.
    assert total(exact_bound([0.5, 0.5], D, C)) == pytest.approx(1.69 / 6.25 + 0.32 * (3.125 - 2.0), rel=1e-14)


def test_the_mean_step_by_hand() -> None:
    """One step a: D²/(2b²) + C² a²/(2x²) + C̄² x²/2 with b = x + a/x, over 10,000 x."""
    x = np.geomspace(1e-3, 1e3, 10_001)
    by_hand = 1.69 / (2 * (x + 0.5 / x) ** 2) + 0.64 * 0.25 / (2 * x**2) + 0.36 * x**2 / 2
    assert total(mean_step_bound([0.5], D, C, 0.6)) == pytest.approx(by_hand.min(), rel=1e-5)


@pytest.mark.slow
@given(STEPS, SIZES, SIZES)
def test_the_mean_step_only_makes_the_exact_bound_smaller(steps: list[float], d: float, c: float) -> None:
    exact = total(exact_bound(steps, d, c))
    assert total(mean_step_bound(steps, d, c, c)) == pytest.approx(exact, rel=1e-9)
    less = total(mean_step_bound(steps, d, c, 0.5 * c))
    assert 0.25 * exact * (1 - 1e-9) <= less <= exact * (1 + 1e-12)


def test_a_mean_below_the_gradients_is_caught() -> None:
    """On the function that attains the exact bound ‖∇f‖ = C: no smaller constant is one there."""
    steps = np.full(7, 0.4)
    attained = worst_case(steps, 1.3, 0.8).gap
    assert total(mean_step_bound(steps, 1.3, 0.8, 0.8)) >= attained * (1 - 1e-9)
    assert total(mean_step_bound(steps, 1.3, 0.8, 0.7)) < 0.95 * attained


@pytest.mark.slow
def test_harmonic_numbers() -> None:
    assert [harmonic(n) for n in (0, 1, 2, 4)] == [0, 1, 1.5, pytest.approx(25 / 12, rel=1e-15)]
    assert [odd_harmonic(n) for n in (0, 1, 3)] == [0, 1, pytest.approx(23 / 15, rel=1e-15)]
    direct = math.fsum(1 / k for k in range(1, 1_000_002))
    assert harmonic(1_000_001) == pytest.approx(direct, rel=4e-16, abs=0)
    assert harmonic(10**30) == pytest.approx(30 * math.log(10) + 0.5772156649015329, rel=1e-15)


@given(STEPS, SIZES, SIZES)
def test_the_order_of_the_bounds(steps: list[float], d: float, c: float) -> None:
    """exact <= Defazio's for any steps and any alpha_T, and Defazio's <= Orabona's for non-increasing ones."""
    exact = total(exact_bound(steps, d, c))
    for last in (steps[-1], 0.3 * min(steps), 5 * max(steps)):
        assert exact <= total(defazio_bound([*steps, last], d, c)) * (1 + 1e-12)
    falling = sorted(steps, reverse=True)
    for last in (falling[-1], 0.3 * falling[-1]):
        assert total(defazio_bound([*falling, last], d, c)) <= total(orabona_bound([*falling, last], d, c)) * (
            1 + 1e-12
        )


@pytest.mark.slow
@given(st.integers(2, 400), SIZES, SIZES, SIZES)
def test_the_order_for_the_papers_step(T: int, d: float, c: float, alpha0: float) -> None:
    """exact <= half-log <= Defazio = Orabona = harmonic <= log, with alpha0/√T."""
    a = np.full(T, alpha0 / math.sqrt(T))
    bounds = [
        total(exact_bound(a[1:], d, c)),
        total(half_log_bound(d, c, alpha0, T)),
        total(harmonic_bound(d, c, alpha0, T)),
        total(log_bound(d, c, alpha0, T)),
    ]
    assert all(x <= y * (1 + 1e-12) for x, y in itertools.pairwise(bounds))
    assert total(defazio_bound(a, d, c)) == pytest.approx(bounds[2], rel=1e-12)
    assert total(orabona_bound(a, d, c)) == pytest.approx(bounds[2], rel=1e-12)


def test_both_terms_are_halved_in_the_limit() -> None:
    T = 10**12
    half, full = half_log_bound(D, C, ALPHA0, T), log_bound(D, C, ALPHA0, T)
    assert half["distance"] / full["distance"] == pytest.approx(0.5, abs=1e-9)
    assert (half["noise"] - half_log_bound(D, C, ALPHA0, T)["noise"]) == 0.0
    growth = [
        f(D, C, ALPHA0, 10**24)["noise"] * 1e12 - f(D, C, ALPHA0, T)["noise"] * 1e6 for f in (half_log_bound, log_bound)
    ]
    assert growth[0] / growth[1] == pytest.approx(0.5, rel=1e-9)
    assert 1 + odd_harmonic(99) <= 2 + math.log(2 * 100 - 3) / 2


def test_off_by_one_values() -> None:
    """H_T for H_{T-1}, log T for log(T-1), T-1 for T: other values, by the closed forms at T = 2 and 5."""
    assert log_bound(D, C, ALPHA0, 2)["noise"] == pytest.approx(2 * 0.64 * 1.7 / (2 * math.sqrt(2)), rel=1e-15)
    assert harmonic_bound(D, C, ALPHA0, 2)["noise"] == pytest.approx(2 * 0.64 * 1.7 / (2 * math.sqrt(2)), rel=1e-15)
    noise = harmonic_bound(D, C, ALPHA0, 5)["noise"]
    assert noise == pytest.approx((1 + 25 / 12) * 0.64 * 1.7 / (2 * math.sqrt(5)), rel=1e-15)
    assert noise < (1 + 137 / 60) * 0.64 * 1.7 / (2 * math.sqrt(5)) * 0.95
    assert log_bound(D, C, ALPHA0, 5)["distance"] == pytest.approx(1.69 / (3.4 * math.sqrt(5)), rel=1e-15)


def test_defazio_and_exact_with_their_conditions() -> None:
    """A longer alpha_T is allowed by Defazio; without updates Orabona's bound is that of alpha_T alone."""
    assert orabona_bound([0.5], 1.3, 0.8) == pytest.approx({"distance": 1.69, "noise": 0.16}, rel=1e-14)
    assert defazio_bound([0.5], 1.3, 0.8) == pytest.approx({"distance": 1.69, "noise": 0.16}, rel=1e-14)
    # At D = 4 alpha C both forms of the exact bound agree; further out the distance has half of DC.
    assert exact_bound([0.5], 1.6, 0.8) == pytest.approx({"distance": 0.64, "noise": 0.32}, rel=1e-14)
    assert exact_bound([0.5], 3.2, 0.8) == pytest.approx({"distance": 1.28, "noise": 1.28 - 0.32}, rel=1e-14)
    assert exact_bound([0.5], 1.0, 0.8) == pytest.approx({"distance": 0.25, "noise": 0.32}, rel=1e-14)
    assert linear_decay_bound(1.3, 0.8, 4) == pytest.approx({"distance": 0.26, "noise": 0.26}, rel=1e-14)
    assert odd_harmonic(2) == pytest.approx(4 / 3, rel=1e-15)
