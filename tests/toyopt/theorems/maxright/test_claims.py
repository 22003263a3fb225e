"""The claims on MAXRIGHT hold on random problems, and each is about its own iterate and step."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import math
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt import Maxright, Problem, dpo, ideal_point, sft, simulate
from toyopt.algorithms import Constant, LinearDecay
from toyopt.examples import random_problem, table2
from toyopt.minimax import minimise_worst, worst_gap
from toyopt.theorems.maxright import bounds
from toyopt.theorems.maxright.claims import (
    maxright_best_and_average,
    maxright_last,
    maxright_optima,
    maxright_scaled,
    maxright_stale,
)
from toyopt.theorems.maxright.setting import FAILURE, MaxrightSetting, maxright_setting


def total(terms):
    return math.fsum(terms.values())


@st.composite
def settings(draw, n_objectives=(2, 3)):
    """An unequal problem of 2 or 3 objectives, some start, some step, and some comparator."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    dim, scale = draw(st.integers(1, 3)), draw(st.sampled_from([0.3, 1.0, 8.0]))
    n = draw(st.sampled_from(n_objectives))
    parts = []
    for i in range(n):
        size = scale if i == 0 else 1.0
        if i % 2 == 0:
            pair = size * rng.normal(size=(2, 3, dim))
            parts.append(dpo(pair[0], pair[1], beta=0.7, theta_ref=rng.normal(size=dim), name=f"d{i}"))
        else:
            parts.append(sft(rng.normal(size=(3, 3, dim)), rng.integers(3, size=3).tolist(), name=f"s{i}"))
    weights = rng.dirichlet(np.full(n, draw(st.sampled_from([0.5, 3.0]))))
    weights = np.maximum(weights, 0.02) / np.maximum(weights, 0.02).sum()
    problem = Problem(tuple(parts))
    start = 3 * rng.normal(size=dim)
    comparator = start if draw(st.booleans()) else rng.normal(size=dim)
    return maxright_setting(
        problem,
        weights.tolist(),
        T=draw(st.integers(2, 60)),
        alpha0=draw(st.sampled_from([0.03, 0.5, 5.0])),
        theta_1=start,
        f_star=ideal_point(problem) + draw(st.sampled_from([0.0, 0.4])) * rng.normal(size=n),
        theta_star=comparator,
    )


@pytest.mark.slow
@hypothesis.settings(max_examples=15)
@given(setting=settings(), k=st.integers(1, 30))
def test_every_claim_holds_on_random_problems_for_any_comparator(setting, k):
    records = [*maxright_best_and_average(setting), maxright_last(setting), maxright_last(setting, "harmonic")]
    records += maxright_stale(setting, k)
    estimates = setting.f_star + np.linspace(-0.3, 0.8, len(setting.f_star))
    records.append(maxright_optima(setting, estimates)[1])
    if setting.distance > 0:
        records += [maxright_last(setting, "linear decay"), maxright_scaled(setting)]
    for record in records:
        assert record.verdict == "holds", str(record)
        assert record.bound == pytest.approx(total(record.terms), rel=1e-14)


def test_k_1_is_maxright_itself():
    setting = maxright_setting(table2(), 0.3, T=70, alpha0=1.9, theta_1=[7.0])
    best, average, last = maxright_stale(setting, 1)
    assert (best.bound, best.attained) == (
        maxright_best_and_average(setting)[0].bound,
        maxright_best_and_average(setting)[0].attained,
    )
    assert average.attained == maxright_best_and_average(setting)[1].attained
    harmonic = maxright_last(setting, "harmonic")
    assert (last.bound, last.attained) == (harmonic.bound, harmonic.attained)


