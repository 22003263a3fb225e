"""Claim E: paths, grid and runs agree with each other, with the definition, and with their stated errors."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import Datum, Spec
from support.oracle import grad as oracle_grad
from support.oracle import problem as build
from support.oracle import value as oracle_value
from support.strategies import problems

from toyopt.algorithms import Alright, Constant, InverseRootHorizon, LinearDecay
from toyopt.examples import random_problem, table2
from toyopt.problem import Objective, Problem
from toyopt.simulate import simulate
from toyopt.theorems import (
    Expectation,
    backward_expectation,
    bounded_differences,
    empirical_bernstein,
    enumerate_expectation,
    enumerate_paths,
    estimate_expectation,
    expected_gap,
    value_range,
)
from toyopt.theorems.expectation.grid import Curvature, _level, derivative_bounds, reach
from toyopt.theorems.expectation.paths import branches, steps_of
from toyopt.theorems.expectation.sampling import difference_squares

LAM, START = 0.3, [-1.0]


def line(seed: int) -> Problem:
    return random_problem(np.random.default_rng(seed), dim=1, n_dpo=2, n_sft=2)


# All paths


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


# The grid


@given(st.integers(0, 10**6), st.floats(0.05, 0.95), st.sampled_from([0.2, 1.0, 4.0]), st.integers(2, 9), st.booleans())
def test_the_grid_contains_the_sum_over_all_paths(seed: int, lam: float, alpha0: float, T: int, is_sgd: bool) -> None:
    p = line(seed)
    T = min(T, 5) if is_sgd else T
    options: dict[str, Any] = {"lam": lam, "T": T, "theta_1": [0.7], "stochastic": is_sgd}
    for schedule in (InverseRootHorizon(alpha0, T), LinearDecay(alpha0, 1.1, T)):
        exact = expected_gap(p, schedule=schedule, method="paths", **options).mean
        grid = expected_gap(p, schedule=schedule, method="grid", nodes=300, **options)
        assert grid.low <= exact <= grid.high, (grid, exact)
        assert grid.failure == 0.0


def test_the_grids_error_is_of_second_order_and_used() -> None:
    """Twice the nodes, a quarter of the width; and at 50 nodes the error is a tenth of what is stated, or more."""
    options: dict[str, Any] = {"lam": LAM, "schedule": InverseRootHorizon(1.7, 12), "T": 12, "theta_1": START}
    exact = expected_gap(table2(), method="paths", **options).mean + 0.0
    grids = {n: backward_expectation(table2(), nodes=n, **options) for n in (50, 400, 800)}
    width = {n: g.high - g.low for n, g in grids.items()}
    assert width[400] / width[800] == pytest.approx(4, rel=0.1)
    for grid in grids.values():
        assert grid.low <= exact <= grid.high
    assert abs(grids[50].mean - exact) > 0.1 * width[50] / 2


def test_the_grid_for_thousands_of_steps_agrees_with_runs() -> None:
    """T = 2000, 4000 runs: the two intervals fail to meet with probability 1e-9 at most."""
    options: dict[str, Any] = {"lam": LAM, "schedule": InverseRootHorizon(1.7, 2000), "T": 2000, "theta_1": START}
    grid = backward_expectation(table2(), nodes=4000, **options)
    runs = estimate_expectation(table2(), runs=4000, failure=1e-9, **options)
    assert grid.high - grid.low < 2e-3
    assert max(grid.low, runs.low) <= min(grid.high, runs.high)


def test_derivative_bounds_hold_on_the_true_function() -> None:
    """V_1's differences, by enumeration from a fine grid of starts, for alpha L < 1, in (1, 2) and above 2."""
    p, lam, T = line(7), 0.4, 6
    L = max(o.smoothness for o in p.objectives)
    x = np.linspace(-6, 6, 2001)
    for share in (0.3, 0.95, 1.7, 2.6):
        alphas = np.full(T - 1, share / L)
        outcomes = branches(p, lam)
        first, second = derivative_bounds(outcomes, (lam, 1 - lam), p.objectives, alphas)
        theta, weight = x[None, :], np.ones(1)
        for alpha in alphas:
            theta = np.concatenate([theta - alpha * o.objective.grad(theta[..., None])[..., 0] for o in outcomes])
            weight = np.concatenate([o.probability * weight for o in outcomes])
        V = weight @ p.f_mix(theta[..., None], lam)
        slope, bend = np.diff(V) / np.diff(x), np.diff(V, 2) / (x[1] - x[0]) ** 2
        assert np.abs(slope).max() <= first[0] * (1 + 1e-9)
        assert np.abs(bend).max() <= second[0] + 1e-6  # second differences: 4 u V / h² is 1e-11
        assert (np.diff(first) <= 0).all()


