"""`toyopt.problem` agrees with the derivations, and a small error is caught."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import sympy as sp

from toyopt.symbolic import (
    against_problem,
    numeric,
)
from toyopt.symbolic.definitions import Softmax, sigma


@pytest.mark.slow
def test_problem_agrees_with_the_derivations_on_random_rational_problems():
    agreement = against_problem(problems=1, seed=3)
    assert agreement.problems == 6
    assert agreement.holds, agreement
    assert agreement == against_problem(problems=1, seed=3)
    assert not dataclasses.replace(agreement, grad=math.nan).holds
    assert not dataclasses.replace(agreement, hess=2e-13).holds
    with pytest.raises(ValueError, match="problems"):
        against_problem(problems=0)


@pytest.mark.slow
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


def test_the_comparison_takes_the_worst_of_all_errors(monkeypatch):
    monkeypatch.setattr(numeric, "SETTINGS", ((1, 2),))
    found = against_problem(problems=1, seed=5)
    assert found.problems == 1
    assert found.holds
    assert 0.0 < found.worst < 1e-14
    assert found != against_problem(problems=1, seed=6)
    assert against_problem(problems=3, seed=0).problems == 3
    computed = numeric._Draw.computed

    for what in ("value", "grad", "hess"):

        def off(self, what=what):
            return {k: v * (1 + 1e-6 * (k == ("sft", what))) for k, v in computed(self).items()}

        monkeypatch.setattr(numeric._Draw, "computed", off)
        errors = dataclasses.asdict(against_problem(problems=1, seed=5))
        # Relative to the largest entry of a datum, of which the mean is a part.
        assert 1e-9 < errors.pop(what) < 1.001e-6
        assert max(v for k, v in errors.items() if k in ("value", "grad", "hess")) < 1e-14


def test_an_error_is_relative_to_the_largest_entry_of_a_datum(monkeypatch):
    monkeypatch.setattr(numeric, "SETTINGS", ((1, 2),))
    truth = [numeric.mpmath.mpf(3)]
    monkeypatch.setattr(numeric._Draw, "computed", lambda _: {("dpo", "value"): np.array([3.5])})
    for scale, error in ((4, 0.125), (0, 0.5)):
        monkeypatch.setattr(numeric._Draw, "derived", lambda _, s=scale: iter([(("dpo", "value"), truth, s)]))
        found = against_problem(problems=1)
        assert (found.value, found.grad, found.hess) == (error, 0.0, 0.0)
    monkeypatch.setattr(numeric._Draw, "computed", lambda _: {("dpo", "value"): np.array([3.5, 3.0])})
    with pytest.raises(ValueError, match="zip"):
        against_problem(problems=1)


def test_the_mean_and_the_largest_entry_of_the_data(monkeypatch):
    """With a "formula" that returns θ φ_00 and β: the mean over the data and the largest, of either set."""
    draw = numeric._Draw(
        np.array([2.0]),
        np.array([7.0]),
        np.array([[[1.0], [0.0]], [[-4.0], [0.0]]]),
        np.array([[[1.0], [9.0]], [[2.0], [9.0]], [[6.0], [9.0]]]),
        0.5,
    )

    def formula(theta, ref, first, second, beta):
        return [theta * first, beta + 0 * ref * second]

    def functions(dim, outputs):
        assert (dim, outputs) == (1, 2)
        return {("dpo", "value"): (formula, formula), ("sft", "grad"): (formula,)}

    monkeypatch.setattr(numeric, "_functions", functions)
    rows = [(k, [float(v) for v in mean], float(most)) for k, mean, most in draw.derived()]
    assert rows == [(("dpo", "value"), [-3.0, 0.5], 8.0)] * 2 + [(("sft", "grad"), [6.0, 0.5], 12.0)]
    ragged = iter([[1], [1, 2]])
    monkeypatch.setattr(numeric, "_functions", lambda *_: {("dpo", "value"): (lambda *_: next(ragged),)})
    with pytest.raises(ValueError, match="zip"):
        list(draw.derived())


def test_a_draw_has_eighths_that_do_not_repeat():
    rng = random.Random(0)
    draws = [numeric._Draw.of(rng, 2, 3) for _ in range(60)]
    first = draws[0]
    assert [a.shape for a in (first.theta, first.theta_ref, first.pairs, first.demos)] == [
        (2,),
        (2,),
        (2, 3, 2),
        (3, 3, 2),
    ]
    every = np.concatenate([a.ravel() for d in draws for a in (d.theta, d.theta_ref, d.pairs, d.demos)])
    assert (every.min(), every.max()) == (-2.0, 2.0)
    assert len(np.unique(every)) == 33
    assert set(every * 8 % 1) == {0.0}
    betas = {d.beta for d in draws} | {numeric._Draw.of(rng, 1, 2).beta for _ in range(200)}
    assert betas == {k / 8 for k in range(1, 17)}
    assert set(first.computed()) == {(a, b) for a in ("dpo", "sft") for b in ("value", "grad", "hess")}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"problems": 0}, ValueError, "problems: must be at least 1, got 0"),
        ({"problems": 1.5}, TypeError, "problems: "),
        ({"seed": -1}, ValueError, "seed: must be at least 0, got -1"),
        ({"seed": 1.5}, TypeError, "seed: "),
    ],
)
def test_wrong_numbers_are_named(arguments, error, words):
    with pytest.raises(error, match=f"^{words}"):
        against_problem(**arguments)


def test_the_tolerance_itself_is_allowed():
    agreement = numeric.Agreement(1, 1e-13, 0.0, 5e-14)
    assert agreement.holds
    assert agreement.worst == 1e-13
    assert math.isnan(dataclasses.replace(agreement, grad=math.nan).worst)


def test_each_quantity_is_derived_by_its_own_equation():
    s = Softmax.general(1, 2)
    found = numeric.identities(s)
    lefts = {
        ("dpo", "value"): [s.f_dpo()],
        ("dpo", "grad"): list(s.g_dpo()),
        ("dpo", "hess"): list(s.hess(s.f_dpo())),
        ("sft", "value"): [s.f_sft()],
        ("sft", "grad"): list(s.g_sft()),
        ("sft", "hess"): list(s.hess(s.f_sft())),
    }
    assert {k: list(i.left) for k, i in found.items()} == lefts
    assert sigma(sp.Integer(0)) == sp.Rational(1, 2)
