"""Identities are proven, and a small change undoes the proof."""

from __future__ import annotations

import dataclasses
import math

import pytest
import sympy as sp

from toyopt.symbolic import (
    Derivation,
    Equation,
    Identity,
    derive,
)
from toyopt.symbolic.definitions import sigma
from toyopt.symbolic.derivation import same
from toyopt.symbolic.normal import Normaliser

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


@pytest.mark.slow
def test_nothing_to_prove_is_not_proven():
    assert not Identity("", (), ()).proven
    assert not Equation("0", "", {"none": lambda: ()}).derive().proven
    with pytest.raises(ValueError, match="shapes"):
        same("", sp.Matrix([1, 2]), sp.Matrix([[1, 2]]))
    with pytest.raises(ValueError, match="number: one of 22, "):
        derive("21")
    with pytest.raises(TypeError, match="no normal form"):
        Normaliser()(sp.sin(x))


def test_a_derivation_names_its_unproven_steps():
    def build():
        yield same("right", x, x)
        yield same("wrong", x, -x)

    d = Equation("99", "x = x", {"a case": build}).derive()
    assert not d.proven
    assert d.not_proven == ("a case: wrong",)
    assert d.identities == 2
    assert (d.left, d.right) == ("x", "x")
    assert "not proven: a case: wrong" in str(d)


def test_sides_of_unequal_length_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        Identity("", (x,), (x, y)).residuals()


def test_every_entry_counts():
    a, b = sp.Matrix([[x, y], [p, q]]), sp.Matrix([[x, y], [p, q + 1]])
    assert same("", a, a).proven
    assert not same("", a, b).proven
    assert same("", a, b).residuals() == (0, 0, 0, -1)
    assert same("name", a, a).name == "name"
    assert same("", a, a).sign is None
    assert same("", a, a).slack == {}
    assert not same("", sp.Matrix([p, x]), sp.Matrix([p, x]), sign="positive").proven
    assert not same("", sp.Matrix([x, p]), sp.Matrix([x, p]), sign="positive").proven
    with pytest.raises(ValueError, match=r"^two: the sides have shapes \(2, 2\) and \(1, 1\)"):
        same("two", a, x)
    assert all(math.isnan(r) for r in (*Identity("", (), ()).residuals(), *same("", sp.sin(x), x).residuals()))


def test_a_derivation_lists_its_attempts():
    equation = Equation(
        "7",
        "x = x",
        {"one": lambda: [same("a", sp.Matrix([x, y]), sp.Matrix([y, p]))], "two": lambda: [same("b", q, q)]},
    )
    d = equation.derive()
    assert dataclasses.replace(d, seconds=0.0) == Derivation(
        "7", "x = x", "x; y", "y; p", ("one", "two"), 2, ("one: a",), 0.0
    )
    assert 0.0 < d.seconds < 100.0
    assert str(dataclasses.replace(d, seconds=0.5)) == "(7) not proven: one: a (2 identities, 0.50 s)  x = x"
    assert (
        str(dataclasses.replace(d, seconds=0.5, identities=1, not_proven=()))
        == "(7) proven (1 identities, 0.50 s)  x = x"
    )
    both = dataclasses.replace(d, not_proven=("one: a", "two: b"))
    assert "not proven: one: a; two: b (" in str(both)
    nothing = Equation("8", "", {"none": lambda: ()}).derive()
    assert (nothing.left, nothing.right, nothing.identities, nothing.proven) == ("", "", 0, False)
    assert not dataclasses.replace(both, identities=0).proven
