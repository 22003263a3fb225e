"""What mutants of exact expectations and worst cases showed to be untested: recursions' numbers, grids, tolerances."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest

from toyopt.algorithms import Constant, LinearDecay
from toyopt.examples import random_problem, table2
from toyopt.problem import Objective, Problem
from toyopt.theorems import (
    Expectation,
    as_sft,
    backward_expectation,
    enumerate_expectation,
    expected_gap,
    worst_case,
)
from toyopt.theorems.alright.last_iterate import potentials
from toyopt.theorems.alright.worst_case import WorstCase, _judged, _roots, _tolerance, resisting
from toyopt.theorems.expectation import grid as backward
from toyopt.theorems.expectation import sampling as confidence
from toyopt.theorems.expectation.grid import Curvature, _level, derivative_bounds, grid_rounding, reach
from toyopt.theorems.expectation.paths import branches, enumerate_paths, steps_of

U = 2.0**-53


def options(**changes: Any) -> dict[str, Any]:
    return {"lam": 0.3, "schedule": Constant(0.1), "T": 3, "theta_1": [0.5], **changes}


def uneven() -> Problem:
    """d = 1: rows 2 and -1 (two data), and 3, 1 (one datum, width 3): slopes 2 and 3."""
    return Problem(
        (
            Objective("first", [[2.0], [-1.0]], np.array([1, 1]), np.array([4.0])),
            Objective("second", [[3.0], [1.0]], np.array([2]), np.array([-5.0])),
        )
    )


def line() -> Problem:
    """Two objectives of two data each."""
    return random_problem(np.random.default_rng(1), dim=1, n_dpo=2, n_sft=2)


def test_curvature_of_data_of_different_widths() -> None:
    """Widths 2 and 1: means of w²/4 and of w³/(6√3), and the largest width."""
    first, second = (Curvature.of(o) for o in uneven().objectives)
    assert (first.slope, first.smooth, first.width) == (2.0, 5 / 8, 2.0)
    assert first.third == pytest.approx(4.5 / (6 * math.sqrt(3)), rel=1e-14)
    assert (second.slope, second.smooth, second.width) == (3.0, 9 / 4, 3.0)


def test_derivative_bounds_where_steps_are_too_long_for_the_level() -> None:
    """alpha L = 1.5 and 4.5 for the one of 9/4, 1.25 for the other, which the last step alone keeps below 1.

    Where q is 1 for both a step adds alpha sup|f'''| sup|V'|; where it is 3.5, V' and V'' grow with q and q².
    """
    p, weights = uneven(), (0.25, 0.75)
    third = 0.25 * 4.5 / (6 * math.sqrt(3)), 0.75 * 27 / (6 * math.sqrt(3))
    slope, bend = 0.25 * 2 + 0.75 * 3, 0.25 * 5 / 8 + 0.75 * 9 / 4
    first, second = derivative_bounds(branches(p, 0.25), weights, p.objectives, np.array([2.0, 2 / 3, 2.0, 0.1]))
    level = _level(bend, 3 * slope / (1 - 0.1 * 9 / 4))
    V1, V2 = [slope, slope], [bend, min(level, bend + 0.1 * sum(third) * slope)]
    for a, q in ((2.0, 3.5), (2 / 3, 1.0), (2.0, 3.5)):
        V2.append(0.25 * V2[-1] + 0.75 * q**2 * V2[-1] + a * sum(third) * V1[-1])
        V1.append((0.25 + 0.75 * q) * V1[-1])
    assert first[::-1] == pytest.approx(V1, rel=1e-13)
    assert second[::-1] == pytest.approx(V2, rel=1e-13)


def test_derivative_bounds_stop_at_the_level_of_the_longest_step_so_far() -> None:
    """Table 2: L = M2 = 1/16, width M1 = 1/2. After many steps with alpha L <= r < 1 only the level counts."""
    p, alphas = table2(), np.concatenate([np.full(50, 2.0), np.full(50, 8.0), np.full(50, 4.0)])
    first, second = derivative_bounds(branches(p, 0.25), (0.25, 0.75), p.objectives, alphas)
    assert first == pytest.approx(np.full(151, 0.5), rel=1e-13)
    assert second[0] == second[51] == pytest.approx(_level(1 / 16, 0.25 / (1 - 1 / 2)), rel=1e-13)
    assert second[101] == pytest.approx(_level(1 / 16, 0.25 / (1 - 1 / 4)), rel=1e-13)
    assert second[150] == 1 / 16
    for share in (1.0, 1.5):  # no level
        longer = derivative_bounds(branches(p, 0.25), (0.25, 0.75), p.objectives, np.full(100, 16 * share))[1]
        assert longer[0] == pytest.approx(1 / 16 + 100 * 16 * share * 0.5 / (48 * math.sqrt(3)), rel=1e-12)


def test_the_level_is_the_largest_value() -> None:
    """max over J in [0, 1] of m2 J² + κ J (1-J), on both sides of κ = 2 m2; and for a flat function 0."""
    J = np.linspace(0, 1, 100_001)
    for kappa in (0.5, 1.9, 2.1, 2.5, 2.9, 8.0):
        assert _level(1.0, kappa) == pytest.approx((J**2 + kappa * J * (1 - J)).max(), rel=1e-9)
    assert _level(0.0, 0.0) == 0.0


def test_the_grids_rounding_by_hand() -> None:
    """4 rows, the larger slope 3, the larger origin 5; |V| <= 6, |x| <= 7, 2 steps, Σ alpha = 1.5, |V'| <= 11, 2 at T.

    Steps: 8 u of 2 x 6, and 11 times 4 u of 2 x 7 and 8 u of 1.5 x 3; the end: (8+4) u of 6 + 2 x 7 + 3 x 5; times 4.
    """
    x, V, alphas = np.array([-7.0, 2.0]), np.array([1.0, -6.0]), np.array([1.0, 0.5])
    expected = 4 * U * (8 * 2 * 6 + 11 * (4 * 2 * 7 + 8 * 1.5 * 3) + 12 * (6 + 2 * 7 + 3 * 5))
    assert grid_rounding(uneven(), x, V, alphas, np.array([11.0, 5.0, 2.0])) == pytest.approx(
        expected, rel=1e-14, abs=0
    )


@pytest.mark.parametrize("T", [2, 6])
def test_the_grids_interval_is_its_mean_and_the_stated_error(T: int) -> None:
    """(h²/8) Σ_{t>=2} sup|V_t''|, h a `nodes`-th of what theta can reach; rounding is 1e-9 of it here."""
    p, alphas = table2(), np.full(T - 1, 3.0)
    grid = backward_expectation(p, **options(schedule=Constant(3.0), T=T, nodes=20))
    ends = reach(branches(p, 0.3), alphas, 0.5)
    second = derivative_bounds(branches(p, 0.3), (0.3, 0.7), p.objectives, alphas)[1]
    error = ((ends.max() - ends.min()) / 20) ** 2 / 8 * second[1:].sum()
    assert (grid.high - grid.mean, grid.mean - grid.low) == pytest.approx((error, error), rel=1e-7)
    assert (grid.failure, grid.evidence) == (0.0, "enumerated")


def test_one_iterate_needs_one_node_and_has_only_rounding() -> None:
    p = table2()
    grid = backward_expectation(p, **options(T=1))
    V, x = p.f_mix(np.array([[0.5]]), 0.3), np.array([0.5])
    error = grid_rounding(p, x, V, np.array([]), np.array([0.5]))
    assert grid.size == 1
    assert (grid.low, grid.mean, grid.high) == (V[0] - error, V[0], V[0] + error)


@pytest.mark.parametrize(("start", "size"), [(0.0, 7), (4000.0, 6), (-4000.0, 6)])
def test_a_cell_is_at_least_a_1e9th_of_the_start(start: float, size: int) -> None:
    """One step of 4.5 such cells in all: from 0 2.25 cells to either side, far out all to one. No node besides."""
    up, down = (Objective(f"{a}", [[a]], np.array([1]), np.zeros(1)) for a in (1.0, -1.0))
    alpha = 4.5e-9 * max(1.0, abs(start))
    grid = backward_expectation(
        Problem((up, down)), **options(schedule=Constant(alpha), T=2, theta_1=[start], nodes=16)
    )
    assert grid.size == size


def test_what_is_reached_at_alpha_l_equal_to_1_is_the_hull_of_the_paths() -> None:
    """Table 2: L = 1/16, so that maps with alpha = 16 still increase."""
    left, right = reach(branches(table2(), 0.4), np.full(3, 16.0), 0.3)[-1].tolist()
    theta, _ = enumerate_paths(table2(), lam=0.4, schedule=Constant(16.0), T=4, theta_1=[0.3])
    assert (left, right) == pytest.approx((theta.min(), theta.max()), rel=1e-12)


def test_as_many_nodes_as_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    call = options(schedule=Constant(3.0), T=5, nodes=50, theta_1=[-200.0])
    size = backward_expectation(table2(), **call).size
    monkeypatch.setattr(backward, "_MAX_NODES", size - 1)
    assert backward_expectation(table2(), **call).size == size
    monkeypatch.setattr(backward, "_MAX_NODES", size - 2)
    with pytest.raises(ValueError, match=f"nodes: the grid would have more than {size - 2} nodes; give fewer"):
        backward_expectation(table2(), **call)


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

    monkeypatch.setattr(backward, "backward_expectation", way)
    monkeypatch.setattr(confidence, "estimate_expectation", way)
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


# Worst cases


@pytest.mark.parametrize("steps", [[0.3], [0.9, 0.1, 0.4, 0.3], [4.0, 1.0, 9.0, 2.0, 2.0], [0.01, 0.02]])
@pytest.mark.parametrize("share", [0.5, 1.0, 1.01, 3.0, 50.0])
def test_the_roots_solve_their_equations(steps: list[float], share: float) -> None:
    """b_1² = B = max(D/C, m_1²), here on both sides; then b_{k+1} + alpha_k/b_{k+1} = b_k, and the larger root."""
    least = potentials(np.array(steps))[0] ** 2
    b = _roots(np.array(steps), 0.8 * share * least, 0.8)
    assert b[0] ** 2 == pytest.approx(max(share, 1.0) * least, rel=1e-14)
    assert b[1:] + np.array(steps) / b[1:] == pytest.approx(b[:-1], rel=1e-14)
    assert (b[1:] >= np.sqrt(steps) * (1 - 1e-14)).all()


@pytest.mark.parametrize("steps", [[0.2], [0.6], [2.4], [2.8, 0.7], [5.2, 1.3]])
def test_double_roots_are_not_taken_of_rounding(steps: list[float]) -> None:
    """Where B is the least possible and m_{k+1} = √alpha_k, or the last step: √alpha_k to some ulp, not to √u."""
    m = potentials(np.array(steps))
    assert _roots(np.array(steps), float(m[0] ** 2), 1.0)[1:] == pytest.approx(np.sqrt(steps), rel=4 * U)


def test_as_many_steps_as_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("toyopt.theorems.alright.worst_case"), "_MOST", 4)
    for function in (worst_case, resisting):
        assert len(function([0.1, 0.2, 0.3], 1.0, 1.0).start) == 4
        with pytest.raises(ValueError, match=r"^alphas: at most 3 step sizes, .*, got 4$"):
            function([0.1, 0.2, 0.3, 0.4], 1.0, 1.0)


@pytest.mark.parametrize(("share", "honest"), [(0.98, True), (1.02, False)])
def test_a_gradient_may_miss_by_its_rounding(share: float, honest: bool) -> None:
    """C = 3, pieces 3 x_k, T = 4, x within 6: at the first iterate the wanted piece is too low by 64 T² u C 6."""
    below = share * 64 * 16 * U * 3 * 6 / 3
    case = WorstCase(3 * np.eye(4), np.array([-below, 0.0, 0.0, 0.0]), np.array([2.0, 2.0, 2.0]))
    assert math.isnan(_judged(case, 0.5, 3.0)) != honest
    assert math.isnan(_judged(resisting([2.0, 2.0], 1.0, 3.0), 0.5, 3.0 / (1 + share * 1e-9))) != honest


def test_without_a_step_there_is_nothing_to_miss() -> None:
    assert _judged(WorstCase(np.eye(1), np.zeros(1), np.zeros(0)), 0.0, 1.0) == 0.0


def test_the_tolerance_of_a_worst_case_by_hand() -> None:
    """64 T u C (D + C Σ alpha): T = 3, C = 4, D = 7, Σ alpha = 0.5."""
    case = resisting([0.3, 0.2], 7.0, 4.0)
    assert _tolerance(case, 7.0, 4.0) == pytest.approx(64 * 3 * U * 4 * (7 + 4 * 0.5), rel=1e-14, abs=0)


def test_the_stretch_of_a_worst_case_by_hand() -> None:
    """S = (tie T + log(T+1))/(loss gap): of steps and start; the margins at the start then fall by `tie` each."""
    case = worst_case([0.5, 0.25], 1.3, 0.8)
    problem, theta, steps = as_sft(case, tie=0.5, loss=0.1)
    S = (0.5 * 3 + math.log(4)) / (0.1 * case.gap)
    assert steps == pytest.approx(S * case.alphas, rel=1e-14)
    assert case.gradients @ (theta - S * case.start) == pytest.approx([0.0, -0.5, -1.0], abs=1e-12)
    assert problem.f_sft(theta) == pytest.approx(math.log1p(np.exp(case.gradients @ theta).sum()), rel=1e-12)
