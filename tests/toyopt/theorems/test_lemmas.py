"""Lemmas A.3, A.5, A.6 and A.7: they hold on random problems, by hand, and a wrong constant is caught."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import problem as build
from support.small_problems import hand
from support.strategies import problems

from toyopt.examples import random_problem, table2
from toyopt.problem import Problem
from toyopt.theorems import (
    lemma_a3,
    lemma_a5,
    lemma_a6,
    lemma_a7,
    mean_square_constants,
    noise_level,
    prop_a1,
    prop_a2,
)

TWO = problems(objectives=(2,))


@given(
    st.floats(-50, 50),
    st.floats(0, 50),
    st.lists(st.floats(0.001, 1.0), min_size=1, max_size=40),
    st.sampled_from([0.01, 0.5, 3.0, -0.7]),
)
def test_a3_holds(theta: float, more: float, shares: list[float], c: float) -> None:
    record = lemma_a3(theta + more, theta, alphas=np.array(shares) * 4 / c, c=c)
    assert record.verdict == "holds", str(record)
    assert record.bound >= 0


def test_a3_by_hand() -> None:
    """Two steps a = 1, 2 with c = 1/2 from 1 and 0."""

    def rest(z: float) -> float:
        return 1 / (1 + math.exp(z))

    x, y = 1.0, 0.0
    for a in (1.0, 2.0):
        x, y = x + a * rest(x / 2), y + a * rest(y / 2)
    record = lemma_a3(1.0, 0.0, alphas=[1.0, 2.0], c=0.5)
    assert record.attained == pytest.approx(x - y, rel=1e-15)
    assert record.bound == pytest.approx((1 - 1 / 8) * (1 - 1 / 4), rel=1e-15)
    assert record.terms == {"difference": 1.0, "product": record.bound}


def test_a3_is_tight_at_the_origin_and_mutants_are_caught() -> None:
    """Where σ' is 1/4 the bound is nearly attained: c a/8 for c a/4, or a factor too few, exceed what is attained."""
    steps, c, start = [0.9, 0.7], 1.5, 1e-4
    record = lemma_a3(start / 2 - 1e-1, -start / 2 - 1e-1, alphas=steps, c=c)
    assert record.verdict == "holds"
    assert record.slack < 0.05 * record.bound
    assert start * math.prod(1 - c * a / 8 for a in steps) > record.attained
    assert start * (1 - c * steps[0] / 4) > record.attained


@pytest.mark.slow
@given(TWO, st.floats(0, 1), st.sampled_from([0.1, 1.0, 1e3]))
def test_a5_holds(specs: Any, lam: float, scale: float) -> None:
    rng = np.random.default_rng(1)
    dim = len(specs[0].data[0].outputs[0])
    theta = scale * rng.normal(size=(20, dim))
    near = theta + rng.choice([1e-6, 1.0, 10.0], size=(20, 1)) * rng.normal(size=(20, dim))
    record = lemma_a5(build(specs), theta, near, lam=lam)
    assert record.verdict == "holds", str(record)


def test_a5_by_hand_and_mutants() -> None:
    """Table 2 at theta_t = 5, theta = 0, λ = 1/4; the reverse inner product and swapped weights are wrong."""
    p, lam = table2(), 0.25
    f = [lam * math.log1p(math.exp(-(t - 5) / 2)) + (1 - lam) * math.log1p(math.exp(t / 2)) for t in (5.0, 0.0)]
    slope = lam * -0.5 * 0.5 + (1 - lam) * 0.5 / (1 + math.exp(-2.5))
    record = lemma_a5(p, [5.0], [0.0], lam=lam)
    assert record.attained == pytest.approx(f[0] - f[1], rel=1e-14)
    assert record.bound == pytest.approx(5 * slope, rel=1e-14)
    at_theta = 5 * float(p.grad_mix([0.0], lam)[0])  # the gradient at theta for that at theta_t
    swapped = 5 * float(p.grad_mix([5.0], 1 - lam)[0])
    assert at_theta < record.attained
    assert swapped < record.attained


def test_a5_takes_the_worst_pair() -> None:
    p = table2()
    both = lemma_a5(p, [[5.0], [0.1]], [[0.0], [0.0]], lam=0.25)
    assert both.bound == lemma_a5(p, [0.1], [0.0], lam=0.25).bound


