"""Problem (15) by its KKT conditions, in other units, along rays."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from support.rows import of_rows

from toyopt import Problem, minimax, minimise, sft
from toyopt.examples import TABLE3, from_rows, random_problem, table2
from toyopt.minimax import WorstOptimum, _Dual, _equations, _multipliers, minimise_worst, worst_gap
from toyopt.problem import Objective


def assert_optimal(problem: Problem, weights: Any, found: WorstOptimum, decay: float = 0.0, tol: float = 1e-11) -> None:
    """The KKT conditions, which decide for a convex problem: stationary, slack only where the multiplier is 0."""
    assert found.attained
    assert found.converged
    assert found.direction is None
    assert found.theta is not None
    w, v, theta = np.array(weights), found.multipliers, found.theta
    size = float(np.abs(found.f_star).max()) + 1.0
    gaps = w * (problem.values(theta) + decay / 2 * theta @ theta - found.f_star)
    scale = max(float(np.abs(o.rows).max()) for o in problem.objectives) + decay
    assert np.abs(v * w @ (problem.grads(theta) + decay * theta)).max() <= tol * scale
    assert (v >= 0.0).all()
    assert v.sum() == pytest.approx(1.0, rel=1e-14)
    assert (gaps <= found.value + tol * size).all()
    assert (np.abs(gaps - found.value)[v > 0.0] <= tol * size).all()
    assert found.value == found.upper == pytest.approx(gaps.max(), rel=1e-13, abs=1e-15 * size)
    assert abs(found.gap) <= tol * size
    np.testing.assert_allclose(found.values, problem.values(theta), rtol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(6))
def test_the_conditions_that_decide(seed: int, decay: float) -> None:
    """Triangles of rows, which nothing can fall along; with each seed other objectives are active."""
    rng = np.random.default_rng(seed)
    n = 2 + seed % 3
    corners = np.array([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]])
    objectives = [
        of_rows(*(corners * rng.uniform(0.5, 2.0, size=(3, 1))), name=f"o{i}", origin=3 * rng.normal(size=2))
        for i in range(n)
    ]
    problem, weights = Problem(tuple(objectives)), rng.dirichlet(np.full(n, 2.0))
    assert_optimal(problem, weights, minimise_worst(problem, weights.tolist(), weight_decay=decay), decay)
    f_star = rng.normal(size=n)
    assert_optimal(problem, weights, minimise_worst(problem, weights.tolist(), f_star, weight_decay=decay), decay)


@pytest.mark.slow
def test_one_objective_may_decide_alone() -> None:
    """An optimum far too low makes its objective the worst everywhere near its own minimiser."""
    p = Problem((of_rows([1.0], [-2.0], name="a"), of_rows([1.0], [-1.0], name="b", origin=[4.0])))
    for i in (0, 1):
        f_star = [0.0, 0.0]
        f_star[i] = -50.0
        found = minimise_worst(p, 0.4, f_star)
        assert_optimal(p, [0.4, 0.6], found)
        assert found.multipliers.tolist() == np.eye(2)[i].tolist()
        own = minimise(p, float(1 - i))
        assert found.theta == pytest.approx(own.theta, abs=1e-8)
        assert found.value == pytest.approx((0.4, 0.6)[i] * (own.value + 50.0), rel=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-5, 1e-3, 1.0, 1e3])
def test_the_unit_of_length_does_not_matter(unit: float) -> None:
    """Rows u times as long, origins and the minimiser 1/u times as far."""
    rows = np.array([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]])

    def at(u: float) -> WorstOptimum:
        p = Problem((of_rows(*(u * rows), name="a"), of_rows(*(u * rows), name="b", origin=np.array([2.0, 1.0]) / u)))
        return minimise_worst(p, 0.3)

    one, other = at(1.0), at(unit)
    assert other.converged
    assert other.value == pytest.approx(one.value, rel=1e-8)
    assert other.multipliers == pytest.approx(one.multipliers, rel=1e-3)
    assert one.theta is not None
    assert other.theta == pytest.approx(one.theta / unit, rel=1e-3, abs=1e-3 / unit)


@pytest.mark.parametrize("far", [-2000.0, -300.0, 300.0, 2000.0])
def test_the_start_may_be_anywhere(far: float) -> None:
    near, away = minimise_worst(table2(), 0.3), minimise_worst(table2(), 0.3, near=[far])
    assert_optimal(table2(), [0.3, 0.7], away)
    assert away.theta == pytest.approx(near.theta, rel=1e-10)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_multipliers_make_the_gradients_cancel(scale: float) -> None:
    grads = scale * np.array([[1.0, 2.0], [-3.0, -6.0], [5.0, 0.0]])
    assert _multipliers(grads, np.array([1.0, 1.0, 0.9])) == pytest.approx([0.75, 0.25, 0.0], abs=1e-12)
    assert _multipliers(grads, np.array([-1.0, -1.0 - 1.5e-5, -1.1])) == pytest.approx([0.75, 0.25, 0.0], abs=1e-12)
    assert _multipliers(grads, np.array([1.0, 1.0 - 2.5e-5, 0.0])).tolist() == [1.0, 0.0, 0.0]
    # The point of a segment nearest to 0, where nothing cancels: 4 a = 1 (1 - a) for the squares 4 and 1.
    apart = _multipliers(scale * np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([3.0, 3.0]))
    assert apart == pytest.approx([0.2, 0.8], rel=1e-12)
    assert _multipliers(0.0 * grads, np.ones(3)).sum() == pytest.approx(1.0)


def test_closed_means_a_billionth_of_the_values_and_of_the_subtracted_ones() -> None:
    dual = _Dual(table2(), np.array([0.5, 0.5]), np.array([1.0, -3.0]), 0.0)
    values = np.array([-2.0, 0.5])
    for gap, closed in ((5.9e-9, True), (-5.9e-9, True), (6.1e-9, False), (-6.1e-9, False)):
        assert dual.closed(gap, values) is closed
    dual = _Dual(table2(), np.array([0.5, 0.5]), np.array([1.0, -3.0]), 0.5)
    assert dual.gaps(values, np.array([2.0])) == pytest.approx([0.5 * (-2.0 + 1.0 - 1.0), 0.5 * (0.5 + 1.0 + 3.0)])


def pair_and(third: Objective) -> Problem:
    a, b = of_rows([-1.0, 0.0], name="a", origin=[1.0, 0.0]), of_rows([1.0, 0.0], name="b")
    return Problem((a, b, third))


@pytest.mark.parametrize("slope", [1.0, 1e-2, 1e-6])
def test_a_third_that_falls_slowly_is_inactive_at_some_length(slope: float) -> None:
    """log(1 + exp(50 - slope θ_2)) is the largest until θ_2 is about 50/slope; then the infimum is attained."""
    third = of_rows([0.0, -slope], name="third", origin=[0.0, 50.0 / slope])
    p, weights = pair_and(third), [0.4, 0.4, 0.2]
    found = minimise_worst(p, weights)
    assert_optimal(p, weights, found, tol=1e-9)
    assert found.theta is not None
    assert found.theta[0] == pytest.approx(0.5, abs=1e-7)
    assert found.multipliers == pytest.approx([0.5, 0.5, 0.0], abs=1e-7)
    assert found.value == pytest.approx(0.4 * math.log1p(math.exp(0.5)), rel=1e-9)


def test_what_falls_together_is_not_attained() -> None:
    p = from_rows(TABLE3, theta_ref=[1.0, 2.0])
    found = minimise_worst(p, 0.3, [-1.0, -2.0])
    assert (found.attained, found.theta, found.converged) == (False, None, True)
    assert found.direction is not None
    assert found.value == found.lower == pytest.approx(1.4, rel=1e-12)
    assert found.upper == pytest.approx(1.4, rel=1e-12)
    assert found.values.tolist() == [0.0, 0.0]
    assert found.multipliers == pytest.approx([0.0, 1.0], abs=1e-12)
    # A part that stays decides the infimum, and still no θ has it.
    rows = [[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]]
    half = Problem((of_rows(*rows, name="a"), of_rows([0.0, -2.0], name="b")))
    stays = minimise_worst(half, 0.5, [0.0, 0.0])
    assert not stays.attained
    assert stays.value == pytest.approx(0.5 * 2 / 3 * math.log(2.0), rel=1e-12)
    assert stays.values == pytest.approx([2 / 3 * math.log(2.0), 0.0], rel=1e-12)
    with_decay = minimise_worst(half, 0.5, [0.0, 0.0], weight_decay=0.1)
    assert_optimal(half, [0.5, 0.5], with_decay, 0.1)


def test_equal_shares_of_equal_objectives() -> None:
    """Three mirror images by 120°: the minimiser is the centre and all multipliers are 1/3."""
    turn = [np.array([math.cos(a), math.sin(a)]) for a in (0.0, 2 * math.pi / 3, 4 * math.pi / 3)]
    p = Problem(tuple(of_rows(2.0 * u, name=f"o{i}") for i, u in enumerate(turn)))
    found = minimise_worst(p, [1 / 3] * 3, [0.0] * 3, near=[3.0, -1.0])
    assert_optimal(p, [1 / 3] * 3, found)
    assert found.theta == pytest.approx([0.0, 0.0], abs=1e-12)
    assert found.multipliers == pytest.approx([1 / 3] * 3, abs=1e-12)
    assert found.value == pytest.approx(math.log(2.0) / 3, rel=1e-14)


def test_flat_objectives_have_their_value_everywhere() -> None:
    flat = sft([[[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]], [0], name="flat")
    p = Problem((flat, of_rows([0.0, 0.0], name="other")))
    found = minimise_worst(p, 0.25, [0.0, 0.0], near=[5.0, 6.0])
    assert found.attained
    assert found.theta is not None
    assert found.theta.tolist() == [5.0, 6.0]
    assert found.value == pytest.approx(0.75 * math.log(2.0), rel=1e-14)
    assert found.multipliers == pytest.approx([0.0, 1.0])


@pytest.mark.slow
def test_random_problems_with_unequal_weights() -> None:
    for seed in range(4):
        p = random_problem(np.random.default_rng(seed), dim=1 + seed % 2, n_dpo=5, n_sft=6)
        for lam in (0.01, 0.6):
            found = minimise_worst(p, lam)
            assert found.converged
            assert abs(found.gap) <= 1e-11
            if found.attained:
                assert_optimal(p, [lam, 1.0 - lam], found)


def test_messages_name_their_argument() -> None:
    with pytest.raises(ValueError, match=r"^f_star: 2 optima are needed, one an objective, got 1$"):
        worst_gap(table2(), 0.5, [0.0], [0.0])
    with pytest.raises(ValueError, match=r"^f_star: all entries must be finite"):
        worst_gap(table2(), 0.5, [0.0, math.nan], [0.0])
    with pytest.raises(ValueError, match=r"^lam: every weight must be positive \(λ in \(0, 1\)\), got \(1.0, 0.0\)$"):
        worst_gap(table2(), (1.0, 0.0), [0.0, 0.0], [0.0])
    with pytest.raises(ValueError, match=r"^lam: must be in"):
        minimise_worst(table2(), -0.5)
    assert minimise_worst(table2(), 1e-3).converged


@pytest.mark.slow
@pytest.mark.parametrize(("decay", "near"), [(0.1, None), (0.1, [0.25, 7.0]), (0.0, [0.25, 7.0])])
def test_where_the_first_start_fails_the_minimiser_of_the_mixture_is_tried(
    decay: float, near: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start's answer is judged by its certificate: the better one is returned, whichever came first."""
    p = Problem((of_rows([-1.0, 0.0], name="a", origin=[1.0, 0.0]), of_rows([1.0, 0.0], name="b")))
    right = minimise_worst(p, 0.3, weight_decay=decay, near=near)
    tried: list[list[float]] = []

    def answers(dual: Any, start: Any) -> WorstOptimum:
        assert isinstance(dual, _Dual)
        tried.append(start.tolist())
        if len(tried) == good:
            return dataclasses.replace(right, converged=good == 2)
        return dataclasses.replace(right, lower=right.lower + 1.0, converged=False)

    monkeypatch.setattr(minimax, "_epigraph", answers)
    mixture = minimise(p, 0.3, weight_decay=decay, near=near).theta
    assert mixture is not None
    for good in (1, 2):  # noqa: B007 - `answers` reads it
        tried.clear()
        found = minimise_worst(p, 0.3, weight_decay=decay, near=near)
        assert found.lower == right.lower
        assert tried[0] == (near or [0.0, 0.0])
        assert tried[1] == pytest.approx(mixture, rel=1e-8, abs=1e-9)
    monkeypatch.setattr(minimax, "_epigraph", lambda *_: dataclasses.replace(right, converged=False, lower=-7.0))
    assert minimise_worst(from_rows(TABLE3, theta_ref=[0.0, 0.0]), 0.3).lower == -7.0  # there the mixture has none


