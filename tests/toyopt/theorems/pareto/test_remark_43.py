"""Remark 4.3: solutions of problem (15) are Pareto optimal, and the optima serve every λ."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from toyopt import Problem, dpo, minimise, sft
from toyopt.examples import random_problem, table2
from toyopt.minimax import minimise_worst, worst_gap
from toyopt.theorems import lemmas
from toyopt.theorems.pareto import remark_43
from toyopt.theorems.pareto.remark_43 import _most_better, optima_once, pareto_optimal


@given(seed=st.integers(0, 10**6), lam=st.floats(0.05, 0.95), dim=st.integers(1, 3))
@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_point_that_is_not_a_solution_would_fail():
    # What the certificate compares: away from the solution f_Mix,p is above its infimum.
    equal, _ = pareto_optimal(table2(), 0.3)
    share = list(equal.terms.values())
    theta = minimise_worst(table2(), 0.3).theta
    assert float(table2().f_mix(theta + 0.1, share)) > equal.bound + 1e-4
    assert float(table2().f_mix(theta, share[::-1])) != pytest.approx(equal.bound, rel=1e-2)


@pytest.mark.slow
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


def even(*weights: float) -> Problem:
    """f_i(θ) = (l(w_i θ_i) + l(-w_i θ_i))/2, even in θ_i, with the minimum log 2 at 0; no other coordinate matters."""
    axes = np.eye(len(weights)) * weights
    parts = [sft([[np.zeros(len(weights)), a]] * 2, [0, 1], name=f"f{i}") for i, a in enumerate(axes)]
    return Problem(tuple(parts))


def value(x: float) -> float:
    return (math.log1p(math.exp(x)) + math.log1p(math.exp(-x))) / 2


def test_both_records_name_their_source():
    equal, upper = pareto_optimal(table2(), 0.3)
    assert [(r.claim, r.kind, r.evidence) for r in (equal, upper)] == [
        ("4.3", "equal", "property"),
        ("4.3", "upper", "property"),
    ]
    for r, words in ((equal, "it is Pareto optimal"), (upper, "for θ nowhere worse")):
        assert r.source == "Remark 4.3 of arXiv 2410.15483v3; docs/theory.md, M8"
        assert words in r.statement
        assert r.verdict == "holds"
    assert equal.terms == upper.terms
    assert sum(equal.terms.values()) == pytest.approx(1.0, rel=1e-15)


@pytest.mark.slow
def test_the_certificate_by_hand(monkeypatch):
    """p ∝ v w; f_Mix,p at the solution, and its infimum; (f_Mix,p - inf)/min p; tolerance gap/(Σ v w) and rounding."""
    f_star, solve = [0.3, 0.1], remark_43.minimise_worst
    found = minimise_worst(table2(), 0.3, f_star)
    p = found.multipliers * [0.3, 0.7]
    p /= p.sum()
    rounding = 1e-14 * (1 + max(abs(v) for v in found.values))
    for shift in (0.002, -0.002):
        monkeypatch.setattr(
            remark_43,
            "minimise_worst",
            lambda *a, shift=shift: dataclasses.replace(solve(*a), theta=found.theta + 0.5, upper=found.lower + shift),
        )
        equal, upper = pareto_optimal(table2(), 0.3, f_star)
        assert list(equal.terms) == ["p_dpo", "p_sft"]
        assert list(equal.terms.values()) == pytest.approx(p.tolist(), rel=1e-14)
        assert equal.attained == pytest.approx(float(table2().f_mix(found.theta + 0.5, p.tolist())), rel=1e-14)
        assert equal.bound == pytest.approx(minimise(table2(), p.tolist()).value, rel=1e-14)
        assert equal.attained - equal.bound > 1e-3
        assert upper.bound == pytest.approx((equal.attained - equal.bound) / p.min(), rel=1e-10)
        assert upper.attained == 0.0
        assert equal.verdict == "fails"  # the difference is more than the certificate's gap explains
        expected = float(lemmas.rounding(table2(), found.theta + 0.5)) + rounding
        assert equal.tolerance == pytest.approx(expected, rel=1e-12, abs=0.0)
        assert upper.tolerance == pytest.approx(expected / p.min(), rel=1e-12, abs=0.0)
    # An infimum that rounding has put above the value bounds nothing by less than 0.
    monkeypatch.setattr(remark_43, "minimise", lambda *_: SimpleNamespace(value=1e9, converged=True))
    assert pareto_optimal(table2(), 0.3, f_star)[1].bound == 0.0


@pytest.mark.parametrize("change", [{"theta": None}, {"multipliers": np.array([0.0, 1.0])}])
def test_without_a_certificate_nothing_is_claimed(monkeypatch, change):
    found = minimise_worst(table2(), 0.3)
    monkeypatch.setattr(remark_43, "minimise_worst", lambda *_: dataclasses.replace(found, **change))
    records = pareto_optimal(table2(), 0.3)
    assert all(math.isnan(v) for r in records for v in (r.bound, r.attained))
    rounding = 1e-14 * (1 + float(found.values.max()))
    least = min(records[0].terms.values()) or 1.0
    assert records[1].tolerance == pytest.approx(rounding / least, rel=1e-12, abs=0.0)


@pytest.mark.slow
def test_a_solver_that_has_not_converged_decides_nothing(monkeypatch):
    """Its gap bounds the difference of both sides at any point, so a tolerance that holds the gap cannot fail."""
    solve = remark_43.minimise_worst

    def stuck(*args):
        found = solve(*args)
        far = found.theta + 3.0
        upper = float(worst_gap(table2(), 0.3, found.f_star, far))
        return dataclasses.replace(found, theta=far, upper=upper, values=table2().values(far), converged=False)

    monkeypatch.setattr(remark_43, "minimise_worst", stuck)
    records = pareto_optimal(table2(), 0.3)
    assert [r.verdict for r in records] == ["open", "open"]
    assert all(r.note.startswith("the solver of (15) has not converged: inf F is in [") for r in records)
    # Converged by its own word, and still no more than its gap explains: open, never "holds".
    monkeypatch.setattr(remark_43, "minimise_worst", lambda *a: dataclasses.replace(stuck(*a), converged=True))
    equal, _ = pareto_optimal(table2(), 0.3)
    assert (equal.verdict, equal.tolerance < 1e-12) == ("open", True)
    assert "above inf f_Mix,p, within the accuracy of the solver" in equal.note
    monkeypatch.setattr(remark_43, "minimise_worst", solve)
    plain = remark_43.minimise
    monkeypatch.setattr(remark_43, "minimise", lambda *a: dataclasses.replace(plain(*a), converged=False))
    assert [r.verdict for r in pareto_optimal(table2(), 0.3)] == ["open", "open"]


def test_a_wrong_weight_is_named():
    for lam in (0.0, [0.2, 0.3, 0.5]):
        with pytest.raises(ValueError, match=r"^lam: "):
            pareto_optimal(table2(), lam)


def test_the_largest_improvement_is_found():
    """From (1, 1) both fall to log 2 at 0: the sum is 2 (f(1) - log 2)."""
    assert _most_better(even(1.0, 1.0), np.array([1.0, 1.0])) == pytest.approx(2 * (value(1.0) - math.log(2)), rel=1e-9)
    steps = value(3.0) + value(0.5) - 2 * math.log(2)
    assert _most_better(even(3.0, 0.5), np.array([1.0, -1.0])) == pytest.approx(steps, rel=1e-7)
    assert _most_better(even(1.0, 1.0), np.array([0.0, 0.0])) == 0.0
    assert _most_better(table2(), np.array([1.0])) == 0.0  # one gains only where the other loses


@pytest.mark.parametrize("step", [1.0, 0.5, 0.1, 1e-2, 1e-3])
def test_what_leaves_the_constraints_is_shortened(monkeypatch, step):
    """The solver's answer may be too far by far: of 1 - s/step, s = 1, 1/2, 1/10, .., the point 0 counts."""
    monkeypatch.setattr(scipy.optimize, "minimize", lambda *_, **__: SimpleNamespace(x=np.array([1 - 1 / step, 1.0])))
    # The second objective gains exactly nothing, and that is nowhere worse.
    assert _most_better(even(1.0, 1.0), np.array([1.0, 1.0])) == pytest.approx(value(1.0) - math.log(2), rel=1e-12)


