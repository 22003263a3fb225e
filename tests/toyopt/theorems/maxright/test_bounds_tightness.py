"""The bounds for MAXRIGHT are attained: problems on which each of them is tight."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt import Maxright, Problem, dpo, ideal_point, sft, simulate
from toyopt.algorithms import Constant
from toyopt.examples import random_problem, table2
from toyopt.minimax import worst_gap
from toyopt.theorems.alright.worst_case import as_sft, resisting, worst_case
from toyopt.theorems.maxright import bounds
from toyopt.theorems.maxright.claims import maxright_best_and_average, maxright_last, maxright_optima, maxright_stale
from toyopt.theorems.maxright.setting import maxright_setting


def total(terms):
    return math.fsum(terms.values())


QUIET = dpo([[1e-3, 0.0, 0.0, 0.0, 0.0, 0.0]], [[0.0] * 6], beta=1.0, theta_ref=np.zeros(6), name="quiet")


def loud(case):
    """A worst case of 6 iterates as the heavy objective (weight 0.8) beside one that never lags."""
    problem, theta_1, alphas = as_sft(case)
    return Problem((QUIET, problem.objectives[1])), theta_1, alphas


def test_the_best_iterate_attains_its_bound():
    D, C, T = 1.3, 2.1, 6
    case = resisting(np.full(T - 1, D / (C * math.sqrt(T))), D, C)  # α0 = D/C, at which the bound is λ D C/√T
    problem, theta_1, alphas = loud(case)
    alpha0 = float(alphas[0]) * math.sqrt(T)
    setting = maxright_setting(
        problem, 0.2, T=T, alpha0=alpha0, theta_1=theta_1, f_star=[0.0, 0.0], theta_star=np.zeros(6)
    )
    best, _ = maxright_best_and_average(setting)
    assert best.verdict == "holds"
    # The loss of breaking ties is 1e-4 of the gap; the start moves by about as much.
    assert best.attained > 0.999 * best.bound
    for mutant in (
        bounds.best_terms(0.8, setting.grad_bounds, distance=setting.distance, alpha0=alpha0, T=T),  # λ and 1-λ
        bounds.best_terms(0.2, setting.grad_bounds[::-1], distance=setting.distance, alpha0=alpha0, T=T),  # C1, C2
        bounds.best_terms(0.2, setting.grad_bounds, distance=setting.distance, alpha0=alpha0, T=T + 1),
    ):
        assert best.attained > total(mutant)


@pytest.mark.parametrize("alphas", [[0.3] * 5, [0.5, 0.1, 0.7, 0.2, 0.4], [0.5, 0.4, 0.3, 0.2, 0.1]])
def test_the_last_iterate_attains_its_exact_bound_for_any_steps(alphas):
    problem, theta_1, steps = loud(worst_case(alphas, 1.3, 2.1))

    class Given:
        def at(self, t):
            return steps[np.asarray(t) - 1]

    run = simulate(problem, Maxright(0.2, (0.0, 0.0)), Given(), theta0=theta_1, steps=5)
    attained = float(worst_gap(problem, 0.2, [0.0, 0.0], run.last[0]) - worst_gap(problem, 0.2, [0, 0], np.zeros(6)))
    grad_bounds = [o.grad_bound for o in problem.objectives]
    distance = float(np.linalg.norm(theta_1))
    bound = total(bounds.last_exact_terms(0.2, grad_bounds, distance=distance, alphas=steps))
    assert 0.999 * bound < attained <= bound * (1 + 1e-12)
    other = bounds.last_exact_terms(0.2, grad_bounds, distance=distance, alphas=0.9 * steps)
    assert total(other) != pytest.approx(bound, rel=1e-3)  # the bound does see the steps


def see_saw(slope):
    """Two slopes of one size that cross at 0, straight for 40 to either side: F is a V."""
    up = dpo([[-slope]], [[0.0]], beta=1.0, theta_ref=[-40.0], name="up")
    return Problem((dpo([[slope]], [[0.0]], beta=1.0, theta_ref=[40.0], name="down"), up)), [40.0 * slope] * 2


def test_the_average_iterate_attains_its_second_term():
    # Iterates at 0+ and at -αC by turns; on the left F has slope 0.9 C, and D = 0.
    problem, f_star = see_saw(3.0)
    T, alpha0 = 400, 0.8
    alpha = alpha0 / math.sqrt(T)
    start = [0.001 * alpha * 3.0]
    setting = maxright_setting(problem, 0.9, T=T, alpha0=alpha0, theta_1=start, f_star=f_star, theta_star=start)
    _, average = maxright_best_and_average(setting)
    assert average.verdict == "holds"
    assert average.bound == pytest.approx(0.9 * alpha * 9.0 / 2, rel=1e-12)
    assert 0.995 * average.bound < average.attained  # so 0.1 for 0.9, 3 for 9, or T+4 for T would be violated
    # C is the largest C_i, and need not belong to the heaviest objective.
    swapped = bounds.average_terms(0.9, [0.3, 3.0], distance=0.0, alpha0=alpha0, T=T)
    assert swapped["steps"] == pytest.approx(average.bound, rel=1e-12)


def test_the_average_cannot_have_the_best_iterates_constant():
    # A gentle heavy objective and a steep light one: each overshoot costs λ̄ C1 C2 α/2, far above max λ_i C_i² α/2.
    gentle = dpo([[1.0]], [[0.0]], beta=1.0, theta_ref=[60.0], name="gentle")
    steep = sft([[[0.0], [30.0]]], [0], name="steep")
    problem = Problem((gentle, steep))
    T, alpha0 = 900, 0.3
    setting = maxright_setting(
        problem, 0.99, T=T, alpha0=alpha0, theta_1=[1e-3], f_star=[60.0, math.log(2.0)], theta_star=[1e-3]
    )
    best, average = maxright_best_and_average(setting)
    assert best.verdict == average.verdict == "holds"
    paired = total(setting.terms("best"))
    assert average.attained > 1.5 * paired


@pytest.mark.slow
@pytest.mark.parametrize("gentle", [1.0, 0.01])
def test_optimum_errors_cost_their_spread_in_the_limit(gentle):
    # F is the larger of a slope 5/2 up and a slope gentle/2 down; a spread s moves their crossing by 2s/(5 + gentle).
    steep = sft([[[0.0], [5.0]]], [0], name="steep")
    slow = dpo([[gentle]], [[0.0]], beta=1.0, theta_ref=[10.0 + 50.0 / gentle], name="slow")
    problem = Problem((slow, steep))
    truth = np.array([0.0, 0.0])  # they cross at θ = 10, both at 50
    setting = maxright_setting(problem, 0.5, T=50, alpha0=0.1, theta_1=[0.0], f_star=truth)
    minimiser, run = maxright_optima(setting, truth + np.array([0.3, 1.9]))
    assert minimiser.verdict == run.verdict == "holds"
    assert minimiser.bound == pytest.approx(0.8, rel=1e-12)
    assert minimiser.attained == pytest.approx(0.8 * 5.0 / (5.0 + gentle), rel=1e-9)


@pytest.mark.slow
def test_a_shift_of_all_weighted_gaps_costs_nothing():
    setting = maxright_setting(table2(), 0.25, T=50, alpha0=0.1, theta_1=[0.0])
    minimiser, _ = maxright_optima(setting, setting.f_star + np.array([-0.6, -0.2]))
    assert minimiser.bound == pytest.approx(0.0, abs=1e-15)
    assert minimiser.attained == pytest.approx(0.0, abs=1e-12)
    assert minimiser.verdict == "holds"


def test_a_stale_run_breaks_the_bound_without_staleness_and_keeps_the_one_with_it():
    # Weight 0.02 on a gap of about 100: it hardly moves, and the heavy objective's grows by 0.98 α at every step.
    light = dpo([[1.0]], [[0.0]], beta=1.0, theta_ref=[400.0], name="light")
    problem = Problem((light, sft([[[0.0], [1.0]]], [0], name="heavy")))
    setting = maxright_setting(problem, 0.02, T=401, alpha0=4.0, theta_1=[-6.0], f_star=[306.0, 0.0])
    best, average, last = maxright_stale(setting, 400)
    fresh = maxright_last(setting, "harmonic")
    assert [r.verdict for r in (best, average, last, fresh)] == ["holds"] * 4
    assert last.attained > 50 * fresh.bound
    price = 0.98 * (4.0 / math.sqrt(401)) * 400  # λ_2 C_2 α C k: the price without its logarithm
    assert 0.9 * price < last.attained < price < last.terms["staleness"]
    assert average.attained > 20 * (average.bound - average.terms["staleness"])
    tenth = bounds.staleness(0.02, [1.0, 1.0], alpha=4.0 / math.sqrt(401), k=40, T=401)
    assert average.attained > average.bound - average.terms["staleness"] + tenth.mean


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), lam=st.floats(0.03, 0.97), k=st.integers(1, 12), alpha=st.floats(0.01, 2.0))
def test_the_chosen_gap_lags_by_no_more_than_its_age_allows(seed, lam, k, alpha):
    problem = random_problem(np.random.default_rng(seed), dim=2, n_dpo=2, n_sft=2)
    f_star = tuple(ideal_point(problem))
    start = np.random.default_rng(seed + 1).normal(size=2)
    run = simulate(problem, Maxright(lam, f_star, k), Constant(alpha), theta0=start, steps=30, record=1, choices=True)
    weighted = np.array([lam, 1 - lam]) * (run.path().values - f_star)
    C = np.array([problem.C1, problem.C2])
    slopes = np.sort(np.array([lam, 1 - lam]) * C)[::-1]
    for t, i in enumerate(run.choices[0]):
        j = t % k
        e = alpha * C.max() * (slopes[0] * j + slopes[1]) if j else 0.0
        assert weighted[t, i] >= weighted[t].max() - e - 1e-12 * (1 + abs(weighted[t]).max())
