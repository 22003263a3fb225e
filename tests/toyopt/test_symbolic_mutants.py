"""Equations (22)-(38): each is true in numbers, and with a wrong right-hand side, sign or constant is not proven."""

from __future__ import annotations

import dataclasses
import math
import random

import mpmath
import pytest
import sympy as sp

from toyopt.examples import LowerBound
from toyopt.optimum import lower_bound_minimiser
from toyopt.symbolic import Identity, convexity, equations, table2
from toyopt.symbolic.definitions import BETA, Softmax, sigma
from toyopt.symbolic.derivation import same
from toyopt.symbolic.normal import tidy

SMALL = {"single": ("d = 1, 2 outputs", "any d, 3 outputs"), "means": ("any d, 2 outputs, 2 data",)}
NUMBERS = [*map(str, range(22, 39)), "minimiser"]


def small(number: str) -> list[Identity]:
    """The identities of an equation in its cheaper cases: one where d and m are small, and one in any dimension."""
    cases = equations()[number].cases
    labels = SMALL["means"] if number in ("30", "33") else SMALL["single"] if int(number) < 34 else tuple(cases)
    return [identity for label in labels for identity in cases[label]()]


def stated(identity: Identity, change) -> Identity:
    """The identity with another right-hand side; no sign is claimed, so that only the residual can catch it."""
    return dataclasses.replace(identity, right=tuple(change(b) for b in identity.right), sign=None)


def value(expr: sp.Expr, point: dict) -> mpmath.mpf:
    return sp.lambdify(list(point), expr, "mpmath")(*point.values())


def random_point(exprs, rng: random.Random) -> dict:
    symbols = sorted(set().union(*(e.free_symbols for e in exprs)), key=str)
    return {s: mpmath.mpf(rng.randint(1, 40)) / 16 * (1 if s.is_nonnegative else rng.choice((-1, 1))) for s in symbols}


@pytest.mark.parametrize("number", NUMBERS[:-1])
def test_what_is_proven_is_true_at_random_points(number):
    rng = random.Random(int(number))
    with mpmath.workdps(50):
        for identity in small(number):
            for a, b in zip(identity.left, identity.right, strict=True):
                b = b.subs(identity.slack)
                point = random_point((a, b), rng)
                left, right = value(a, point), value(b, point)
                # 50 digits, and margins of at most some hundreds: what cancels costs far fewer than 20 of them.
                assert abs(left - right) < mpmath.mpf(10) ** -30 * (1 + abs(left)), identity.name


@pytest.mark.parametrize(("dim", "outputs"), [(1, 2), (2, 3)])
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


@pytest.mark.parametrize("number", NUMBERS[:-1])
def test_a_flipped_sign_is_not_proven(number):
    for identity in small(number):
        assert not stated(identity, lambda b: -b).proven, identity.name


@pytest.mark.parametrize("number", NUMBERS[:-1])
def test_a_factor_of_two_is_not_proven(number):
    """Such as the sum over the data in place of the mean, in (30) and (33)."""
    for identity in small(number):
        assert not stated(identity, lambda b: 2 * b).proven, identity.name


@pytest.mark.parametrize("number", ["22", "23", "24", "29", "30"])
def test_a_missing_beta_is_not_proven(number):
    for identity in small(number):
        assert not stated(identity, lambda b: b.subs(BETA, 1)).proven, identity.name


@pytest.mark.parametrize("number", ["23", "24", "29", "30"])
def test_beta_to_a_wrong_power_is_not_proven(number):
    """β for β², β² for β."""
    for identity in small(number):
        for wrong in (1 / BETA, BETA):
            assert not stated(identity, lambda b, wrong=wrong: wrong * b).proven, identity.name


@pytest.mark.parametrize("number", ["22", "23", "24"])
def test_h_for_one_minus_h_is_not_proven(monkeypatch, number):
    monkeypatch.setattr(convexity, "sigma", lambda x: sigma(-x))
    assert not small(number)[0].proven


def test_a_wrong_power_of_h_in_the_hessian_is_not_proven():
    """In (29) h and 1-h trade places unnoticed."""
    s = Softmax.general(1, 2)
    h = sigma(convexity.margin(s))
    right = {h * (1 - h): True, h**2: False, (1 - h) ** 2: False, h: False, h * (1 - h**2): False}
    for weight, proven in right.items():
        outer = BETA**2 * weight * convexity.delta(s) * convexity.delta(s).T
        assert same("(29)", s.hess(s.f_dpo()), outer).proven is proven


@pytest.mark.parametrize("number", ["24", "28", "29", "30", "32", "33"])
def test_a_missing_square_is_not_proven(number):
    def unsquared(b):
        return b.replace(lambda e: e.is_Pow and e.exp == 2 and e.base.is_Add, lambda e: e.base)

    changed = 0
    for identity in small(number):
        mutant = stated(identity, unsquared)
        if mutant.right != identity.right:
            changed += 1
            assert not mutant.proven, identity.name
    assert changed


