"""Equations (22)-(38) by machine: all are proven, what proven means, and whether problem.py agrees.

tests/test_symbolic_mutants.py has each equation with wrong right-hand sides.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import sympy as sp

from toyopt.symbolic import Equation, Identity, against_problem, convexity, derive, derive_all, numeric, records
from toyopt.symbolic.definitions import Softmax, sigma
from toyopt.symbolic.derivation import same
from toyopt.symbolic.normal import Normaliser

NUMBERS = [*map(str, range(22, 39)), "minimiser"]


@pytest.fixture(scope="module")
def derived():
    return derive_all()


def test_every_equation_is_proven_in_every_case(derived):
    assert [d.equation for d in derived] == NUMBERS
    for d in derived:
        assert d.proven, str(d)
        assert d.identities >= len(d.cases)
        assert "not proven" not in str(d)
    by_number = {d.equation: d for d in derived}
    for number in NUMBERS[:12]:
        assert any("any d" in case for case in by_number[number].cases)
    for number in set(NUMBERS[:12]) - {"30", "33"}:
        assert {f"d = {d}, {m} outputs" for d in (1, 2, 3) for m in (2, 3)} <= set(by_number[number].cases)


def test_the_left_sides_come_from_the_definitions_with_their_normalisers():
    s = Softmax.general(1, 3)
    third = s.features[2][0]
    assert third in s.h().free_symbols  # the output that neither wins nor loses stands in eq. (3) and cancels in (22)
    identity = next(convexity.eq22(s))
    assert identity.proven
    assert third not in identity.right[0].free_symbols


# --- what counts as proven ------------------------------------------------------------------------------------------

x, y = sp.symbols("x y", real=True)
p, q = sp.symbols("p q", positive=True)
n = sp.Symbol("n")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (sp.exp(x + y), sp.exp(x) * sp.exp(y)),
        (sp.log(1 + sp.exp(x)), x + sp.log(1 + sp.exp(-x))),
        (sigma(x) + sigma(-x), sp.Integer(1)),
        (sp.log(p * q**3 / (p + q)), sp.log(p) + 3 * sp.log(q) - sp.log(p + q)),
        (sp.exp(x * sp.log(p) / 2) ** 2, p**x),
        (sp.exp(-2 * sp.log(1 + sp.exp(x))), sigma(-x) ** 2),
        (sp.exp(x / 2) ** 3 / (1 + sp.exp(x / 2)), sp.exp(x) * sigma(x / 2)),
        (sp.log((2 + 2 * sp.exp(x)) / 2), sp.log(1 + sp.exp(x))),
        (1 / (1 - 1 / (1 + x)), (1 + x) / x),
        ((1 + sp.sqrt(1 + x**2)) ** 2, 2 + x**2 + 2 * sp.sqrt(1 + x**2)),
        (1 / (sp.sqrt(1 + x**2) + x), 1 / (x + sp.sqrt(x**2 + 1))),
    ],
)
def test_identities_are_proven_and_a_small_change_undoes_it(left, right):
    assert same("", left, right).proven
    assert not same("", left, right + sp.Rational(1, 10**30)).proven
    assert same("", left - right, sp.Integer(0)).proven


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (sp.log(x * y), sp.log(x) + sp.log(y)),  # wrong for x, y < 0
        (sp.log(x**2), 2 * sp.log(x)),
        (sp.sqrt(x * y), sp.sqrt(x) * sp.sqrt(y)),
        (sp.sqrt(x**2), x),
        (sp.log(x * sp.sqrt(p * x**2 + x**2)), sp.log(x**2 * sp.sqrt(p + 1))),
        (1 / (1 / (sp.exp(x + y) - sp.exp(x) * sp.exp(y)) + 1), sp.Integer(0)),  # 1/0 has no value
        (1 / (sp.exp(x + y) - sp.exp(x) * sp.exp(y)), 1 / (sp.exp(2 * y) - sp.exp(y) ** 2 + y - y)),
        (1 / sp.sqrt((1 + x) ** 2 * (2 + x)), 1 / ((1 + x) * sp.sqrt(2 + x))),
        (sp.log(1 - sp.exp(x)), sp.log(sp.exp(x) - 1)),
        (sp.sin(x) ** 2, 1 - sp.cos(x) ** 2),  # true, and beyond the normal form
        (sp.exp(n + x), sp.exp(n) * sp.exp(x)),  # true, and n is not known to be real
        (sp.zoo * x, sp.zoo * x),
        (sp.nan, sp.nan),
    ],
)
def test_what_is_false_or_beyond_the_normal_form_is_not_proven(left, right):
    assert not same("", left, right).proven


def test_a_sign_must_be_visible_and_of_the_right_side():
    assert same("", (x - 1) ** 2, (x - 1) ** 2, sign="nonnegative").proven
    assert not same("", (x - 1) ** 2, (x - 1) ** 2, sign="positive").proven
    assert not same("", (x - 1) ** 2, x**2 - 2 * x + 1, sign="nonnegative").proven
    assert not same("", -(x**2), -(x**2), sign="nonnegative").proven
    room = sp.Symbol("room", nonnegative=True)
    assert same("", p - x, room, slack={room: p - x}, sign="nonnegative").proven
    assert not same("", p + x, room, slack={room: p - x}, sign="nonnegative").proven


def test_nothing_to_prove_is_not_proven():
    assert not Identity("", (), ()).proven
    assert not Equation("0", "", {"none": lambda: ()}).derive().proven
    with pytest.raises(ValueError, match="shapes"):
        same("", sp.Matrix([1, 2]), sp.Matrix([[1, 2]]))
    with pytest.raises(ValueError, match="number: one of 22, "):
        derive("21")
    with pytest.raises(TypeError, match="no normal form"):
        Normaliser()(sp.sin(x))


# --- the derivations against problem.py ----------------------------------------


def test_problem_agrees_with_the_derivations_on_random_rational_problems():
    agreement = against_problem(problems=2, seed=3)
    assert agreement.problems == 12
    assert agreement.holds, agreement
    assert agreement == against_problem(problems=2, seed=3)
    assert not dataclasses.replace(agreement, grad=math.nan).holds
    assert not dataclasses.replace(agreement, hess=2e-13).holds
    with pytest.raises(ValueError, match="problems"):
        against_problem(problems=0)


def test_a_problem_that_is_off_by_a_millionth_of_a_millionth_is_caught(monkeypatch):
    right = numeric.Problem.dpo_sft
    mutants = (
        lambda **kw: right(**{**kw, "beta": kw["beta"] * (1 + 3e-12)}),
        lambda **kw: right(**{**kw, "theta_ref": kw["theta_ref"] * (1 + 3e-12)}),
        lambda **kw: right(**{**kw, "targets": [1] * len(kw["targets"])}),
        lambda **kw: right(**{**kw, "features": np.delete(kw["features"], -1, axis=0), "targets": [0, 0]}),
    )
    for mutant in mutants:
        monkeypatch.setattr(numeric.Problem, "dpo_sft", mutant)
        assert not against_problem(problems=1).holds


# --- records --------------------------------------------------------------------------------------------------------


def test_records_hold_if_all_is_proven_and_are_open_if_not(derived):
    a1, a2 = records(derived)
    assert [(r.claim, r.verdict, r.evidence, r.kind, r.bound, r.attained) for r in (a1, a2)] == [
        ("A.1", "holds", "symbolic", "equal", 0.0, 0.0),
        ("A.2", "holds", "symbolic", "equal", 0.0, 0.0),
    ]
    assert list(a1.terms) == [f"({k})" for k in range(22, 29)]
    assert list(a2.terms) == [f"({k})" for k in range(29, 34)]
    for number in map(str, range(22, 34)):
        broken = [dataclasses.replace(d, not_proven=("x",)) if d.equation == number else d for d in derived]
        missing = [d for d in derived if d.equation != number]
        for some in (broken, missing):
            verdicts = [r.verdict for r in records(some)]
            assert verdicts == (["open", "holds"] if int(number) < 29 else ["holds", "open"])
            assert math.isnan(next(r for r in records(some) if r.verdict == "open").terms[f"({number})"])


def test_a_derivation_names_what_it_could_not_prove():
    def build():
        yield same("right", x, x)
        yield same("wrong", x, -x)

    d = Equation("99", "x = x", {"a case": build}).derive()
    assert not d.proven
    assert d.not_proven == ("a case: wrong",)
    assert d.identities == 2
    assert (d.left, d.right) == ("x", "x")
    assert "not proven: a case: wrong" in str(d)