def test_the_weighted_gap_is_the_value_less_the_given_optima() -> None:
    values = table2().values([1.0])
    for i, f_star in enumerate(([-9.0, 0.25], [0.25, -9.0])):
        by_hand = (0.3, 0.7)[i] * (values[i] + 9.0)
        assert worst_gap(table2(), 0.3, f_star, [1.0]) == pytest.approx(by_hand, rel=1e-15)


def test_what_is_not_attained_has_the_lower_bound_as_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Dual, "value", lambda *_: (-1.0, True))
    found = minimise_worst(from_rows(TABLE3, theta_ref=[1.0, 2.0]), 0.3)
    assert (found.attained, found.value, found.lower, found.upper) == (False, -1.0, -1.0, 0.0)
    assert not found.converged
    assert found.gap == 1.0


@pytest.mark.parametrize("spoil", ["theta", "multipliers"])
def test_a_polish_that_makes_it_worse_is_not_taken(spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLSQP's own point, with multipliers from its gradients, is certified by itself to 1e-6."""
    real = scipy.optimize.root

    def spoilt(function: Any, x: Any, *args: Any, **more: Any) -> Any:
        answer = real(function, x, *args, **more)
        if more.get("method") == "lm":  # d = 1: θ, t, and two multipliers
            answer.x = np.concatenate([x[:1] + 0.5, x[1:]] if spoil == "theta" else [x[:2], [1.5, -0.5]])
        return answer

    monkeypatch.setattr(scipy.optimize, "root", spoilt)
    found = minimise_worst(table2(), 0.3)
    assert abs(found.gap) <= 1e-6
    assert found.multipliers.min() > 0.1


def test_the_equations_of_the_polish_vanish_at_the_optimum_alone() -> None:
    found = minimise_worst(table2(), 0.3)
    assert found.theta is not None
    w = np.array([0.3, 0.7])
    parts: dict[str, Any] = {
        "gaps": lambda theta: w * (table2().values(theta) - found.f_star),
        "grads": lambda theta: w[:, None] * table2().grads(theta),
        "active": np.array([0, 1]),
        "d": 1,
    }
    x = np.concatenate([found.theta, [found.value], found.multipliers])
    np.testing.assert_allclose(_equations(x, **parts), 0.0, atol=1e-12)
    for i in range(4):
        assert np.abs(_equations(x + 0.1 * np.eye(4)[i], **parts)).max() > 1e-3