@pytest.mark.parametrize("number", ["26", "27", "28", "31", "32", "33"])
def test_a_wrong_policy_in_the_stated_side_is_not_proven(number):
    """π without one output, and π² for π."""
    m = 4
    s = Softmax.line(m)
    data = (s, Softmax.line(m, "b")) if number == "33" else s
    identity = next(iter(getattr(convexity, f"eq{number}")(data)))
    assert identity.proven
    for wrong in (lambda p: p**2, lambda p: 0 * p, lambda p: p.subs(s.offset[2], s.offset[1])):
        swap = {s.policy(2): wrong(s.policy(2))}
        assert not stated(identity, lambda b, swap=swap: b.subs(swap)).proven


def test_a_dropped_term_of_the_variance_is_not_proven():
    s = Softmax.general(2, 3)
    second = sum((s.policy(i) * s.features[i] * s.features[i].T for i in s.outputs), sp.zeros(2, 2))
    assert not same("second moment", s.hess(s.f_sft()), second).proven
    z, pairs = s.direction, ((0, 1), (0, 2))
    terms = (s.policy(i) * s.policy(j) * z.dot(s.features[i] - s.features[j]) ** 2 for i, j in pairs)
    assert not same("a pair less", convexity.form(s.hess(s.f_sft()), z), sp.Add(*terms)).proven


def test_the_bounds_with_a_smaller_constant_are_not_proven():
    """(24) with 2β²Φ² and (28) with 2Φ²: what is left over is no longer visibly non-negative."""
    for number, position in (("24", 2), ("28", 1)):
        for s in (Softmax.general(2, 2), Softmax.line(3)):
            identity = list(getattr(convexity, f"eq{number}")(s))[position]
            assert identity.proven
            shift = 2 * convexity.PHI**2 * (s.beta**2 if number == "24" else 1)
            smaller = [dataclasses.replace(identity, left=(identity.left[0] - shift,))]
            smaller += [dataclasses.replace(smaller[0], right=(identity.right[0] - shift,))]
            assert not any(i.proven for i in smaller)
            assert smaller[1].residuals() == (0,)  # true, but its sign is not seen


@pytest.mark.parametrize("number", NUMBERS[12:])
def test_a_wrong_c_is_not_proven(number):
    for e in (table2.Example.reconstructed(), table2.Example.general()):
        wrong = dataclasses.replace(e, c=e.c**2)
        assert not next(getattr(table2, f"eq{number}" if number.isdigit() else number)(wrong)).proven


@pytest.mark.parametrize("number", ["37", "38"])
def test_c_squared_in_front_or_h_for_one_minus_h_is_not_proven(monkeypatch, number):
    e = table2.Example.general()
    for identity in getattr(table2, f"eq{number}")(e):
        assert not stated(identity, lambda b: e.c * b).proven
    monkeypatch.setattr(table2, "sigma", lambda x: sigma(-x))
    assert not any(identity.proven for identity in getattr(table2, f"eq{number}")(e))


def test_the_reference_parameter_missing_or_added_is_not_proven():
    e = table2.Example.general()
    (f_dpo,) = table2.eq35(e)
    assert not stated(f_dpo, lambda b: b.subs(e.dpo.theta_ref[0], 0)).proven
    (f_sft,) = table2.eq36(e)
    assert not stated(f_sft, lambda b: b.subs(e.theta, e.theta - e.dpo.theta_ref[0])).proven


def test_the_minimisers_quadratic_with_swapped_weights_or_wrong_terms_is_not_proven(monkeypatch):
    e = table2.Example.general()
    lam = table2.LAM
    mutants = (
        lambda z, K: lam * z**2 + (2 * lam - 1) * K * z - (1 - lam) * K,
        lambda z, K: (1 - lam) * z**2 + (1 - 2 * lam) * K * z + lam * K,
        lambda z, K: (1 - lam) * z**2 - lam * K,
        lambda z, K: (1 - lam) * z**2 + (1 - 2 * lam) * z - lam * K,
        lambda z, K: (1 - lam) * z + (1 - 2 * lam) * K * z - lam * K,
        lambda z, K: (1 - lam) * z**2 + (1 - 2 * lam) * K * z - lam * K**2,
    )
    for mutant in mutants:
        monkeypatch.setattr(table2, "quadratic", mutant)
        identities = list(table2.minimiser(e))
        assert not identities[0].proven
        assert not any(i.proven for i in identities[1:3])
    for identity in list(table2.minimiser(e))[3:]:
        assert not stated(identity, lambda b: -b).proven
        assert not stated(identity, lambda b: b.subs(table2.LAM, 1 - table2.LAM)).proven


def test_the_quadratics_root_is_the_closed_form_minimiser():
    for lam, c, theta_ref in ((0.3, 0.5, 5.0), (0.8, 1.3, -2.0)):
        z, K = math.exp(c * lower_bound_minimiser(LowerBound(c, theta_ref), lam)), math.exp(c * theta_ref)
        scale = z**2 + K * z + K
        assert abs(float(table2.quadratic(sp.Float(z), sp.Float(K)).subs(table2.LAM, lam))) < 1e-13 * scale
