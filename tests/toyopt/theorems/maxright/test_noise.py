"""MAXRIGHT with noisy gaps: plain loops, adversarial errors, the cost by hand, and rows by simulation."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from toyopt import Problem, dpo, ideal_point, sft
from toyopt.examples import table2
from toyopt.theorems import MaxrightSetting, maxright_noisy, maxright_setting, noise_cost, rows_for_decision
from toyopt.theorems.alright.last_iterate import weights_of_steps
from toyopt.theorems.maxright.claims import maxright_best_and_average, maxright_last
from toyopt.theorems.maxright.noise import noisy_run


def setting_of(seed: int, n: int, T: int, alpha0: float) -> MaxrightSetting:
    """Return a random problem of n objectives with unequal weights and any comparator."""
    rng = np.random.default_rng(seed)
    dim = int(rng.integers(1, 4))
    parts = [
        dpo(*rng.normal(size=(2, 3, dim)), beta=0.7, theta_ref=rng.normal(size=dim), name=f"d{i}")
        if i % 2 == 0
        else sft(rng.normal(size=(3, 3, dim)), rng.integers(3, size=3).tolist(), name=f"s{i}")
        for i in range(n)
    ]
    weights = np.maximum(rng.dirichlet(np.full(n, 0.7)), 0.05)
    problem = Problem(tuple(parts))
    return maxright_setting(
        problem,
        (weights / weights.sum()).tolist(),
        T=T,
        alpha0=alpha0,
        theta_1=3 * rng.normal(size=dim),
        f_star=ideal_point(problem),
        theta_star=rng.normal(size=dim),
    )


def adversarial(setting: MaxrightSetting, size: float, rng: np.random.Generator) -> np.ndarray:
    """Errors of the spread `size` that make each step go to the wrong objective where they can, by a plain loop."""
    theta, alpha, out = setting.theta_1, setting.alpha0 / math.sqrt(setting.T), []
    lam = np.array(setting.lam)
    for _ in range(setting.T - 1):
        gaps = lam * (setting.problem.values(theta) - setting.f_star)
        error = np.zeros(len(lam))
        error[int(np.argmin(gaps)) if rng.random() < 0.8 else int(rng.integers(len(lam)))] = size
        out.append(error)
        theta = theta - alpha * setting.problem.objectives[int(np.argmax(gaps + error))].grad(theta)
    return np.array(out)


@pytest.mark.slow
@hypothesis.settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    n=st.sampled_from([2, 3]),
    T=st.integers(2, 80),
    alpha0=st.sampled_from([0.03, 0.5, 5.0]),
    size=st.sampled_from([0.0, 0.01, 0.3, 3.0]),
    kind=st.sampled_from(["normal", "adversarial"]),
)
def test_every_run_keeps_its_bounds_whatever_the_errors(
    seed: int, n: int, T: int, alpha0: float, size: float, kind: str
) -> None:
    setting, rng = setting_of(seed, n, T, alpha0), np.random.default_rng(seed)
    errors = size * rng.normal(size=(T - 1, n)) if kind == "normal" else adversarial(setting, size, rng)
    for record in maxright_noisy(setting, errors):
        assert record.verdict == "holds", str(record)
        assert record.bound == pytest.approx(math.fsum(record.terms.values()), rel=1e-14)


def test_the_run_is_a_plain_loop_on_the_noisy_gaps() -> None:
    setting = setting_of(3, 3, 40, 1.0)
    errors = 0.2 * np.random.default_rng(1).normal(size=(39, 3))
    theta, path = setting.theta_1, [setting.theta_1]
    for error in errors:
        gaps = np.array(setting.lam) * (setting.problem.values(theta) - setting.f_star) + error
        theta = theta - 1.0 / math.sqrt(40) * setting.problem.objectives[int(np.argmax(gaps))].grad(theta)
        path.append(theta)
    best, average, last = noisy_run(setting, errors)
    np.testing.assert_allclose(last[0], theta, rtol=1e-12)
    np.testing.assert_allclose(average[0], np.mean(path, axis=0), rtol=1e-12)
    worst = setting.worst(np.array(path))
    assert setting.worst(best)[0] == pytest.approx(worst.min(), abs=1e-12)


def test_without_errors_nothing_is_added() -> None:
    setting = setting_of(5, 2, 50, 0.5)
    exact = maxright_best_and_average(setting)
    best, average, last = maxright_noisy(setting, np.zeros((49, 2)))
    assert average.attained == pytest.approx(exact[1].attained, abs=1e-12)
    assert average.bound == pytest.approx(exact[1].bound)
    assert best.bound == pytest.approx(min(exact[0].bound, exact[1].bound))
    assert last.attained == pytest.approx(maxright_last(setting).attained, abs=1e-12)
    assert last.bound == pytest.approx(min(maxright_last(setting, kind).bound for kind in ("exact", "harmonic")))


def test_a_noisy_run_breaks_the_bound_without_noise_and_keeps_the_one_with_it() -> None:
    """DPO always looks better by ½: the run from far left ends where SFT's gap is that much smaller."""
    setting = maxright_setting(table2(), 0.5, T=4000, alpha0=3.0, theta_1=[9.0])
    for errors in (np.tile([0.5, 0.0], (3999, 1)), np.tile([0.0, -0.5], (3999, 1))):
        for record in maxright_noisy(setting, errors)[1:]:
            without = dataclasses.replace(record, bound=record.bound - record.terms["noise"])
            assert (record.verdict, without.verdict) == ("holds", "fails"), str(record)
        # In the end the weighted gaps differ by 1/2, up to a step.
        end = noisy_run(setting, errors)[2][0]
        gaps = 0.5 * (setting.problem.values(end) - setting.f_star)
        assert gaps[1] - gaps[0] == pytest.approx(0.5, abs=0.03)