def test_attained_values_are_those_of_the_t_th_iterate():
    setting = maxright_setting(table2(), 0.3, T=3, alpha0=2.0, theta_1=[7.0])
    theta, thetas = 7.0, [7.0]
    for _ in range(2):  # T-1 updates
        weighted = [0.3 * float(table2().f_dpo([theta])), 0.7 * float(table2().f_sft([theta]))]
        grad = table2().grads([theta])[0 if weighted[0] >= weighted[1] else 1, 0]
        theta -= 2.0 / math.sqrt(3) * grad
        thetas.append(theta)
    floor = minimise_worst(table2(), 0.3).value
    gaps = [float(worst_gap(table2(), 0.3, [0.0, 0.0], [x])) - floor for x in thetas]
    best, average = maxright_best_and_average(setting)
    assert maxright_last(setting).attained == pytest.approx(gaps[-1], abs=1e-13)
    assert best.attained == pytest.approx(min(gaps), abs=1e-13)
    mean = float(worst_gap(table2(), 0.3, [0.0, 0.0], [sum(thetas) / 3])) - floor
    assert average.attained == pytest.approx(mean, abs=1e-13)


def test_the_price_of_the_best_iterate_is_the_smaller_of_two():
    chosen = set()
    steep = dpo([[3.0]], [[0.0]], beta=1.0, theta_ref=[5.0], name="steep")
    for problem, lam, k in ((table2(), 0.5, 40), (Problem((steep, table2().objectives[1])), 0.05, 2)):
        setting = maxright_setting(problem, lam, T=70, alpha0=1.9, theta_1=[7.0])
        price = bounds.staleness(lam, setting.grad_bounds, alpha=1.9 / math.sqrt(70), k=k, T=70)
        one, other = total(setting.terms("best")) + price.worst, total(setting.terms("average")) + price.mean
        chosen.add(one < other)
        best, average, last = maxright_stale(setting, k)
        assert best.bound == pytest.approx(min(one, other), rel=1e-14)
        assert average.bound == pytest.approx(other, rel=1e-14)
        assert last.bound == pytest.approx(total(setting.terms("last")) + price.last, rel=1e-14)
    assert chosen == {True, False}


@pytest.mark.slow
def test_the_run_with_estimates_compares_the_estimates():
    setting = maxright_setting(table2(), 0.3, T=40, alpha0=2.0, theta_1=[1.0])
    estimates = setting.f_star + np.array([1.5, -0.5])
    _, record = maxright_optima(setting, estimates)
    run = simulate(table2(), Maxright(0.3, tuple(estimates)), Constant(2.0 / math.sqrt(40)), theta0=[1.0], steps=39)
    assert abs(float(run.last[0, 0] - setting.run().last[0, 0])) > 0.1  # they matter
    assert record.attained == pytest.approx(float(setting.worst(run.last)[0]), abs=1e-12)
    assert record.bound == pytest.approx(total(setting.terms("last")) + 0.3 * 1.5 + 0.7 * 0.5, rel=1e-12)


def test_scaled_steps_by_hand():
    setting = maxright_setting(table2(), 0.3, T=3, alpha0=9.9, theta_1=[7.0], theta_star=[3.0])
    theta, slope = 7.0, 0.7 * 0.5  # L = max(0.3 C1, 0.7 C2), D = 4
    for t in (1, 2):
        f_dpo, f_sft = table2().values([theta])
        i = 0 if 0.3 * f_dpo >= 0.7 * f_sft else 1
        theta -= (0.3, 0.7)[i] * 4 / (slope * math.sqrt(3)) * (1 - t / 3) * table2().grads([theta])[i, 0]
    record = maxright_scaled(setting)
    assert record.attained == pytest.approx(float(setting.worst(np.array([theta]))[0]), abs=1e-13)
    assert record.bound == pytest.approx(4 * slope / math.sqrt(3), rel=1e-14)


