"""Equations (34)-(38) and the minimiser: proven as stated, and not with one thing wrong."""

from __future__ import annotations

import dataclasses
import math

import pytest
import sympy as sp

from toyopt.examples import TABLE2, LowerBound
from toyopt.optimum import lower_bound_minimiser
from toyopt.symbolic import (
    Identity,
    table2,
)
from toyopt.symbolic.definitions import sigma

NUMBERS = [*map(str, range(22, 39)), "minimiser"]


def stated(identity: Identity, change) -> Identity:
    """The identity with another right-hand side; no sign is claimed, so that only the residual can catch it."""
    return dataclasses.replace(identity, right=tuple(change(b) for b in identity.right), sign=None)


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_the_example_is_table_2_and_its_family():
    e = table2.Example.reconstructed()
    features = [float(m[0]) for s in (e.dpo, e.sft) for m in s.features]
    assert features == [row.feature[0] for row in TABLE2]
    assert e.c == sp.Rational(1, 2)
    assert [s.beta for s in (e.dpo, e.sft)] == [1, 1]
    g = table2.Example.general()
    (w, _), (t, o) = ([m[0] for m in s.features] for s in (g.dpo, g.sft))
    assert (w - g.dpo.features[1][0], o - t) == (g.c, g.c)
    assert len((w + t).free_symbols) == 3
    assert g.c.is_positive
    assert all(v.is_real and v.is_positive is None for v in (w + t).free_symbols - {g.c})
    for example in (e, g):
        assert example.theta == example.dpo.theta[0] == example.sft.theta[0]
        assert example.theta.is_real
        assert example.dpo.theta_ref[0].is_real
        assert example.theta.is_nonnegative is None
        assert example.dpo.theta_ref[0] != example.theta
        assert sp.expand(example.distance / example.c) == example.theta - example.dpo.theta_ref[0]
    assert table2.LAM.is_positive
    assert table2.MU.is_positive


def test_the_quadratic_and_its_roots_in_numbers():
    z, k, lam = 0.7, 1.9, 0.3
    value = table2.quadratic(sp.Float(z), sp.Float(k)).subs(table2.LAM, lam)
    assert float(value) == pytest.approx(0.7 * 0.49 + 0.4 * 1.9 * 0.7 - 0.3 * 1.9)
    last = list(table2.minimiser(table2.Example.reconstructed()))[3]
    at = {table2.LAM: lam, table2.MU: 1 - lam, sp.Symbol("K", positive=True): k}
    assert float(last.left[0].subs(at)) == pytest.approx(lam * k / (1 - lam))  # minus the product of the roots
    assert float(last.right[0].subs(at)) == pytest.approx(lam * k / (1 - lam))
    assert last.slack == {table2.MU: 1 - table2.LAM}