def direct(eta: list[float], q: list[float]) -> float:
    """The right side as it is printed: O(T²), 1-based."""
    T = len(eta)
    e, v = [math.nan, *eta], [math.nan, *q]
    out = sum(e[t] * v[t] for t in range(1, T + 1)) / T
    for k in range(1, T):
        out += sum(e[t] * (v[t] - v[T - k]) for t in range(T - k + 1, T + 1)) / (k * (k + 1))
    return out


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 100)), min_size=1, max_size=30))
def test_a6_holds_and_is_what_is_printed(pairs: list[tuple[float, float]]) -> None:
    eta = sorted((e for e, _ in pairs), reverse=True)
    q = [v for _, v in pairs]
    record = lemma_a6(eta, q)
    assert record.verdict == "holds", str(record)
    assert record.bound == pytest.approx(direct(eta, q), rel=1e-11, abs=1e-9)
    assert sum(record.terms.values()) == record.bound


@given(st.floats(0.01, 10), st.lists(st.floats(-100, 100), min_size=1, max_size=40))
def test_a6_is_an_equality_for_a_constant_eta(eta: float, q: list[float]) -> None:
    record = lemma_a6([eta] * len(q), q)
    assert record.kind == "equal"
    assert record.verdict == "holds", str(record)


def test_a6_mutants_are_caught() -> None:
    """T - 1 for T, k² for k(k+1), tails that begin one earlier: none is the equality."""
    q, T = [3.0, 1.0, 4.0, 1.5, 2.0], 5
    record = lemma_a6([0.7] * T, q)
    e, v = [math.nan] + [0.7] * T, [math.nan, *q]
    tail = {k: sum(e[t] * (v[t] - v[T - k]) for t in range(T - k + 1, T + 1)) for k in range(1, T)}
    average = 0.7 * sum(q) / T
    wrong = [
        0.7 * sum(q) / (T - 1) + sum(tail[k] / (k * (k + 1)) for k in tail),
        average + sum(tail[k] / k**2 for k in tail),
        average + sum(tail[k] / (k * (k + 1)) for k in tail if k < T - 1),
        average + sum(tail[k] / ((k + 1) * (k + 2)) for k in tail),
    ]
    assert record.verdict == "holds"
    for bound in wrong:
        assert abs(bound - record.attained) > 1e6 * record.tolerance


