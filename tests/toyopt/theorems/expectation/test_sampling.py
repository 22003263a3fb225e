"""Confidence intervals from runs contain the exact expectation."""

from __future__ import annotations

import importlib
import math
import types
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import problem as build
from support.strategies import problems

from toyopt import dpo, sft
from toyopt.algorithms import Alright, Constant, InverseRootHorizon
from toyopt.examples import random_problem, table2
from toyopt.problem import Problem
from toyopt.simulate import simulate
from toyopt.theorems import enumerate_paths, expected_gap
from toyopt.theorems.expectation.paths import steps_of
from toyopt.theorems.expectation.sampling import (
    bounded_differences,
    difference_squares,
    empirical_bernstein,
    estimate_expectation,
    value_range,
)


def steep() -> Problem:
    """Two DPO and three SFT data in two dimensions, DPO the steeper, and no two data alike."""
    rng = np.random.default_rng(4)
    pair = 6 * rng.normal(size=(2, 2, 2))
    return Problem(
        (
            dpo(pair[0], pair[1], beta=0.7, theta_ref=[1.0, -0.5], name="dpo"),
            sft(rng.normal(size=(3, 2, 2)), [0, 1, 1], name="sft"),
        )
    )


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: empirical_bernstein(["x", 1.0], 1.0, 0.1), ValueError, "values: "),
        (lambda: empirical_bernstein([1.0], 1.0, 0.1), ValueError, "values: two at least are needed, got 1"),
        (lambda: empirical_bernstein([1.0, 2.0], "x", 0.1), TypeError, "spread: "),
        (lambda: empirical_bernstein([1.0, 2.0], -1.0, 0.1), ValueError, "spread: must be at least 0, got -1.0"),
        (lambda: empirical_bernstein([1.0, 2.0], 1.0, 0.0), ValueError, "failure: must be more than 0, got 0.0"),
        (lambda: empirical_bernstein([1.0, 2.0], 1.0, 1.0), ValueError, "failure: must be less than 1, got 1.0"),
        (lambda: bounded_differences(-1.0, 3, 0.1), ValueError, "squares: must be at least 0, got -1.0"),
        (lambda: bounded_differences(1.0, 0, 0.1), ValueError, "n: must be at least 1, got 0"),
        (lambda: bounded_differences(1.0, 1, 1.5), ValueError, "failure: must be less than 1, got 1.5"),
        (lambda: interval(lam=2.0), ValueError, "lam: must be in"),
        (lambda: interval(T=1), ValueError, "T: must be at least 2, got 1"),
        (lambda: interval(runs=1), ValueError, "runs: must be at least 2, got 1"),
        (lambda: interval(seed=-1), ValueError, "seed: must be at least 0, got -1"),
        (lambda: interval(failure=1.0), ValueError, "failure: must be less than 1, got 1.0"),
        (lambda: span(lam=2.0), ValueError, "lam: must be in"),
        (lambda: span(theta_1=[1.0, 2.0]), ValueError, "theta_1: the last axis"),
        (lambda: difference_squares(table2(), lam=2.0, alphas=np.ones(1)), ValueError, "lam: must be in"),
    ],
)
def test_a_message_names_the_argument(call, error, words):
    with pytest.raises(error, match=f"^{words}"):
        call()


def options(**changes: Any) -> dict[str, Any]:
    return {"lam": 0.4, "schedule": InverseRootHorizon(1.7, 3), "T": 3, "theta_1": [4.0]} | changes


def interval(**changes: Any):
    return estimate_expectation(table2(), **options(runs=4, **changes) if "runs" not in changes else options(**changes))


def span(**changes: Any):
    return value_range(table2(), **options(**changes))


def test_the_half_widths_at_their_edges():
    """Two values, one run, nothing that varies: n = 2 has variance 1/2, log(4/δ) = log 100 for δ = 0.04."""
    log = math.log(100)
    assert empirical_bernstein([0.0, 1.0], 3.0, 0.04) == pytest.approx(math.sqrt(log / 2) + 7 * log, rel=1e-14)
    assert empirical_bernstein([2.0, 2.0], 0.0, 0.5) == 0.0
    assert bounded_differences(2.0, 1, 0.02) == pytest.approx(math.sqrt(log), rel=1e-14)
    assert bounded_differences(0.0, 1, 0.5) == 0.0


