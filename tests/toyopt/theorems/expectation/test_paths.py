"""The sum over all paths of ALRIGHT's draws against the definition."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from support.oracle import Datum, Spec
from support.oracle import grad as oracle_grad
from support.oracle import problem as build
from support.oracle import value as oracle_value
from support.small_problems import uneven

from toyopt.algorithms import Constant, LinearDecay
from toyopt.examples import random_problem, table2
from toyopt.problem import Objective, Problem
from toyopt.theorems import Expectation, enumerate_expectation, expected_gap
from toyopt.theorems.expectation.paths import branches, enumerate_paths, steps_of


def options(**changes: Any) -> dict[str, Any]:
    return {"lam": 0.3, "schedule": Constant(0.1), "T": 3, "theta_1": [0.5], **changes}


def test_a_schedule_of_whole_numbers_has_float_steps() -> None:
    class Whole(LinearDecay):
        def at(self, t: Any) -> Any:
            return [3 for _ in np.atleast_1d(t)]

    steps = steps_of(Whole(1.0, 1.0, 3), 3)
    assert steps.dtype == np.float64
    assert steps.tolist() == [3.0, 3.0]


def test_every_path_and_no_more_than_the_limit() -> None:
    assert expected_gap(table2(), **options(T=1)).mean == float(table2().f_mix([0.5], 0.3))
    with pytest.raises(ValueError, match=r"^T: 2\^2 paths are more than the limit of 3, got 3"):
        enumerate_expectation(table2(), lambda theta: theta[:, 0], **options(limit=3))
    assert enumerate_expectation(table2(), lambda theta: theta[:, 0], **options(limit=4)).size == 4
    with pytest.raises(ValueError, match=r"^T: 2\^2 paths are more than the limit of 3, got 3"):
        expected_gap(table2(), **options(limit=3, method="paths"))
    assert expected_gap(table2(), **options(limit=3)).evidence == "enumerated"  # by the grid, as d = 1


def test_each_datum_is_an_objective_with_a_name() -> None:
    p = uneven()
    found = branches(p, 0.25, stochastic=True)
    assert [(o.probability, o.objective.name) for o in found] == [
        (0.125, "first[0]"),
        (0.125, "first[1]"),
        (0.75, "second[0]"),
    ]
    assert [o.objective.rows.tolist() for o in found] == [[[2.0]], [[-1.0]], [[3.0], [1.0]]]
    assert [o.objective.origin[0] for o in found] == [4.0, 4.0, -5.0]


def line(seed: int) -> Problem:
    return random_problem(np.random.default_rng(seed), dim=1, n_dpo=2, n_sft=2)


def test_paths_against_the_definition() -> None:
    """T = 4 in d = 2 by the oracle's gradients, path by path; λ = 0.3 weighs DPO; alpha_1 is the first."""
    specs = (
        Spec("dpo", (Datum(((1.0, 0.5), (0.2, -1.0)), 0, 1),), 0.7, (0.4, -0.1)),
        Spec("sft", (Datum(((0.0, 1.0), (2.0, 0.3), (-1.0, 0.5)), 1),)),
    )
    schedule, start = LinearDecay(1.3, 0.8, 4), [0.5, -0.7]
    expected = 0.0
    for coins in itertools.product((0, 1), repeat=3):
        theta, p = list(start), 1.0
        for t, i in enumerate(coins, start=1):
            g = oracle_grad(specs[i], theta)
            theta = [x - float(schedule.at(t)) * y for x, y in zip(theta, g, strict=True)]
            p *= (0.3, 0.7)[i]
        expected += p * (0.3 * oracle_value(specs[0], theta) + 0.7 * oracle_value(specs[1], theta))
    got = expected_gap(build(specs), lam=0.3, schedule=schedule, T=4, theta_1=start)
    assert got.mean == pytest.approx(expected, rel=1e-13)
    assert (got.evidence, got.size, got.interval, got.failure) == ("enumerated", 8, None, 0.0)
    swapped = expected_gap(build(specs), lam=0.7, schedule=schedule, T=4, theta_1=start)
    assert swapped.mean != pytest.approx(expected, rel=1e-3)


def test_probabilities_and_counts() -> None:
    p = random_problem(np.random.default_rng(0), n_dpo=2, n_sft=3)
    options: dict[str, Any] = {"lam": 0.3, "schedule": Constant(0.1), "theta_1": [1.0, 0.0, -1.0]}
    theta, probability = enumerate_paths(p, T=4, **options)
    assert theta.shape == (8, 3)
    assert probability.sum() == pytest.approx(1.0, rel=1e-14)
    assert probability.max() == pytest.approx(0.7**3, rel=1e-14)
    theta, probability = enumerate_paths(p, T=3, stochastic=True, **options)
    assert len(theta) == 25
    assert probability.min() == pytest.approx(0.15**2, rel=1e-14)
    one, _ = enumerate_paths(p, T=9, **(options | {"lam": 0.0}))
    assert len(one) == 1  # what has no weight has no branch
    start, probability = enumerate_paths(p, T=1, **options)
    assert start.tolist() == [[1.0, 0.0, -1.0]]
    assert probability.tolist() == [1.0]


def test_one_stochastic_step_has_the_mixed_mean() -> None:
    """E theta_2 = theta_1 - alpha ∇f_Mix, whether gradients are full or stochastic; but not the second moment."""
    p, start = random_problem(np.random.default_rng(2)), np.array([1.0, 0.0, -1.0])
    means = []
    for stochastic in (False, True):
        theta, probability = enumerate_paths(
            p, lam=0.3, schedule=Constant(0.4), T=2, theta_1=start, stochastic=stochastic
        )
        np.testing.assert_allclose(probability @ theta, start - 0.4 * p.grad_mix(start, 0.3), rtol=1e-13)
        means.append(float(probability @ (theta**2).sum(axis=1)))
    assert means[1] > means[0] + 1e-3


def test_three_objectives_and_any_function() -> None:
    third = Objective("third", [[0.7]], np.array([1]), np.zeros(1))
    three, weights = Problem((*line(3).objectives, third)), (0.2, 0.3, 0.5)
    got = enumerate_expectation(
        three, lambda theta: theta[:, 0], lam=weights, schedule=Constant(0.4), T=2, theta_1=[1.0]
    )
    assert got.mean == pytest.approx(1.0 - 0.4 * float(three.grad_mix([1.0], weights)[0]), rel=1e-13)


def test_minus() -> None:
    shifted = Expectation(3.0, 2.0, 5.0, 0.1, "statistical", 7).minus(1.5)
    assert shifted == Expectation(1.5, 0.5, 3.5, 0.1, "statistical", 7)
