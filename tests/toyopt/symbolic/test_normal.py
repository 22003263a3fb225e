"""The normal form: the rules that it proves, and the expressions that it refuses."""

from __future__ import annotations

import random

import mpmath
import pytest
import sympy as sp
from support.depth import DEEP

from toyopt.symbolic.definitions import Softmax
from toyopt.symbolic.derivation import same
from toyopt.symbolic.normal import Normaliser, tidy


def value(expr: sp.Expr, point: dict) -> mpmath.mpf:
    return sp.lambdify(list(point), expr, "mpmath")(*point.values())


def random_point(exprs, rng: random.Random) -> dict:
    symbols = sorted(set().union(*(e.free_symbols for e in exprs)), key=str)
    return {s: mpmath.mpf(rng.randint(1, 40)) / 16 * (1 if s.is_nonnegative else rng.choice((-1, 1))) for s in symbols}


@pytest.mark.parametrize(("dim", "outputs"), [(1, 2), (2, 3 if DEEP else 2)])
@pytest.mark.slow
def test_the_normal_form_before_differentiation_changes_no_derivative(dim, outputs):
    s, rng = Softmax.general(dim, outputs), random.Random(dim)
    with mpmath.workdps(50):
        for f in (s.f_dpo(), s.f_sft(), sp.log(s.policy(0)), s.log_normaliser()):
            point = random_point((f,), rng)
            assert abs(value(f, point) - value(tidy(f), point)) < 1e-30
            raw = [sp.diff(f, t) for t in s.theta]
            for a, b in zip(raw, s.grad(f), strict=True):
                assert abs(value(a, point) - value(b, point)) < 1e-30
            twice = [sp.diff(a, t) for a in raw for t in s.theta]
            for a, b in zip(twice, s.hess(f), strict=True):
                assert abs(value(a, point) - value(b, point)) < 1e-30
    if dim == 1:
        assert same("raw", sp.diff(s.f_dpo(), s.theta[0]), s.g_dpo()[0]).proven


x, y = sp.symbols("x y", real=True)


p, q = sp.symbols("p q", positive=True)


