"""What mutants showed to be untested of the intervals of runs and of the records on MAXRIGHT."""

from __future__ import annotations

import dataclasses
import importlib
import math
import types
from typing import Any

import numpy as np
import pytest

from toyopt import Alright, Maxright, Problem, dpo, sft, simulate
from toyopt.algorithms import Constant, InverseRootHorizon, LinearDecay
from toyopt.examples import table2
from toyopt.minimax import minimise_worst, worst_gap
from toyopt.theorems.expectation.sampling import (
    bounded_differences,
    difference_squares,
    empirical_bernstein,
    estimate_expectation,
    value_range,
)
from toyopt.theorems.maxright import bounds
from toyopt.theorems.maxright.claims import (
    maxright_best_and_average,
    maxright_last,
    maxright_optima,
    maxright_scaled,
    maxright_stale,
)
from toyopt.theorems.maxright.setting import FAILURE, MaxrightSetting, maxright_setting

claims = importlib.import_module("toyopt.theorems.maxright.claims")  # `toyopt.theorems.maxright` is also a function


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


# Intervals of runs.


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


# Records on MAXRIGHT.


def setting(**changes: Any) -> MaxrightSetting:
    """Two objectives of unequal weight, slope and scale; T = 5, α0 = 2, D = 5, C = (1.5, 0.5), λC = (0.45, 0.35)."""
    problem = Problem(
        (
            dpo([[1.5]], [[0.0]], beta=1.0, theta_ref=[2.0], name="dpo"),
            sft([[[0.0], [0.5]]], [0], name="sft"),
        )
    )
    arguments = {"T": 5, "alpha0": 2.0, "theta_1": [7.0], "comparator": [2.0], "f_star": [0.25, -0.5]} | changes
    return maxright_setting(problem, arguments.pop("lam", 0.3), **arguments)


def all_records(s: MaxrightSetting) -> dict[str, Any]:
    """By a label "claim section", each record that there is."""
    best, average = maxright_best_and_average(s)
    stale = maxright_stale(s, 3)
    minimiser, run = maxright_optima(s, s.f_star + np.array([0.4, -0.2]))
    return {
        "M 2 best": best,
        "M 2 average": average,
        "M-last 4 exact": maxright_last(s),
        "M-last 4 harmonic": maxright_last(s, "harmonic"),
        "M-last 4 decay": maxright_last(s, "linear decay"),
        "M-stale 6 best": stale[0],
        "M-stale 6 average": stale[1],
        "M-stale 6 last": stale[2],
        "M-opt 7 minimiser": minimiser,
        "M-opt 7 run": run,
        "M-scaled 5 run": maxright_scaled(s),
    }


@pytest.mark.parametrize("seeds", [None, range(3)])
def test_what_every_record_says_of_itself(seeds):
    s = setting(seeds=seeds)
    for label, r in all_records(s).items():
        claim, section, _ = label.split()
        assert (r.claim, r.source, r.kind) == (claim, f"beyond the paper; docs/theory.md, M{section}", "upper"), label
        assert r.bound == pytest.approx(math.fsum(r.terms.values()), rel=1e-14), label
        exact = seeds is None or "minimiser" in label or "scaled" in label
        assert (r.evidence, r.failure) == (("property", 0.0) if exact else ("statistical", 1e-6)), label
        assert (r.interval is None) is exact
        assert r.statement.startswith("F(argmin" if "minimiser" in label else "F = max_i λ_i (f_i - f_i*): "), label
        assert claim != "M-stale" or r.statement.endswith("as for k = 1, and the staleness of k = 3")
        assert "T" in r.statement or "argmin" in r.statement or "min_t" in r.statement or "mean" in r.statement
    assert FAILURE == 1e-6


