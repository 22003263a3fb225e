"""Theorem 4.1, Remark 4.2 and claim A: closed forms by hand, the order of the bounds, what is tight, wrong forms."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import problem as build
from support.strategies import problems

from toyopt.algorithms import Constant, InverseRootHorizon, LinearDecay
from toyopt.examples import random_problem, table2
from toyopt.problem import Problem
from toyopt.theorems import (
    alright_exact,
    alright_linear_decay,
    as_sft,
    defazio_bound,
    exact_bound,
    explicit_horizon,
    half_log_bound,
    harmonic_bound,
    last_iterate_is_exact,
    least_horizon,
    linear_decay_bound,
    log_bound,
    mean_square_constants,
    no_schedule_is_better,
    orabona_bound,
    remark_42,
    thm_41,
    thm_41_schedule,
    total,
    worst_case,
    zamani_glineur,
)
from toyopt.theorems.alright.last_iterate import harmonic, odd_harmonic
from toyopt.theorems.alright.worst_case import WorstCase, resisting

STEPS = st.lists(st.floats(0.001, 10), min_size=1, max_size=30)
SIZES = st.floats(0.05, 20)
D, C, ALPHA0 = 1.3, 0.8, 1.7  # unequal, and none of them 1


# The bounds' numbers, by hand


def test_log_and_harmonic_forms_by_hand() -> None:
    """T = 3: distance 1.69/(3.4 √3); noise 0.64·1.7/(2√3) times 2 + log 2, or 1 + 1 + 1/2."""
    root = math.sqrt(3)
    assert log_bound(D, C, ALPHA0, 3) == pytest.approx(
        {"distance": 1.69 / (3.4 * root), "noise": 1.088 / (2 * root) * (2 + math.log(2))}, rel=1e-15
    )
    assert harmonic_bound(D, C, ALPHA0, 3) == pytest.approx(
        {"distance": 1.69 / (3.4 * root), "noise": 1.088 / (2 * root) * 2.5}, rel=1e-15
    )
    assert half_log_bound(D, C, ALPHA0, 3) == pytest.approx(
        {"distance": 1.69 / (3.4 * root * (2 - 1 / 3)), "noise": 1.088 / (2 * root) * (1 + 1 + 1 / 3)}, rel=1e-15
    )


def test_the_numbers_at_eight() -> None:
    """At T = 8 and D = C = alpha0 = 1 the paper's bound is 0.812 and the exact worst case 0.574."""
    assert total(harmonic_bound(1, 1, 1, 8)) == pytest.approx(0.8119101, abs=1e-7)
    assert total(exact_bound(np.full(7, 8**-0.5), 1, 1)) == pytest.approx(0.5741921, abs=1e-7)
    assert last_iterate_is_exact(np.full(7, 8**-0.5), 1, 1).attained == pytest.approx(0.5741921, abs=1e-7)


def test_any_schedule_forms_by_hand() -> None:
    """Three steps 0.5, 0.4, 0.2 and alpha_T = 0.1: T = 4."""
    a = [0.5, 0.4, 0.2, 0.1]
    noise = 0.32 * (0.01 + 0.25 / 3 + 0.16 / 2 + 0.04 / 1)
    assert orabona_bound(a, D, C) == pytest.approx({"distance": 1.69 / 0.8, "noise": noise / 0.1}, rel=1e-14)
    noise = 0.32 * (0.1 + 0.25 / 0.7 + 0.16 / 0.3 + 0.04 / 0.1)
    assert defazio_bound(a, D, C) == pytest.approx({"distance": 1.69 / 2.4, "noise": noise}, rel=1e-14)


def test_exact_bound_by_hand() -> None:
    """T = 2: m_1 = 2√alpha, so D²/(8 alpha) + C² alpha where D <= 4 alpha C, else DC - C² alpha."""
    assert total(exact_bound([0.6], D, C)) == pytest.approx(1.69 / 4.8 + 0.64 * 0.6, rel=1e-14)
    assert total(exact_bound([0.3], 3.0, C)) == pytest.approx(2.4 - 0.64 * 0.3, rel=1e-14)
    # T = 3, steps 0.9 then 0.1: m_2 = 2√0.1 is less than √0.9, so m_1 = 2√0.9 and what is left of m_2 does not count.
    assert total(exact_bound([0.9, 0.1], D, C)) == pytest.approx(1.69 / 7.2 + 0.32 * (3.6 - 2.0), rel=1e-14)
    # T = 3, constant 0.5: m_2 = 2√0.5, m_1 = 2.5√0.5.
    assert total(exact_bound([0.5, 0.5], D, C)) == pytest.approx(1.69 / 6.25 + 0.32 * (3.125 - 2.0), rel=1e-14)