def test_the_range_by_hand():
    """Σ alpha_t C Σ w_i C_i to both sides; in d = 1 the largest value at an end of what is reached; nothing below 0."""
    p, T = steep(), 4
    schedule, start, weights = Constant(0.01), np.array([0.3, -0.2]), (0.4, 0.6)
    at, far = float(p.f_mix(start, weights)), 3 * 0.01 * p.C1 * (0.4 * p.C1 + 0.6 * p.C2)
    found = value_range(p, lam=weights, schedule=schedule, T=T, theta_1=start)
    assert found == pytest.approx((at - far, at + far), rel=3e-9)
    assert value_range(p, lam=weights, schedule=Constant(1e9), T=T, theta_1=start)[0] == 0.0
    # One step from 4: f_DPO' = -1/2/(1+e^(1/2 (4-5))), f_SFT' = 1/2/(1+e^(-2)), and f_Mix is convex.
    ends = [4 + 2.0 * 0.5 / (1 + math.exp(-0.5)), 4 - 2.0 * 0.5 / (1 + math.exp(-2.0))]
    far = 2.0 * 0.5 * 0.5
    at = float(table2().f_mix([4.0], 0.4))
    low, high = span(schedule=Constant(2.0), T=2)
    assert low == pytest.approx(at - far, rel=1e-12)
    assert high == pytest.approx(max(float(table2().f_mix([x], 0.4)) for x in ends), rel=2e-9)
    assert at < high < at + far
    assert span(T=1)[1] == pytest.approx(at, rel=2e-9, abs=0.0)
    assert span(T=1)[0] == at < span(T=1)[1]


def test_stochastic_steps_reach_further():
    """In d = 1 with two data that pull apart, one of them alone goes where their mean does not."""
    p = Problem(
        (
            dpo([[1.0], [-2.0]], [[0.0], [0.0]], beta=1.0, theta_ref=[0.0], name="dpo"),
            sft([[[0.0], [1.0]]], [0], name="sft"),
        )
    )
    ranges = [
        value_range(p, lam=0.5, schedule=Constant(0.5), T=2, theta_1=[0.0], stochastic=b)[1] for b in (False, True)
    ]
    # Full: to 1/8 or to -1/4. One datum: to 1/4 or -1/2.
    by_hand = [max(float(p.f_mix([x], 0.5)) for x in ends) for ends in ((-0.125, -0.25), (0.25, -0.5))]
    assert ranges == pytest.approx(by_hand, rel=2e-9)
    assert by_hand[0] < by_hand[1]
    few = estimate_expectation(
        p, lam=0.5, schedule=Constant(0.5), T=2, theta_1=[0.0], stochastic=True, runs=2, failure=1e-12
    )
    assert few.high == ranges[1]


def test_one_draw_of_a_datum():
    """Two data differ by the two steepest, of one objective or two; steps are short if every datum's alpha L <= 2."""
    p = steep()
    alphas, slope = np.array([0.01, 0.02]), 0.4 * p.C1 + 0.6 * p.C2
    norms = sorted(float(v) for o in p.objectives for v in np.linalg.norm(o.rows, axis=1))
    assert norms[-2] > p.C2
    expected = (slope * (norms[-1] + norms[-2])) ** 2 * 0.0005
    assert difference_squares(p, lam=0.4, alphas=alphas, stochastic=True) == pytest.approx(expected, rel=1e-12)
    full = (slope * (p.C1 + p.C2)) ** 2 * 0.0005
    assert difference_squares(p, lam=0.4, alphas=alphas) == pytest.approx(full, rel=1e-12)
    longest = 2.0 / (norms[-1] ** 2 / 4)
    for stochastic, short in ((True, False), (False, True)):  # the mean over the data is less curved
        squares = difference_squares(p, lam=0.4, alphas=np.array([1.01 * longest]), stochastic=stochastic)
        assert math.isfinite(squares) is short
    assert difference_squares(p, lam=0.4, alphas=np.array([])) == 0.0
    # At alpha L = 2 itself two iterates come no further apart: C = 1/2, L = 1/16, (1/2 (1/2 + 1/2) 32)^2.
    assert table2().objectives[0].smoothness == 1 / 16
    assert difference_squares(table2(), lam=0.5, alphas=np.array([32.0])) == 256.0


