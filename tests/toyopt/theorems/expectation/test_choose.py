"""The choice among all paths, the grid and runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from toyopt.algorithms import Constant, LinearDecay
from toyopt.examples import random_problem, table2
from toyopt.problem import Problem
from toyopt.theorems import (
    Expectation,
    as_sft,
    backward_expectation,
    bounded_differences,
    empirical_bernstein,
    enumerate_expectation,
    estimate_expectation,
    expected_gap,
    worst_case,
)
from toyopt.theorems.expectation import choose
from toyopt.theorems.expectation.paths import enumerate_paths


def options(**changes: Any) -> dict[str, Any]:
    return {"lam": 0.3, "schedule": Constant(0.1), "T": 3, "theta_1": [0.5], **changes}


def line() -> Problem:
    """Two objectives of two data each."""
    return random_problem(np.random.default_rng(1), dim=1, n_dpo=2, n_sft=2)


def test_defaults() -> None:
    """Full gradients, 20000 nodes, 40 log-odds, a loss of 1e-4."""
    p, call = line(), options(T=2)
    assert backward_expectation(p, **call) == backward_expectation(p, **call, stochastic=False, nodes=20_000)
    values = enumerate_expectation(p, lambda theta: theta[:, 0], **call)
    assert (values.size, enumerate_expectation(p, lambda theta: theta[:, 0], **call, stochastic=True).size) == (2, 4)
    case = worst_case([0.5], 1.3, 0.8)
    assert as_sft(case)[1].tolist() == as_sft(case, tie=40.0, loss=1e-4)[1].tolist()


def test_what_is_handed_on_to_the_grid_and_to_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, found = {}, Expectation(3.0, 2.0, 4.0, 0.5, "statistical", 7)

    def way(problem: Problem, **options: Any) -> Expectation:
        asked.update(options, problem=problem)
        return found

    monkeypatch.setattr(choose, "backward_expectation", way)
    monkeypatch.setattr(choose, "estimate_expectation", way)
    p, call = line(), options()
    for method, defaults, others in (
        ("grid", {"nodes": 20_000}, {"nodes": 99}),
        ("runs", {"runs": 20_000, "seed": 0, "failure": 1e-9}, {"runs": 99, "seed": 5, "failure": 0.1}),
    ):
        assert expected_gap(p, **call, method=method) == found  # type: ignore[arg-type]
        assert asked == call | defaults | {"problem": p, "stochastic": False}
        assert expected_gap(p, **call, method=method, value=1.0, stochastic=True, **others).mean == 2.0  # type: ignore[arg-type]
        assert asked == call | others | {"problem": p, "stochastic": True}
        asked.clear()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: backward_expectation(table2(), **options(theta_1=["x"])), "theta_1: not an array"),
        (lambda: backward_expectation(table2(), **options(lam=2)), r"lam: must be in \[0, 1\], got 2"),
        (lambda: enumerate_paths(table2(), **options(theta_1=["x"])), "theta_1: not an array"),
        (lambda: expected_gap(table2(), **options(value=math.inf)), "value: a finite number"),
        (lambda: expected_gap(table2(), **options(T=0)), "T: must be at least 1, got 0"),
        (
            lambda: expected_gap(random_problem(np.random.default_rng(0)), **options(theta_1=[0.0])),
            "theta_1: the last axis",
        ),
    ],
)
def test_a_message_names_the_argument(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        call()


LAM, START = 0.3, [-1.0]


def test_the_evidence_depends_on_the_size() -> None:
    two = random_problem(np.random.default_rng(5), dim=2)
    options: dict[str, Any] = {"lam": LAM, "schedule": Constant(0.1), "theta_1": START, "limit": 2**5}
    assert expected_gap(table2(), T=6, **options).size == 32
    assert expected_gap(table2(), T=7, nodes=100, **options).interval is not None
    options["theta_1"] = [0.0, 1.0]
    assert expected_gap(two, T=7, runs=50, **options).evidence == "statistical"
    assert expected_gap(two, T=7, runs=50, **(options | {"lam": 1.0})).evidence == "enumerated"  # one path


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