def test_a_point_that_is_somewhere_worse_does_not_count(monkeypatch):
    monkeypatch.setattr(scipy.optimize, "minimize", lambda *_, **__: SimpleNamespace(x=np.array([0.0, 1.001])))
    assert _most_better(even(1.0, 1.0), np.array([1.0, 1.0])) == 0.0


def test_the_solver_is_given_the_gradients(monkeypatch):
    problem, theta, asked = even(1.5, 0.7), np.array([0.4, -0.9]), {}
    tilted = dpo([[1.5, -0.4]], [[0.0, 0.0]], beta=1.0, theta_ref=[0.2, 0.1], name="tilted")

    def solver(fun, start, **rest):
        asked.update(rest, fun=fun, start=start)
        return SimpleNamespace(x=start)

    monkeypatch.setattr(scipy.optimize, "minimize", solver)
    assert _most_better(problem, theta) == 0.0
    assert asked["start"] is theta
    inequality = asked["constraints"]
    assert (asked["method"], inequality["type"], asked["options"]["ftol"]) == ("SLSQP", "ineq", 1e-15)
    assert asked["options"]["maxiter"] >= 500
    assert inequality["fun"](theta) == pytest.approx([0.0, 0.0], abs=0)
    x, h = np.array([0.1, 0.3]), 1e-6
    assert asked["fun"](x) == pytest.approx(value(0.15) + value(0.21), rel=1e-12)
    assert inequality["fun"](x) == pytest.approx([value(0.6) - value(0.15), value(0.63) - value(0.21)], rel=1e-12)
    assert _most_better(Problem((problem.objectives[1], tilted)), theta) == 0.0
    for fun, jac in ((asked["fun"], asked["jac"]), (asked["constraints"]["fun"], asked["constraints"]["jac"])):
        columns = [(np.array(fun(x + h * e)) - np.array(fun(x - h * e))) / (2 * h) for e in np.eye(2)]
        assert np.asarray(jac(x)) == pytest.approx(np.stack(columns, axis=-1), abs=1e-8)