@pytest.mark.parametrize(
    ("problem", "start", "alpha", "runs", "stochastic", "way"),
    [
        (table2, [4.0], 1.0, 9, False, "differences"),
        (steep, [0.3, -0.2], 0.05, 9, True, "differences"),
        (table2, [4.0], 33.0, 400, False, "Bernstein"),
        (steep, [9.0, 3.0], 0.001, 600, True, "Bernstein"),
    ],
)
def test_the_interval_is_the_better_of_the_two(problem, start, alpha, runs, stochastic, way):
    p, T, lam, failure = problem(), 3, 0.4, 0.02
    shared = {"lam": lam, "schedule": Constant(alpha), "T": T, "theta_1": start, "stochastic": stochastic}
    got = estimate_expectation(p, runs=runs, seed=3, failure=failure, **shared)
    run = simulate(
        p, Alright(lam), Constant(alpha), theta0=start, steps=2, seeds=range(3, 3 + runs), stochastic=stochastic
    )
    values = p.f_mix(run.last, lam)
    low, high = value_range(p, **shared)
    squares = difference_squares(p, lam=lam, alphas=np.array([alpha, alpha]), stochastic=stochastic)
    halves = {"Bernstein": empirical_bernstein(values, high - low, failure / 2)}
    if math.isfinite(squares):
        halves["differences"] = bounded_differences(squares, runs, failure / 2)
    assert min(halves, key=halves.__getitem__) == way
    mean = float(values.mean())
    assert (got.mean, got.evidence, got.size, got.failure) == (mean, "statistical", runs, failure)
    assert got.low == pytest.approx(max(mean - halves[way], low), rel=1e-12)
    assert got.high == pytest.approx(min(mean + halves[way], high), rel=1e-12)
    assert low < got.low or got.high < high


def test_two_runs_are_enough_and_the_range_is_kept_to():
    got = estimate_expectation(table2(), **options(runs=2, failure=1e-12))
    assert (got.low, got.high) == span()


def test_a_run_that_diverges_is_an_error(monkeypatch):
    with pytest.raises(RuntimeError, match=r"^run 0 diverged; the steps are too long$"):
        interval(schedule=Constant(1e308), T=40)
    gone = types.SimpleNamespace(diverged=np.array([False, False, True, True]))
    monkeypatch.setattr(importlib.import_module("toyopt.simulate"), "simulate", lambda *_, **__: gone)
    with pytest.raises(RuntimeError, match=r"^run 2 diverged; the steps are too long$"):
        interval()


LAM, START = 0.3, [-1.0]


def test_the_half_widths_by_hand() -> None:
    """n = 4, variance 5/3, spread 3, δ = 0.04: log(4/δ) = log 100. Squares 2, n = 8, δ = 0.02: log(2/δ) = log 100."""
    expected = math.sqrt(2 * (5 / 3) * math.log(100) / 4) + 7 * 3 * math.log(100) / 9
    assert empirical_bernstein([0.0, 1.0, 2.0, 3.0], 3.0, 0.04) == pytest.approx(expected, rel=1e-15)
    assert bounded_differences(2.0, 8, 0.02) == pytest.approx(math.sqrt(2 * math.log(100) / 16), rel=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "stochastic"), [(1, False), (2, False), (2, True)])
@pytest.mark.statistical
@pytest.mark.oracle
def test_the_interval_contains_the_exact_expectation(dim: int, stochastic: bool) -> None:
    """Fixed n and seeds; each of the two statements fails with probability 1e-9 at most."""
    p = table2() if dim == 1 else random_problem(np.random.default_rng(5), dim=2, n_dpo=2, n_sft=2)
    for T in (2, 6):
        options: dict[str, Any] = {"lam": LAM, "schedule": InverseRootHorizon(1.7, T), "T": T, "stochastic": stochastic}
        options["theta_1"] = [1.0, 2.0][:dim]
        exact = expected_gap(p, method="paths", **options).mean
        got = expected_gap(p, method="runs", runs=2000, failure=1e-9, **options)
        assert got.low <= exact <= got.high
        assert got.interval == (got.low, got.high)
        assert (got.evidence, got.failure, got.size) == ("statistical", 1e-9, 2000)