def test_derivative_bounds_by_hand() -> None:
    """Table 2, λ = 1/4, one step of 2: f_Mix has slope 1/2 and curvature 1/16 at most, third derivative (1/8)/(6√3)."""
    p = table2()
    curve = Curvature.of(p.objectives[1])
    assert (curve.slope, curve.smooth, curve.width) == (0.5, 1 / 16, 0.5)
    assert curve.third == pytest.approx(1 / (48 * math.sqrt(3)), rel=1e-15)
    first, second = derivative_bounds(branches(p, 0.25), (0.25, 0.75), p.objectives, np.array([2.0]))
    assert first.tolist() == [0.5, 0.5]
    assert second[1] == 1 / 16
    grown, kappa = 1 / 16 + 2 * 0.5 / (48 * math.sqrt(3)), 0.5 * 0.5 / (1 - 2 / 16)
    level = kappa**2 / (4 * (kappa - 1 / 16))
    assert second[0] == pytest.approx(min(grown, level), rel=1e-15)
    assert _level(1.0, 1.5) == 1.0
    assert _level(1.0, 4.0) == pytest.approx(max(j**2 + 4 * j * (1 - j) for j in np.linspace(0, 1, 100001)), rel=1e-9)


def test_what_theta_can_reach() -> None:
    """The hull of all paths, for maps that increase (alpha L <= 1) and that do not."""
    p = line(9)
    L = max(o.smoothness for o in p.objectives)
    for share in (0.5, 1.8, 3.0):
        schedule = Constant(share / L)
        left, right = reach(branches(p, 0.4), steps_of(schedule, 8), 0.3)[-1].tolist()
        theta, _ = enumerate_paths(p, lam=0.4, schedule=schedule, T=8, theta_1=[0.3])
        assert left - 1e-12 <= theta.min()
        assert theta.max() <= right + 1e-12
        if share <= 1:
            assert (left, right) == pytest.approx((theta.min(), theta.max()), rel=1e-9)


def test_the_grid_at_one_iterate_and_with_one_branch() -> None:
    p = table2()
    at_start = backward_expectation(p, lam=LAM, schedule=Constant(1.0), T=1, theta_1=START)
    assert at_start.mean == float(p.f_mix(START, LAM))
    x = np.array([2.0])
    for _ in range(4):
        x = x - 0.7 * p.grad_sft(x)
    grid = backward_expectation(p, lam=0.0, schedule=Constant(0.7), T=5, theta_1=[2.0], nodes=2000)
    assert grid.low <= float(p.f_sft(x)) <= grid.high


# Runs, with a confidence interval


def test_the_half_widths_by_hand() -> None:
    """n = 4, variance 5/3, spread 3, δ = 0.04: log(4/δ) = log 100. Squares 2, n = 8, δ = 0.02: log(2/δ) = log 100."""
    expected = math.sqrt(2 * (5 / 3) * math.log(100) / 4) + 7 * 3 * math.log(100) / 9
    assert empirical_bernstein([0.0, 1.0, 2.0, 3.0], 3.0, 0.04) == pytest.approx(expected, rel=1e-15)
    assert bounded_differences(2.0, 8, 0.02) == pytest.approx(math.sqrt(2 * math.log(100) / 16), rel=1e-15)


