"""Optima at the edges: far away, nearly flat, in other units, rank-deficient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from support.rows import of_rows

from toyopt import Problem, minimise, sft
from toyopt.examples import LowerBound, table2
from toyopt.minimax import minimise_worst
from toyopt.optimum import Optimum, _recession, falling_direction, lower_bound_minimiser, pareto_front
from toyopt.problem import Objective

TURN = np.array([[math.cos(0.7), -math.sin(0.7)], [math.sin(0.7), math.cos(0.7)]])


def beside_flat(*rows: Any) -> Problem:
    return Problem((of_rows(*rows), of_rows(np.zeros(len(rows[0])), name="flat")))


@pytest.mark.parametrize("far", [-2000.0, -300.0, 0.0, 300.0, 2000.0])
def test_the_minimiser_is_found_from_anywhere(far: float) -> None:
    """At 300 the curvature is e^-150: an equation solver alone would stay there."""
    found = minimise(table2(), 0.5, near=[far])
    assert found.converged
    assert found.theta == pytest.approx([lower_bound_minimiser(LowerBound(), 0.5)], rel=1e-12)


@pytest.mark.parametrize("lam", [1e-12, 1e-9, 1e-5, 1.0 - 1e-5, 1.0 - 1e-9, 1.0 - 1e-12])
def test_a_minimiser_in_a_nearly_flat_valley_is_exact(lam: float) -> None:
    """There the gradient is below 1e-9 long before the minimiser; each of its two terms is exact to rounding."""
    family = LowerBound(1.0, 2.0)
    found = minimise(family.problem(), lam)
    assert found.attained
    assert found.converged
    assert found.theta == pytest.approx([lower_bound_minimiser(family, lam)], rel=1e-11)


@pytest.mark.parametrize(("decay", "most"), [(1e-3, 25), (1.0, 18), (100.0, 25)])
def test_newton_steps_are_few(decay: float, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong Hessian is made good by more steps, and none by differences; the right one needs a handful from afar."""
    calls = []
    gradient = Objective.grad

    def counted(self: Objective, theta: Any) -> Any:
        calls.append(1)
        return gradient(self, theta)

    monkeypatch.setattr(Objective, "grad", counted)
    p = beside_flat([1.0, 0.5], [-0.5, 2.0], [0.3, -1.0])
    found = minimise(p, 1.0, weight_decay=decay, near=[40.0, -30.0])
    assert found.converged
    assert len(calls) <= most
    assert found.theta is not None
    residual = p.grad_mix(found.theta, 1.0) + decay * found.theta
    assert np.linalg.norm(residual) <= 1e-13 * (1.0 + decay)
    assert found.grad_norm == pytest.approx(np.linalg.norm(residual), abs=1e-15 * (1.0 + decay))


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
def test_rows_that_fall_stay_or_grow_do_so_in_any_unit_and_any_axes(unit: float) -> None:
    """Two rows against each other, one free: only that one falls, the turned pair stays to rounding."""
    rows = unit * np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]) @ TURN.T
    grows = of_rows(-3.0 * rows[2], name="grows")
    p = Problem((of_rows(*rows), grows, of_rows([0.0, 0.0], name="flat")))
    found = minimise(p, (1.0, 0.0, 0.0))
    assert found.direction is not None
    np.testing.assert_allclose(found.direction, -TURN[:, 1], rtol=0, atol=1e-9)
    assert found.value == pytest.approx(2.0 / 3.0 * math.log(2.0), rel=1e-12)
    assert found.values == pytest.approx([found.value, math.inf, math.log(2.0)], rel=1e-12)
    assert found.converged


def triangle(angle: float) -> tuple[Problem, float]:
    """Rows (±1, angle) and (0, -1), and the infimum: by symmetry at θ_1 = 0, p = σ(angle θ_2), 2 p angle = 1 - p'."""

    def slope(t: float) -> float:  # of 2 log(1 + e^{angle t}) + log(1 + e^{-t})
        return 2.0 * angle / (1.0 + math.exp(-angle * t)) - 1.0 / (1.0 + math.exp(t))

    step = scipy.optimize.brentq(slope, 0.0, 200.0, xtol=1e-15, rtol=1e-15)
    value = (2.0 * math.log1p(math.exp(angle * step)) + math.log1p(math.exp(-step))) / 3.0
    return beside_flat([1.0, angle], [-1.0, angle], [0.0, -1.0]), value


@pytest.mark.parametrize("angle", [1e-1, 1e-4, 1e-7, 1e-9, 1e-10, 1e-12, 1e-14])
def test_rows_at_a_tiny_angle_are_right_or_not_converged(angle: float) -> None:
    """The linear program takes an angle of 1e-9 for 0: what it finds there is wrong by up to 0.69."""
    against = beside_flat([1.0, 0.0], [-math.cos(angle), -math.sin(angle)])
    wedge = beside_flat([1.0, angle], [-1.0, angle])
    for problem, value, attained in ((against, 0.0, False), (wedge, 0.0, False), (*triangle(angle), True)):
        found = minimise(problem, 1.0)
        assert found.converged or angle < 1e-7, found
        if found.converged:
            assert found.value == pytest.approx(value, rel=1e-9, abs=1e-9)
            assert found.attained == attained


def test_an_optimum_that_is_not_proven_closes_no_bound() -> None:
    """The dual value is the infimum of a mixture: from a wrong one, both sides could agree on what is false."""
    rows = ([1.0, 1e-12], [-1.0, 1e-12])
    problem = Problem((of_rows(*rows), of_rows(*rows, name="twin")))
    found = minimise_worst(problem, 0.5, [0.0, 0.0])
    assert not found.converged
    assert minimise_worst(beside_flat([1.0, 0.3], [-1.0, 0.3]), 0.5, [0.0, 0.0]).converged


