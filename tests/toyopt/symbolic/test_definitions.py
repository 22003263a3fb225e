"""The softmax policy and definitions (1)-(5) in numbers."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import sympy as sp

from toyopt.symbolic import (
    convexity,
)
from toyopt.symbolic.definitions import BETA, Softmax


@pytest.mark.slow
def test_the_left_sides_come_from_the_definitions_with_their_normalisers():
    s = Softmax.general(1, 3)
    third = s.features[2][0]
    assert third in s.h().free_symbols  # the output that neither wins nor loses stands in eq. (3) and cancels in (22)
    identity = next(convexity.eq22(s))
    assert identity.proven
    assert third not in identity.right[0].free_symbols


x, y = sp.symbols("x y", real=True)


p, q = sp.symbols("p q", positive=True)


MODELS = {"general": lambda: Softmax.general(2, 3), "line": lambda: Softmax.line(3)}


def numbers(exprs) -> dict[sp.Symbol, float]:
    rng = random.Random(1)
    return {s: rng.uniform(0.2, 1.5) for s in sorted(set().union(*(e.free_symbols for e in exprs)), key=str)}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_definitions_in_numbers(model):
    s = MODELS[model]()
    everything = [*s.theta, *s.theta_ref, *s.offset, *s.ref_offset, *(e for phi in s.features for e in phi), s.beta]
    assert {e.is_real for e in everything} == {True}
    at = numbers(everything)

    def number(e: sp.Expr) -> float:
        return float(sp.sympify(e).subs(at))

    phi = np.array([[number(e) for e in f] for f in s.features])
    theta, ref = (np.array([number(e) for e in t]) for t in (s.theta, s.theta_ref))
    logits = phi @ theta + [number(o) for o in s.offset]
    pi, rho = np.exp(logits), np.exp(phi @ ref + [number(o) for o in s.ref_offset])
    z, pi, rho, beta = math.log(pi.sum()), pi / pi.sum(), rho / rho.sum(), number(s.beta)
    margin = beta * (math.log(pi[0] / rho[0]) - math.log(pi[1] / rho[1]))
    h = 1 / (1 + math.exp(-margin))
    dpo, sft = -beta * (1 - h) * (phi[0] - phi[1]), pi @ phi - phi[0]
    assert [number(e) for e in s.logits()] == pytest.approx(logits)
    assert [number(s.policy(i)) for i in s.outputs] == pytest.approx(pi)
    assert [number(s.reference(i)) for i in s.outputs] == pytest.approx(rho)
    assert [number(e) for e in (s.log_normaliser(), s.h(), s.f_dpo(), s.f_sft())] == pytest.approx(
        [z, h, -math.log(h), -math.log(pi[0])]
    )
    assert number(convexity.margin(s)) == pytest.approx(margin)
    assert [number(e) for e in s.g_dpo()] == pytest.approx(dpo)
    assert [number(e) for e in s.g_sft()] == pytest.approx(sft)
    assert [number(e) for e in s.grad(s.log_normaliser())] == pytest.approx(pi @ phi)
    assert [number(e) for e in convexity.mean_feature(s)] == pytest.approx(pi @ phi)
    cov = np.einsum("i,ij,ik->jk", pi, phi, phi) - np.outer(pi @ phi, pi @ phi)
    assert [number(e) for e in s.hess(s.log_normaliser())] == pytest.approx(cov.ravel())
    assert [number(e) for e in convexity.hess_sft(s)] == pytest.approx(cov.ravel())
    outer = beta**2 * h * (1 - h) * np.outer(phi[0] - phi[1], phi[0] - phi[1])
    assert [number(e) for e in convexity.hess_dpo(s)] == pytest.approx(outer.ravel())


def test_a_symbol_for_every_number():
    s = Softmax.general(2, 3)
    everything = [*s.theta, *s.theta_ref, *(e for phi in s.features for e in phi)]
    assert (len(s.theta), len(s.theta_ref), len(s.features), len(set(everything))) == (2, 2, 3, 10)
    assert s.beta == BETA
    assert set(s.offset + s.ref_offset) == {0}
    assert len(s.offset) == len(s.ref_offset) == 3
    a, b = Softmax.line(3), Softmax.line(3, "b")
    drawn = [{*s.offset, *s.ref_offset, *(e for phi in s.features for e in phi)} for s in (a, b)]
    assert [len(d) for d in drawn] == [9, 9]
    assert not drawn[0] & drawn[1]
    assert [a.features[1][0].name, a.offset[1].name, a.ref_offset[1].name] == ["a_1", "sa_1", "ra_1"]
    assert a.theta == b.theta == (sp.Symbol("t", real=True),)
    assert a.theta_ref == (0,)
    assert list(s.outputs) == [0, 1, 2]
    assert s.direction.shape == (2, 1)
    assert all(e.is_Symbol and e.is_real for e in s.direction)
    assert len(set(s.direction)) == 2
    assert not set(s.direction) & set(everything)
    assert Softmax.of([sp.Matrix([x]), sp.Matrix([y])], [p], [q], 2 * p).beta == 2 * p
    assert Softmax.of([sp.Matrix([x]), sp.Matrix([y])], [p], [q]).beta == BETA


def test_an_output_without_an_offset_is_an_error():
    s = Softmax.line(3)
    with pytest.raises(ValueError, match="zip"):
        dataclasses.replace(s, offset=s.offset[:2]).logits()
    with pytest.raises(ValueError, match="zip"):
        dataclasses.replace(s, ref_offset=s.ref_offset[:2]).reference(0)
