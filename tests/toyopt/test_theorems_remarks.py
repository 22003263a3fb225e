"""Remarks 4.3 and A.4: Pareto optimality with its certificate, where it fails, and what a conflict is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt import Problem, dpo, sft
from toyopt.examples import TABLE3, LowerBound, from_rows, random_problem, table2
from toyopt.minimax import minimise_worst, worst_gap
from toyopt.theorems.pareto.remark_43 import optima_once, pareto_optimal
from toyopt.theorems.pareto.remark_a4 import conflict, no_common_ground, same_input, same_input_is_worst


@given(seed=st.integers(0, 10**6), lam=st.floats(0.05, 0.95), dim=st.integers(1, 3))
def test_a_solution_of_two_objectives_is_pareto_optimal(seed, lam, dim):
    problem = random_problem(np.random.default_rng(seed), dim=dim, n_dpo=5, n_sft=5)
    found = minimise_worst(problem, lam)
    records = pareto_optimal(problem, lam)
    if found.attained:
        assert [r.verdict for r in records] == ["holds", "holds"], records
        assert min(records[0].terms.values()) > 0.0
        # Any θ that were nowhere worse would show here.
        thetas = found.theta + np.random.default_rng(seed + 1).normal(size=(300, dim)) * 0.3
        gains = found.values - problem.values(thetas)
        assert not ((gains.min(axis=1) >= 0) & (gains.max(axis=1) > 1e-9)).any()
    else:
        assert [r.verdict for r in records] == ["open", "open"]


def test_the_multipliers_are_named_and_weighted():
    equal, _ = pareto_optimal(table2(), 0.3)
    theta = minimise_worst(table2(), 0.3).theta
    g = table2().grads(theta)[:, 0]
    by_hand = np.array([-g[1], g[0]]) / (g[0] - g[1])  # p with p·g = 0
    assert [equal.terms["p_dpo"], equal.terms["p_sft"]] == pytest.approx(by_hand, rel=1e-9)
    assert equal.kind == "equal"


def three(third_weight):
    """Two objectives that conflict in θ_1, and a third that falls with θ_2 and is nowhere near the largest gap."""
    return Problem(
        (
            dpo([[1.0, 0.0]], [[0.0, 0.0]], beta=1.0, theta_ref=[1.0, 0.0], name="a"),
            sft([[[0.0, 0.0], [1.0, 0.0]]], [0], name="b"),
            dpo([[0.0, third_weight]], [[0.0, 0.0]], beta=1.0, theta_ref=[0.0, 0.0], name="c"),
        )
    )


def test_with_three_objectives_a_solution_may_be_dominated():
    problem, weights = three(1.0), [0.4, 0.5, 0.1]
    found = minimise_worst(problem, weights)
    better = found.theta + np.array([0.0, 1.0])
    stars = found.f_star
    assert worst_gap(problem, weights, stars, better) == pytest.approx(found.value, rel=1e-12)  # a solution as well
    gain = found.values - problem.values(better)
    assert gain[:2] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert gain[2] > 0.1  # nowhere worse, and better in one: only weakly Pareto optimal
    assert found.multipliers[2] == 0.0
    assert [r.verdict for r in pareto_optimal(problem, weights)] == ["open", "open"]  # no certificate, none claimed


def test_with_a_wrong_optimum_a_solution_of_two_may_be_dominated():
    # f_1 has many minimisers; with f_1* far too low it is all that F sees, and f_2 is left to chance.
    level = sft([[[0.0, 0.0], [1.0, 0.0]]] * 2, [0, 1], name="level")
    other = dpo([[0.0, 1.0]], [[0.0, 0.0]], beta=1.0, theta_ref=[0.0, 0.0], name="other")
    problem = Problem((level, other))
    wrong = minimise_worst(problem, 0.5, [-9.0, 0.0])
    gain = wrong.values - problem.values(wrong.theta + np.array([0.0, 1.0]))
    assert gain[0] == pytest.approx(0.0, abs=1e-14)
    assert gain[1] > 0.1
    assert pareto_optimal(problem, 0.5, [-9.0, 0.0])[0].verdict == "open"


def test_a_point_that_is_not_a_solution_would_fail():
    # What the certificate compares: away from the solution f_Mix,p is above its infimum.
    equal, _ = pareto_optimal(table2(), 0.3)
    share = list(equal.terms.values())
    theta = minimise_worst(table2(), 0.3).theta
    assert float(table2().f_mix(theta + 0.1, share)) > equal.bound + 1e-4
    assert float(table2().f_mix(theta, share[::-1])) != pytest.approx(equal.bound, rel=1e-2)


@pytest.mark.parametrize("lams", [[0.3], [0.1, 0.4, 0.8]])
def test_the_optima_are_computed_once(lams):
    record = optima_once(table2(), lams)
    assert (record.bound, record.attained, record.verdict) == (2.0, 2.0, "holds")
    vectors = [(0.2, 0.3, 0.5), (0.4, 0.4, 0.2)]
    assert optima_once(three(1.0), vectors).attained == 3.0


def test_no_lams_is_an_error():
    with pytest.raises(ValueError, match="lams: is empty"):
        optima_once(table2(), [])
    with pytest.raises(TypeError, match=r"lams: a sequence is needed, got 0\.3"):
        optima_once(table2(), 0.3)


# Remark A.4.


def test_table_2_conflicts_everywhere_and_table_3_does_not():
    assert conflict(table2()).verdict == "holds"
    rows = [o.rows[0] for o in from_rows(TABLE3, theta_ref=[0.0, 0.0]).objectives]
    record = conflict(from_rows(TABLE3, theta_ref=[0.0, 0.0]))
    assert record.verdict == "fails"
    assert record.attained == pytest.approx(-math.cos(math.pi / 4), rel=1e-14)  # 135 degrees
    assert record.attained == pytest.approx(rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1]))


@given(seed=st.integers(0, 10**6), dim=st.integers(1, 5), beta=st.floats(0.1, 3.0))
def test_one_input_with_opposite_labels_conflicts_whatever_the_features(seed, dim, beta):
    rng = np.random.default_rng(seed)
    winner, loser, theta_ref = rng.normal(size=(3, dim))
    problem = same_input(winner, loser, theta_ref=theta_ref, beta=beta)
    assert conflict(problem).verdict == "holds"
    theta = 3 * rng.normal(size=dim)
    g = problem.grads(theta)
    assert g[0] @ g[1] == pytest.approx(-np.linalg.norm(g[0]) * np.linalg.norm(g[1]), rel=1e-9)
    agreeing = same_input(winner, loser, theta_ref=theta_ref, beta=beta, demonstrated="winner")
    assert conflict(agreeing).attained == pytest.approx(1.0, rel=1e-12)


def test_table_2_is_the_same_input_in_all_but_name():
    one = same_input([1.0], [0.5], theta_ref=[5.0])
    for ours, theirs in zip(one.objectives, table2().objectives, strict=True):
        assert np.array_equal(ours.rows, theirs.rows)
        assert np.array_equal(ours.origin, theirs.origin)


def test_common_ground_by_hand():
    # Table 2: κ = 1, K = 5/2, m = 5/4; at λ = ½ the Mix optimum is half way and both gaps are log(1+e^m).
    level, share = no_common_ground(table2(), 0.5)
    assert level.bound == pytest.approx(math.log1p(math.exp(1.25)), rel=1e-15)
    assert level.verdict == share.verdict == "holds"
    assert share.attained == pytest.approx(level.bound, rel=1e-12)
    assert share.bound == pytest.approx(1 / (1 + math.exp(-1.25)), rel=1e-15)


@given(lam=st.floats(0.02, 0.98), beta=st.floats(0.3, 3.0), winner=st.floats(0.2, 2.0), theta_ref=st.floats(-3.0, 5.0))
def test_both_objectives_pay(lam, beta, winner, theta_ref):
    problem = same_input([winner], [0.0], theta_ref=[theta_ref], beta=beta)  # κ = β
    level, share = no_common_ground(problem, lam)
    assert level.verdict == "holds", str(level)
    assert share.verdict == "holds", str(share)
    assert share.bound > 0.0
    # κ and λ are where they belong: min(r, 1/r) with r = λκ/(1-λ).
    m = beta * winner * theta_ref / (1 + beta)
    ratio = lam * beta / (1 - lam)
    assert share.bound == pytest.approx(min(np.logaddexp(0, m), min(ratio, 1 / ratio) / (1 + math.exp(-m))), rel=1e-12)


@given(
    psi=st.floats(-3.1, 3.1),
    steps=st.tuples(st.integers(1, 40), st.integers(1, 300)),
    alpha=st.sampled_from([0.5, 3.0, 16.0]),
    lam=st.floats(0.0, 1.0),
    theta_1=st.floats(0.0, 6.0),
)
def test_the_same_input_is_the_worst_for_sequential(psi, steps, alpha, lam, theta_1):
    record, itself = same_input_is_worst([psi, 0.0], steps=steps, alpha=alpha, lam=lam, theta_1=theta_1)
    assert record.verdict == "holds", str(record)
    assert itself.attained == itself.bound


def test_only_opposite_pulls_leave_a_floor():
    away, itself = same_input_is_worst([0.02, 0.0], steps=(10, 1000), alpha=1.0, lam=0.4, theta_1=1.0)
    assert away.terms["floor"] == 0.0
    assert itself.terms["floor"] > 1.0
    # So the gap to inf f_Mix is not largest there, the value is: a floor of 0 leaves more of it.
    assert away.attained - away.terms["floor"] > itself.attained - itself.terms["floor"]
    assert away.attained < itself.attained


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conflict(random_problem(np.random.default_rng(0))), "problem: one datum with two outputs"),
        (lambda: conflict(three(1.0)), "problem: two objectives are needed, got 3"),
        (lambda: no_common_ground(from_rows(TABLE3, theta_ref=[0, 0]), 0.5), "problem: opposite pulls are needed"),
        (lambda: no_common_ground(table2(), 1.0), "lam: must be less than 1, got 1.0"),
        (lambda: no_common_ground(table2(), 0.0), "lam: must be more than 0, got 0.0"),
        (lambda: same_input([1.0], [1.0], theta_ref=[0.0]), "loser: a feature other than the winner's"),
        (lambda: same_input([1.0], [0.0], theta_ref=[0.0], demonstrated="x"), "demonstrated: 'loser' or 'winner'"),
        (
            lambda: same_input_is_worst([0.1], steps=(1, 1), alpha=17.0, lam=0.5, theta_1=1.0),
            "alpha: at most 4/c² = 16 is needed for Lemma A.3, got 17.0",
        ),
        (
            lambda: same_input_is_worst([0.1], steps=(1, 1), alpha=1.0, lam=0.5, theta_1=-1.0),
            "theta_1: must be at least 0, got -1.0",
        ),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_family_is_the_same_input_at_psi_0():
    steps, alpha, lam = (7, 50), 1.3, 0.35
    (record,) = same_input_is_worst([0.0], steps=steps, alpha=alpha, lam=lam, theta_1=2.0, c=0.7, theta_ref=1.5)
    theta, c = 2.0, 0.7
    for _ in range(7):
        theta += alpha * c / (1 + math.exp(c * (theta - 1.5)))
    for _ in range(50):
        theta -= alpha * c / (1 + math.exp(-c * theta))
    by_hand = float(LowerBound(0.7, 1.5).problem().f_mix([theta], lam))
    assert record.attained == pytest.approx(by_hand, rel=1e-12)