@pytest.mark.parametrize(("dim", "stochastic"), [(1, False), (2, False), (2, True)])
def test_the_interval_contains_the_exact_expectation(dim: int, stochastic: bool) -> None:
    """Fixed n and seeds; each of the two statements fails with probability 1e-9 at most."""
    p = table2() if dim == 1 else random_problem(np.random.default_rng(5), dim=2, n_dpo=2, n_sft=2)
    for T in (2, 6):
        options: dict[str, Any] = {"lam": LAM, "schedule": InverseRootHorizon(1.7, T), "T": T, "stochastic": stochastic}
        options["theta_1"] = [1.0, 2.0][:dim]
        exact = expected_gap(p, method="paths", **options).mean
        got = expected_gap(p, method="runs", runs=2000, failure=1e-9, **options)
        assert got.low <= exact <= got.high
        assert got.interval == (got.low, got.high)
        assert (got.evidence, got.failure, got.size) == ("statistical", 1e-9, 2000)


def test_the_interval_shrinks_and_the_mean_is_the_runs_own() -> None:
    p, T = table2(), 30
    schedule = InverseRootHorizon(1.7, T)
    options: dict[str, Any] = {"lam": LAM, "schedule": schedule, "T": T, "theta_1": [4.0]}
    got = estimate_expectation(p, runs=500, seed=3, **options)
    last = simulate(p, Alright(LAM), schedule, theta0=[4.0], steps=T - 1, seeds=range(3, 503)).last
    assert got.mean == float(p.f_mix(last, LAM).mean())
    more = estimate_expectation(p, runs=8000, seed=3, **options)
    values = p.f_mix(simulate(p, Alright(LAM), schedule, theta0=[4.0], steps=T - 1, seeds=range(3, 8003)).last, LAM)
    low, high = value_range(p, **options)
    squares = difference_squares(p, lam=LAM, alphas=steps_of(schedule, T))
    halves = empirical_bernstein(values, high - low, 5e-10), bounded_differences(squares, 8000, 5e-10)
    assert more.high - more.mean == pytest.approx(min(halves), rel=1e-12)
    assert bounded_differences(squares, 100, 5e-10) < empirical_bernstein(values[:100], high - low, 5e-10)
    few = estimate_expectation(p, runs=100, seed=3, **options)
    assert few.high == min(few.mean + bounded_differences(squares, 100, 5e-10), high)
    assert more.high - more.low < 0.5 * (got.high - got.low)
    surer = estimate_expectation(p, runs=8000, seed=3, failure=1e-12, **options)
    assert surer.high - surer.low > more.high - more.low


@given(problems(objectives=(2,)), st.floats(0, 1), st.sampled_from([0.1, 1.0, 5.0]), st.booleans())
def test_the_range_holds_for_every_path(specs: Any, lam: float, alpha0: float, is_sgd: bool) -> None:
    p = build(specs)
    T = 3 if is_sgd else 6
    start = np.random.default_rng(6).normal(size=p.dim)
    options: dict[str, Any] = {"lam": lam, "schedule": InverseRootHorizon(alpha0, T), "T": T, "theta_1": start}
    low, high = value_range(p, stochastic=is_sgd, **options)
    theta, _ = enumerate_paths(p, stochastic=is_sgd, limit=10**6, **options)
    values = p.f_mix(theta, lam)
    assert low <= values.min() + 1e-12
    assert values.max() <= high + 1e-12


@given(problems(objectives=(2,)), st.floats(0.1, 0.9), st.floats(0.05, 1.0))
def test_one_draw_moves_the_value_by_no_more_than_stated(specs: Any, lam: float, share: float) -> None:
    """All pairs of paths that differ in one draw: their values differ by c_t at most; Σ c_t² is what is returned."""
    p, T = build(specs), 5
    L = max(o.smoothness for o in p.objectives)
    alphas = np.array([1.0, 0.7, 0.9, 0.3]) * share * 2 / max(L, 0.01)
    theta = np.zeros((1, p.dim))
    for alpha in alphas:
        theta = np.concatenate([theta - alpha * o.grad(theta) for o in p.objectives])
    values = p.f_mix(theta, lam).reshape([2] * (T - 1))  # the last draw is the first axis
    slope = lam * p.C1 + (1 - lam) * p.C2
    for axis, alpha in enumerate(reversed(alphas.tolist())):
        moved = np.abs(np.diff(values, axis=axis)).max()
        assert moved <= slope * alpha * (p.C1 + p.C2) * (1 + 1e-9) + 1e-12
    squares = difference_squares(p, lam=lam, alphas=alphas)
    assert squares == pytest.approx((slope * (p.C1 + p.C2)) ** 2 * float((alphas**2).sum()), rel=1e-12)