def test_the_lengths_of_rows_do_not_affect_the_falling_set() -> None:
    """Along the first axis a short row falls, a long one does not move, and their lengths are 1e16 apart."""
    for lengths in ((1e-8, 1e8, 1e8), (1e8, 1e-8, 1e-8), (1e8, 1e-8, 1e8)):
        rows = np.array(lengths)[:, None] * [[-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
        direction = falling_direction(rows)
        assert direction is not None
        np.testing.assert_allclose(direction, [1.0, 0.0], atol=1e-9)
        triangle = np.array(lengths)[:, None] * [[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]]
        assert falling_direction(triangle) is None
        assert falling_direction(np.vstack([triangle, np.zeros((1, 2))])) is None


def test_nothing_moves_across_the_span_of_the_rows() -> None:
    """Neither where they have no component, nor where they have one by rounding only."""
    for tilt in (0.0, 1e-14):
        found = minimise(beside_flat([1.0, 0.0], [-2.0, tilt]), 1.0, near=[3.0, 7.0])
        assert found.attained
        assert found.theta is not None
        assert found.theta[1] == pytest.approx(7.0, abs=1e-9)
        assert found.theta[0] == pytest.approx(math.log(2.0) / 1.5, abs=1.0)
        assert abs(float(beside_flat([1.0, 0.0], [-2.0, 0.0]).grad_mix(found.theta, 1.0)[0])) < 1e-12
    # Where they have little more than that, it counts: the minimiser of both pairs is the origin.
    thin = minimise(beside_flat([1.0, 0.0], [-1.0, 0.0], [0.0, 1e-6], [0.0, -1e-6]), 1.0, near=[1.0, 1.0])
    assert thin.theta is not None
    assert thin.theta == pytest.approx([0.0, 0.0], abs=1e-6)


def test_fewer_rows_than_dimensions() -> None:
    p = beside_flat([0.0, 0.0, 0.0])
    found = minimise(p, 1.0, near=[1.0, 2.0, 3.0])
    assert (found.attained, found.grad_norm, found.converged) == (True, 0.0, True)
    assert found.theta is not None
    assert found.theta.tolist() == [1.0, 2.0, 3.0]
    pair = minimise(beside_flat([1.0, 2.0, 2.0], [-1.0, -2.0, -2.0]), 1.0, near=[1.0, 2.0, 2.0])
    assert pair.theta == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    assert pair.grad_norm < 1e-10


def test_one_row_that_falls_is_enough() -> None:
    direction = falling_direction(np.array([[0.0, 0.0], [0.0, 5.0]]))
    assert direction is not None
    np.testing.assert_allclose(direction, [0.0, -1.0], atol=1e-12)


def test_the_part_of_a_datum_that_stays() -> None:
    """Of three answers the third falls away: the mean over data keeps the others, by how many data there are."""
    features = [
        [[0.0, 0.0], [1.0, 0.0], [0.0, -1.0]],
        [[0.0, 0.0], [-1.0, 0.0], [0.0, -1.0]],
        [[0.0, 0.0], [0.0, -2.0]],
    ]
    p = Problem((sft(features, [0, 0, 0]), of_rows([0.0, 0.0], name="flat")))
    found = minimise(p, 1.0)
    assert not found.attained
    assert found.direction is not None
    np.testing.assert_allclose(found.direction, [0.0, 1.0], atol=1e-9)
    assert found.value == pytest.approx(2.0 / 3.0 * math.log(2.0), rel=1e-12)
    assert found.values == pytest.approx([found.value, math.log(2.0)], rel=1e-12)


@pytest.mark.slow
def test_what_converged_means() -> None:
    """A gradient of at most 1e-10 times the longest row, in either unit."""
    assert isinstance(minimise(table2(), 0.5).converged, bool)
    for unit in (1e-6, 1.0, 1e6):
        found = minimise(beside_flat([unit], [-2.0 * unit]), 1.0, near=[1.0 / unit])
        assert isinstance(found, Optimum)
        assert found.converged is True
        assert found.grad_norm <= 2e-10 * unit


def test_the_front_takes_any_sequence_and_whole_numbers() -> None:
    front = pareto_front(table2(), (0.25, 0.75))
    assert front.lam.tolist() == [0.25, 0.75]
    assert front.attained.dtype == bool
    assert pareto_front(table2(), [0, 1]).lam.dtype == np.float64


def test_weight_decay_counts_from_the_origin_and_across_the_span_too() -> None:
    for decay in (0.5, 2.0):
        found = minimise(beside_flat([1.0, 0.0], [-2.0, 0.0]), 1.0, weight_decay=decay, near=[3.0, 7.0])
        assert found.theta is not None
        assert found.theta[1] == pytest.approx(0.0, abs=1e-12)


def test_a_limit_has_no_weight_decay_wherever_it_starts() -> None:
    found = minimise(beside_flat([1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]), 1.0, near=[3.0, 7.0])
    assert not found.attained
    assert found.values == pytest.approx([2.0 / 3.0 * math.log(2.0), math.log(2.0)], rel=1e-12)


def test_a_failed_linear_program_names_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = scipy.optimize.OptimizeResult(status=4, message="numerical difficulties")
    monkeypatch.setattr(scipy.optimize, "linprog", lambda *_, **__: answer)
    _recession.cache_clear()  # the program of these rows may have been solved before
    with pytest.raises(RuntimeError, match=r"^the linear program .* failed: numerical difficulties$"):
        minimise(table2(), 0.5)