def test_the_statement_of_the_best_iterate_is_the_weaker_one_for_stochastic_steps():
    assert "max_i λ_i (D²/2α0 + α0 C_i²/2)" in maxright_best_and_average(setting())[0].statement
    assert "λ̄ (D²/2α0 + α0 C²/2)" in maxright_best_and_average(setting(seeds=[0, 1]))[0].statement
    s, noisy = setting(), setting(seeds=[0, 1])
    # At α0 = 2, D = 5: max(0.3 (25/4 + 9/4), 0.7 (25/4 + 1/4))/√5 against 0.7 (25/4 + 9/4)/√5.
    assert maxright_best_and_average(s)[0].bound == pytest.approx(0.7 * 6.5 / math.sqrt(5), rel=1e-14)
    assert (
        maxright_best_and_average(noisy)[0].bound
        == maxright_best_and_average(s)[1].bound
        == pytest.approx(0.7 * 8.5 / math.sqrt(5), rel=1e-14)
    )


def test_the_tolerance_is_ulps_of_what_is_added_up():
    """T updates round θ by an ulp of |θ_1| + Σ alpha C, which moves F by λC at most; 16 ulps of what is subtracted."""
    s, eps = setting(), np.finfo(np.float64).eps
    values = max(math.log1p(math.exp(-7.5)), math.log1p(math.exp(3.5)))  # of f_DPO, f_SFT at 7
    size, slope = values + 0.5, 0.45  # |f_SFT*| = 1/2 is the larger optimum
    constant, decay = 2 * math.sqrt(5), sum(5 / (1.5 * math.sqrt(5)) * (1 - t / 5) for t in range(1, 5))
    scaled = sum(5 / (0.45 * math.sqrt(5)) * (1 - t / 5) for t in range(1, 5))
    reaches = dict.fromkeys(all_records(s), constant) | {
        "M-last 4 exact": 8 / math.sqrt(5),
        "M-last 4 decay": decay,
        "M-scaled 5 run": scaled,
    }
    for label, r in all_records(s).items():
        if "minimiser" not in label:
            reach = reaches[label]
            expected = eps * (5 * slope * (7 + reach * 1.5) + 16 * (size + slope * reach * 1.5))
            assert r.tolerance == pytest.approx(expected, rel=1e-12, abs=0.0), label


def test_the_interval_of_few_runs_is_the_range():
    """Σ alpha C λC to both sides of F(θ_1) - F(θ*), and not below inf F - F(θ*)."""
    s = setting(seeds=[0, 1], alpha0=0.01)
    best, *_ = maxright_best_and_average(s)
    high = float(s.worst(s.theta_1)[0]) + 0.45 * 1.5 * 0.01 * math.sqrt(5)
    assert best.interval == pytest.approx((high - 2 * 0.45 * 1.5 * 0.01 * math.sqrt(5), high), rel=1e-12)
    alone = maxright_best_and_average(setting(seeds=[0], alpha0=0.01))[0]
    assert alone.interval == pytest.approx(best.interval, rel=1e-12)
    far = maxright_best_and_average(setting(seeds=[0, 1], alpha0=50.0))[0]
    found = minimise_worst(s.problem, 0.3, s.f_star)
    lowest = found.value - float(worst_gap(s.problem, 0.3, s.f_star, [2.0]))
    assert lowest < -0.1
    assert s.lowest == pytest.approx(lowest, abs=1e-9)
    assert far.interval[0] == pytest.approx(lowest, abs=1e-9)
    nearest = setting(comparator=None)
    assert nearest.lowest == pytest.approx(0.0, abs=1e-9)
    assert nearest.lowest <= 0.0
    assert dataclasses.replace(nearest, comparator=nearest.comparator + 1e-12).lowest <= 0.0


def test_the_interval_of_many_runs_is_empirical_bernstein():
    p = steep()
    s = maxright_setting(p, 0.3, T=4, alpha0=0.05, theta_1=[0.3, -0.2], comparator=[0.0, 0.0], seeds=range(400))
    last = maxright_last(s)
    values = s.worst(s.run().last)
    run = simulate(
        p,
        Maxright(0.3, tuple(s.f_star)),
        InverseRootHorizon(0.05, 4),
        theta0=[0.3, -0.2],
        steps=3,
        seeds=range(400),
        stochastic=True,
    )
    assert np.array_equal(s.run().last, run.last)
    assert len(np.unique(values)) > 3
    slope = max(0.3 * p.C1, 0.7 * p.C2)
    reach = 3 * 0.05 / 2
    high = float(s.worst(s.theta_1)[0]) + slope * p.C1 * reach
    low = max(s.lowest, high - 2 * slope * p.C1 * reach)
    radius = empirical_bernstein(values, high - low, 1e-6)
    mean = float(values.mean())
    assert last.attained == pytest.approx(mean, rel=1e-14)
    assert last.interval == pytest.approx((max(low, mean - radius), min(high, mean + radius)), rel=1e-12)
    assert last.interval[0] > low or last.interval[1] < high