def test_harmonic_numbers() -> None:
    assert [harmonic(n) for n in (0, 1, 2, 4)] == [0, 1, 1.5, pytest.approx(25 / 12, rel=1e-15)]
    assert [odd_harmonic(n) for n in (0, 1, 3)] == [0, 1, pytest.approx(23 / 15, rel=1e-15)]
    direct = math.fsum(1 / k for k in range(1, 1_000_002))
    assert harmonic(1_000_001) == pytest.approx(direct, rel=4e-16, abs=0)
    assert harmonic(10**30) == pytest.approx(30 * math.log(10) + 0.5772156649015329, rel=1e-15)


# Their order, and what is tight


@given(STEPS, SIZES, SIZES)
def test_the_order_of_the_bounds(steps: list[float], d: float, c: float) -> None:
    """exact <= Defazio's for any steps and any alpha_T, and Defazio's <= Orabona's for non-increasing ones."""
    exact = total(exact_bound(steps, d, c))
    for last in (steps[-1], 0.3 * min(steps), 5 * max(steps)):
        assert exact <= total(defazio_bound([*steps, last], d, c)) * (1 + 1e-12)
    falling = sorted(steps, reverse=True)
    for last in (falling[-1], 0.3 * falling[-1]):
        assert total(defazio_bound([*falling, last], d, c)) <= total(orabona_bound([*falling, last], d, c)) * (
            1 + 1e-12
        )


@given(st.integers(2, 400), SIZES, SIZES, SIZES)
def test_the_order_for_the_papers_step(T: int, d: float, c: float, alpha0: float) -> None:
    """exact <= half-log <= Defazio = Orabona = harmonic <= log, with alpha0/√T."""
    a = np.full(T, alpha0 / math.sqrt(T))
    bounds = [
        total(exact_bound(a[1:], d, c)),
        total(half_log_bound(d, c, alpha0, T)),
        total(harmonic_bound(d, c, alpha0, T)),
        total(log_bound(d, c, alpha0, T)),
    ]
    assert all(x <= y * (1 + 1e-12) for x, y in itertools.pairwise(bounds))
    assert total(defazio_bound(a, d, c)) == pytest.approx(bounds[2], rel=1e-12)
    assert total(orabona_bound(a, d, c)) == pytest.approx(bounds[2], rel=1e-12)


def test_both_terms_are_halved_in_the_limit() -> None:
    T = 10**12
    half, full = half_log_bound(D, C, ALPHA0, T), log_bound(D, C, ALPHA0, T)
    assert half["distance"] / full["distance"] == pytest.approx(0.5, abs=1e-9)
    assert (half["noise"] - half_log_bound(D, C, ALPHA0, T)["noise"]) == 0.0
    growth = [
        f(D, C, ALPHA0, 10**24)["noise"] * 1e12 - f(D, C, ALPHA0, T)["noise"] * 1e6 for f in (half_log_bound, log_bound)
    ]
    assert growth[0] / growth[1] == pytest.approx(0.5, rel=1e-9)
    assert 1 + odd_harmonic(99) <= 2 + math.log(2 * 100 - 3) / 2


@given(STEPS, SIZES, SIZES)
def test_the_worst_case_is_attained_for_any_steps(steps: list[float], d: float, c: float) -> None:
    record = last_iterate_is_exact(steps, d, c)
    assert record.verdict == "holds", str(record)
    case = worst_case(steps, d, c)
    np.testing.assert_allclose(np.linalg.norm(case.gradients, axis=1), c, rtol=1e-9)
    assert np.linalg.norm(case.start) == d


@given(STEPS, SIZES, SIZES)
def test_no_schedule_beats_linear_decay(steps: list[float], d: float, c: float) -> None:
    record = no_schedule_is_better(steps, d, c)
    assert record.verdict == "holds", str(record)
    assert record.attained == pytest.approx(d * c / math.sqrt(len(steps) + 1), rel=1e-12)
    assert total(exact_bound(steps, d, c)) >= record.bound * (1 - 1e-12)


