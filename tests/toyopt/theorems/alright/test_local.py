"""The constants at a minimiser: derivatives by differences, bounds that hold everywhere, and attained ones."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from toyopt.examples import LowerBound, random_problem, table2
from toyopt.problem import Problem
from toyopt.theorems import LocalConstants
from toyopt.theorems.alright.local import third_derivative


@pytest.mark.parametrize("seed", range(4))
def test_the_third_derivative_is_that_of_differences_of_the_hessian(seed: int) -> None:
    problem = random_problem(np.random.default_rng(seed), dim=3, outputs=4)
    theta, h = np.array([0.3, -0.4, 0.2]), 1e-5
    for objective in problem.objectives:
        by_differences = np.stack(
            [(objective.hess(theta + h * e) - objective.hess(theta - h * e)) / (2 * h) for e in np.eye(3)]
        )
        np.testing.assert_allclose(third_derivative(objective, theta), by_differences, atol=1e-8)


def test_the_constants_of_the_lower_bound_family_are_those_of_the_logistic_function() -> None:
    """σ'' has the maximum 1/(6√3), |σ'''| the maximum 1/8 at 0, and σ' is even: no third derivative in between."""
    local = LocalConstants.of(LowerBound(0.8, 3.0).problem(), 0.5)
    assert local.theta_star == pytest.approx([1.5], abs=1e-9)
    s = 1 / (1 + math.exp(1.2))
    assert local.curvatures == pytest.approx([0.64 * s * (1 - s)], rel=1e-12)
    assert local.third == pytest.approx([0.512 / (6 * 3**0.5)] * 2, rel=1e-12)
    assert (local.fourth, local.width) == (pytest.approx(0.4096 / 8), pytest.approx(0.8))
    assert local.skew == pytest.approx(0.0, abs=1e-12)
    assert local.gradients[:, 0] == pytest.approx([-0.8 * (1 - s), 0.8 * (1 - s)], rel=1e-12)
    at = LocalConstants.of(LowerBound(0.8, 3.0).problem(), 0.5).gradients
    assert local.noise == pytest.approx(0.25 * float((at[0] - at[1]) @ (at[0] - at[1])), rel=1e-12)


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_slope_and_gap_bound_the_function_on_every_ray(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, dim=2, n_dpo=5, n_sft=6)
    local = LocalConstants.of(problem, 0.4)
    best = float(problem.f_mix(local.theta_star, 0.4))
    for direction in rng.normal(size=(20, 2)):
        unit = direction / np.linalg.norm(direction)
        for s in (1e-6, 1e-4, 0.01, 0.3, 2.0, 20.0, 2000.0):
            theta = local.theta_star + s * unit
            assert unit @ problem.grad_mix(theta, 0.4) >= local.slope(s) * (1 - 1e-6) - 1e-12
            assert float(problem.f_mix(theta, 0.4)) - best <= local.gap(s) * (1 + 1e-9) + 1e-14


def test_slope_and_gap_are_attained_near_the_minimiser_and_a_smaller_width_is_refuted() -> None:
    local = LocalConstants.of(table2(), 0.5)
    mu = float(local.curvatures[0])
    assert float(local.slope(1e-6)) == pytest.approx(mu * 1e-6, rel=1e-6)
    assert local.gap(1e-5) == pytest.approx(mu * 1e-10 / 2, rel=1e-4)
    assert local.gap(2e-4) == pytest.approx(mu * 4e-8 / 2, rel=1e-3)  # on the other side of the series
    narrow = dataclasses.replace(local, width=local.width / 10)
    far = local.theta_star + 30.0
    assert float(table2().grad_mix(far, 0.5)[0]) < float(narrow.slope(30.0))


def test_an_outcome_is_a_datum_where_gradients_are_stochastic() -> None:
    problem = random_problem(np.random.default_rng(4), dim=1, n_dpo=3, n_sft=4)
    local = LocalConstants.of(problem, 0.3, stochastic=True)
    assert local.p == pytest.approx([0.1] * 3 + [0.175] * 4)
    each = np.concatenate([o.data_grads(local.theta_star) for o in problem.objectives])
    np.testing.assert_allclose(local.gradients, each, atol=1e-14)
    np.testing.assert_allclose(local.p @ each, 0.0, atol=1e-9)


def test_where_there_is_no_isolated_minimiser_the_weight_is_named() -> None:
    with pytest.raises(ValueError, match=r"^lam: f_Mix has no minimiser for lam = 1\.0; give a problem that has one$"):
        LocalConstants.of(table2(), 1.0)
    flat = Problem.dpo_sft(
        chosen=[[0.5, 0.0]], rejected=[[0.0, 0.0]], features=[[[0.0, 0.0], [0.5, 0.0]]], targets=[0], theta_ref=[1.0, 0]
    )
    with pytest.raises(ValueError, match=r"^lam: an isolated minimiser of f_Mix is needed, .* eigenvalue 0$"):
        LocalConstants.of(flat, 0.5)