def test_the_setting_is_what_was_given():
    s = setting(seeds=[4, 9])
    assert (s.lam, s.T, s.alpha0, s.seeds, s.distance) == ((0.3, 0.7), 5, 2.0, (4, 9), 5.0)
    assert (s.theta_1.tolist(), s.comparator.tolist(), s.f_star.tolist()) == ([7.0], [2.0], [0.25, -0.5])
    assert s.grad_bounds.tolist() == [1.5, 0.5]
    assert setting(f_star=None).f_star.tolist() == [0.0, 0.0]
    assert setting(T=2, seeds=[0]).T == 2
    values = s.problem.values([3.0]) - s.f_star
    assert s.worst(np.array([3.0])) == pytest.approx(
        [max(0.3 * values[0], 0.7 * values[1]) - float(worst_gap(s.problem, 0.3, s.f_star, [2.0]))]
    )
    assert s.worst(np.array([[3.0], [2.0]])).tolist() == [s.worst(np.array([3.0]))[0], 0.0]
    assert s.worst(np.array([2.0])).tolist() == [0.0]
    # The minimiser of F nearest to the start: with three objectives of which one does not matter there is a line.
    flat = Problem(
        (
            dpo([[1.0, 0.0]], [[0.0, 0.0]], beta=1.0, theta_ref=[2.0, 0.0], name="dpo"),
            sft([[[0.0, 0.0], [1.0, 0.0]]], [0], name="sft"),
        )
    )
    found = maxright_setting(flat, 0.3, T=3, alpha0=1.0, theta_1=[1.0, 7.0], f_star=[0.3, 0.0])
    assert found.comparator[1] == pytest.approx(7.0)
    level = worst_gap(flat, 0.3, [0.3, 0.0], found.comparator)
    assert level == pytest.approx(minimise_worst(flat, 0.3, [0.3, 0.0]).value, rel=1e-9)
    assert found.comparator[0] != pytest.approx(
        maxright_setting(flat, 0.3, T=3, alpha0=1.0, theta_1=[1.0, 7.0]).comparator[0], abs=1e-3
    )


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"lam": 0.0}, ValueError, "lam: every weight must be positive"),
        ({"T": 1}, ValueError, "T: must be at least 2, got 1"),
        ({"T": 2.0}, TypeError, "T: "),
        ({"alpha0": 0.0}, ValueError, "alpha0: must be more than 0, got 0.0"),
        ({"alpha0": "x"}, TypeError, "alpha0: "),
        ({"theta_1": ["x"]}, ValueError, "theta_1: not an array"),
        ({"theta_1": [1.0, 2.0]}, ValueError, "theta_1: length 1 is needed, got 2"),
        ({"f_star": [0.0]}, ValueError, "f_star: 2 optima are needed"),
        ({"comparator": [1.0, 2.0]}, ValueError, "comparator: length 1 is needed, got 2"),
        ({"seeds": []}, ValueError, "seeds: is empty"),
        ({"seeds": 3}, TypeError, "seeds: a sequence is needed, got 3"),
        ({"seeds": [1.5]}, TypeError, "seeds: "),
        ({"seeds": [-1]}, ValueError, "seeds: must be at least 0, got -1"),
    ],
)
def test_a_wrong_setting_is_named(change, error, words):
    with pytest.raises(error, match=f"^{words}"):
        setting(**change)


def test_wrong_requests_are_named():
    with pytest.raises(ValueError, match=r"^bound: 'exact', 'harmonic' or 'linear decay' is needed, got 'x'"):
        maxright_last(setting(), "x")
    for claim in (lambda s: maxright_last(s, "linear decay"), maxright_scaled):
        with pytest.raises(ValueError, match=r"^setting: linear decay needs D > 0, got D = 0\.0"):
            claim(setting(comparator=[7.0]))
        assert claim(setting(comparator=[6.5])).verdict == "holds"
    with pytest.raises(ValueError, match=r"^k: must be at least 1, got 0"):
        maxright_stale(setting(), 0)
    with pytest.raises(ValueError, match=r"^estimates: 2 optima are needed"):
        maxright_optima(setting(), [0.0])


