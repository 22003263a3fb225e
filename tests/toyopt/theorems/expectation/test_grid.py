"""Backward induction on a grid: its interval contains the sum over all paths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.small_problems import uneven

from toyopt.algorithms import Constant, InverseRootHorizon, LinearDecay
from toyopt.examples import random_problem, table2
from toyopt.problem import Objective, Problem
from toyopt.theorems import backward_expectation, estimate_expectation, expected_gap
from toyopt.theorems.expectation import grid as backward
from toyopt.theorems.expectation.grid import Curvature, _level, derivative_bounds, grid_rounding, reach
from toyopt.theorems.expectation.paths import branches, enumerate_paths, steps_of

U = 2.0**-53


def options(**changes: Any) -> dict[str, Any]:
    return {"lam": 0.3, "schedule": Constant(0.1), "T": 3, "theta_1": [0.5], **changes}


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


LAM, START = 0.3, [-1.0]


def line(seed: int) -> Problem:
    return random_problem(np.random.default_rng(seed), dim=1, n_dpo=2, n_sft=2)


@pytest.mark.slow
@given(st.integers(0, 10**6), st.floats(0.05, 0.95), st.sampled_from([0.2, 1.0, 4.0]), st.integers(2, 9), st.booleans())
@pytest.mark.oracle
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


@pytest.mark.slow
@pytest.mark.statistical
def test_the_grid_for_thousands_of_steps_agrees_with_runs() -> None:
    """T = 2000, 4000 runs: the two intervals fail to meet with probability 1e-9 at most."""
    options: dict[str, Any] = {"lam": LAM, "schedule": InverseRootHorizon(1.7, 2000), "T": 2000, "theta_1": START}
    grid = backward_expectation(table2(), nodes=4000, **options)
    runs = estimate_expectation(table2(), runs=4000, failure=1e-9, **options)
    assert grid.high - grid.low < 2e-3
    assert max(grid.low, runs.low) <= min(grid.high, runs.high)


@pytest.mark.slow
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


@pytest.mark.slow
def test_slices_give_the_bits_of_look_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short steps move neighbouring nodes into neighbouring cells, long ones do not; clipped images share a cell."""
    shared: dict[str, Any] = {"lam": 0.3, "theta_1": [0.5], "nodes": 1000}
    settings = [(table2(), InverseRootHorizon(1.5, 300), 300), (uneven(), LinearDecay(2.0, 3.0, 40), 40)]
    by_slices = [backward_expectation(p, schedule=schedule, T=T, **shared) for p, schedule, T in settings]
    monkeypatch.setattr(backward, "_MOST_SLICES", 0)
    assert by_slices == [backward_expectation(p, schedule=schedule, T=T, **shared) for p, schedule, T in settings]


def test_pieces_are_the_longest_on_which_cells_follow_one_another() -> None:
    first = np.array([[0, 1, 2, 2, 3, 4], [0, 0, 1, 3, 4, 5]])
    images = np.full(first.shape, -1)
    for i, nodes, cells in backward._pieces(first):
        images[i, nodes] = np.arange(6)[cells]
    assert images.tolist() == first.tolist()
    assert len(backward._pieces(first)) == 2 + 3
