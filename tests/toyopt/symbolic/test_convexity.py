"""Equations (22)-(33) with one thing wrong are not proven."""

from __future__ import annotations

import dataclasses
import random
from functools import cache

import mpmath
import pytest
import sympy as sp
from support.depth import DEEP

from toyopt.symbolic import (
    Identity,
    convexity,
    equations,
    table2,
)
from toyopt.symbolic.definitions import BETA, PHI, Softmax, sigma
from toyopt.symbolic.derivation import same

SMALL = {"single": ("d = 1, 2 outputs", "any d, 3 outputs"), "means": ("any d, 2 outputs, 2 data",)}


NUMBERS = [*map(str, range(22, 39)), "minimiser"]


@cache
def small(number: str) -> list[Identity]:
    """The identities of an equation in its cheaper cases: one where d and m are small, and one in any dimension."""
    cases = equations()[number].cases
    labels = SMALL["means"] if number in ("30", "33") else SMALL["single"] if int(number) < 34 else tuple(cases)
    if not DEEP:  # of the two, the one that is quicker to refute
        labels = labels[-1:]
    return [identity for label in labels for identity in cases[label]()]


def stated(identity: Identity, change) -> Identity:
    """The identity with another right-hand side; no sign is claimed, so that only the residual can catch it."""
    return dataclasses.replace(identity, right=tuple(change(b) for b in identity.right), sign=None)


def value(expr: sp.Expr, point: dict) -> mpmath.mpf:
    return sp.lambdify(list(point), expr, "mpmath")(*point.values())


def random_point(exprs, rng: random.Random) -> dict:
    symbols = sorted(set().union(*(e.free_symbols for e in exprs)), key=str)
    return {s: mpmath.mpf(rng.randint(1, 40)) / 16 * (1 if s.is_nonnegative else rng.choice((-1, 1))) for s in symbols}


@pytest.mark.slow
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


@pytest.mark.parametrize("number", NUMBERS[:-1])
def test_a_flipped_sign_is_not_proven(number):
    for identity in small(number):
        assert not stated(identity, lambda b: -b).proven, identity.name


@pytest.mark.parametrize("number", NUMBERS[:-1])
def test_a_factor_of_two_is_not_proven(number):
    """Such as the sum over the data in place of the mean, in (30) and (33)."""
    for identity in small(number):
        assert not stated(identity, lambda b: 2 * b).proven, identity.name


@pytest.mark.parametrize("number", ["22", "23", "24", "29", *(["30"] if DEEP else [])])  # (30) takes seconds
@pytest.mark.slow
def test_a_missing_beta_is_not_proven(number):
    for identity in small(number):
        assert not stated(identity, lambda b: b.subs(BETA, 1)).proven, identity.name


@pytest.mark.slow
@pytest.mark.parametrize("number", ["23", "24", "29", "30"])
def test_beta_to_a_wrong_power_is_not_proven(number):
    """β for β², β² for β."""
    for identity in small(number):
        for wrong in (1 / BETA, BETA):
            assert not stated(identity, lambda b, wrong=wrong: wrong * b).proven, identity.name


@pytest.mark.parametrize("number", ["22", "23", "24"])
def test_h_for_one_minus_h_is_not_proven(monkeypatch, number):
    monkeypatch.setattr(convexity, "sigma", lambda x: sigma(-x))
    assert not small.__wrapped__(number)[0].proven


@pytest.mark.slow
def test_a_wrong_power_of_h_in_the_hessian_is_not_proven():
    """In (29) h and 1-h trade places unnoticed."""
    s = Softmax.general(1, 2)
    h = sigma(convexity.margin(s))
    right = {h * (1 - h): True, h**2: False, (1 - h) ** 2: False, h: False, h * (1 - h**2): False}
    for weight, proven in right.items():
        outer = BETA**2 * weight * convexity.delta(s) * convexity.delta(s).T
        assert same("(29)", s.hess(s.f_dpo()), outer).proven is proven


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("number", ["26", "27", "28", "31", "32", "33"])
def test_a_wrong_policy_in_the_stated_side_is_not_proven(number):
    """π without one output, and π² for π."""
    m = 4 if DEEP else 3
    s = Softmax.line(m)
    data = (s, Softmax.line(m, "b")) if number == "33" else s
    identity = next(iter(getattr(convexity, f"eq{number}")(data)))
    assert identity.proven
    for wrong in (lambda p: p**2, lambda p: 0 * p, lambda p: p.subs(s.offset[2], s.offset[1])):
        swap = {s.policy(2): wrong(s.policy(2))}
        assert not stated(identity, lambda b, swap=swap: b.subs(swap)).proven