def test_each_claim_looks_at_its_own_iterate_and_step():
    s = setting()
    weighted = dict(zip((0, 1), (0.3, 0.7), strict=True))

    def path(alphas: list[float], stars=(0.25, -0.5), k=1, scaled=False) -> list[float]:
        theta, out, stored = 7.0, [7.0], [0.0, 0.0]
        for t, alpha in enumerate(alphas):
            gaps = [float(v) - f for v, f in zip(s.problem.values([theta]), stars, strict=True)]
            stored = list(gaps) if t % k == 0 else stored
            i = 0 if 0.3 * stored[0] >= 0.7 * stored[1] else 1
            stored[i] = gaps[i]
            theta -= alpha * (weighted[i] if scaled else 1.0) * float(s.problem.grads([theta])[i, 0])
            out.append(theta)
        return out

    def gap(theta: float) -> float:
        return float(s.worst(np.array([theta]))[0])

    constant = [2 / math.sqrt(5)] * 4
    plain = path(constant)
    stale, guessed = path(constant, k=3), path(constant, stars=(0.65, -0.7))
    decay = path([5 / (1.5 * math.sqrt(5)) * (1 - t / 5) for t in range(1, 5)])
    scaled = path([5 / (0.45 * math.sqrt(5)) * (1 - t / 5) for t in range(1, 5)], scaled=True)
    expected = {
        "M 2 best": min(map(gap, plain)),
        "M 2 average": gap(sum(plain) / 5),
        "M-last 4 exact": gap(plain[-1]),
        "M-last 4 harmonic": gap(plain[-1]),
        "M-last 4 decay": gap(decay[-1]),
        "M-stale 6 best": min(map(gap, stale)),
        "M-stale 6 average": gap(sum(stale) / 5),
        "M-stale 6 last": gap(stale[-1]),
        "M-opt 7 run": gap(guessed[-1]),
        "M-scaled 5 run": gap(scaled[-1]),
    }
    found = {label: r.attained for label, r in all_records(s).items() if "minimiser" not in label}
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_minimiser_with_wrong_optima(monkeypatch):
    s = setting()
    minimiser, run = maxright_optima(s, [0.65, -0.7])
    assert minimiser.terms == pytest.approx({"over": 0.12, "under": 0.14})
    assert run.terms == pytest.approx(s.terms("last") | {"over": 0.12, "under": 0.14})
    true, found = (minimise_worst(s.problem, 0.3, f, near=[7.0]) for f in (s.f_star, [0.65, -0.7]))
    at = float(worst_gap(s.problem, 0.3, s.f_star, found.theta))
    assert minimiser.attained == pytest.approx(at - true.value, abs=1e-9)
    assert 0.01 < minimiser.attained < 0.26
    rounding = 1e-14 * (1 + max(abs(v) for v in true.values))
    assert minimiser.tolerance == pytest.approx(abs(true.gap) + abs(found.gap) + rounding, rel=1e-12, abs=0.0)
    # The infimum is anywhere between the certificate's sides, whichever is the larger.
    solve = claims.minimise_worst
    for low, high in ((-0.01, 0.02), (0.02, -0.01)):

        def apart(*args, low=low, high=high, **kwargs):
            out = solve(*args, **kwargs)
            return dataclasses.replace(out, lower=out.lower + low, upper=out.upper + high)

        monkeypatch.setattr(claims, "minimise_worst", apart)
        moved = maxright_optima(s, [0.65, -0.7])[0]
        assert moved.attained == pytest.approx(minimiser.attained + 0.01, abs=1e-9)
        assert moved.tolerance == pytest.approx(0.06, abs=1e-9)
    for which in (0, 1):
        for change in ({"converged": False}, {"theta": None}):
            calls = []

            def spoiled(*args, which=which, change=change, calls=calls, **kwargs):
                calls.append(args)
                out = solve(*args, **kwargs)
                return dataclasses.replace(out, **change) if len(calls) == which + 1 else out

            monkeypatch.setattr(claims, "minimise_worst", spoiled)
            open_one = maxright_optima(s, [0.65, -0.7])[0]
            assert math.isnan(open_one.attained) is (change == {"converged": False} or which == 1)
            assert [a[2].tolist() for a in calls] == [[0.25, -0.5], [0.65, -0.7]]


