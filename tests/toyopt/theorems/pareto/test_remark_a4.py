"""Remark A.4: conflict without inconsistent labels, and the same input as its worst case."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt import Problem, dpo, minimise, sft
from toyopt.examples import TABLE3, LowerBound, from_rows, random_problem, table2
from toyopt.minimax import minimise_worst
from toyopt.theorems.pareto.remark_a4 import conflict, no_common_ground, same_input, same_input_is_worst


def three(third_weight):
    """Two objectives that conflict in θ_1, and a third that falls with θ_2 and is nowhere near the largest gap."""
    return Problem(
        (
            dpo([[1.0, 0.0]], [[0.0, 0.0]], beta=1.0, theta_ref=[1.0, 0.0], name="a"),
            sft([[[0.0, 0.0], [1.0, 0.0]]], [0], name="b"),
            dpo([[0.0, third_weight]], [[0.0, 0.0]], beta=1.0, theta_ref=[0.0, 0.0], name="c"),
        )
    )


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


@pytest.mark.slow
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


@pytest.mark.slow
@given(
    psi=st.floats(-3.1, 3.1),
    steps=st.tuples(st.integers(1, 40), st.integers(1, 300)),
    alpha=st.sampled_from([0.5, 3.0, 16.0]),
    lam=st.floats(0.0, 1.0),
    theta_1=st.floats(0.0, 6.0),
)
def test_the_same_input_is_the_worst_for_sequential(psi, steps, alpha, lam, theta_1):
    record, itself = same_input_is_worst(
        [psi, 0.0], T_DPO=steps[0], T_SFT=steps[1], alpha=alpha, lam=lam, theta_1=theta_1
    )
    assert record.verdict == "holds", str(record)
    assert itself.attained == itself.bound


def test_only_opposite_pulls_leave_a_floor():
    away, itself = same_input_is_worst([0.02, 0.0], T_DPO=10, T_SFT=1000, alpha=1.0, lam=0.4, theta_1=1.0)
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
            lambda: same_input_is_worst([0.1], T_DPO=1, T_SFT=1, alpha=17.0, lam=0.5, theta_1=1.0),
            "alpha: at most 4/c² = 16 is needed for Lemma A.3, got 17.0",
        ),
        (
            lambda: same_input_is_worst([0.1], T_DPO=1, T_SFT=1, alpha=1.0, lam=0.5, theta_1=-1.0),
            "theta_1: must be at least 0, got -1.0",
        ),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_family_is_the_same_input_at_psi_0():
    steps, alpha, lam = (7, 50), 1.3, 0.35
    (record,) = same_input_is_worst(
        [0.0], T_DPO=steps[0], T_SFT=steps[1], alpha=alpha, lam=lam, theta_1=2.0, c=0.7, theta_ref=1.5
    )
    theta, c = 2.0, 0.7
    for _ in range(7):
        theta += alpha * c / (1 + math.exp(c * (theta - 1.5)))
    for _ in range(50):
        theta -= alpha * c / (1 + math.exp(-c * theta))
    by_hand = float(LowerBound(0.7, 1.5).problem().f_mix([theta], lam))
    assert record.attained == pytest.approx(by_hand, rel=1e-12)


def even(*weights: float) -> Problem:
    """f_i(θ) = (l(w_i θ_i) + l(-w_i θ_i))/2, even in θ_i, with the minimum log 2 at 0; no other coordinate matters."""
    axes = np.eye(len(weights)) * weights
    parts = [sft([[np.zeros(len(weights)), a]] * 2, [0, 1], name=f"f{i}") for i, a in enumerate(axes)]
    return Problem(tuple(parts))


def test_the_same_input_by_hand():
    problem = same_input([1.0, 2.0], [0.0, 0.5], theta_ref=[3.0, 1.0], beta=2.0)
    assert [o.rows.tolist() for o in problem.objectives] == [[[-2.0, -3.0]], [[1.0, 1.5]]]
    assert problem.objectives[0].origin.tolist() == [3.0, 1.0]
    agreeing = same_input([1.0, 2.0], [0.0, 0.5], theta_ref=[3.0, 1.0], demonstrated="winner")
    assert [o.rows.tolist() for o in agreeing.objectives] == [[[-1.0, -1.5]], [[-1.0, -1.5]]]
    assert same_input([1.0, 2.0], [1.0, 0.5], theta_ref=[0.0, 0.0]).dim == 2  # alike in one coordinate only


def test_a_conflict_names_its_source():
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
    assert level.tolerance == pytest.approx(1e-12 * (1 + top), rel=1e-12, abs=0.0)


@pytest.mark.slow
def test_the_certificates_gap_is_no_tolerance(monkeypatch):
    def apart(*args):
        found = minimise_worst(*args)
        return dataclasses.replace(found, upper=found.lower - 0.25)

    monkeypatch.setattr("toyopt.theorems.pareto.remark_a4.minimise_worst", apart)
    level, _ = no_common_ground(unequal(), 0.3)
    assert (level.verdict, level.interval[1] - level.interval[0]) == ("open", pytest.approx(0.5, rel=1e-9))

    def elsewhere(*args):
        found = minimise_worst(*args)
        return dataclasses.replace(found, **{k: getattr(found, k) + 0.1 for k in ("value", "lower", "upper")})

    monkeypatch.setattr("toyopt.theorems.pareto.remark_a4.minimise_worst", elsewhere)
    assert no_common_ground(unequal(), 0.3)[0].verdict == "fails"
    for name, solve in (("minimise_worst", minimise_worst), ("minimise", minimise)):
        with monkeypatch.context() as patch:
            spoiled = lambda *a, solve=solve: dataclasses.replace(solve(*a), converged=False)  # noqa: E731
            patch.setattr(f"toyopt.theorems.pareto.remark_a4.{name}", spoiled)
            record = no_common_ground(unequal(), 0.3)[name == "minimise"]
            assert (record.verdict, record.note) == ("open", "the solver has not converged")


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


FAMILY = {"T_DPO": 3, "T_SFT": 4, "alpha": 1.5, "lam": 0.3, "theta_1": 1.0, "c": 0.8, "theta_ref": 2.0}


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
        (lambda: same_input_is_worst(["x"], **FAMILY), TypeError, "psi: a real number is needed, got 'x'"),
        (lambda: same_input_is_worst([math.inf], **FAMILY), ValueError, "psi: "),
        (lambda: same_input_is_worst(["x"], **FAMILY | {"T_DPO": 1.5}), TypeError, "psi: a real"),
        (
            lambda: same_input_is_worst(0.1, **FAMILY | {"T_DPO": 1.5}),
            TypeError,
            "T_DPO: a whole number is needed, got 1.5",
        ),
    ],
)
def test_a_message_names_the_argument(call, error, words):
    with pytest.raises(error, match=f"^{words}"):
        call()
