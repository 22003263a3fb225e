"""Propositions A.1 and A.2: they hold on random problems, by hand, and a wrong constant is caught."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import problem as build
from support.oracle import value
from support.small_problems import hand, plane
from support.strategies import EXTREME, points, problems

from toyopt.examples import random_problem
from toyopt.problem import Problem
from toyopt.theorems import (
    lemma_a5,
    prop_a1,
    prop_a2,
)
from toyopt.theorems.propositions import eigenvalue_tolerance, relative_eigenvalues

TWO = problems(objectives=(2,))


@pytest.mark.slow
@given(st.data())
def test_a1_holds_far_out_too(data: Any) -> None:
    specs = data.draw(problems(objectives=(2,), scales=EXTREME))
    theta = [data.draw(points(specs, scales=(1.0, 1e4)))]
    for record in prop_a1(build(specs), theta, beta=specs[0].beta):
        assert record.verdict == "holds", str(record)


def test_a1_by_hand() -> None:
    """At theta = ±1e3 every datum's gradient is its full row or nothing."""
    records = prop_a1(hand(), [[-1e3], [1e3]], beta=2.0)
    bounds = [4, 16, (16 + 1) / 2, 3, 9, (9 + 0.25) / 2, 12, 144, 6, 36]
    # theta = -1e3: g_DPO -4 and -1, g_SFT 0 and -1/2; theta = 1e3: 0 and 0, 3 and 0.
    attained = [4, 8.5, 8.5, 3, 4.5, 4.5, 4, 8.5, 3, 4.5]
    assert [r.bound for r in records] == bounds
    assert [r.attained for r in records] == pytest.approx(attained, rel=1e-12)
    assert all(sum(r.terms.values()) == r.bound for r in records)
    assert "eq. (20)" in records[0].source
    assert "eq. (21)" in records[3].source


def test_a1_mutants_are_caught() -> None:
    """The constants are approached, so a missing square, C2 for C1, Φ for 2Φ or β left out all fail."""
    own = prop_a1(hand(), [[-1e3], [1e3]], beta=2.0)
    assert own[1].attained > own[0].bound  # the mean of squares is above C1 without its square
    assert own[0].attained > own[3].bound  # C2 for C1
    extreme = Problem.dpo_sft(  # φ and -φ: ‖Δ‖ = 2Φ
        chosen=[[3.0]], rejected=[[-3.0]], features=[[[3.0], [-3.0]]], targets=[0], theta_ref=[0.0], beta=0.5
    )
    paper = prop_a1(extreme, [[-1e3], [1e3]], beta=0.5)[-4:]
    assert [r.attained for r in paper] == pytest.approx([3.0, 9.0, 6.0, 36.0], rel=1e-12)  # 2βΦ, 2Φ and their squares
    assert [r.slack for r in paper] == pytest.approx([0.0] * 4, abs=1e-9)


def test_a1_leaves_out_what_it_cannot_know() -> None:
    assert len(prop_a1(hand(), [[0.0]])) == 8
    assert len(prop_a1(hand(), [[0.0]], beta=2.0)) == 10


@pytest.mark.slow
@given(TWO, st.floats(0, 1), st.sampled_from([0.1, 1.0, 100.0]))
def test_a2_holds(specs: Any, lam: float, scale: float) -> None:
    theta = scale * np.random.default_rng(0).normal(size=(20, len(specs[0].data[0].outputs[0])))
    record = prop_a2(build(specs), theta, lam=lam)
    assert record.verdict == "holds", str(record)