def every_draw(setting, k):
    """E min F, E F(mean) and E F(last), less F(θ*), over all the equally likely data of every step."""
    problem, alpha = setting.problem, setting.alpha0 / math.sqrt(setting.T)
    lam, stars = np.array(setting.lam), setting.f_star
    data = [[o.data_grads for _ in range(o.size)] for o in problem.objectives]
    sizes = {len(d) for d in data}
    assert len(sizes) == 1
    out = []
    for draws in itertools.product(range(sizes.pop()), repeat=setting.T - 1):
        theta, stored = setting.theta_1, np.zeros(len(lam))
        path = [theta]
        for t, draw in enumerate(draws):
            gaps = problem.values(theta) - stars
            stored = gaps.copy() if t % k == 0 else stored
            i = int(np.argmax(lam * stored))
            stored[i] = gaps[i]
            theta = theta - alpha * problem.objectives[i].data_grads(theta)[draw]
            path.append(theta)
        gaps = setting.worst(np.stack([*path, np.mean(path, axis=0)]))
        out.append((gaps[:-1].min(), gaps[-1], gaps[-2]))
    return np.mean(out, axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.oracle
def test_expectations_over_every_draw_obey_the_bounds(seed, k):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, dim=2, n_dpo=3, n_sft=3, outputs=2)
    setting = maxright_setting(problem, 0.2 + 0.2 * seed, T=5, alpha0=2.5, theta_1=[1.5, -2.0], theta_star=[0.3, 0.2])
    price = bounds.staleness(setting.lam, setting.grad_bounds, alpha=2.5 / math.sqrt(5), k=k, T=5)
    best, average, last = every_draw(setting, k)
    assert best <= total(setting.terms("average")) + price.mean
    assert average <= total(setting.terms("average")) + price.mean
    assert last <= total(setting.terms("last")) + price.last
    if k == 1:
        alphas = np.full(4, 2.5 / math.sqrt(5))
        exact = bounds.last_exact_terms(setting.lam, setting.grad_bounds, distance=setting.distance, alphas=alphas)
        assert last <= total(exact)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.oracle
def test_stochastic_records_have_an_interval_and_agree_with_the_enumeration():
    problem = random_problem(np.random.default_rng(1), dim=2, n_dpo=3, n_sft=3, outputs=2)
    shared = {"T": 5, "alpha0": 2.5, "theta_1": [1.5, -2.0], "theta_star": [0.3, 0.2]}
    setting = maxright_setting(problem, 0.4, **shared, seeds=range(4000))
    truth = every_draw(setting, 3)
    assert len(np.unique(setting.run(k=3).last[:, 0])) > 20  # the data are drawn
    for record, exact in zip(maxright_stale(setting, 3), truth, strict=True):
        assert (record.evidence, record.failure) == ("statistical", 1e-6)
        low, high = record.interval
        assert low <= exact <= high  # each fails with probability 1e-6, and the seeds are fixed
        assert record.verdict == "holds"
    assert maxright_best_and_average(setting)[0].bound == pytest.approx(total(setting.terms("average")), rel=1e-15)
    alone = maxright_setting(problem, 0.4, **shared, seeds=[5])
    assert maxright_best_and_average(alone)[0].verdict == "open"


def test_wrong_requests_are_named():
    setting = maxright_setting(table2(), 0.3, T=5, alpha0=1.0, theta_1=[0.0], theta_star=[0.0])
    with pytest.raises(ValueError, match="bound: 'exact', 'harmonic' or 'linear decay' is needed, got 'best'"):
        maxright_last(setting, "best")
    with pytest.raises(ValueError, match="setting: linear decay needs D > 0, got D = 0"):
        maxright_last(setting, "linear decay")
    with pytest.raises(ValueError, match="setting: linear decay needs D > 0"):
        maxright_scaled(setting)
    with pytest.raises(ValueError, match="estimates: 2 optima are needed"):
        maxright_optima(setting, [1.0])


claims = importlib.import_module("toyopt.theorems.maxright.claims")


def setting(**changes: Any) -> MaxrightSetting:
    """Two objectives of unequal weight, slope and scale; T = 5, α0 = 2, D = 5, C = (1.5, 0.5), λC = (0.45, 0.35)."""
    problem = Problem(
        (
            dpo([[1.5]], [[0.0]], beta=1.0, theta_ref=[2.0], name="dpo"),
            sft([[[0.0], [0.5]]], [0], name="sft"),
        )
    )
    arguments = {"T": 5, "alpha0": 2.0, "theta_1": [7.0], "theta_star": [2.0], "f_star": [0.25, -0.5]} | changes
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


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [None, range(3)])
def test_every_record_names_its_claim_and_evidence(seeds):
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