def test_a_minimiser_is_sought_near_the_start():
    """Where F has a line of minimisers, the one at hand is the nearest to θ_1: both searches begin there."""
    near = []
    solve = claims.minimise_worst

    def seen(*args, **kwargs):
        near.append(kwargs["near"].tolist())
        return solve(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "minimise_worst", seen)
        maxright_optima(setting(), [0.0, 0.0])
    assert near == [[7.0], [7.0]]


def test_the_terms_of_each_claim():
    s = setting()
    shared = {"distance": 5.0, "alpha0": 2.0, "T": 5}
    assert s.terms("best") == bounds.best_terms(0.3, [1.5, 0.5], **shared)
    assert s.terms("average") == bounds.average_terms(0.3, [1.5, 0.5], **shared)
    assert s.terms("last") == bounds.last_terms(0.3, [1.5, 0.5], **shared)
    price = bounds.staleness(0.3, [1.5, 0.5], alpha=2 / math.sqrt(5), k=3, T=5)
    best, average, last = maxright_stale(s, 3)
    assert [r.terms["staleness"] for r in (average, last)] == [price.mean, price.last]
    assert best.terms["staleness"] in (price.mean, price.worst)
    noisy, *_ = maxright_stale(setting(seeds=[0, 1]), 3)
    assert noisy.terms == s.terms("average") | {"staleness": price.mean}
    decay = LinearDecay(5.0, 1.5, 5).at(np.arange(1, 5))
    exact = bounds.last_exact_terms(0.3, [1.5, 0.5], distance=5.0, alphas=decay)
    assert maxright_last(s, "linear decay").terms == pytest.approx(exact)
    assert math.fsum(exact.values()) == pytest.approx(0.7 * 5 * 1.5 / math.sqrt(5))


@pytest.mark.parametrize("seeds", [None, (4, 9)])
def test_what_is_run(monkeypatch, seeds):
    """MAXRIGHT as asked for, against the setting's own optima, from its start, T - 1 updates, averaged."""
    module, asked = importlib.import_module("toyopt.theorems.maxright.setting"), {}
    monkeypatch.setattr(module, "simulate", lambda *args, **rest: asked.update(rest, args=args))
    s, decay = setting(seeds=seeds), LinearDecay(1.0, 1.0, 5)
    s.run()
    assert asked["args"] == (s.problem, Maxright((0.3, 0.7), (0.25, -0.5), 1), InverseRootHorizon(2.0, 5))
    assert (asked["theta0"], asked["steps"], asked["average"]) == (s.theta_1, 4, True)
    assert asked["merit"] == module.Merit("worst", (0.3, 0.7), (0.25, -0.5))
    assert asked["stochastic"] is (seeds is not None)
    assert asked["seeds"] == (seeds or 0) or seeds is None
    s.run(k=3, f_star=np.array([1.0, 2.0]), schedule=decay)
    assert asked["args"][1:] == (Maxright((0.3, 0.7), (1.0, 2.0), 3), decay)
    assert asked["merit"].shift == (0.25, -0.5)


