"""Optima: closed forms, attained or not, and the Pareto front."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from toyopt import Problem, ideal_point, minimise, pareto_front
from toyopt.examples import Figure2, LowerBound, random_problem, table2
from toyopt.optimum import lower_bound_minimiser

problems = st.builds(
    lambda seed, dim, n_dpo, n_sft, outputs: random_problem(
        np.random.default_rng(seed), dim=dim, n_dpo=n_dpo, n_sft=n_sft, outputs=outputs
    ),
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(2, 4),
)
lams = st.floats(0.02, 0.98)


@pytest.mark.slow
@given(lam=st.floats(0.001, 0.999), c=st.floats(0.1, 3.0), theta_ref=st.floats(-6.0, 6.0))
def test_closed_form_of_the_lower_bound_family_is_stationary_and_agrees(lam, c, theta_ref):
    family = LowerBound(c, theta_ref)
    theta = np.array([lower_bound_minimiser(family, lam)])
    problem = family.problem()
    # The two gradients that cancel there have size lam*c*(1-h); a few ulp of them may stay.
    assert abs(problem.grad_mix(theta, lam)[0]) < 1e-14 * (1 + c)
    optimum = minimise(problem, lam)
    assert optimum.attained
    assert optimum.converged
    assert optimum.value == pytest.approx(float(problem.f_mix(theta, lam)), rel=1e-12, abs=1e-15)


def test_closed_form_with_the_weights_swapped_is_caught():
    wrong = np.array([lower_bound_minimiser(LowerBound(), 0.7)])
    assert abs(table2().grad_mix(wrong, 0.3)[0]) > 1e-2


def test_closed_form_at_one_half_is_half_way():
    # At λ = ½ the family is symmetric about θ_ref/2.
    assert lower_bound_minimiser(LowerBound(0.5, 5.0), 0.5) == pytest.approx(2.5, abs=1e-14)


@pytest.mark.slow
@given(problem=problems, lam=lams)
def test_attained_means_stationary_and_unbeaten(problem, lam):
    optimum = minimise(problem, lam)
    assume(optimum.attained)
    assert optimum.converged
    assert optimum.direction is None
    scale = max(problem.C1, problem.C2)
    assert np.linalg.norm(problem.grad_mix(optimum.theta, lam)) < 1e-9 * scale
    assert optimum.value == pytest.approx(float(problem.f_mix(optimum.theta, lam)), rel=1e-14)
    near = optimum.theta + np.random.default_rng(0).normal(size=(50, problem.dim))
    assert (problem.f_mix(near, lam) >= optimum.value - 1e-13).all()


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.filter_too_much])  # most problems have a minimiser
@given(problem=problems, lam=lams)
def test_not_attained_means_a_direction_that_falls_to_the_infimum(problem, lam):
    optimum = minimise(problem, lam)
    assume(not optimum.attained)
    assert optimum.theta is None
    rows = np.concatenate([o.rows for o in problem.objectives])
    slopes = rows @ optimum.direction
    assert np.linalg.norm(optimum.direction) == pytest.approx(1.0)
    assert (slopes < 1e-9).all()
    assert (slopes < -1e-9).any()
    # Never below the infimum, and as near to it as the slowest row lets one come.
    points = np.random.default_rng(1).normal(size=(50, problem.dim)) * 20
    assert (problem.f_mix(points, lam) >= optimum.value - 1e-12).all()
    slowest = -slopes[slopes < -1e-9].max()
    assume(slowest > 1e-3)
    # What is left of the problem is minimised near the origin; far along the direction the rest is below e^-40.
    best = min(
        float(problem.f_mix(start + (40 + 200) / slowest * optimum.direction, lam))
        for start in _limit_points(problem, lam)
    )
    assert best <= optimum.value + 1e-6


def _limit_points(problem, lam):
    """Points to start from: minimisers of the problem with a little weight decay, which tend to the limit."""
    return [minimise(problem, lam, weight_decay=decay).theta for decay in (1e-2, 1e-4, 1e-6, 1e-8)]


@pytest.mark.slow
@given(problem=problems, lam=lams, decay=st.floats(1e-3, 1.0))
def test_weight_decay_makes_a_unique_attained_minimiser(problem, lam, decay):
    one = minimise(problem, lam, weight_decay=decay)
    two = minimise(problem, lam, weight_decay=decay, near=np.full(problem.dim, 3.0))
    assert one.attained
    assert one.converged
    np.testing.assert_allclose(one.theta, two.theta, atol=1e-7)
    np.testing.assert_allclose(problem.grad_mix(one.theta, lam) + decay * one.theta, 0, atol=1e-9)


def test_single_objectives_of_the_examples_have_infimum_zero_and_no_minimiser():
    for problem in (table2(), Figure2().problem()):
        for lam in (0.0, 1.0):
            optimum = minimise(problem, lam)
            assert (optimum.value, optimum.attained) == (0.0, False)
        np.testing.assert_array_equal(ideal_point(problem), [0.0, 0.0])


def test_table2_in_conflict_table3_not():
    # d = 1: what is good for one is bad for the other, and the other's limit along the way is infinite.
    alone = minimise(table2(), 1.0)
    assert math.isinf(alone.values[1])
    assert minimise(table2(), 0.5).attained
    # d = 2: a direction is good for both.
    both = minimise(Figure2().problem(), 0.5)
    np.testing.assert_array_equal(both.values, [0.0, 0.0])


def test_partly_falling_problem_keeps_the_rest():
    # Two opposed data along the first axis (infimum log 2 each at 0), one free datum along the second.
    problem = Problem.dpo_sft(
        chosen=[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]],
        rejected=[[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
        features=[[[0.0, 1.0], [0.0, 0.0]]],
        targets=[0],
        theta_ref=[0.0, 0.0],
    )
    optimum = minimise(problem, 0.5)
    assert not optimum.attained
    assert optimum.value == pytest.approx(0.5 * (2 / 3) * math.log(2), rel=1e-12)
    np.testing.assert_allclose(optimum.direction, [0.0, 1.0], atol=1e-9)
    np.testing.assert_allclose(optimum.values, [2 / 3 * math.log(2), 0.0], rtol=1e-12)


def test_a_datum_without_conflict_is_constant():
    # Chosen and rejected have the same feature: the value is log 2 everywhere.
    problem = Problem.dpo_sft(chosen=[[1.0]], rejected=[[1.0]], features=[[[0.5], [1.0]]], targets=[0], theta_ref=[0.0])
    optimum = minimise(problem, 1.0)
    assert optimum.attained
    assert optimum.value == pytest.approx(math.log(2), rel=1e-15)


@pytest.mark.slow
@given(problem=problems)
def test_pareto_front_is_monotone_and_undominated(problem):
    front = pareto_front(problem, np.linspace(0.05, 0.95, 7))
    assert (np.diff(front.values[:, 0]) <= 1e-9).all()  # more weight on DPO, less f_DPO
    assert (np.diff(front.values[:, 1]) >= -1e-9).all()
    points = problem.values(np.random.default_rng(2).normal(size=(200, problem.dim)) * 3)
    for values in front.values:
        assert not ((points < values - 1e-9).all(axis=1)).any()
    assert (front.values >= ideal_point(problem) - 1e-12).all()


def test_three_objectives():
    one, two = random_problem(np.random.default_rng(0)), random_problem(np.random.default_rng(1))
    from dataclasses import replace

    problem = Problem((*one.objectives, replace(two.objectives[1], name="second sft")))
    optimum = minimise(problem, (0.2, 0.3, 0.5))
    assert optimum.values.shape == (3,)
    assert len(ideal_point(problem)) == 3
    assert pareto_front(problem, np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])).values.shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: minimise(table2(), 1.5), ("lam", "1.5")),
        (lambda: minimise(table2(), 0.5, weight_decay=-1.0), ("weight_decay", "-1.0")),
        (lambda: minimise(table2(), 0.5, near=[0.0, 1.0]), ("near", "(2,)")),
        (lambda: pareto_front(table2(), []), ("lams", "empty")),
        (lambda: lower_bound_minimiser(LowerBound(), 1.0), ("lam", "1.0")),
        (lambda: lower_bound_minimiser(LowerBound(2.0, 400.0), 0.5), ("c theta_ref", "800")),
    ],
)
def test_wrong_input(call, words):
    with pytest.raises(ValueError, match=words[0]) as error:
        call()
    assert all(word in str(error.value) for word in words)
