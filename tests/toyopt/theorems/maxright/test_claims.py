"""The claims on MAXRIGHT hold on random problems, and each is about its own iterate and step."""

from __future__ import annotations

import itertools
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt import Maxright, Problem, dpo, ideal_point, sft, simulate
from toyopt.algorithms import Constant
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
from toyopt.theorems.maxright.setting import maxright_setting


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
