"""Problem (15): closed forms, certificates, infima that are not attained, more than two objectives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt import Problem, dpo, ideal_point, minimise, sft
from toyopt.examples import TABLE3, LowerBound, from_rows, random_problem, table2
from toyopt.minimax import minimise_worst, worst_gap


def pull(vector, origin, name):
    """log(1 + exp(-vectorᵀ(θ - origin))): falls along the vector."""
    return dpo([vector], [np.zeros(len(vector))], beta=1.0, theta_ref=origin, name=name)


def several(rng, n, dim):
    """n random objectives, DPO and SFT by turns."""
    return Problem(
        tuple(
            sft(rng.normal(size=(4, 3, dim)), rng.integers(3, size=4).tolist(), name=f"s{i}")
            if i % 2
            else dpo(
                rng.normal(size=(3, dim)),
                rng.normal(size=(3, dim)),
                beta=0.7,
                theta_ref=rng.normal(size=dim),
                name=f"d{i}",
            )
            for i in range(n)
        )
    )


def test_the_symmetric_case_in_closed_form():
    # λ = ½ on the family: both gaps are log(1 + e^{cθ_ref/2}) at θ_ref/2, by symmetry.
    found = minimise_worst(LowerBound(0.8, 3.0).problem(), 0.5)
    assert found.attained
    assert found.converged
    assert found.theta == pytest.approx([1.5], abs=1e-12)
    assert found.value == pytest.approx(0.5 * math.log1p(math.exp(1.2)), rel=1e-13)
    assert found.multipliers == pytest.approx([0.5, 0.5], abs=1e-12)


@pytest.mark.slow
@given(lam=st.floats(0.02, 0.98), c=st.floats(0.2, 2.0), theta_ref=st.floats(-3.0, 6.0))
def test_the_unequal_case_by_bisection(lam, c, theta_ref):
    problem = LowerBound(c, theta_ref).problem()
    low, high = -200.0 / c, 200.0 / c + theta_ref
    for _ in range(200):  # λ f_DPO falls and (1-λ) f_SFT rises: F is least where they cross
        middle = (low + high) / 2
        f_dpo, f_sft = problem.values([middle])
        low, high = (middle, high) if lam * f_dpo > (1 - lam) * f_sft else (low, middle)
    found = minimise_worst(problem, lam)
    assert found.converged
    assert found.theta == pytest.approx([low], abs=1e-7)
    assert found.value == pytest.approx(float(worst_gap(problem, lam, [0.0, 0.0], [low])), rel=1e-11)
    assert found.value == found.upper


problems = st.builds(
    lambda seed, dim, n, m: random_problem(np.random.default_rng(seed), dim=dim, n_dpo=n, n_sft=m),
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 6),
)


@pytest.mark.slow
@given(problem=problems, lam=st.floats(0.03, 0.97), seed=st.integers(0, 10**6))
def test_two_objectives_are_certified_and_unbeaten(problem, lam, seed):
    found = minimise_worst(problem, lam)
    assert found.converged
    assert abs(found.gap) <= 1e-9
    assert found.f_star == pytest.approx(ideal_point(problem), abs=1e-12)
    thetas = 5 * np.random.default_rng(seed).normal(size=(200, problem.dim))
    assert worst_gap(problem, lam, found.f_star, thetas).min() >= found.value - 1e-9
    if found.attained:
        assert found.value == pytest.approx(float(worst_gap(problem, lam, found.f_star, found.theta)), abs=1e-12)
        near = found.theta + 1e-3 * thetas
        assert worst_gap(problem, lam, found.f_star, near).min() >= found.value - 1e-9


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), n=st.integers(3, 5), dim=st.integers(1, 3), spread=st.sampled_from([0.0, 0.5, 3.0]))
def test_more_objectives_and_wrong_optima_are_certified_too(seed, n, dim, spread):
    rng = np.random.default_rng(seed)
    problem = several(rng, n, dim)
    weights = rng.dirichlet(np.full(n, 2.0)).tolist()
    f_star = ideal_point(problem) + spread * rng.normal(size=n)
    found = minimise_worst(problem, weights, f_star)
    assert found.converged, found
    assert abs(found.gap) <= 1e-8 * (1 + np.abs(f_star).max())
    assert found.multipliers.min() >= 0.0
    assert found.multipliers.sum() == pytest.approx(1.0, abs=1e-12)
    pair = Problem(problem.objectives[:2])
    assert minimise_worst(pair, 0.4, f_star[:2]).converged


def test_the_dual_is_a_lower_bound_by_hand():
    found = minimise_worst(table2(), 0.3)
    share = found.multipliers * [0.3, 0.7]
    by_hand = share.sum() * minimise(table2(), (share / share.sum()).tolist()).value
    assert found.lower == pytest.approx(by_hand, rel=1e-12)
    gradient = found.multipliers * [0.3, 0.7] @ table2().grads(found.theta)
    assert gradient == pytest.approx([0.0], abs=1e-12)


def test_an_ideal_point_in_the_limit_is_not_attained():
    # Table 3: both objectives fall to 0 along one direction, and no θ has either value.
    found = minimise_worst(from_rows(TABLE3, theta_ref=[1.0, 2.0]), 0.3)
    assert not found.attained
    assert found.theta is None
    assert (found.value, found.lower, found.upper) == (0.0, 0.0, 0.0)
    u = found.direction
    assert u @ [0.5, 0.5] > 0 > u @ [0.5, 0.0]
    far = worst_gap(from_rows(TABLE3, theta_ref=[1.0, 2.0]), 0.3, [0.0, 0.0], 1000 * u)
    assert far < 1e-50


def test_three_that_fall_together_are_not_attained_either():
    problem = Problem((*from_rows(TABLE3, theta_ref=[1.0, 2.0]).objectives, pull([0.0, 1.0], [0.0, 0.0], "third")))
    found = minimise_worst(problem, [0.2, 0.3, 0.5])
    assert not found.attained
    assert found.theta is None
    assert found.value == 0.0
    assert worst_gap(problem, [0.2, 0.3, 0.5], found.f_star, 1000 * found.direction) < 1e-50
    # One that stays at its level takes nothing away from it: the infimum is its weighted gap.
    level = sft([[[0.0, 0.0], [1.0, 2.0]]] * 2, [0, 1], name="level")
    beside = minimise_worst(Problem((*problem.objectives[:1], level)), [0.2, 0.8], [0.0, 0.0])
    assert beside.value == pytest.approx(0.8 * math.log(2.0), rel=1e-9)


def test_weight_decay_makes_it_attained():
    problem = from_rows(TABLE3, theta_ref=[1.0, 2.0])
    found = minimise_worst(problem, 0.3, weight_decay=1e-2)
    assert found.attained
    assert found.converged
    regular = problem.values(found.theta) + 0.5e-2 * found.theta @ found.theta
    gaps = np.array([0.3, 0.7]) * (regular - found.f_star)
    assert gaps == pytest.approx([found.value] * 2, rel=1e-9)
    assert found.values == pytest.approx(problem.values(found.theta), rel=1e-14)
    own = [minimise(problem, w, weight_decay=1e-2).value for w in (1.0, 0.0)]
    assert found.f_star == pytest.approx(own, rel=1e-14)


@pytest.mark.slow
def test_an_attained_infimum_beside_an_objective_that_falls_for_ever():
    # The third objective falls along its own axis and does not matter: the infimum is attained at any far point.
    third = pull([0.0, -1.0], [0.0, 0.0], "third")
    problem = Problem((pull([1.0, 0.0], [1.0, 0.0], "a"), pull([-1.0, 0.0], [0.0, 0.0], "b"), third))
    found = minimise_worst(problem, [0.4, 0.5, 0.1])
    assert found.attained
    assert found.multipliers[2] == 0.0
    pair = minimise_worst(Problem(problem.objectives[:2]), 4 / 9)
    assert found.value == pytest.approx(0.9 * pair.value, rel=1e-10)
    # Two objectives with one optimum far too low: the other one is at most as large at the first one's minimiser.
    level = Problem((sft([[[0.0, 0.0], [1.0, 0.0]]] * 2, [0, 1], name="level"), third))
    edge = minimise_worst(level, 0.5, [0.0, 0.0])
    assert edge.attained
    assert edge.multipliers == pytest.approx([1.0, 0.0])
    assert edge.value == pytest.approx(0.5 * math.log(2.0), rel=1e-12)
    assert not minimise_worst(level, 0.5).attained  # with the true optima it is 0, in the limit only


@pytest.mark.parametrize("gentle", [1.0, 0.1, 1e-3])
def test_straight_lines_that_cross(gentle):
    # All θ minimise the mixture at which slopes cancel, so the dual weights alone would not find the crossing.
    slow = pull([gentle], [10.0 + 50.0 / gentle], "slow")
    found = minimise_worst(Problem((slow, pull([-5.0], [0.0], "steep"))), 0.5, [0.0, 0.0])
    assert found.converged
    assert found.theta == pytest.approx([10.0], abs=1e-8)
    assert found.value == pytest.approx(25.0, rel=1e-9)
    assert found.multipliers == pytest.approx([5 / (5 + gentle), gentle / (5 + gentle)], rel=1e-6)


def test_near_picks_among_minimisers():
    problem = Problem((pull([1.0, 0.0], [1.0, 0.0], "a"), pull([-1.0, 0.0], [0.0, 0.0], "b")))
    one, other = minimise_worst(problem, 0.3), minimise_worst(problem, 0.3, near=[0.0, 7.0])
    assert (one.theta[1], other.theta[1]) == (0.0, 7.0)
    assert one.value == pytest.approx(other.value, rel=1e-12)


def test_worst_gap_is_the_larger_weighted_gap():
    f_dpo, f_sft = table2().values([1.0])
    for lam, f_star in ((0.3, [0.1, 0.0]), (0.9, [0.0, 0.2])):
        by_hand = max(lam * (f_dpo - f_star[0]), (1 - lam) * (f_sft - f_star[1]))
        assert worst_gap(table2(), lam, f_star, [1.0]) == pytest.approx(by_hand, rel=1e-15)
    assert worst_gap(table2(), 0.3, [0, 0], np.zeros((4, 5, 1))).shape == (4, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lam": 1.0}, "lam: every weight must be positive"),
        ({"lam": 1.5}, r"lam: must be in \[0, 1\], got 1.5"),
        ({"lam": 0.3, "f_star": [0.0, 0.0, 0.0]}, "f_star: 2 optima are needed, one an objective, got 3"),
        ({"lam": 0.3, "f_star": [math.inf, 0.0]}, "f_star: all entries must be finite"),
        ({"lam": 0.3, "weight_decay": -1.0}, "weight_decay: must be at least 0, got -1.0"),
        ({"lam": 0.3, "near": [0.0, 0.0]}, "near: the last axis must be d = 1"),
    ],
)
def test_wrong_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        minimise_worst(table2(), **arguments)
