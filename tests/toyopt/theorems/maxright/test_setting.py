"""The setting of the claims on MAXRIGHT: its defaults, its run, and its records by hand."""

from __future__ import annotations

import dataclasses
import importlib
import math
from typing import Any

import numpy as np
import pytest
from support.maxright_records import all_records, setting

from toyopt import Maxright, Problem, dpo, sft, simulate
from toyopt.algorithms import InverseRootHorizon, LinearDecay
from toyopt.examples import LowerBound, table2
from toyopt.minimax import minimise_worst, worst_gap
from toyopt.theorems.expectation.sampling import (
    empirical_bernstein,
    estimate_expectation,
)
from toyopt.theorems.maxright.claims import (
    maxright_best_and_average,
    maxright_last,
)
from toyopt.theorems.maxright.setting import maxright_setting


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam": 0.0}, "lam: every weight must be positive"),
        ({"lam": [0.5, 0.2, 0.3]}, "lam: 2 weights"),
        ({"T": 1}, "T: must be at least 2, got 1"),
        ({"alpha0": 0.0}, "alpha0: must be more than 0, got 0.0"),
        ({"theta_1": [1.0, 2.0]}, "theta_1: length 1 is needed, got 2"),
        ({"f_star": [0.0]}, "f_star: 2 optima are needed"),
        ({"theta_star": [math.nan]}, "theta_star: all entries must be finite"),
        ({"seeds": []}, "seeds: is empty"),
        ({"seeds": [-1]}, "seeds: must be at least 0, got -1"),
    ],
)
def test_wrong_settings_are_named(change, message):
    arguments = {"lam": 0.3, "T": 5, "alpha0": 1.0, "theta_1": [0.0]} | change
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        maxright_setting(table2(), arguments.pop("lam"), **arguments)


def test_a_missing_minimiser_asks_for_a_comparator():
    problem = LowerBound(1.0, 2.0).problem()
    agreeing = Problem((problem.objectives[0], dpo([[1.0]], [[0.0]], beta=1.0, theta_ref=[0.0], name="too")))
    with pytest.raises(ValueError, match="theta_star: F has no minimiser here, only the infimum 0"):
        maxright_setting(agreeing, 0.3, T=5, alpha0=1.0, theta_1=[0.0])
    assert maxright_last(maxright_setting(agreeing, 0.3, T=5, alpha0=1.0, theta_1=[0.0], theta_star=[2.0])).verdict


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


def options(**changes: Any) -> dict[str, Any]:
    return {"lam": 0.4, "schedule": InverseRootHorizon(1.7, 3), "T": 3, "theta_1": [4.0]} | changes


def interval(**changes: Any):
    return estimate_expectation(table2(), **options(runs=4, **changes) if "runs" not in changes else options(**changes))


@pytest.mark.slow
def test_the_tolerance_is_in_ulps_of_the_summands():
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


@pytest.mark.slow
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
    nearest = setting(theta_star=None)
    assert nearest.lowest == pytest.approx(0.0, abs=1e-9)
    assert nearest.lowest <= 0.0
    assert dataclasses.replace(nearest, theta_star=nearest.theta_star + 1e-12).lowest <= 0.0


@pytest.mark.slow
def test_the_interval_of_many_runs_is_empirical_bernstein():
    p = steep()
    s = maxright_setting(p, 0.3, T=4, alpha0=0.05, theta_1=[0.3, -0.2], theta_star=[0.0, 0.0], seeds=range(400))
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


@pytest.mark.slow
def test_the_setting_has_the_given_values():
    s = setting(seeds=[4, 9])
    assert (s.lam, s.T, s.alpha0, s.seeds, s.distance) == ((0.3, 0.7), 5, 2.0, (4, 9), 5.0)
    assert (s.theta_1.tolist(), s.theta_star.tolist(), s.f_star.tolist()) == ([7.0], [2.0], [0.25, -0.5])
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
    assert found.theta_star[1] == pytest.approx(7.0)
    level = worst_gap(flat, 0.3, [0.3, 0.0], found.theta_star)
    assert level == pytest.approx(minimise_worst(flat, 0.3, [0.3, 0.0]).value, rel=1e-9)
    assert found.theta_star[0] != pytest.approx(
        maxright_setting(flat, 0.3, T=3, alpha0=1.0, theta_1=[1.0, 7.0]).theta_star[0], abs=1e-3
    )


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"lam": 0.0}, ValueError, "lam: every weight must be positive"),
        ({"T": 1}, ValueError, "T: must be at least 2, got 1"),
        ({"T": 2.5}, TypeError, "T: "),
        ({"alpha0": 0.0}, ValueError, "alpha0: must be more than 0, got 0.0"),
        ({"alpha0": "x"}, TypeError, "alpha0: "),
        ({"theta_1": ["x"]}, ValueError, "theta_1: not an array"),
        ({"theta_1": [1.0, 2.0]}, ValueError, "theta_1: length 1 is needed, got 2"),
        ({"f_star": [0.0]}, ValueError, "f_star: 2 optima are needed"),
        ({"theta_star": [1.0, 2.0]}, ValueError, "theta_star: length 1 is needed, got 2"),
        ({"seeds": []}, ValueError, "seeds: is empty"),
        ({"seeds": 3}, TypeError, "seeds: a sequence is needed, got 3"),
        ({"seeds": [1.5]}, TypeError, "seeds: "),
        ({"seeds": [-1]}, ValueError, "seeds: must be at least 0, got -1"),
    ],
)
def test_a_wrong_setting_is_named(change, error, words):
    with pytest.raises(error, match=f"^{words}"):
        setting(**change)


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


@pytest.mark.slow
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