@pytest.mark.parametrize("T", [2, 3, 8, 200])
def test_linear_decay_is_its_own_exact_worst_case(T: int) -> None:
    steps = LinearDecay(D, C, T).at(np.arange(1, T))
    assert total(exact_bound(steps, D, C)) == pytest.approx(total(linear_decay_bound(D, C, T)), rel=1e-12)
    assert total(linear_decay_bound(D, C, T)) == pytest.approx(1.04 / math.sqrt(T), rel=1e-15)
    record = zamani_glineur(D, C, T - 1)
    assert record.kind == "equal"
    assert record.verdict == "holds", str(record)


def test_a_worst_case_that_is_none_is_open() -> None:
    """If g_i is no subgradient at the i-th iterate, or too long, the record says nothing."""
    from toyopt.theorems.alright.worst_case import _judged

    good = worst_case([0.5, 0.4], D, C)
    assert _judged(good, good.gap, C) == good.gap
    wrong = WorstCase(good.gradients[[1, 0, 2]], good.start, good.alphas)
    assert math.isnan(_judged(wrong, wrong.gap, C))
    assert math.isnan(_judged(good, good.gap, 0.9 * C))


def test_the_worst_case_among_the_papers_objectives() -> None:
    """f_SFT with full gradients (ALRIGHT with λ = 0) comes near to the exact bound: no better one holds for the paper's
    own problems, and the logarithm is there."""
    for T in (3, 8, 40):
        case = worst_case(np.full(T - 1, ALPHA0 / math.sqrt(T)), D, C)
        problem, theta, steps = as_sft(case, loss=1e-3)
        start = theta
        for alpha in steps:
            theta = theta - alpha * problem.grad_sft(theta)
        gap = float(problem.f_sft(theta) - problem.f_sft(0 * theta))
        bound = total(exact_bound(steps, float(np.linalg.norm(start)), problem.C2))
        assert (1 - 2e-3) * bound <= gap <= bound
        assert pytest.approx(C, rel=1e-12) == problem.C2


def test_bounds_that_are_a_little_too_small_are_refuted() -> None:
    """Mutants of the exact bound: a step too few or too many, no square, C for C², m_k not restarted."""
    steps = [0.9, 0.1, 0.4, 0.3]
    attained = last_iterate_is_exact(steps, D, C).attained
    assert total(exact_bound(steps[1:], D, C)) != pytest.approx(attained, rel=1e-3)
    assert total(exact_bound([*steps, 0.3], D, C)) != pytest.approx(attained, rel=1e-3)
    terms = exact_bound(steps, D, C)
    assert terms["distance"] / D + terms["noise"] != pytest.approx(attained, rel=1e-3)
    assert terms["distance"] + terms["noise"] / C != pytest.approx(attained, rel=1e-3)
    m = 2 * math.sqrt(0.1) + 0.9 / (2 * math.sqrt(0.1))  # steps 0.9, 0.1, and b = m_2 although √0.9 is more
    unrestarted = D**2 / (2 * m**2) + C**2 / 2 * (m**2 - 2 * 1.0)
    assert unrestarted > 1.05 * last_iterate_is_exact([0.9, 0.1], D, C).attained


# Theorem 4.1 on problems


def test_thm_41_by_hand_at_two() -> None:
    """T = 2 on Table 2: one update, alpha0/√2, two outcomes."""
    p, lam, alpha0, start, star = table2(), 0.3, 1.7, 4.0, 1.0
    alpha = alpha0 / math.sqrt(2)
    ends = [start + alpha * 0.5 / (1 + math.exp((start - 5) / 2)), start - alpha * 0.5 / (1 + math.exp(-start / 2))]

    def f(x: float) -> float:
        return lam * math.log1p(math.exp(-(x - 5) / 2)) + (1 - lam) * math.log1p(math.exp(x / 2))

    log, harm = thm_41(p, lam=lam, alpha0=alpha0, T=2, theta_1=[start], theta_star=[star])
    assert log.attained == pytest.approx(lam * f(ends[0]) + (1 - lam) * f(ends[1]) - f(star), rel=1e-13)
    assert log.terms == pytest.approx({"distance": 9 / (3.4 * math.sqrt(2)), "noise": 0.25 * alpha}, rel=1e-14)
    assert harm.terms == pytest.approx(dict(log.terms), rel=1e-14)  # H_1 = 1 = 1 + log 1
    assert (log.evidence, log.claim, log.interval, log.verdict) == ("enumerated", "4.1", None, "holds")