n = sp.Symbol("n")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (sp.exp(x + 2 * y) * sp.exp(-x), sp.exp(y) ** 2),
        (sp.exp(x - y) * (1 + sp.exp(y)) ** 2, sp.exp(x) * (sp.exp(-y) + 2 + sp.exp(y))),
        (sp.exp(0 * x), sp.Integer(1)),
        (sp.exp((x + 1) ** 2 - x**2 - 2 * x - 1 + y), sp.exp(y)),
        (sp.exp(2 * sp.log(p + q) + x), (p + q) ** 2 * sp.exp(x)),
        (sp.exp(x - 3 * sp.log(p + q)), sp.exp(x) / (p + q) ** 3),
        (sp.exp(-sp.log(p + q)), 1 / (p + q)),
        (sp.exp(sp.log(p + q)), p + q),
        (sp.exp(x + sp.log(p + q) - 2 * sp.log(1 + p)), sp.exp(x) * (p + q) / (1 + p) ** 2),
        (sp.exp(sp.log(p + q) / 2) ** 2, p + q),
        (  # sympy itself undoes exp(log): here only after the exponent is expanded
            sp.exp((x + 2) * sp.log(p + q) - x * sp.log(p + q) + (y - 2) * sp.log(1 + p) - y * sp.log(1 + p) + x),
            (p + q) ** 2 * sp.exp(x) / (1 + p) ** 2,
        ),
        (
            sp.exp((x + 1) * sp.log(p + q) - x * sp.log(p + q) + (y + 3) * sp.log(1 + p) - y * sp.log(1 + p)),
            (p + q) * (1 + p) ** 3,
        ),
        (sp.log(p), sp.log(p * sp.exp(x)) - x),
        (sp.log((2 * p + 2 * p * q) / 3), sp.log(sp.Rational(2, 3)) + sp.log(p) + sp.log(1 + q)),
        (
            sp.log((p * q + p * q**2) ** 3 / (1 + p) ** 2),
            3 * (sp.log(p) + sp.log(q) + sp.log(1 + q)) - 2 * sp.log(1 + p),
        ),
        (sp.log(1 / (p + q) ** 2), -2 * sp.log(p + q)),
        (sp.log((p * q + p * q**2) ** 3), 3 * (sp.log(p) + sp.log(q) + sp.log(1 + q))),
        (sp.log(1 + 1 / (p + q)), sp.log(1 + p + q) - sp.log(p + q)),
        (1 / (2 * p + 2 * q), 1 / (p + q) / 2),
        (1 / (p**2 * q + p**3) ** 2, 1 / (p + q) ** 2 / p**4),
        (1 / (1 + 1 / (1 + 1 / (1 + p))), (2 + p) / (3 + 2 * p)),
        (1 / (1 + p) + 1 / (1 + p) ** 2 + p, (2 + p + p * (1 + p) ** 2) / (1 + p) ** 2),
        (1 / (1 + p) + 1 / (1 + q), (2 + p + q) / ((1 + p) * (1 + q))),
        (((1 + p) / (1 + q)) ** -3, (1 + q) ** 3 / (1 + p) ** 3),
        ((p + q) ** x * (p + q) ** (-x), sp.Integer(1)),
        (p ** (x + 2), p**2 * sp.exp(x * sp.log(p))),
        (sp.sqrt(1 + x**2) ** 4 / (1 + x**2), 1 + x**2),
    ],
)
def test_the_normal_form_proves_rules_of_powers_and_logarithms(left, right):
    assert same("", left, right).proven
    assert same("", right, left).proven
    assert not same("", left, 2 * right).proven
    at = {x: 0.3, y: -0.8, p: 0.6, q: 1.7}
    assert float(tidy(left).subs(at)) == pytest.approx(float(right.subs(at)), rel=1e-12)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (sp.log(x + y), sp.log(-x - y)),  # x + y may be negative
        (sp.log((x + y) ** 3 * (1 + p)), 3 * sp.log(x + y) + sp.log(1 + p)),
        (sp.exp(sp.log(x + y) / 2), -sp.sqrt(x + y)),
        (x**y, sp.exp(y * sp.log(x))),  # x may be negative
        (sp.oo, sp.oo),
        (sp.log(y * sp.sqrt(x**2 + x**3)), sp.log(y * x * sp.sqrt(1 + x))),  # not for x < 0
        (sp.exp(x + 1), sp.exp(x)),
        (sp.log(x**2), sp.log(2 * x)),
        (sp.exp(sp.I * x + y), sp.exp(sp.I * x) * sp.exp(y)),
        (1 / (p - p * sp.exp(x) * sp.exp(-x)), sp.Integer(1)),
    ],
)
def test_more_that_is_not_proven(left, right):
    assert not same("", left, right).proven


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        (sp.sin(x), "no normal form for sin: "),
        (sp.oo, "no normal form for "),
        (sp.exp(n + x), "no normal form for the exponential of n, which is not known to be real"),
        (1 / (sp.exp(x + y) - sp.exp(x) * sp.exp(y)), "no normal form with a division by .*, which is 0"),
    ],
)
def test_an_expression_without_a_normal_form_names_the_reason(expr, words):
    with pytest.raises(TypeError, match=words):
        Normaliser().numerator(expr)


def test_a_reciprocal_under_a_root_has_no_normal_form():
    with pytest.raises(TypeError, match="no normal form with a reciprocal to the power 1/2"):
        Normaliser().numerator(sp.sqrt(1 / (1 + x)) + p)


def test_stand_ins_have_the_known_assumptions():
    """X is positive; R as positive as what it is one over; L real if its logarithm is; one for each, by name."""
    normal = Normaliser()
    exp, over, maybe, log, other = (
        normal(e) for e in (sp.exp(x), 1 / (1 + p), 1 / (1 + x), sp.log(1 + p), sp.log(1 + x))
    )
    assert [s.is_positive for s in (exp, over, maybe, log, other)] == [True, True, None, None, None]
    assert [s.is_real for s in (exp, over, maybe, log, other)] == [True, True, None, True, None]
    assert [s.name for s in (exp, over, maybe, log, other)] == ["X0", "R1", "R2", "L3", "L4"]
    assert (normal(sp.exp(2 * x)), normal(1 / (1 + p) ** 2)) == (exp**2, over**2)
    assert normal.back(exp + 3 * over + log) == sp.exp(x) + 3 / (1 + p) + sp.log(1 + p)


def test_the_reciprocal_of_a_power_is_the_reciprocals_power():
    """sympy takes most powers apart before the normal form sees them, so it is asked directly."""
    normal = Normaliser()
    assert normal._reciprocal((x + y) ** 3) == normal._reciprocal(x + y) ** 3
