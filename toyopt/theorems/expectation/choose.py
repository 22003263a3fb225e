"""The choice among the three methods for E f_Mix(theta_T): all paths, a grid, or independent runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from numpy.typing import ArrayLike

from toyopt import _check
from toyopt.algorithms import Schedule
from toyopt.problem import Problem
from toyopt.theorems.expectation.grid import backward_expectation
from toyopt.theorems.expectation.paths import Expectation, branches, enumerate_expectation
from toyopt.theorems.expectation.sampling import estimate_expectation

Method = Literal["auto", "paths", "grid", "runs"]


def expected_gap(
    problem: Problem,
    *,
    lam: float | Sequence[float],
    schedule: Schedule,
    T: int,
    theta_1: ArrayLike,
    value: float = 0.0,
    stochastic: bool = False,
    method: Method = "auto",
    limit: int = 2**16,
    nodes: int = 20_000,
    runs: int = 20_000,
    seed: int = 0,
    failure: float = 1e-9,
) -> Expectation:
    """Compute E f_Mix,λ(theta_T) - value under ALRIGHT by the strongest method for the problem's size.

    Statement: E over the coins (and data) of f_Mix(theta_T), less `value`, which is f_Mix(theta*) or the infimum.
    Kind: exact up to rounding (paths), an interval that contains it (grid, d = 1), or a confidence interval (runs).
    Source: docs/theory.md, A8 and A9.
    Arguments: value to subtract; method: "auto" takes paths up to `limit` of them, else the grid if d = 1, else runs;
        nodes, for the grid, across the range of theta; runs, seed and failure for the runs.
    Returns: an Expectation. Raises: ValueError or TypeError naming the argument.
    """
    if method not in ("auto", "paths", "grid", "runs"):
        raise ValueError(f"method: 'auto', 'paths', 'grid' or 'runs' is needed, got {method!r}")
    value = _check.real("value", value)
    if method == "auto":
        count = len(branches(problem, lam, stochastic=stochastic)) ** (_check.whole("T", T, low=1) - 1)
        method = "paths" if count <= limit else "grid" if problem.dim == 1 else "runs"
    shared: dict[str, Any] = {"lam": lam, "schedule": schedule, "T": T, "theta_1": theta_1, "stochastic": stochastic}
    if method == "paths":
        exact = enumerate_expectation(problem, lambda theta: problem.f_mix(theta, lam), limit=limit, **shared)
        return exact.minus(value)
    if method == "grid":
        return backward_expectation(problem, nodes=nodes, **shared).minus(value)
    return estimate_expectation(problem, runs=runs, seed=seed, failure=failure, **shared).minus(value)