@given(problems(objectives=(2,)), st.floats(0, 1), st.sampled_from([0.1, 1.0, 5.0]), st.integers(2, 7), st.booleans())
def test_thm_41_and_a_hold_for_any_comparator(specs: Any, lam: float, alpha0: float, T: int, is_sgd: bool) -> None:
    p = build(specs)
    T = min(T, 4) if is_sgd else T
    rng = np.random.default_rng(5)
    start, star = 3 * rng.normal(size=(2, p.dim))
    options: dict[str, Any] = {"lam": lam, "T": T, "theta_1": start, "theta_star": star, "stochastic": is_sgd}
    sharper = mean_square_constants(p)
    records = [*thm_41(p, alpha0=alpha0, **options), *thm_41(p, alpha0=alpha0, constants=sharper, **options)]
    root = InverseRootHorizon(alpha0, T)
    falling = LinearDecay(1.7, 0.4, T + 1)
    records.append(thm_41_schedule(p, schedule=falling, **options))
    if p.C1 > 0 and p.C2 > 0:
        records += alright_exact(p, schedule=root, **options)
        records += alright_exact(p, schedule=falling, constants=sharper, **options)
        records.append(alright_linear_decay(p, **options))
    for record in records:
        assert record.verdict == "holds", str(record)


def test_the_comparator_is_the_minimiser_where_there_is_one() -> None:
    p = table2()
    log, _ = thm_41(p, lam=0.3, alpha0=0.9, T=5, theta_1=[4.0])
    from toyopt.examples import LowerBound
    from toyopt.optimum import lower_bound_minimiser

    star = lower_bound_minimiser(LowerBound(), 0.3)
    assert log.terms["distance"] == pytest.approx((4.0 - star) ** 2 / (1.8 * math.sqrt(5)), rel=1e-9)
    assert log.attained > 0
    with pytest.raises(ValueError, match=r"theta_star: f_Mix has no minimiser for lam = 1\.0"):
        thm_41(p, lam=1.0, alpha0=0.9, T=5, theta_1=[4.0])
    assert thm_41(p, lam=1.0, alpha0=0.9, T=5, theta_1=[4.0], theta_star=[9.0])[0].verdict == "holds"


def steep() -> tuple[Problem, np.ndarray, np.ndarray, int]:
    """An f_SFT on which the exact bound is nearly attained at T = 8, with a DPO objective of another slope."""
    case = worst_case(np.full(7, ALPHA0 / math.sqrt(8)), D, C)
    problem, theta, steps = as_sft(case, loss=1e-3)
    other = Problem.dpo_sft(
        chosen=0.5 * case.gradients[:1],
        rejected=np.zeros((1, 8)),
        features=[np.concatenate([np.zeros((1, 8)), case.gradients])],
        targets=[0],
        theta_ref=np.zeros(8),
    )
    assert problem.C2 == other.C2
    return other, theta, steps, 8


def test_mutants_fall_where_the_bound_is_tight() -> None:
    """On the steep problem a bound with C1 for C2, λ and 1-λ swapped, or C for C², is refuted by the record itself."""
    problem, theta, steps, T = steep()
    alpha0 = float(steps[0]) * math.sqrt(T)
    options: dict[str, Any] = {"lam": 0.0, "T": T, "theta_1": theta, "theta_star": np.zeros(8)}
    schedule = InverseRootHorizon(alpha0, T)
    assert alright_exact(problem, schedule=schedule, **options)[0].verdict == "holds"
    assert pytest.approx(C / 2) == problem.C1
    c1_for_c2 = alright_exact(problem, schedule=schedule, constants=(C, C / 2), **options)
    assert c1_for_c2[0].verdict == "fails"
    assert thm_41(problem, alpha0=alpha0, constants=(C, C / 2), **options)[0].verdict == "fails"
    right = thm_41(problem, alpha0=alpha0, **options)[0]
    assert right.verdict == "holds"
    assert 0.6 < right.attained / right.bound < 0.75  # slack, and only so much