def test_a2_by_hand() -> None:
    """d = 2, both softmaxes even: f_Mix has Hessian λ diag(1,0)/4·(0.6)² + (1-λ) diag(0,1)/4·(0.8)²."""
    p = Problem.dpo_sft(
        chosen=[[0.6, 0.0]],
        rejected=[[0.0, 0.0]],
        features=[[[0.0, 0.8], [0.0, 0.0]]],
        targets=[0],
        theta_ref=[0.0, 0.0],
    )
    a, b = 0.25 * 0.36 / 4, 0.75 * 0.64 / 4
    record = prop_a2(p, [[0.0, 0.0]], lam=0.25)
    assert record.attained == pytest.approx(min(a, b) / (a + b), rel=1e-14)
    assert record.tolerance < 1e-14
    # Far out along the first axis the first softmax is flat: the smallest of the batch counts, not the largest.
    assert prop_a2(p, [[0.0, 0.0], [60.0, 0.0]], lam=0.25).attained < 1e-10


def test_a2_mutants_are_caught() -> None:
    """A difference of the objectives is not convex, and its smallest eigenvalue is seen to be negative."""
    p = random_problem(np.random.default_rng(3), dim=2)
    wrong = p.hessians(np.zeros(2))[0] - p.hessians(np.zeros(2))[1]
    assert relative_eigenvalues(wrong) < -1e3 * eigenvalue_tolerance(2, 40)
    assert relative_eigenvalues(np.zeros((2, 2))) == 0.0
    assert relative_eigenvalues(1e-200 * np.array([[1.0, 2.0], [2.0, 1.0]])) == pytest.approx(-0.5)


def test_the_oracle_agrees_on_f_mix() -> None:
    """What A.5 and A.7 take as f_Mix is the paper's definition, by the independent oracle."""
    from support.strategies import fixed

    specs = fixed(4)
    theta = [0.3, -1.2, 0.8]
    direct_value = 0.3 * value(specs[0], theta) + 0.7 * value(specs[1], theta)
    r = lemma_a5(build(specs), theta, [0.0] * 3, lam=0.3)
    at_zero = 0.3 * value(specs[0], [0.0] * 3) + 0.7 * value(specs[1], [0.0] * 3)
    assert r.attained == pytest.approx(direct_value - at_zero, rel=1e-12)


def test_a1_needs_two_objectives_and_a_feature_bound() -> None:
    p = hand()
    from toyopt.problem import Objective

    plain = tuple(Objective(o.name, o.rows, o.counts, o.origin) for o in p.objectives)
    with pytest.raises(ValueError, match="problem: a feature bound phi is needed"):
        prop_a1(Problem(plain), [0.0])
    three = Problem((*p.objectives, Objective("third", [[1.0]], np.array([1]), np.zeros(1))))
    with pytest.raises(ValueError, match="problem: the paper's two objectives are needed, got 3"):
        prop_a1(three, [0.0])


U = 2.0**-53


def test_tolerances_of_a1_and_a2() -> None:
    """(R + d + 10) u of the bound, twice for squares; (pairs + n + 5 + 10 d) u, m(m+1)/2 pairs to a datum of m rows."""
    for record, rows, power in zip(
        prop_a1(plane(), [0.0, 1.0], beta=0.5),
        (1, 1, 1, 3, 3, 3, 1, 1, 3, 3),
        (1, 2, 2, 1, 2, 2, 1, 2, 1, 2),
        strict=True,
    ):
        assert record.tolerance == pytest.approx(power * (rows + 12) * U * record.bound, rel=1e-12, abs=0)
        assert next(iter(record.terms)).startswith("(") == (power == 2)
    assert prop_a2(plane(), [0.0, 1.0], lam=0.3).tolerance == (1 + 3 + 1 + 2 + 5 + 20) * U


def test_relative_eigenvalues_of_any_symmetric_matrix() -> None:
    """Each matrix by its own trace, or by its largest entry where the trace is 0."""
    small = np.array([[0.2, 1.0], [1.0, 0.2]])
    out = relative_eigenvalues(np.stack([small, 1e-320 * small, np.diag([3.0, -3.0]), np.zeros((2, 2))]))
    assert out == pytest.approx([-2.0, -2.0, -1.0, 0.0], rel=1e-3)
    assert prop_a2(plane(), [0.0, 1.0], lam=0.3).terms == {"zero": 0.0}
