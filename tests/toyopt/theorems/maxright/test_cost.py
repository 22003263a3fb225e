"""Claim M-cost: the closed form beside M6's terms, k = 1 as the best guarantee, and the best k for a given α0."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt.claims.problems import settings
from toyopt.examples import table2
from toyopt.theorems import maxright_setting
from toyopt.theorems.maxright.bounds import average_terms, staleness
from toyopt.theorems.maxright.cost import StalePrice, best_k, largest_best_k, maxright_cost

WEIGHTS = st.lists(st.floats(0.05, 5.0), min_size=2, max_size=4)


def drawn(weights: list[float], slopes: list[float]) -> tuple[list[float], list[float]]:
    lam = [w / sum(weights) for w in weights]
    return [*lam[:-1], 1.0 - sum(lam[:-1])], (slopes * 4)[: len(lam)]


def bound(lam: list[float], C: list[float], *, D: float, alpha: float, k: int, T: int) -> float:
    """M6's bound of the average iterate, from its own functions."""
    terms = average_terms(lam, C, distance=D, alpha0=alpha * math.sqrt(T), T=T)
    return sum(terms.values()) + staleness(lam, C, alpha=alpha, k=k, T=T).mean


@given(WEIGHTS, WEIGHTS, st.integers(1, 30), st.floats(0.1, 3.0))
def test_the_guarantee_is_m6s_bound_at_its_best_step(
    weights: list[float], slopes: list[float], k: int, D: float
) -> None:
    lam, C = drawn(weights, slopes)
    price, T = StalePrice.of(lam, C), 5 * k
    alpha, level = price.best_alpha(distance=D, k=k, T=T), price.guarantee(distance=D, k=k, T=T)
    assert bound(lam, C, D=D, alpha=alpha, k=k, T=T) == pytest.approx(level, rel=1e-12)
    for other in (0.5, 0.99, 1.01, 2.0):
        assert bound(lam, C, D=D, alpha=other * alpha, k=k, T=T) > level * (1 + 1e-6)


@given(WEIGHTS, WEIGHTS, st.integers(2, 200), st.sampled_from([0, 1, 7, 100, 10_000]))
def test_no_k_has_a_better_guarantee_than_1_at_equal_cost(
    weights: list[float], slopes: list[float], k: int, c: int
) -> None:
    """Runs of equal cost, in whole periods: m (k + c) steps for k pay for the same number of periods of 1 + c."""
    lam, C = drawn(weights, slopes)
    price = StalePrice.of(lam, C)
    m_rare, m_often = 1 + c, k + c  # (1 + c) periods of k + c cost as much as (k + c) periods of 1 + c
    rare = price.guarantee(distance=1.0, k=k, T=k * m_rare)
    often = price.guarantee(distance=1.0, k=1, T=m_often)
    assert rare / often == pytest.approx(float(price.times_the_best(k, c)), rel=1e-12)
    assert rare >= often * math.sqrt((k + c) / (1 + c)) * (1 - 1e-12)


def test_the_factor_is_reached_and_a_larger_one_is_not_true() -> None:
    """The second largest λ_i C_i at 0 and the heavier objective alone: P(k) = k P(1) for λ̄ = C = 1, almost."""
    price = StalePrice.of([1 - 1e-9, 1e-9], [1.0, 1e-9])
    for k, c in ((2, 0.0), (10, 3.0), (1000, 50.0)):
        assert float(price.times_the_best(k, c)) == pytest.approx(math.sqrt((k + c) / (1 + c)), rel=1e-6)
    assert float(price.times_the_best(10, 3.0)) < 1.01 * math.sqrt(13 / 4)


def test_by_hand_at_a_half() -> None:
    """λ = 1/2, C_i = 1: P(k) = k/2 + 1 - 1/k."""
    price = StalePrice.of(0.5, [1.0, 1.0])
    assert price.at([1, 2, 10]) == pytest.approx([0.5, 1.5, 5.9])
    assert float(price.times_the_best(2, 1.0)) == pytest.approx(math.sqrt(1.5 * 1.5 / (2 * 0.5)))
    three = StalePrice.of([0.5, 0.25, 0.25], [1.0, 2.0, 1.0])
    assert three.at([1, 3]) == pytest.approx([1.0, 1.0 + 2 * 2 * (0.5 + 0.5)])


@given(WEIGHTS, WEIGHTS, st.floats(0.02, 3.0), st.floats(0.01, 1000.0))
def test_the_best_k_for_a_given_step_does_not_exceed_its_bound(
    weights: list[float], slopes: list[float], alpha0: float, c: float
) -> None:
    """The best of all k up to 3,000 by M6's own terms, T = N/(1 + c/k) as a real number."""
    lam, C = drawn(weights, slopes)
    numbers: dict[str, Any] = {"distance": 1.0, "alpha0": alpha0, "evaluation": c}
    K = largest_best_k(lam, C, **numbers)
    if K > 1500:
        return
    price, k = StalePrice.of(lam, C), np.arange(1, 3001)
    sizes = np.sqrt(1 + c / k) * (max(lam) / (2 * alpha0) + alpha0 * max(C) * price.at(k) / 2)
    assert int(k[np.argmin(sizes)]) == best_k(lam, C, **numbers) <= K
    assert (np.diff(sizes[K - 1 :]) > 0).all()


def test_the_bound_of_the_best_k_is_nearly_attained_and_does_not_grow_with_the_cost() -> None:
    """α0 a hundredth of D/C: steps that are far too short. A bound of nine tenths would be false."""
    for c in (1.0, 10.0):
        numbers: dict[str, Any] = {"distance": 1.0, "alpha0": 0.01, "evaluation": c}
        assert 0.95 * largest_best_k(0.5, [1.0, 1.0], **numbers) < best_k(0.5, [1.0, 1.0], **numbers)
    dear = [largest_best_k(0.5, [1.0, 1.0], distance=1.0, alpha0=1.0, evaluation=c) for c in (1e2, 1e6, 1e12)]
    assert dear == [3, 3, 3]
    assert best_k(0.5, [1.0, 1.0], distance=1.0, alpha0=1.0, evaluation=0.0) == 1


def test_the_records_hold_on_problems_and_a_run_that_cannot_be_paid_for_is_refused() -> None:
    for setting in settings(900):
        for k, c in ((1, 0.0), (7, 2.5), (50, 10.0)):
            records = maxright_cost(setting, k, c)
            assert [record.verdict for record in records] == ["holds"] * 4, [str(r) for r in records]
    setting = maxright_setting(table2(), 0.5, T=100, alpha0=1.0, theta_1=[1.0])
    with pytest.raises(
        ValueError, match=r"^setting: D > 0 and a T of at least 204 are needed .*, got D = 1\.5, T = 100"
    ):
        maxright_cost(setting, 2, 100.0)
    for wrong, words in (((0, 1.0), "k: must be at least 1"), ((1, -1.0), "evaluation: must be at least 0")):
        with pytest.raises(ValueError, match=f"^{words}"):
            maxright_cost(setting, *wrong)


def test_wrong_numbers_are_named() -> None:
    with pytest.raises(ValueError, match=r"^alpha0: must be more than 0"):
        largest_best_k(0.5, [1.0, 1.0], distance=1.0, alpha0=0.0, evaluation=1.0)
    with pytest.raises(ValueError, match=r"^grad_bounds: must be more than 0"):
        StalePrice.of(0.5, [0.0, 0.0])
    with pytest.raises(ValueError, match=r"^alpha0: a larger α0 is needed"):
        best_k(0.5, [1.0, 1.0], distance=1.0, alpha0=1e-5, evaluation=1e9)