@pytest.mark.slow
def test_a_dropped_term_of_the_variance_is_not_proven():
    s = Softmax.general(2, 3)
    second = sum((s.policy(i) * s.features[i] * s.features[i].T for i in s.outputs), sp.zeros(2, 2))
    assert not same("second moment", s.hess(s.f_sft()), second).proven
    z, pairs = s.direction, ((0, 1), (0, 2))
    terms = (s.policy(i) * s.policy(j) * z.dot(s.features[i] - s.features[j]) ** 2 for i, j in pairs)
    assert not same("a pair less", convexity.form(s.hess(s.f_sft()), z), sp.Add(*terms)).proven


@pytest.mark.slow
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


SETTINGS = {f"d = {d}, {m} outputs": (d, m) for d in (1, 2, 3) for m in (2, 3)}


LINES = {f"any d, {m} outputs": (1, m) for m in (2, 3, 4)}


PAIRS = {f"d = {d}, {m} outputs, 2 data": (d, m) for d, m in ((1, 2), (1, 3), (2, 2))}


LINE_PAIRS = {f"any d, {m} outputs, 2 data": (1, m) for m in (2, 3)}


def test_settings_have_the_sizes_of_their_labels():
    sizes = {label: (len(s.theta), len(s.features)) for label, s in convexity.settings().items()}
    assert sizes == SETTINGS | LINES
    assert all((s.theta_ref == (0,)) is label.startswith("any") for label, s in convexity.settings().items())
    both = convexity.pairs()
    assert {k: (len(a.theta), len(a.features)) for k, (a, _) in both.items()} == PAIRS | LINE_PAIRS
    assert {k: (len(b.theta), len(b.features)) for k, (_, b) in both.items()} == PAIRS | LINE_PAIRS
    for a, b in both.values():  # one θ, and features of their own
        assert (a.theta, a.theta_ref) == (b.theta, b.theta_ref)
        assert not {e for phi in a.features for e in phi} & {e for phi in b.features for e in phi}
    assert any(e.name.startswith("psi") for e in both["d = 2, 2 outputs, 2 data"][1].features[0])


CHEAP = ("d = 1, 2 outputs", "any d, 2 outputs, 2 data", "any a, b, c")


@pytest.mark.slow
@pytest.mark.parametrize("number", [*map(str, range(22, 39)), "minimiser"])
def test_an_inequality_claims_its_sign_and_is_proven_with_it_in_the_cheapest_case(number):
    (equation,) = (e for e in (*convexity.equations(), *table2.equations()) if e.number == number)
    built = [i for label in CHEAP if label in equation.cases for i in equation.cases[label]()]
    assert built
    assert len({i.name for i in built}) == len(built)
    for i in built:
        positive = "> 0" in i.name or "strictly" in i.name
        assert i.sign == ("nonnegative" if ">= 0" in i.name else "positive" if positive else None), i.name
        assert i.proven, i.name
        assert not any("slack" in str(e.free_symbols) for e in i.left)


@pytest.mark.parametrize("number", ["22", "25", "26", "27", "31"])
def test_vectors_are_vectors_in_more_than_one_dimension(number):
    assert all(i.proven for i in getattr(convexity, f"eq{number}")(Softmax.general(2, 2)))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "most"), [("24", 3), ("28", 2)])
def test_the_rooms_are_phi_squared_less_the_features(number, most):
    """Assumption 3.2: each slack is Φ² - ‖φ_i‖² of a feature of its own, and non-negative."""
    s = Softmax.general(2, 3)
    slack = list(getattr(convexity, f"eq{number}")(s))[most - 1].slack
    used = range(2) if number == "24" else range(3)
    assert list(slack.values()) == [PHI**2 - (s.features[i].T * s.features[i])[0] for i in used]
    assert all(r.is_nonnegative and not r.is_positive for r in slack)
    assert (PHI.is_positive, BETA.is_positive) == (True, True)
