"""The price of ALRIGHT's coin: exact moments over all paths, the Lyapunov equation, runs, and wrong constants."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov

from toyopt import Alright, InverseRootHorizon, simulate
from toyopt.claims.problems import noisy
from toyopt.examples import random_problem, table2
from toyopt.problem import Problem
from toyopt.theorems import LocalConstants, alright_price, enumerate_paths, price_limit
from toyopt.theorems.alright import price
from toyopt.theorems.alright.price import moment_bounds, quadratic_error, quadratic_gap

PROBLEMS: dict[str, tuple[Problem, float, list[float]]] = {
    "table2": (table2(), 0.5, [2.0]),
    "far start": (table2(), 0.3, [-1.0]),
    "one dimension": (noisy(), 0.4, [0.0]),
    "plane": (random_problem(np.random.default_rng(1), dim=2, n_dpo=5, n_sft=6), 0.4, [0.4, 0.1]),
    "space": (random_problem(np.random.default_rng(2), dim=3, n_dpo=8, n_sft=8), 0.6, [0.1, -0.2, 0.1]),
}


def test_the_limit_of_table_2_by_hand() -> None:
    """θ* = 5/2 for λ = ½, where the gradients are -σ(5/4)/2 and σ(5/4)/2."""
    difference = 1 / (1 + math.exp(-1.25))
    limit = price_limit(LocalConstants.of(table2(), 0.5), 2.0)
    assert limit == pytest.approx(2.0 / 4 * 0.25 * difference**2, rel=1e-12)
    assert round(limit, 4) == 0.0755


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_quadratic_gap_is_the_covariance_recursions(name: str) -> None:
    problem, lam, start = PROBLEMS[name]
    local, alpha = LocalConstants.of(problem, lam), 0.05
    H, x = problem.hess_mix(local.theta_star, lam), np.array(start) - local.theta_star
    g = problem.grads(local.theta_star)
    C = lam * np.outer(g[0], g[0]) + (1 - lam) * np.outer(g[1], g[1])
    second, A = np.outer(x, x), np.eye(len(x)) - alpha * H
    for T in range(1, 60):
        assert quadratic_gap(local, np.array(start), alpha, T) == pytest.approx(np.trace(H @ second) / 2, rel=1e-10)
        second = A @ second @ A + alpha**2 * C
    X = solve_continuous_lyapunov(H, C)
    assert np.trace(H @ X) / 2 == pytest.approx(price_limit(local, 1.0), rel=1e-9)
    tiny = 1e-7  # far beyond the start: the stationary gap of tiny steps is alpha times the limit
    stationary = quadratic_gap(local, np.array(start), tiny, 10**12)
    assert stationary / tiny == pytest.approx(price_limit(local, 1.0), rel=1e-5)


def paths(name: str, alpha: float, T: int, *, stochastic: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """All iterates x_T and their probabilities."""
    problem, lam, start = PROBLEMS[name]
    schedule = InverseRootHorizon(alpha * math.sqrt(T), T)
    theta, chance = enumerate_paths(
        problem, lam=lam, schedule=schedule, T=T, theta_1=start, stochastic=stochastic, limit=2**16
    )
    return theta - LocalConstants.of(problem, lam).theta_star, chance


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("alpha", [0.003, 0.1])
def test_moments_over_all_paths_are_within_their_bounds(name: str, alpha: float) -> None:
    problem, lam, start = PROBLEMS[name]
    local = LocalConstants.of(problem, lam)
    with np.errstate(over="ignore", invalid="ignore"):
        bounds = list(moment_bounds(local, float(np.linalg.norm(np.array(start) - local.theta_star)), alpha, 14))
    for T in (1, 2, 5, 14):
        x, chance = paths(name, alpha, T)
        length = np.linalg.norm(x, axis=1)
        third = np.einsum("m,mi,mj,mk->ijk", chance, x, x, x)
        exact = (chance @ length**2, chance @ length**4, np.linalg.norm(chance @ x), np.linalg.norm(third))
        b = bounds[T - 1]
        for value, bound in zip(exact, (b.second, b.fourth, b.mean, b.third), strict=True):
            assert value <= np.nanmin(bound) * (1 + 1e-9)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("alpha", [1e-3, 0.01, 0.1])
@pytest.mark.parametrize("T", [2, 6, 15])
def test_the_quadratic_model_is_off_all_paths_by_its_error_at_most(name: str, alpha: float, T: int) -> None:
    problem, lam, start = PROBLEMS[name]
    local = LocalConstants.of(problem, lam)
    x, chance = paths(name, alpha, T)
    gap = float(chance @ problem.f_mix(x + local.theta_star, lam) - problem.f_mix(local.theta_star, lam))
    error = sum(quadratic_error(local, np.array(start), alpha, T).values())
    off = abs(gap - quadratic_gap(local, np.array(start), alpha, T))
    assert off <= error + 1e-14
    assert error > 0


def test_each_part_of_the_error_is_needed() -> None:
    """From the minimiser, and from a start beside it: without the parts left out the bound is broken."""
    problem = table2()
    local = LocalConstants.of(problem, 0.3)
    start, alpha, T = local.theta_star + 0.5, 0.1, 2
    schedule = InverseRootHorizon(alpha * math.sqrt(T), T)
    theta, chance = enumerate_paths(problem, lam=0.3, schedule=schedule, T=T, theta_1=start)
    gap = float(chance @ problem.f_mix(theta, 0.3) - problem.f_mix(local.theta_star, 0.3))
    off = abs(gap - quadratic_gap(local, start, alpha, T))
    error = quadratic_error(local, start, alpha, T)
    assert off <= sum(error.values())
    assert off > error["drift"] + error["noise"]
    straight = dataclasses.replace(local, skew=0.0, fourth=0.0)
    assert off > sum(quadratic_error(straight, start, alpha, T).values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "options"),
    [
        (table2(), {"lam": 0.5, "alpha0": 2.0, "T": 2000, "theta_1": [1.0]}),
        (table2(), {"lam": 0.3, "alpha0": 2.0, "T": 2000, "theta_1": [1.0]}),
        (noisy(), {"lam": 0.4, "alpha0": 1.5, "T": 1000, "theta_1": [0.0], "stochastic": True}),
    ],
)
def test_the_limit_holds_with_its_error_and_no_other_constant_does(
    problem: Problem, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = alright_price(problem, **options)
    assert (record.verdict, record.evidence) == ("holds", "enumerated"), record
    limit = price_limit(
        LocalConstants.of(problem, options["lam"], stochastic=options.get("stochastic", False)), options["alpha0"]
    )
    assert record.bound < 0.8 * limit
    assert f"its limit is {limit:.6g}" in record.note
    for factor in (0.0, 2.0):
        monkeypatch.setattr(
            price, "price_limit", lambda local, alpha0, factor=factor: factor * price_limit(local, alpha0)
        )
        wrong = alright_price(problem, **options)
        terms = dict(wrong.terms) | {"horizon": record.terms["horizon"]}  # as if the model had that limit, too
        assert dataclasses.replace(wrong, bound=sum(terms.values()), terms=terms).verdict == "fails"


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", ["plane", "space"])
def test_the_limit_is_that_of_runs_in_several_dimensions(name: str) -> None:
    """4000 runs of 4000 steps: the mean is within five standard errors of the limit, and 3 % of O(1/√T)."""
    problem, lam, start = PROBLEMS[name]
    local, T = LocalConstants.of(problem, lam), 4000
    run = simulate(problem, Alright(lam), InverseRootHorizon(1.0, T), theta0=start, steps=T - 1, seeds=range(4000))
    gaps = math.sqrt(T) * (problem.f_mix(run.last, lam) - problem.f_mix(local.theta_star, lam))
    limit, spread = price_limit(local, 1.0), float(gaps.std() / math.sqrt(len(gaps)))
    assert abs(float(gaps.mean()) - limit) <= 5 * spread + 0.03 * limit
    assert 5 * spread < 0.25 * limit  # so a constant that is half or twice as large is refuted


def test_without_conflict_the_coin_has_no_price() -> None:
    """Both objectives have their minimum at 0: each datum and its mirror image."""
    problem = Problem.dpo_sft(
        chosen=[[0.8], [0.0]],
        rejected=[[0.0], [0.8]],
        features=[[[0.0], [0.5]], [[0.5], [0.0]]],
        targets=[0, 0],
        theta_ref=[0.0],
    )
    local = LocalConstants.of(problem, 0.5)
    assert price_limit(local, 3.0) == pytest.approx(0.0, abs=1e-15)
    gaps = [
        alright_price(problem, lam=0.5, alpha0=3.0, T=T, theta_1=[1.0], method="runs", runs=10).attained
        for T in (100, 400, 1600)
    ]
    assert gaps[0] > 30 * gaps[1] > 900 * gaps[2] > 0.0  # beyond any power of T: e^{-2μα0√T}


def test_steps_that_are_too_long_leave_the_record_open() -> None:
    record = alright_price(table2(), lam=0.5, alpha0=60.0, T=9, theta_1=[1.0])
    assert (record.verdict, math.isnan(record.bound)) == ("open", True)
    assert record.note.endswith("the steps are too long for the bound: take a larger T or a smaller alpha0")
    far = alright_price(table2(), lam=0.5, alpha0=1.0, T=9, theta_1=[1e7])
    assert far.verdict == "open"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"T": 1}, "T: must be at least 2, got 1"),
        ({"alpha0": 0}, "alpha0: must be more than 0, got 0"),
        ({"lam": 0.0}, "lam: f_Mix has no minimiser for lam = 0.0"),
    ],
)
def test_wrong_input_names_the_argument(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        alright_price(table2(), **{"lam": 0.5, "alpha0": 1.0, "T": 9, "theta_1": [1.0]} | wrong)