def test_off_by_one_values() -> None:
    """H_T for H_{T-1}, log T for log(T-1), T-1 for T: other values, by the closed forms at T = 2 and 5."""
    assert log_bound(D, C, ALPHA0, 2)["noise"] == pytest.approx(2 * 0.64 * 1.7 / (2 * math.sqrt(2)), rel=1e-15)
    assert harmonic_bound(D, C, ALPHA0, 2)["noise"] == pytest.approx(2 * 0.64 * 1.7 / (2 * math.sqrt(2)), rel=1e-15)
    noise = harmonic_bound(D, C, ALPHA0, 5)["noise"]
    assert noise == pytest.approx((1 + 25 / 12) * 0.64 * 1.7 / (2 * math.sqrt(5)), rel=1e-15)
    assert noise < (1 + 137 / 60) * 0.64 * 1.7 / (2 * math.sqrt(5)) * 0.95
    assert log_bound(D, C, ALPHA0, 5)["distance"] == pytest.approx(1.69 / (3.4 * math.sqrt(5)), rel=1e-15)


def test_records_of_a_schedule() -> None:
    p = random_problem(np.random.default_rng(1), dim=2)
    options: dict[str, Any] = {"lam": 0.4, "T": 5, "theta_1": [1.0, 2.0], "theta_star": [0.5, 0.0]}
    two = alright_exact(p, schedule=Constant(0.3), **options)
    assert len(two) == 2
    C2 = 0.4 * p.C1**2 + 0.6 * p.C2**2
    assert two[0].terms == exact_bound([0.3] * 4, math.sqrt(4.25), math.sqrt(C2))
    assert two[1].terms == defazio_bound([0.3] * 5, math.sqrt(4.25), math.sqrt(C2))
    three = alright_exact(p, schedule=InverseRootHorizon(0.7, 5), **options)
    assert three[2].terms == half_log_bound(math.sqrt(4.25), math.sqrt(C2), 0.7, 5)
    assert len(alright_exact(p, schedule=InverseRootHorizon(0.7, 9), **options)) == 2  # another horizon's step
    by_orabona = thm_41_schedule(p, schedule=LinearDecay(1.1, 0.3, 7), **options)
    assert by_orabona.terms == orabona_bound(
        LinearDecay(1.1, 0.3, 7).at(np.arange(1, 6)), math.sqrt(4.25), math.sqrt(C2)
    )
    linear = alright_linear_decay(p, **options)
    assert linear.bound == pytest.approx(math.sqrt(4.25 * C2 / 5), rel=1e-14)
    schedule = LinearDecay(math.sqrt(4.25), math.sqrt(C2), 5)
    assert linear.attained == pytest.approx(alright_exact(p, schedule=schedule, **options)[0].attained, rel=1e-12)


# Remark 4.2


@given(st.floats(0, 30), st.floats(0.01, 10), SIZES, st.floats(1e-3, 3))
def test_least_and_explicit_horizon(d: float, c: float, alpha0: float, epsilon: float) -> None:
    T = least_horizon(d, c, alpha0, epsilon)
    assert total(log_bound(d, c, alpha0, T)) <= epsilon
    assert T == 3 or total(log_bound(d, c, alpha0, T - 1)) > epsilon
    explicit = explicit_horizon(d, c, alpha0, epsilon)
    assert T <= explicit <= T * (1 + 1e-8) + 3  # log T for log(T-1) costs next to nothing
    for t in (T + 1, T + 2, 2 * T, 10 * T, 10**6 * T):
        assert total(log_bound(d, c, alpha0, t)) <= epsilon


def test_the_bound_decreases_from_three_on_and_not_from_two() -> None:
    bounds = [total(log_bound(0.0, C, ALPHA0, T)) for T in range(2, 3000)]
    assert bounds[0] < bounds[1]
    assert all(x > y for x, y in itertools.pairwise(bounds[1:]))


def test_remark_42_records() -> None:
    for lam in (0.01, 0.3, 0.99):
        at_epsilon, closed, falls = remark_42(table2(), lam=lam, alpha0=1.7, epsilon=0.03, theta_1=[-1.0])
        assert (at_epsilon.verdict, closed.verdict, falls.verdict) == ("holds",) * 3
        T = int(closed.attained)
        assert at_epsilon.terms == pytest.approx(dict(thm_41_terms(lam, T)), rel=1e-9)
        a, c = sum(at_epsilon.terms.values()), 0.25 * 1.7 / 2
        assert falls.attained == pytest.approx(2 * c / (T - 1), rel=1e-14)
        assert falls.terms["c log(T-1)"] == pytest.approx(c * math.log(T - 1), rel=1e-14)
        assert falls.terms["a"] == pytest.approx(at_epsilon.terms["distance"] * math.sqrt(T), rel=1e-9)
        assert a == at_epsilon.bound - at_epsilon.slack or a == pytest.approx(at_epsilon.attained)