@pytest.mark.parametrize("size", [1, 2, 9])
def test_a_record_by_hand(size):
    """At θ near 7, λC = (0.45, 0.35), C = 1.5, for a reach of 1/2: F is 0.7 (l(x/2) + 1/2) there."""
    s, reach, eps = setting(), 0.5, np.finfo(np.float64).eps
    theta = 6.7 + 0.05 * np.arange(size)[:, None] / size
    f = [0.7 * (math.log1p(math.exp(float(x) / 2)) + 0.5) for x in (7.0, *theta[:, 0])]
    at = max(0.3 * (math.log(2) - 0.25), 0.7 * (math.log1p(math.e) + 0.5))  # at 2
    gaps = np.array(f) - at
    plain = s.record("M", "words", "9", {"a": 0.25, "b": 0.5}, theta, reach)
    assert (plain.claim, plain.bound, plain.interval, plain.failure, plain.evidence) == (
        "M",
        0.75,
        None,
        0.0,
        "property",
    )
    assert plain.terms == {"a": 0.25, "b": 0.5}
    assert plain.statement == "F = max_i λ_i (f_i - f_i*): words"
    assert plain.attained == pytest.approx(gaps[1:].mean(), rel=1e-12)
    most = math.log1p(math.exp(3.5)) + 0.5
    expected = eps * (5 * 0.45 * (7 + reach * 1.5) + 16 * (most + 0.45 * reach * 1.5))
    assert plain.tolerance == pytest.approx(expected, rel=1e-12, abs=0.0)
    noisy = dataclasses.replace(s, seeds=tuple(range(size))).record("M", "words", "9", {"a": 1.0}, theta, reach)
    assert (noisy.evidence, noisy.failure) == ("statistical", 1e-6)
    high, low = gaps[0] + 0.45 * 1.5 * reach, gaps[0] - 0.45 * 1.5 * reach
    radius = math.inf if size == 1 else empirical_bernstein(gaps[1:], high - low, 1e-6)
    mean = gaps[1:].mean()
    assert noisy.interval == pytest.approx((max(low, mean - radius), min(high, mean + radius)), rel=1e-9)
    many = dataclasses.replace(s, seeds=tuple(range(4000)))
    interval = many.record("M", "words", "9", {"a": 1.0}, np.tile(theta, (4000, 1)), reach).interval
    values = np.tile(gaps[1:], 4000)
    radius = empirical_bernstein(values, high - low, 1e-6)
    assert interval == pytest.approx((mean - radius, mean + radius), rel=1e-9)
    assert low < mean - radius < mean + radius < high


def test_the_lowest_value_of_f(monkeypatch):
    """inf F - F(θ*), by the certificate's lower side, with the setting's own optima; never above 0."""
    module = importlib.import_module("toyopt.theorems.maxright.setting")
    s = setting()
    found = minimise_worst(s.problem, 0.3, [0.25, -0.5])
    at = float(worst_gap(s.problem, 0.3, [0.25, -0.5], [2.0]))
    assert s.lowest == pytest.approx(found.lower - at, rel=1e-9)
    assert s.lowest < -0.05
    monkeypatch.setattr(module, "minimise_worst", lambda *_: dataclasses.replace(found, lower=at + 0.5))
    assert setting().lowest == 0.0
    far = dataclasses.replace(setting(), seeds=(0, 1))
    assert far.record("M", "", "2", {}, np.array([[7.0], [7.0]]), 100.0).interval[0] == 0.0


def test_staleness_where_the_second_weight_is_the_lighter():
    """λ = 0.7, C = (4, 1): e(1) = α 4 (2.8 + 0.3), d(1) = e(1) + α 4 (0.4) 1; k = 2, T = 2, α = 0.1."""
    found = bounds.staleness(0.7, [4.0, 1.0], alpha=0.1, k=2, T=2)
    assert found.worst == pytest.approx(1.24)
    assert found.mean == pytest.approx((1.24 + 0.16) / 2)


def test_the_terms_of_wrong_optima_are_their_errors():
    assert maxright_optima(setting(), [0.65, -0.7])[1].terms["over"] == pytest.approx(0.3 * 0.4)


def test_scaled_steps_look_at_the_gaps():
    """f_DPO* = -9 makes DPO lag at 3: 0.3 (f_DPO + 9) > 0.7 f_SFT. One step of (D/(L√2))(1 - 1/2) λ_DPO, D = 1."""
    s = setting(T=2, f_star=[-9.0, 0.0], theta_1=[3.0])
    step = 1 / (0.45 * math.sqrt(2)) * 0.5 * 0.3
    theta = 3.0 + step * 1.5 / (1 + math.exp(1.5))
    record = maxright_scaled(s)
    assert record.attained == pytest.approx(float(s.worst(np.array([theta]))[0]), rel=1e-12)
    assert abs(record.attained - float(s.worst(np.array([3.0]))[0])) > 1e-3