def test_bounded_differences_do_not_apply_to_long_steps() -> None:
    p = table2()
    L = p.objectives[0].smoothness
    assert difference_squares(p, lam=0.5, alphas=np.array([2.01 / L])) == math.inf
    assert difference_squares(p, lam=0.5, alphas=np.array([1.99 / L])) < math.inf
    assert difference_squares(p, lam=1.0, alphas=np.array([0.1])) == 0.0
    options: dict[str, Any] = {"lam": 0.5, "schedule": Constant(2.5 / L), "T": 3, "theta_1": [1.0]}
    got = estimate_expectation(p, runs=100, **options)
    assert got.low <= expected_gap(p, method="paths", **options).mean <= got.high


def test_which_way_is_taken() -> None:
    two = random_problem(np.random.default_rng(5), dim=2)
    options: dict[str, Any] = {"lam": LAM, "schedule": Constant(0.1), "theta_1": START, "limit": 2**5}
    assert expected_gap(table2(), T=6, **options).size == 32
    assert expected_gap(table2(), T=7, nodes=100, **options).interval is not None
    options["theta_1"] = [0.0, 1.0]
    assert expected_gap(two, T=7, runs=50, **options).evidence == "statistical"
    assert expected_gap(two, T=7, runs=50, **(options | {"lam": 1.0})).evidence == "enumerated"  # one path


def test_minus() -> None:
    shifted = Expectation(3.0, 2.0, 5.0, 0.1, "statistical", 7).minus(1.5)
    assert shifted == Expectation(1.5, 0.5, 3.5, 0.1, "statistical", 7)


def paths(**changes: Any) -> Any:
    options: dict[str, Any] = {"lam": 0.5, "schedule": Constant(0.1), "T": 3, "theta_1": [0.0]}
    return lambda: enumerate_paths(table2(), **(options | changes))


def grid(**changes: Any) -> Any:
    options: dict[str, Any] = {"lam": 0.5, "schedule": Constant(0.1), "T": 3, "theta_1": [0.0]}
    return lambda: backward_expectation(changes.pop("problem", table2()), **(options | changes))


def runs(**changes: Any) -> Any:
    options: dict[str, Any] = {"lam": 0.5, "schedule": Constant(0.1), "T": 3, "theta_1": [0.0]}
    return lambda: estimate_expectation(table2(), **(options | changes))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (paths(T=22), r"T: 2\^21 paths are more than the limit of 1048576, got 22"),
        (paths(T=0), "T: must be at least 1, got 0"),
        (
            paths(T=4, schedule=LinearDecay(1.0, 1.0, 3)),
            r"schedule: the step size of update 3 must be positive, got .*0\.0",
        ),
        (paths(lam=2), r"lam: must be in \[0, 1\], got 2"),
        (paths(limit=0), "limit: must be at least 1, got 0"),
        (grid(problem=random_problem(np.random.default_rng(0))), "problem: the grid needs d = 1, got d = 3"),
        (grid(nodes=3), "nodes: must be at least 16, got 3"),
        (grid(schedule=Constant(9.0), T=9, nodes=10**7), "nodes: the grid would have more than 5000000 nodes"),
        (grid(theta_1=[[0.0]]), r"theta_1: shape \(1,\) is needed"),
        (runs(failure=1.0), r"failure: must be less than 1, got 1\.0"),
        (runs(T=1), "T: must be at least 2, got 1"),
        (lambda: empirical_bernstein([1.0], 1.0, 0.1), "values: two at least are needed, got 1"),
        (lambda: bounded_differences(-1.0, 3, 0.1), r"squares: must be at least 0, got -1\.0"),
    ],
)
def test_wrong_input_names_the_argument(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
