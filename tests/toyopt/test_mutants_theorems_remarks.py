"""What mutants showed to be untested of Remarks 4.3 and A.4: records, tolerances, messages, and the search by hand."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize

from toyopt import Problem, dpo, minimise, sft
from toyopt.examples import table2
from toyopt.minimax import minimise_worst
from toyopt.theorems.pareto import remark_43
from toyopt.theorems.pareto.remark_43 import _most_better, optima_once, pareto_optimal
from toyopt.theorems.pareto.remark_a4 import conflict, no_common_ground, same_input, same_input_is_worst


def even(*weights: float) -> Problem:
    """f_i(θ) = (l(w_i θ_i) + l(-w_i θ_i))/2, even in θ_i, with the minimum log 2 at 0; no other coordinate matters."""
    axes = np.eye(len(weights)) * weights
    parts = [sft([[np.zeros(len(weights)), a]] * 2, [0, 1], name=f"f{i}") for i, a in enumerate(axes)]
    return Problem(tuple(parts))


def value(x: float) -> float:
    return (math.log1p(math.exp(x)) + math.log1p(math.exp(-x))) / 2


# Remark 4.3


def test_both_records_say_where_they_come_from():
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
        share = float(found.multipliers @ [0.3, 0.7])
        assert equal.tolerance == pytest.approx(rounding + max(shift, 0.0) / share, rel=1e-9, abs=0.0)
        assert upper.tolerance == pytest.approx(rounding / p.min(), rel=1e-12, abs=0.0)
    # An infimum that rounding has put above the value bounds nothing by less than 0.
    monkeypatch.setattr(remark_43, "minimise", lambda *_: SimpleNamespace(value=1e9))
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
        found = solve(problem, lam, f_star)
        return dataclasses.replace(found, value=found.value + (f_star is None and lam == 0.6))

    monkeypatch.setattr(remark_43, "minimise_worst", off)
    assert math.isnan(optima_once(table2(), [0.2, 0.6, 0.7]).attained)
    # What is computed once are the infima: here they are not 0.
    seen = []
    monkeypatch.setattr(remark_43, "minimise_worst", lambda *a: seen.append(a[1:]) or solve(*a))
    optima_once(even(2.0, 1.0), [0.25])
    assert seen[0] == (0.25, pytest.approx([math.log(2)] * 2, rel=1e-12))
    assert seen[1:] == [(0.25,)]


# Remark A.4


def test_the_same_input_by_hand():
    problem = same_input([1.0, 2.0], [0.0, 0.5], theta_ref=[3.0, 1.0], beta=2.0)
    assert [o.rows.tolist() for o in problem.objectives] == [[[-2.0, -3.0]], [[1.0, 1.5]]]
    assert problem.objectives[0].origin.tolist() == [3.0, 1.0]
    agreeing = same_input([1.0, 2.0], [0.0, 0.5], theta_ref=[3.0, 1.0], demonstrated="winner")
    assert [o.rows.tolist() for o in agreeing.objectives] == [[[-1.0, -1.5]], [[-1.0, -1.5]]]
    assert same_input([1.0, 2.0], [1.0, 0.5], theta_ref=[0.0, 0.0]).dim == 2  # alike in one coordinate only


def test_a_conflict_says_where_it_comes_from():
    record = conflict(same_input([1.0, 2.0, 0.0], [0.0, 0.5, 4.0], theta_ref=[0.0, 0.0, 0.0], beta=3.0))
    assert (record.claim, record.kind, record.evidence, record.bound) == ("A.4", "equal", "property", -1.0)
    assert record.statement == "cos(∇f_DPO, ∇f_SFT) = -1 at every θ"
    assert record.source == "Remark A.4 of arXiv 2410.15483v3; docs/theory.md, M9"
    assert record.tolerance == 20 * 2.0**-53
    assert record.attained == pytest.approx(-1.0, abs=record.tolerance)


def unequal() -> Problem:
    """κ = 3 and m = 3/4 · 2 = 3/2: rows -3 b and b = (1, 0), θ_ref = (2, 5)."""
    return same_input([1.0, 0.0], [0.0, 0.0], theta_ref=[2.0, 5.0], beta=3.0)


@pytest.mark.parametrize("lam", [0.1, 0.25, 0.6, 0.9])
def test_no_common_ground_by_hand(lam):
    level, share = no_common_ground(unequal(), lam)
    m = 1.5
    top, ratio = math.log1p(math.exp(m)), 3 * lam / (1 - lam)
    assert level.bound == pytest.approx(top, rel=1e-14)
    assert level.attained == pytest.approx(top, rel=1e-9)
    assert level.terms == {"log(1+e^m)": level.bound}
    assert share.bound == pytest.approx(min(top, min(ratio, 1 / ratio) / (1 + math.exp(-m))), rel=1e-14)
    assert share.attained == pytest.approx(float(minimise(unequal(), lam).values.min()), rel=1e-12)
    assert [(r.claim, r.evidence, r.verdict) for r in (level, share)] == [("A.4", "property", "holds")] * 2
    assert [r.kind for r in (level, share)] == ["equal", "lower"]
    assert "min_θ max(f_DPO, f_SFT)" in level.statement
    assert "both gaps at argmin" in share.statement
    assert {r.source for r in (level, share)} == {"Remark A.4 of arXiv 2410.15483v3; docs/theory.md, M9"}
    assert share.tolerance == pytest.approx(1e-12 * (1 + top), rel=1e-12, abs=0.0)
    gap = abs(minimise_worst(unequal(), 0.5, [0.0, 0.0]).gap)
    assert level.tolerance == pytest.approx(1e-12 * (1 + top) + 2 * gap, rel=1e-12, abs=0.0)


def test_the_certificates_gap_is_part_of_the_tolerance(monkeypatch):
    def apart(*args):
        found = minimise_worst(*args)
        return dataclasses.replace(found, upper=found.lower - 0.25)

    monkeypatch.setattr("toyopt.theorems.pareto.remark_a4.minimise_worst", apart)
    assert no_common_ground(unequal(), 0.3)[0].tolerance == pytest.approx(0.5, rel=1e-9)


def test_the_smaller_of_the_two_bounds_is_taken():
    """σ(m) <= log(1+e^m), so that is the one with σ(m)."""
    problem = same_input([1.0], [0.0], theta_ref=[-8.0])
    level, share = no_common_ground(problem, 0.5)
    assert share.bound == pytest.approx(1 / (1 + math.exp(4.0)), rel=1e-14)
    assert level.bound == pytest.approx(math.log1p(math.exp(-4.0)), rel=1e-14)
    assert share.bound < level.bound


def rows(a: list[float], b: list[float]) -> Problem:
    zero = [0.0] * len(a)
    return Problem(
        (
            dpo([np.negative(a)], [zero], beta=1.0, theta_ref=zero, name="dpo"),
            sft([[zero, b]], [0], name="sft"),
        )
    )


@pytest.mark.parametrize(("off", "accepted"), [(0.0, True), (5e-13, True), (2e-12, False), (0.9, False)])
def test_what_counts_as_opposite(off, accepted):
    """To 1e-12 of the largest entry, whatever the scale."""
    for scale in (1e-3, 1.0, 1e3):
        problem = rows([-2.0 * scale, off * 2 * scale], [1.0, 0.0])
        if accepted:
            assert no_common_ground(problem, 0.5)[0].bound == pytest.approx(math.log(2), rel=1e-9)
        else:
            with pytest.raises(ValueError, match=r"^problem: opposite pulls are needed, got rows \[-"):
                no_common_ground(problem, 0.5)
    with pytest.raises(ValueError, match=r"^problem: opposite pulls"):
        no_common_ground(rows([1.0, 0.0], [1.0, 0.0]), 0.5)


FAMILY = {"steps": (3, 4), "alpha": 1.5, "lam": 0.3, "theta_1": 1.0, "c": 0.8, "theta_ref": 2.0}


def test_the_family_by_hand():
    """θ in the plane: 3 steps of DPO along the first axis, 4 of SFT against (cos ψ, sin ψ)."""
    angles = [0.7, 0.0, -2.0]
    found = same_input_is_worst(angles, **FAMILY)
    values = []
    for psi in angles:
        u, theta = np.array([math.cos(psi), math.sin(psi)]), np.array([1.0, 0.0])
        for _ in range(3):
            theta = theta + np.array([1.5 * 0.8 / (1 + math.exp(0.8 * (theta[0] - 2.0))), 0.0])
        for _ in range(4):
            theta = theta - 1.5 * 0.8 / (1 + math.exp(-0.8 * float(theta @ u))) * u
        z = (-0.8 * (theta[0] - 2.0), 0.8 * float(theta @ u))
        values.append(0.3 * math.log1p(math.exp(z[0])) + 0.7 * math.log1p(math.exp(z[1])))
    assert [r.attained for r in found] == pytest.approx(values, rel=1e-12)
    assert {r.bound for r in found} == {found[1].attained}
    assert [r.terms["floor"] for r in found[::2]] == [0.0, 0.0]
    assert found[1].terms == {"bound": found[1].bound, "floor": pytest.approx(found[1].terms["floor"])}
    closed = same_input([0.8], [0.0], theta_ref=[2.0])
    assert found[1].terms["floor"] == pytest.approx(minimise(closed, 0.3).value, rel=1e-10)
    for r, psi in zip(found, angles, strict=True):
        assert (r.claim, r.kind, r.evidence) == ("A.4", "upper", "property")
        assert f"at ψ = {psi:.4g} <= " in r.statement
        assert r.source == "Remark A.4 of arXiv 2410.15483v3; docs/theory.md, M9"
        # 7 updates, each an ulp of |θ_1| + |θ_ref| + 4 steps of c alpha, and 1; f_Mix has slope c.
        assert r.tolerance == pytest.approx(2.0**-52 * 7 * 0.8 * (1.0 + 2.0 + 4 * 0.8 * 1.5 + 1.0), rel=1e-12, abs=0.0)


def test_the_edges_of_the_family_are_inside():
    edge = FAMILY | {"c": 0.5, "alpha": 16.0, "theta_1": 0.0, "theta_ref": -1.0}
    assert same_input_is_worst([], **edge) == ()
    (record,) = same_input_is_worst([0.4], **edge)
    assert record.tolerance == pytest.approx(2.0**-52 * 7 * 0.5 * (0.0 + 1.0 + 4 * 0.5 * 16 + 1.0), rel=1e-12, abs=0.0)
    assert same_input_is_worst([0.0], **FAMILY | {"alpha": 0.5})[0].verdict == "holds"


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: same_input(["x"], [1.0], theta_ref=[0.0]), ValueError, "winner: "),
        (lambda: same_input([1.0], ["x"], theta_ref=[0.0]), ValueError, "loser: "),
        (lambda: same_input([1.0], [1.0], theta_ref=[0.0]), ValueError, r"loser: a feature other .*, got \[1\.0\]"),
        (lambda: same_input([1.0, 2.0], [1.0], theta_ref=[0.0]), ValueError, "loser: a feature other than"),
        (lambda: same_input([1.0], [0.0], theta_ref=[0.0], demonstrated="x"), ValueError, "demonstrated: .* got 'x'"),
        (lambda: no_common_ground(unequal(), "x"), TypeError, "lam: "),
        (lambda: no_common_ground(unequal(), 0.0), ValueError, "lam: must be more than 0, got 0.0"),
        (lambda: no_common_ground(unequal(), 1.0), ValueError, "lam: must be less than 1, got 1.0"),
        (lambda: no_common_ground(unequal(), 1.5), ValueError, "lam: must be less than 1, got 1.5"),
        (lambda: conflict(even(1.0, 1.0)), ValueError, "problem: one datum .* got 2 rows"),
        (lambda: conflict(even(1.0, 1.0, 1.0)), ValueError, "problem: two objectives are needed, got 3"),
        (lambda: same_input_is_worst([0.1], **FAMILY | {"c": 0.0}), ValueError, "c: must be more than 0, got 0.0"),
        (lambda: same_input_is_worst([0.1], **FAMILY | {"alpha": 0}), ValueError, "alpha: must be more than 0, got 0"),
        (lambda: same_input_is_worst([0.1], **FAMILY | {"alpha": 6.5}), ValueError, "alpha: at most 4/c² = 6.25 is"),
        (lambda: same_input_is_worst([0.1], **FAMILY | {"theta_1": -1.0}), ValueError, "theta_1: must be at least 0"),
        (lambda: same_input_is_worst([0.1], **FAMILY | {"theta_ref": "x"}), TypeError, "theta_ref: "),
        (lambda: same_input_is_worst(["x"], **FAMILY), TypeError, "angles: a real number is needed, got 'x'"),
        (lambda: same_input_is_worst([math.inf], **FAMILY), ValueError, "angles: "),
        (lambda: same_input_is_worst(0.1, **FAMILY), TypeError, "angles: a sequence is needed, got 0.1"),
    ],
)
def test_a_message_names_the_argument(call, error, words):
    with pytest.raises(error, match=f"^{words}"):
        call()