def thm_41_terms(lam: float, T: int) -> dict[str, float]:
    from toyopt.examples import LowerBound
    from toyopt.optimum import lower_bound_minimiser

    return log_bound(abs(-1.0 - lower_bound_minimiser(LowerBound(), lam)), 0.5, 1.7, T)


def test_remark_42_far_out() -> None:
    """ε = 1e-100: T is near 1e203, and the closed form still meets it."""
    T = least_horizon(D, C, ALPHA0, 1e-100)
    assert T <= explicit_horizon(D, C, ALPHA0, 1e-100) <= T * (1 + 1e-8)
    with pytest.raises(ValueError, match=r"epsilon: the bound reaches it beyond T = 2\^1000 only, got 1e-200"):
        least_horizon(D, C, ALPHA0, 1e-200)
    assert explicit_horizon(3.0, 0.0, 0.5, 0.1) == math.ceil(8100 * (1 + 1e-9)) + 1  # no noise: (a/ε)²
    assert least_horizon(3.0, 0.0, 0.5, 0.1) in (8100, 8101)


# Wrong input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_bound(1, 1, 1, 1), "T: must be at least 2, got 1"),
        (lambda: harmonic_bound(-1, 1, 1, 3), "D: must be at least 0, got -1"),
        (lambda: half_log_bound(1, -1, 1, 3), "C: must be at least 0, got -1"),
        (lambda: log_bound(1, 1, 0, 3), "alpha0: must be more than 0, got 0"),
        (lambda: orabona_bound([0.1, 0.2], 1, 1), r"alphas: must not increase, got alpha_1 = .*0\.1.* < alpha_2"),
        (lambda: orabona_bound([0.1, 0.0], 1, 1), "alphas: step sizes must be positive, got .*0.0.* at update 2"),
        (lambda: defazio_bound([-0.1], 1, 1), "alphas: step sizes must be positive"),
        (lambda: exact_bound([0.1], 1, 0), "C: must be more than 0, got 0"),
        (lambda: exact_bound([], 1, 1), "alphas: is empty"),
        (lambda: linear_decay_bound(0, 1, 2), "D: must be more than 0"),
        (lambda: worst_case(np.ones(5000), 1, 1), "alphas: at most 4999 step sizes"),
        (lambda: resisting(np.ones(5000), 1, 1), "alphas: at most 4999 step sizes"),
        (lambda: zamani_glineur(1, 1, 0), "N: must be at least 1, got 0"),
        (lambda: as_sft(worst_case([0.1], 9.0, 0.8)), "case: its gradients are linearly dependent"),
        (lambda: explicit_horizon(1, 1, 1, 0), "epsilon: must be more than 0"),
        (lambda: alright_linear_decay(table2(), lam=0.3, T=3, theta_1=[1.0], theta_star=[1.0]), "theta_1: must differ"),
        (lambda: thm_41(table2(), lam=0.3, alpha0=1, T=3, theta_1=[[1.0]]), r"theta_1: shape \(1,\) is needed"),
        (lambda: thm_41(table2(), lam=0.3, alpha0=1, T=3, theta_1=[1.0], theta_star=[[1.0]]), "theta_star: shape"),
        (lambda: thm_41(table2(), lam=0.3, alpha0=1, T=3, theta_1=[1.0], method="none"), "method: 'auto'"),
        (
            lambda: thm_41_schedule(table2(), lam=0.3, schedule=LinearDecay(1.0, 1.0, 3), T=3, theta_1=[1.0]),
            "alphas: step sizes must be positive",
        ),
    ],
)
def test_wrong_input_names_the_argument(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_problem_without_gradients_has_no_exact_bound() -> None:
    flat = Problem.dpo_sft(chosen=[[0.0]], rejected=[[0.0]], features=[[[1.0], [1.0]]], targets=[0], theta_ref=[0.0])
    with pytest.raises(ValueError, match="problem: its gradients vanish everywhere"):
        alright_exact(flat, lam=0.5, schedule=Constant(0.1), T=3, theta_1=[0.0], theta_star=[1.0])
    with pytest.raises(ValueError, match="problem: its gradients vanish everywhere"):
        alright_linear_decay(flat, lam=0.5, T=3, theta_1=[0.0], theta_star=[1.0])