@pytest.mark.slow
def test_the_count_of_optimisations(monkeypatch):
    record = optima_once(table2(), [0.2, 0.6, 0.7])
    assert (record.claim, record.kind, record.evidence, record.bound, record.attained) == (
        "4.3",
        "equal",
        "property",
        2.0,
        2.0,
    )
    assert record.statement == "n optimisations of a single objective serve 3 λ (n for each would be 6)"
    assert record.source == "Remark 4.3 of arXiv 2410.15483v3; docs/theory.md, M8"
    for lams, error in (([], ValueError), (0.3, TypeError)):
        with pytest.raises(error, match=r"^lams: "):
            optima_once(table2(), lams)
    solve = remark_43.minimise_worst

    def off(problem, lam, f_star=None):
        found, up = solve(problem, lam, f_star), float(f_star is None and lam == 0.6)
        return dataclasses.replace(found, lower=found.lower + up, upper=found.upper + up)

    monkeypatch.setattr(remark_43, "minimise_worst", off)
    another = optima_once(table2(), [0.2, 0.6, 0.7])
    assert (another.attained, another.verdict) == (3.0, "fails")
    monkeypatch.setattr(remark_43, "minimise_worst", lambda *a: dataclasses.replace(solve(*a), converged=a[1] != 0.6))
    assert (optima_once(table2(), [0.2, 0.6]).verdict, optima_once(table2(), [0.2]).verdict) == ("open", "holds")
    # An optimum that is another one near the solution of a λ.
    monkeypatch.setattr(remark_43, "minimise_worst", solve)
    alone = remark_43.minimise
    monkeypatch.setattr(
        remark_43,
        "minimise",
        lambda *a, **k: dataclasses.replace(alone(*a, **k), value=alone(*a, **k).value + 1e-6 * ("near" in k)),
    )
    assert (optima_once(table2(), [0.2, 0.6]).attained, optima_once(table2(), [0.2]).verdict) == (6.0, "fails")
    monkeypatch.setattr(remark_43, "minimise", alone)
    # What is computed once are the infima: here they are not 0.
    seen = []
    monkeypatch.setattr(remark_43, "minimise_worst", lambda *a: seen.append(a[1:]) or solve(*a))
    optima_once(even(2.0, 1.0), [0.25])
    assert seen[0] == (0.25, pytest.approx([math.log(2)] * 2, rel=1e-12))
    assert seen[1:] == [(0.25,)]