@pytest.mark.statistical
@pytest.mark.slow
def test_the_interval_shrinks_and_the_mean_is_the_runs_own() -> None:
    p, T = table2(), 30
    schedule = InverseRootHorizon(1.7, T)
    options: dict[str, Any] = {"lam": LAM, "schedule": schedule, "T": T, "theta_1": [4.0]}
    got = estimate_expectation(p, runs=500, seed=3, **options)
    last = simulate(p, Alright(LAM), schedule, theta0=[4.0], steps=T - 1, seeds=range(3, 503)).last
    assert got.mean == float(p.f_mix(last, LAM).mean())
    more = estimate_expectation(p, runs=4000, seed=3, **options)
    values = p.f_mix(simulate(p, Alright(LAM), schedule, theta0=[4.0], steps=T - 1, seeds=range(3, 4003)).last, LAM)
    low, high = value_range(p, **options)
    squares = difference_squares(p, lam=LAM, alphas=steps_of(schedule, T))
    halves = empirical_bernstein(values, high - low, 5e-10), bounded_differences(squares, 4000, 5e-10)
    assert more.high - more.mean == pytest.approx(min(halves), rel=1e-12)
    assert bounded_differences(squares, 100, 5e-10) < empirical_bernstein(values[:100], high - low, 5e-10)
    few = estimate_expectation(p, runs=100, seed=3, **options)
    assert few.high == min(few.mean + bounded_differences(squares, 100, 5e-10), high)
    assert more.high - more.low < 0.5 * (got.high - got.low)
    surer = estimate_expectation(p, runs=4000, seed=3, failure=1e-12, **options)
    assert surer.high - surer.low > more.high - more.low


@pytest.mark.slow
@given(problems(objectives=(2,)), st.floats(0, 1), st.sampled_from([0.1, 1.0, 5.0]), st.booleans())
def test_the_range_holds_for_every_path(specs: Any, lam: float, alpha0: float, is_sgd: bool) -> None:
    p = build(specs)
    T = 3 if is_sgd else 6
    start = np.random.default_rng(6).normal(size=p.dim)
    options: dict[str, Any] = {"lam": lam, "schedule": InverseRootHorizon(alpha0, T), "T": T, "theta_1": start}
    low, high = value_range(p, stochastic=is_sgd, **options)
    theta, _ = enumerate_paths(p, stochastic=is_sgd, limit=10**6, **options)
    values = p.f_mix(theta, lam)
    assert low <= values.min() + 1e-12
    assert values.max() <= high + 1e-12


@given(problems(objectives=(2,)), st.floats(0.1, 0.9), st.floats(0.05, 1.0))
@pytest.mark.slow
def test_one_draw_moves_the_value_by_no_more_than_stated(specs: Any, lam: float, share: float) -> None:
    """All pairs of paths that differ in one draw: their values differ by c_t at most; Σ c_t² is what is returned."""
    p, T = build(specs), 5
    L = max(o.smoothness for o in p.objectives)
    alphas = np.array([1.0, 0.7, 0.9, 0.3]) * share * 2 / max(L, 0.01)
    theta = np.zeros((1, p.dim))
    for alpha in alphas:
        theta = np.concatenate([theta - alpha * o.grad(theta) for o in p.objectives])
    values = p.f_mix(theta, lam).reshape([2] * (T - 1))  # the last draw is the first axis
    slope = lam * p.C1 + (1 - lam) * p.C2
    for axis, alpha in enumerate(reversed(alphas.tolist())):
        moved = np.abs(np.diff(values, axis=axis)).max()
        assert moved <= slope * alpha * (p.C1 + p.C2) * (1 + 1e-9) + 1e-12
    squares = difference_squares(p, lam=lam, alphas=alphas)
    assert squares == pytest.approx((slope * (p.C1 + p.C2)) ** 2 * float((alphas**2).sum()), rel=1e-12)


def test_bounded_differences_do_not_apply_to_long_steps() -> None:
    p = table2()
    L = p.objectives[0].smoothness
    assert difference_squares(p, lam=0.5, alphas=np.array([2.01 / L])) == math.inf
    assert difference_squares(p, lam=0.5, alphas=np.array([1.99 / L])) < math.inf
    assert difference_squares(p, lam=1.0, alphas=np.array([0.1])) == 0.0
    options: dict[str, Any] = {"lam": 0.5, "schedule": Constant(2.5 / L), "T": 3, "theta_1": [1.0]}
    got = estimate_expectation(p, runs=100, **options)
    assert got.low <= expected_gap(p, method="paths", **options).mean <= got.high