@pytest.mark.slow
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


def test_an_unknown_bound_and_a_wrong_k_are_named():
    with pytest.raises(ValueError, match=r"^bound: 'exact', 'harmonic' or 'linear decay' is needed, got 'x'"):
        maxright_last(setting(), "x")
    for claim in (lambda s: maxright_last(s, "linear decay"), maxright_scaled):
        with pytest.raises(ValueError, match=r"^setting: linear decay needs D > 0, got D = 0\.0"):
            claim(setting(theta_star=[7.0]))
        assert claim(setting(theta_star=[6.5])).verdict == "holds"
    with pytest.raises(ValueError, match=r"^k: must be at least 1, got 0"):
        maxright_stale(setting(), 0)
    with pytest.raises(ValueError, match=r"^estimates: 2 optima are needed"):
        maxright_optima(setting(), [0.0])


@pytest.mark.slow
def test_each_claim_uses_its_own_iterate_and_step():
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


@pytest.mark.slow
def test_the_minimiser_with_wrong_optima(monkeypatch):
    s = setting()
    minimiser, run = maxright_optima(s, [0.65, -0.7])
    assert run.terms == pytest.approx(s.terms("last") | {"over": 0.12, "under": 0.14})
    true, found = (minimise_worst(s.problem, 0.3, f, near=[7.0]) for f in (s.f_star, [0.65, -0.7]))
    at = float(worst_gap(s.problem, 0.3, s.f_star, found.theta))
    assert minimiser.attained == pytest.approx(at - true.value, abs=1e-9)
    assert 0.01 < minimiser.attained < 0.26
    rounding = 1e-14 * (1 + max(abs(v) for v in true.values) + 0.5)
    assert minimiser.tolerance == pytest.approx(
        rounding, rel=1e-12, abs=0.0
    )  # what the solver leaves open is no rounding
    solver = abs(true.gap) + abs(found.gap)
    assert minimiser.terms == pytest.approx({"over": 0.12, "under": 0.14, "solver": solver}, rel=1e-12, abs=0.0)
    assert minimiser.bound == pytest.approx(0.26 + solver, rel=1e-12)
    # The infimum is anywhere between the certificate's sides, whichever is the larger.
    solve = claims.minimise_worst
    for low, high in ((-0.01, 0.02), (0.02, -0.01)):

        def apart(*args, low=low, high=high, **kwargs):
            out = solve(*args, **kwargs)
            return dataclasses.replace(out, lower=out.lower + low, upper=out.upper + high)

        monkeypatch.setattr(claims, "minimise_worst", apart)
        moved = maxright_optima(s, [0.65, -0.7])[0]
        assert moved.attained == pytest.approx(minimiser.attained + 0.01, abs=1e-9)
        assert moved.tolerance == minimiser.tolerance
        assert moved.terms["solver"] == pytest.approx(0.06, abs=1e-9)
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


def test_the_terms_of_wrong_optima_are_their_errors():
    assert maxright_optima(setting(), [0.65, -0.7])[1].terms["over"] == pytest.approx(0.3 * 0.4)


def test_scaled_steps_use_the_gaps():
    """f_DPO* = -9 makes DPO lag at 3: 0.3 (f_DPO + 9) > 0.7 f_SFT. One step of (D/(L√2))(1 - 1/2) λ_DPO, D = 1."""
    s = setting(T=2, f_star=[-9.0, 0.0], theta_1=[3.0])
    step = 1 / (0.45 * math.sqrt(2)) * 0.5 * 0.3
    theta = 3.0 + step * 1.5 / (1 + math.exp(1.5))
    record = maxright_scaled(s)
    assert record.attained == pytest.approx(float(s.worst(np.array([theta]))[0]), rel=1e-12)
    assert abs(record.attained - float(s.worst(np.array([3.0]))[0])) > 1e-3