def test_a6_needs_its_assumptions() -> None:
    """With an increasing η the inequality fails, so it is refused."""
    assert direct([1.0, 2.0], [1.0, 1.0]) < 2.0
    with pytest.raises(ValueError, match=r"eta: must not increase, got .*1\.0.* before .*2\.0"):
        lemma_a6([1.0, 2.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="q: must not be negative"):
        lemma_a6([2.0, 1.0], [-1.0, 1.0])


@pytest.mark.slow
@given(TWO, st.floats(0, 1), st.sampled_from([0.01, 1.0, 20.0]), st.booleans())
def test_a7_holds(specs: Any, lam: float, alpha: float, stochastic: bool) -> None:
    rng = np.random.default_rng(2)
    p = build(specs)
    for _ in range(3):
        here, there = 5 * rng.normal(size=(2, p.dim))
        for constants in (None, mean_square_constants(p)):
            r = lemma_a7(p, here, there, lam=lam, alpha=alpha, stochastic=stochastic, constants=constants)
            assert r.verdict == "holds", str(r)


def test_a7_by_hand() -> None:
    """One step on Table 2, both outcomes with their squares written out."""
    p, lam, alpha, here, there = table2(), 0.3, 1.7, 4.0, 1.0
    g = [-0.5 / (1 + math.exp((here - 5) / 2)), 0.5 / (1 + math.exp(-here / 2))]
    after = lam * (here - alpha * g[0] - there) ** 2 + (1 - lam) * (here - alpha * g[1] - there) ** 2
    r = lemma_a7(p, [here], [there], lam=lam, alpha=alpha)
    assert r.terms["progress"] == pytest.approx((here - there) ** 2 / 2 - after / 2, rel=1e-13)
    assert r.terms["noise"] == pytest.approx(alpha**2 / 2 * 0.25, rel=1e-14)  # C1 = C2 = 1/2
    assert r.attained == pytest.approx(alpha * float(p.f_mix([here], lam) - p.f_mix([there], lam)), rel=1e-14)
    assert r.evidence == "enumerated"
    assert sum(r.terms.values()) == r.bound


def test_a7_stochastic_is_the_sum_over_the_data() -> None:
    p, lam, alpha, here, there = hand(), 0.3, 0.2, np.array([0.4]), np.array([-1.0])
    after = 0.0
    for w, o in zip((lam, 1 - lam), p.objectives, strict=True):
        after += w * np.mean([((here - alpha * g - there) ** 2).sum() for g in o.data_grads(here)])
    r = lemma_a7(p, here, there, lam=lam, alpha=alpha, stochastic=True)
    assert r.terms["progress"] == pytest.approx(float(((here - there) ** 2).sum() - after) / 2, rel=1e-13)
    assert r.terms["progress"] < lemma_a7(p, here, there, lam=lam, alpha=alpha).terms["progress"]


def test_noise_level_by_hand_and_mutants() -> None:
    """C1 = 4, C2 = 3, λ = 1/4: 1/4·16 + 3/4·9 = 10.75; λ swapped 14.25, C1 for C2 16, no squares 3.25."""
    assert noise_level(hand(), 0.25) == 10.75
    assert noise_level(hand(), (0.25, 0.75)) == 10.75
    assert noise_level(hand(), 0.25, (2.0, 5.0)) == 0.25 * 4 + 0.75 * 25
    assert mean_square_constants(hand()) == pytest.approx((math.sqrt(8.5), math.sqrt(4.625)), rel=1e-15)


def test_a7_mutants_are_caught() -> None:
    """Far out, where gradients are full rows and f is linear, the inequality is an equality in its noise: C1 for C2, λ
    and 1-λ swapped, and a missing square or half all fail."""
    p = Problem.dpo_sft(  # C1 = 1/2, C2 = 3, pulling the same way at theta = 1e3: f_DPO ~ (θ)/2, f_SFT ~ 3θ
        chosen=[[0.0]], rejected=[[0.5]], features=[[[0.0], [3.0]]], targets=[0], theta_ref=[0.0]
    )
    alpha, lam, here, there = 2.0, 0.75, [1000.0], [900.0]
    r = lemma_a7(p, here, there, lam=lam, alpha=alpha)
    assert r.verdict == "holds"
    assert r.slack == pytest.approx(0.0, abs=1e-9)
    right = 0.75 * 0.25 + 0.25 * 9
    for wrong in (0.25, 0.75 * 0.5 + 0.25 * 3, 0.5 * right):  # C1 for C2, no squares, a half too many
        assert r.terms["progress"] + alpha**2 / 2 * wrong < r.attained - r.tolerance
    assert r.terms["progress"] + alpha / 2 * right < r.attained - r.tolerance
    swapped = lemma_a7(p, here, there, lam=lam, alpha=alpha, constants=(3.0, 0.5))
    assert swapped.terms["noise"] != pytest.approx(r.terms["noise"], rel=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prop_a1(hand(), []), "theta: the last axis must be d = 1"),
        (lambda: prop_a1(hand(), np.zeros((0, 1))), "theta: is empty"),
        (lambda: prop_a1(hand(), [0.0], beta=-1.0), "beta: must be more than 0, got -1.0"),
        (lambda: prop_a1(Problem(random_problem(np.random.default_rng(0)).objectives * 1, None), [0.0]), "last axis"),
        (lambda: prop_a2(hand(), np.zeros((0, 1)), lam=0.5), "theta: is empty"),
        (lambda: prop_a2(hand(), [0.0], lam=1.5), r"lam: must be in \[0, 1\], got 1.5"),
        (lambda: lemma_a3(0.0, 1.0, alphas=[1.0], c=1.0), "theta: must be at least theta_prime = 1.0, got 0.0"),
        (
            lambda: lemma_a3(1.0, 0.0, alphas=[1.0, 4.5], c=1.0),
            r"alphas: c a_t must be in \(0, 4\], got .* at t = 2",
        ),
        (lambda: lemma_a3(1.0, 0.0, alphas=[-1.0], c=1.0), "alphas: c a_t"),
        (lambda: lemma_a5(hand(), [0.0], [0.0, 1.0], lam=0.5), "theta: the last axis"),
        (lambda: lemma_a5(hand(), np.zeros((2, 1)), np.zeros((3, 1)), lam=0.5), "theta: shape .* does not broadcast"),
        (lambda: lemma_a5(hand(), np.zeros((0, 1)), np.zeros((0, 1)), lam=0.5), "theta_t: is empty"),
        (lambda: lemma_a6([1.0], [1.0, 2.0]), "q: length 1 is needed, as eta has, got 2"),
        (lambda: lemma_a6([0.0], [1.0]), "eta: must be positive, got .*0.0"),
        (lambda: lemma_a7(hand(), [0.0], [[0.0]], lam=0.5, alpha=1.0), r"theta: shape \(1,\) is needed"),
        (lambda: lemma_a7(hand(), [0.0], [0.0], lam=0.5, alpha=0.0), "alpha: must be more than 0"),
        (lambda: noise_level(hand(), 0.5, (1.0,)), "constants: 2 numbers are needed, one an objective, got 1"),
        (lambda: noise_level(hand(), 0.5, (1.0, -2.0)), r"constants\[1\]: must be at least 0, got -2.0"),
    ],
)
def test_wrong_input_names_the_argument(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