def test_the_best_iterate_breaks_the_bound_without_noise_where_the_start_is_on_the_wrong_side() -> None:
    setting = maxright_setting(table2(), 0.5, T=4000, alpha0=3.0, theta_1=[9.0])
    best = maxright_noisy(setting, np.tile([0.5, 0.0], (3999, 1)))[0]
    without = dataclasses.replace(best, bound=best.bound - best.terms["noise"])
    assert (best.verdict, without.verdict) == ("holds", "fails")


def test_the_cost_as_it_is_stated() -> None:
    lam, C, spread = (0.2, 0.3, 0.5), (2.0, 1.0, 0.5), [0.3, 0.0, 0.7, 0.1]
    cost = noise_cost(lam, C, distance=1.3, alpha=0.05, spread=spread)
    d = [2.5 * x for x in spread] + [0.0]
    T = len(d)
    last = min(
        0.05 * 2.0 * 0.4 * (kappa - 1) / 2 + sum(d[T - 1 - m] / max(m + 1, kappa) for m in range(T))
        for kappa in range(1, T + 1)
    )
    b = weights_of_steps(np.full(4, 0.05), 1.3, 2.0)
    exact = sum(d[k] * 0.05 / (0.05 + b[k + 1] ** 2) for k in range(4))
    assert cost.worst == 0.7
    assert cost.mean == pytest.approx(sum(d) / 5, rel=1e-14)
    assert (cost.last, cost.last_exact) == (pytest.approx(last, rel=1e-13), pytest.approx(exact, rel=1e-13))


def test_a_constant_error_costs_half_a_logarithm_on_the_last_iterate() -> None:
    costs = [noise_cost(0.5, (1, 1), distance=0.0, alpha=0.1, spread=np.ones(n)).last_exact for n in (10**3, 10**5)]
    assert costs[1] - costs[0] == pytest.approx(math.log(100) / 2, rel=0.01)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(("sd", "difference", "failure"), [(0.3, 0.08, 0.05), (1.0, 0.5, 0.01), (2.0, 0.9, 0.2)])
def test_normal_rows_decide_rightly_as_often_as_is_asked(sd: float, difference: float, failure: float) -> None:
    """20,000 decisions: at most `failure` are wrong, and with 30 % fewer rows more."""
    rng, n = np.random.default_rng(2), 20_000
    for share, enough in ((1.0, True), (0.7, False)):
        rows = max(1, int(share * rows_for_decision(sd, difference, failure=failure)))
        wrong = int((rng.normal(difference, sd, size=(n, rows)).mean(axis=1) <= 0).sum())
        # One run in 10^6 would have more wrong ones than this by chance, if each were wrong with `failure`.
        most = binom.ppf(1 - 1e-6, n, failure)
        assert bool(wrong <= most) is enough, (wrong, most)


@pytest.mark.slow
@pytest.mark.statistical
def test_a_control_variate_leaves_1_minus_the_squared_correlation() -> None:
    rng, n, rho = np.random.default_rng(3), 20_000, 0.9
    rows = rows_for_decision(0.3, 0.08, failure=0.05, correlation=rho)
    assert (rows, rows_for_decision(0.3, 0.08, failure=0.05)) == (8, 39)
    x = rng.normal(size=(n, rows))
    y = 0.08 + 0.3 * (rho * x + math.sqrt(1 - rho**2) * rng.normal(size=(n, rows)))
    with_it, without = (y - 0.3 * rho * x).mean(axis=1), y.mean(axis=1)
    most = binom.ppf(1 - 1e-6, n, 0.05)
    assert (with_it <= 0).sum() <= most < (without <= 0).sum()


def test_cantellis_rows_are_enough_for_any_rows_and_attained_by_two_values() -> None:
    """A row that is 0 with probability p and positive else: at sd/difference = √(p/(1-p)) one row is needed."""
    p = 0.1
    value = 1 / (1 - p)  # mean 1
    sd = math.sqrt((1 - p) * value**2 - 1)
    assert (sd, rows_for_decision(sd, 1.0 + 1e-9, failure=p, rows="any")) == (pytest.approx(math.sqrt(p / (1 - p))), 1)
    assert rows_for_decision(sd, 1.0 - 1e-3, failure=p, rows="any") == 2
    assert rows_for_decision(0.3, 0.08, failure=0.05, rows="any") == math.ceil(14.0625 * 19)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rows_for_decision(0, 1, failure=0.1), "sd: must be more than 0, got 0"),
        (lambda: rows_for_decision(1, 0, failure=0.1), "difference: must be more than 0, got 0"),
        (lambda: rows_for_decision(1, 1, failure=0.5), "failure: must be less than 1/2, which a coin attains, got 0.5"),
        (lambda: rows_for_decision(1, 1, failure=0.1, correlation=1.1), r"correlation: must be in \[-1, 1\], got 1.1"),
        (lambda: rows_for_decision(1, 1, failure=0.1, rows="few"), "rows: 'normal' or 'any' is needed, got 'few'"),
        (lambda: noise_cost(0.5, (1, 1), distance=1, alpha=1, spread=[-1.0]), "spread: one number >= 0 a decision"),
        (lambda: noise_cost(0.5, (0, 0), distance=1, alpha=1, spread=[1.0]), "grad_bounds: must be more than 0"),
        (lambda: maxright_noisy(setting_of(0, 2, 5, 1.0), np.zeros((5, 2))), r"errors: shape \(4, 2\) is needed"),
        (
            lambda: maxright_noisy(dataclasses.replace(setting_of(0, 2, 5, 1.0), seeds=(1, 2)), np.zeros((4, 2))),
            "setting: full gradients are needed, got 2 seeds; leave them out",
        ),
    ],
)
def test_wrong_input_names_the_argument(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
