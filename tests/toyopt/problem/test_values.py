"""Values, gradients and Hessians against the definitions (1)-(5), and what must leave them unchanged."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from support import oracle
from support import strategies as own
from support.oracle import COMPLEX, Datum, Numbers, Spec

from toyopt import Objective, Problem, dpo, sft

EPS = np.finfo(float).eps


def hess_error(spec: Spec, theta: tuple[float, ...]) -> float:
    """β²(2Φ)² (the longest pair difference, squared) times the error of Σ p_r p_s: 4 margins' errors and the sums'."""
    most = max(len(d.outputs) for d in spec.data)
    rounding = (most**2 + len(spec.data) + 20) * EPS
    return (2 * spec.beta * spec.phi) ** 2 * (4 * oracle.margin_error(spec, theta) + rounding)


def complex_hess(spec: Spec, theta: tuple[float, ...]) -> np.ndarray:
    """Complex-step derivative of the gradient of eq. (2), (5): no subtraction, so right to rounding."""
    h = 1e-30
    columns = []
    for j in range(len(theta)):
        moved = [complex(t, h if i == j else 0.0) for i, t in enumerate(theta)]
        columns.append([g.imag / h for g in oracle.grad(spec, moved, COMPLEX)])
    return np.array(columns).T


@pytest.mark.slow
@given(st.data(), own.problems())
def test_values_and_gradients_are_those_of_the_definitions(data: st.DataObject, specs: oracle.Specs) -> None:
    theta = data.draw(own.points(specs))
    values, grads = oracle.problem(specs).values(theta), oracle.problem(specs).grads(theta)
    for i, s in enumerate(specs):
        f = oracle.value(s, theta)
        assert abs(values[i] - f) <= oracle.value_error(s, theta, f)
        assert np.linalg.norm(grads[i] - oracle.grad(s, theta)) <= oracle.grad_error(s, theta)


@pytest.mark.slow
@given(st.data(), own.problems(scales=own.EXTREME))
def test_the_same_at_extreme_scales(data: st.DataObject, specs: oracle.Specs) -> None:
    theta = data.draw(own.points(specs, (1e-3, 1.0, 1e4)))
    p = oracle.problem(specs)
    values, grads, hessians = p.values(theta), p.grads(theta), p.hessians(theta)
    assert np.isfinite(hessians).all()
    for i, s in enumerate(specs):
        f = oracle.value(s, theta)
        assert abs(values[i] - f) <= oracle.value_error(s, theta, f)
        assert np.linalg.norm(grads[i] - oracle.grad(s, theta)) <= oracle.grad_error(s, theta)


@pytest.mark.slow
@given(st.data(), own.problems())
def test_hessians_are_the_complex_step_derivatives_of_the_gradients(data: st.DataObject, specs: oracle.Specs) -> None:
    theta = data.draw(own.points(specs))
    hessians = oracle.problem(specs).hessians(theta)
    for i, s in enumerate(specs):
        assert np.abs(hessians[i] - complex_hess(s, theta)).max() <= hess_error(s, theta)


@pytest.mark.slow
@given(st.data(), own.problems())
def test_gradients_are_the_complex_step_derivatives_of_the_values(data: st.DataObject, specs: oracle.Specs) -> None:
    theta = data.draw(own.points(specs))
    grads = oracle.problem(specs).grads(theta)
    h = 1e-30
    for i, s in enumerate(specs):
        for j in range(len(theta)):
            moved = [complex(t, h if k == j else 0.0) for k, t in enumerate(theta)]
            derivative = oracle.value(s, moved, COMPLEX).imag / h
            assert abs(grads[i, j] - derivative) <= oracle.grad_error(s, theta)


@functools.cache
def symbolic(spec: Spec) -> tuple[sympy.Expr, tuple[sympy.Symbol, ...]]:
    symbols = sympy.symbols(f"t:{len(spec.data[0].outputs[0])}", real=True)
    n = Numbers(sympy.exp, sympy.log, lambda xs: sympy.Add(*xs), lambda _: 0, sympy.Rational)
    return oracle.value(spec, symbols, n), symbols


SMALL = (
    Spec("dpo", (Datum(((1.0, 0.5), (-0.25, 2.0), (0.0, 1.0)), 2, 0),), 0.75, (0.5, -1.0)),
    Spec("sft", (Datum(((1.0, 0.5), (-0.25, 2.0), (0.0, 1.0)), 1), Datum(((0.5, 0.5), (1.0, 0.5)), 0))),
)


@pytest.mark.slow
@pytest.mark.parametrize("spec", SMALL, ids=lambda s: s.name)
@pytest.mark.parametrize("theta", [(0.0, 0.0), (1.5, -2.25), (-8.0, 3.0)], ids=str)
def test_against_expressions_that_sympy_derives(spec: Spec, theta: tuple[float, ...]) -> None:
    f, symbols = symbolic(spec)
    at = dict(zip(symbols, map(sympy.Rational, theta), strict=True))

    def number(expression: sympy.Expr) -> float:
        return float(expression.subs(at).evalf(40))

    own_ = spec.objective()
    # These features and parameters are dyadic, so the margins are exact, and what is left are a dozen roundings of
    # numbers that are less than 16.
    close = functools.partial(np.testing.assert_allclose, rtol=0.0, atol=12 * 16 * EPS)
    close(own_.value(theta), number(f))
    close(own_.grad(theta), [number(f.diff(s)) for s in symbols])
    close(own_.hess(theta), [[number(f.diff(s, r)) for r in symbols] for s in symbols])


def test_the_sympy_comparison_sees_a_wrong_beta() -> None:
    f, symbols = symbolic(SMALL[0])
    right = float(f.subs(dict.fromkeys(symbols, sympy.Rational(1, 2))).evalf(40))
    wrong = dataclasses.replace(SMALL[0], beta=0.75 * (1 + 1e-12)).objective().value([0.5, 0.5])
    assert abs(wrong - right) > 12 * 16 * EPS


@pytest.mark.slow
@given(st.data(), own.problems())
def test_eq_22_23_and_25_to_27_as_written(data: st.DataObject, specs: oracle.Specs) -> None:
    theta = data.draw(own.points(specs))
    for s in specs:
        own_ = s.objective()
        h, grads = own_.target_probability(theta), own_.data_grads(theta)
        for i, d in enumerate(s.data):
            outputs = np.array(d.outputs)
            if s.is_dpo:
                delta = outputs[d.wanted] - outputs[d.loser]
                x = s.beta * (np.array(theta) - s.theta_ref) @ delta
                h_beta = 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))
                expected = -s.beta * (1 - h_beta) * delta
            else:
                pi = np.exp(oracle.log_policy(theta, d, oracle.FLOAT))
                h_beta = pi[d.wanted]
                expected = -sum(pi[y] * (outputs[d.wanted] - outputs[y]) for y in range(len(outputs)))
            assert abs(h[i] - h_beta) <= oracle.margin_error(s, theta) + 8 * EPS
            assert np.linalg.norm(grads[i] - expected) <= oracle.grad_error(s, theta) + 4 * s.beta * s.phi * EPS


@pytest.mark.slow
@given(st.data(), own.problems())
def test_objectives_are_means_over_the_data(data: st.DataObject, specs: oracle.Specs) -> None:
    theta = data.draw(own.points(specs))
    for s in specs:
        o = s.objective()
        assert o.size == len(s.data)
        np.testing.assert_allclose(o.data_values(theta).mean(), o.value(theta), rtol=4 * EPS)
        size = np.abs(o.data_grads(theta)).max() + 1e-300
        # p @ rows against a mean of sums: as many roundings as there are rows, of both.
        assert np.abs(o.data_grads(theta).mean(axis=0) - o.grad(theta)).max() <= 2 * (len(o.rows) + 4) * EPS * size


@pytest.mark.slow
@given(st.data(), own.problems())
def test_batches_agree_with_one_by_one(data: st.DataObject, specs: oracle.Specs) -> None:
    p = oracle.problem(specs)
    n, d = len(specs), p.dim
    thetas = np.array([[data.draw(own.points(specs, (1.0, 5.0))) for _ in range(3)] for _ in range(2)])
    lam = np.arange(1, n + 1) / (n * (n + 1) / 2)
    shapes = {
        "values": (n,), "grads": (n, d), "hessians": (n, d, d),
        "f_dpo": (), "f_sft": (), "grad_dpo": (d,), "grad_sft": (d,), "hess_dpo": (d, d), "hess_sft": (d, d),
    }  # fmt: skip
    mixes = {"f_mix": (), "grad_mix": (d,), "hess_mix": (d, d)}
    calls = [(getattr(p, k), (), v) for k, v in shapes.items()]
    calls += [(getattr(p, k), (tuple(lam),), v) for k, v in mixes.items()]
    for s, o in zip(specs, p.objectives, strict=True):
        calls += [(o.data_values, (), (o.size,)), (o.data_grads, (), (o.size, d))]
        assert s.name in p.names
    slack = max(hess_error(s, tuple(t)) + oracle.grad_error(s, t) + oracle.value_error(s, t, oracle.value(s, t))
                for s in specs for t in thetas.reshape(-1, d))  # fmt: skip
    for call, more, shape in calls:
        every = call(thetas, *more)
        assert every.shape == (2, 3, *shape)
        assert call(thetas[:0], *more).shape == (0, 3, *shape)
        for i in range(2):
            for j in range(3):
                one = call(thetas[i, j], *more)
                assert one.shape == shape
                assert np.abs(every[i, j] - one).max() <= slack


@pytest.mark.slow
@given(st.data(), own.problems(exact=True))
def test_a_constant_added_to_all_features_of_an_input_changes_nothing(data: st.DataObject, specs: oracle.Specs) -> None:
    theta = data.draw(own.points(specs))
    p = oracle.problem(specs)
    moved = []
    for s in specs:
        shifts = [data.draw(own.vectors(p.dim, own.dyadic())) for _ in s.data]
        each = tuple(
            Datum(tuple(tuple(np.add(row, shift)) for row in d.outputs), d.wanted, d.loser)
            for d, shift in zip(s.data, shifts, strict=True)
        )
        moved.append(Spec(s.name, each, s.beta, s.theta_ref))
    q = oracle.problem(tuple(moved))
    # Dyadic features: the differences are exact, so not a bit may change.
    np.testing.assert_array_equal(p.values(theta), q.values(theta))
    np.testing.assert_array_equal(p.grads(theta), q.grads(theta))
    np.testing.assert_array_equal(p.hessians(theta), q.hessians(theta))
    assert (p.C1, p.C2) == (q.C1, q.C2)


@pytest.mark.slow
@given(st.data(), own.problems(exact=True))
def test_the_order_of_data_and_outputs_does_not_matter(data: st.DataObject, specs: oracle.Specs) -> None:
    theta = data.draw(own.points(specs))
    for s in specs:
        each = []
        for d in data.draw(st.permutations(s.data)):
            order = data.draw(st.permutations(range(len(d.outputs))))
            loser = None if d.loser is None else order.index(d.loser)
            each.append(Datum(tuple(d.outputs[i] for i in order), order.index(d.wanted), loser))
        p, q = s.objective(), Spec(s.name, tuple(each), s.beta, s.theta_ref).objective()
        assert p.phi == q.phi
        assert p.grad_bound == q.grad_bound
        np.testing.assert_allclose(p.smoothness, q.smoothness, rtol=8 * EPS)
        f = float(p.value(theta))
        assert abs(f - q.value(theta)) <= oracle.value_error(s, theta, f)
        assert np.linalg.norm(p.grad(theta) - q.grad(theta)) <= oracle.grad_error(s, theta)
        assert np.abs(p.hess(theta) - q.hess(theta)).max() <= hess_error(s, theta)


@pytest.mark.slow
@given(st.data(), own.problems(objectives=(2, 3, 3)))
def test_mixtures_weigh_the_objectives(data: st.DataObject, specs: oracle.Specs) -> None:
    theta = data.draw(own.points(specs))
    p, n = oracle.problem(specs), len(specs)
    w = np.array([1 / 8, 3 / 8, 1 / 2][:n]) if n == 3 else np.array([0.25, 0.75])
    lam = tuple(w) if n == 3 else 0.25
    f, g, h = p.values(theta), p.grads(theta), p.hessians(theta)
    np.testing.assert_allclose(p.f_mix(theta, lam), sum(w * f), rtol=4 * EPS)
    np.testing.assert_allclose(p.grad_mix(theta, lam), w @ g, rtol=0, atol=8 * EPS * (1 + np.abs(g).max()))
    mean = np.tensordot(w, h, 1)
    np.testing.assert_allclose(p.hess_mix(theta, lam), mean, rtol=0, atol=8 * EPS * (1 + np.abs(h).max()))
    for i, edge in enumerate(np.eye(n)):
        assert p.f_mix(theta, tuple(edge)) == f[i]


def test_a_scalar_lambda_weighs_dpo() -> None:
    p = oracle.problem(own.fixed(0))
    theta = np.full(p.dim, 0.3)
    assert p.f_mix(theta, 1) == p.f_dpo(theta) != p.f_sft(theta) == p.f_mix(theta, 0)


def test_problems_are_frozen_and_keep_their_own_copies() -> None:
    chosen, rejected, ref = np.ones((2, 2)), np.zeros((2, 2)), np.array([0.5, 0.25])
    features, targets = np.arange(12.0).reshape(2, 3, 2), np.array([0, 2])
    p = Problem((dpo(chosen, rejected, beta=0.5, theta_ref=ref), sft(features, targets)))
    theta = np.array([0.1, 0.2])
    before = (p.values(theta), p.grads(theta), p.hessians(theta))
    for array in (chosen, rejected, ref, features, targets):
        array[...] = 1
    for old, new in zip(before, (p.values(theta), p.grads(theta), p.hessians(theta)), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(theta, [0.1, 0.2])
    for o in p.objectives:
        for array in (o.rows, o.counts, o.origin, o.starts):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
        with pytest.raises(dataclasses.FrozenInstanceError):
            o.rows = np.ones((1, 1))  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        p.phi = 1.0  # type: ignore[misc]


def test_the_canonical_constructor_copies_too() -> None:
    rows, counts, origin = np.array([[1.0], [2.0]]), np.array([1, 1]), np.array([0.5])
    o = Objective("own", rows, counts, origin)
    rows[...], counts[...], origin[...] = 7, 9, 8
    assert (o.rows.tolist(), o.counts.tolist(), o.origin.tolist()) == ([[1.0], [2.0]], [1, 1], [0.5])
