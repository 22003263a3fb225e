"""Estimates of the optima, even alternation, and the controller's two answers to a trainer: whose pass to keep, and
gaps from new optima."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.wrong import fails

from toyopt.algorithms import (
    Alright,
    Controller,
    Maxright,
    Mix,
    Rule,
    Sequential,
    draw,
    even_draw,
    largest_weighted_gap,
)
from toyopt.estimates import BestSoFar, Optimistic, RecentMean

values = st.lists(st.floats(-5, 5), min_size=1, max_size=12)


# BestSoFar.


@pytest.mark.slow
@given(values, st.sampled_from([0.0, 0.5, 0.9]))
def test_the_estimate_is_the_lowest_exponential_mean(seen: list[float], memory: float) -> None:
    """In fractions: Σ memory^(n-j) v_j / Σ memory^(n-j), the lowest over n."""
    best = BestSoFar(1, memory)
    m, means = Fraction(memory), []
    for n, value in enumerate(seen):
        best.see(0, value)
        weights = [m ** (n - j) for j in range(n + 1)]
        means.append(sum(w * Fraction(v) for w, v in zip(weights, seen, strict=False)) / sum(weights))
        assert best.f_star[0] == pytest.approx(float(min(means)), abs=1e-13)


def test_by_hand() -> None:
    best = BestSoFar(3, memory=0.5)
    assert best.f_star == (math.inf,) * 3
    best.see(1, 3.0)
    assert best.f_star == (math.inf, 3.0, math.inf)
    best.see(1, 0.0)  # (0.5·3 + 0) / 1.5
    assert best.f_star == (math.inf, 1.0, math.inf)
    best.see(2, -2.0)
    best.see(1, 9.0)  # (0.25·3 + 9) / 1.75, which is higher
    assert best.f_star == (math.inf, 1.0, -2.0)


def test_the_memory_is_nine_tenths_by_default() -> None:
    best = BestSoFar(1)
    best.see(0, 1.9)
    best.see(0, 0.0)
    assert best.f_star[0] == pytest.approx(0.9)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(-5, 5)), max_size=12), st.integers(0, 12))
def test_a_state_through_json_goes_on(seen: list[tuple[int, float]], cut: int) -> None:
    whole, first = BestSoFar(2, 0.7), BestSoFar(2, 0.7)
    for i, value in seen[:cut]:
        first.see(i, value)
    state = json.loads(json.dumps(first.state()))
    second = BestSoFar(2, 0.7, **state)
    for i, value in seen[cut:]:
        second.see(i, value)
    for i, value in seen:
        whole.see(i, value)
    assert second == whole
    assert second.f_star == whole.f_star


def test_a_state_is_a_copy() -> None:
    best = BestSoFar(1, 0.5)
    best.see(0, 4.0)
    state = best.state()
    best.see(0, 1.0)
    assert state == {"sums": [4.0], "weights": [1.0], "lowest": [4.0]}
    assert best.state() == {"sums": [3.0], "weights": [1.5], "lowest": [2.0]}


@pytest.mark.parametrize(
    ("options", "error", "argument", "value"),
    [
        ({"n": 0}, ValueError, "n: ", "0"),
        ({"n": 1.0}, TypeError, "n: ", "1.0"),
        ({"n": 2, "memory": 1.0}, ValueError, "memory: must be in [0, 1)", "1.0"),
        ({"n": 2, "memory": -0.1}, ValueError, "memory: must be in [0, 1)", "-0.1"),
        ({"n": 2, "memory": math.nan}, ValueError, "memory: ", "nan"),
        ({"n": 2, "memory": "x"}, TypeError, "memory: ", "x"),
    ],
)
def test_wrong_options(options: dict[str, object], error: type[Exception], argument: str, value: str) -> None:
    fails(lambda: BestSoFar(**options), error, argument, value)  # type: ignore[arg-type]


# RecentMean.


def test_an_observation_loses_weight_by_its_age_and_counts_by_its_weight() -> None:
    """Mean and error beside NumPy's, with the weights written out."""
    mean = RecentMean(2, memory=5.0)
    assert (mean.value(0), mean.error(0)) == (0.0, math.inf)
    seen = ((0, 4.0, 1.0), (3, 1.0, 2.0), (3, 2.0, 1.0), (10, 0.0, 4.0))
    for step, value, weight in seen:
        mean.see(0, value, step=step, weight=weight)
    weights = np.array([weight * math.exp((step - 10) / 5.0) for step, _, weight in seen])
    values = np.array([value for _, value, _ in seen])
    average = np.average(values, weights=weights)
    assert mean.value(0) == pytest.approx(average)
    number = weights.sum() ** 2 / (weights**2).sum()
    variance = np.average((values - average) ** 2, weights=weights)
    assert mean.error(0) == pytest.approx(math.sqrt(variance / (number - 1.0)))
    assert (mean.value(1), mean.error(1)) == (0.0, math.inf)


def test_the_error_of_equal_observations_is_that_of_a_mean() -> None:
    mean, values = RecentMean(1, memory=1e12), np.random.default_rng(0).normal(3.0, 2.0, size=50)
    for step, value in enumerate(values):
        mean.see(0, float(value), step=step)
    assert mean.error(0) == pytest.approx(values.std(ddof=1) / math.sqrt(50))


def test_students_error_bounds_the_mean_of_few_observations() -> None:
    """By SciPy's t test: the mean less 1.5 of these errors is where it has the normal probability of 1.5 errors."""
    mean, values = RecentMean(1, memory=1e12), np.array([3.0, 1.0, 2.5, 0.5])
    assert mean.student_error(0, 1.5) == math.inf
    for step, value in enumerate(values):
        mean.see(0, float(value), step=step)
        if step == 0:
            assert mean.student_error(0, 1.5) == math.inf
    bound = mean.value(0) - 1.5 * mean.student_error(0, 1.5)
    assert stats.ttest_1samp(values, bound, alternative="greater").pvalue == pytest.approx(stats.norm.sf(1.5))
    for step in range(4, 3000):
        mean.see(0, float(values[step % 4]), step=step)
    assert mean.student_error(0, 1.5) == pytest.approx(mean.error(0), rel=1e-3)
    fails(lambda: mean.student_error(0, 0.0), ValueError, "doubt: ", "0.0")


def test_a_recent_mean_through_json_goes_on_and_refuses_the_past() -> None:
    mean = RecentMean(1, memory=3.0)
    mean.see(0, 1.0, step=4)
    again = RecentMean(1, memory=3.0, **json.loads(json.dumps(mean.state())))
    for one in (mean, again):
        one.see(0, 5.0, step=6)
    assert mean == again
    fails(lambda: mean.see(0, 1.0, step=5), ValueError, "step: must be at least 6", "5")


@pytest.mark.parametrize("memory", [0.0, -1.0, math.nan])
def test_wrong_memories_of_a_recent_mean(memory: float) -> None:
    fails(lambda: RecentMean(1, memory), ValueError, "memory: ", str(memory))


# Optimistic.


def test_the_bonus_is_the_largest_progress_over_the_steps() -> None:
    seen = Optimistic(2, power=0.5)
    assert seen.f_star == (math.inf, math.inf)
    for i, value in ((0, 0.7), (1, 2.0), (0, 0.5), (0, 0.6)):
        seen.see(i, value)
    for _ in range(3):
        seen.count(0)
    assert seen.f_star == pytest.approx((0.5 - 0.2 / 2.0, 2.0 - 0.2))


def test_without_progress_the_least_trained_objective_has_the_largest_gap() -> None:
    seen = Optimistic(3)
    for i in range(3):
        seen.see(i, 1.0)
    for i in (0, 0, 1):
        seen.count(i)
    gaps = [1.0 - f for f in seen.f_star]
    assert sorted(range(3), key=lambda i: -gaps[i]) == [2, 1, 0]


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_where_nothing_is_forgotten_shares_follow_the_weights(power: float) -> None:
    """Values stay at their lowest, so that steps go where lam_i / (1 + steps)^power is largest."""
    lam, seen = (0.2, 0.8), Optimistic(2, power)
    for i in range(2):
        seen.see(i, 1.0)
        seen.see(i, 0.5)
    for _ in range(3000):
        seen.count(largest_weighted_gap(lam, [0.5 - f for f in seen.f_star]))
    expected = [w ** (1.0 / power) for w in lam]
    assert seen.steps[0] / 3000 == pytest.approx(expected[0] / sum(expected), rel=0.02)


def test_an_optimistic_state_through_json_goes_on() -> None:
    seen = Optimistic(2)
    seen.see(0, 0.7)
    seen.count(0)
    again = Optimistic(2, **json.loads(json.dumps(seen.state())))
    for one in (seen, again):
        one.see(1, 2.0)
        one.see(0, 0.4)
    assert seen == again


@pytest.mark.parametrize("power", [0.0, -1.0, math.nan])
def test_wrong_powers(power: float) -> None:
    fails(lambda: Optimistic(2, power), ValueError, "power: ", str(power))


def test_a_loss_counts_beyond_its_error() -> None:
    seen = Optimistic(2, doubt=2.0)
    seen.see(0, 1.0)
    for value, error, lost in ((0.5, 0.1, 0.0), (0.9, 0.05, 0.1), (0.75, 0.05, 0.0), (9.0, math.inf, 0.0)):
        seen.see(0, value, error)
        assert seen.lowest[0] == pytest.approx(0.7)  # 0.5 + 2 * 0.1
        assert seen.lost[0] == pytest.approx(lost)
    fails(lambda: Optimistic(2, doubt=-1.0), ValueError, "doubt: ", "-1.0")


# even_draw.


def test_even_draws_are_the_golden_ratios_multiples() -> None:
    assert [even_draw(t) for t in range(4)] == pytest.approx([0.3090169944, 0.9270509831, 0.5450849719, 0.1631189606])
    assert all(0.0 <= even_draw(t) < 1.0 for t in (*range(2000), 10**6, 10**9))


@pytest.mark.parametrize("lam", [0.0, 0.05, 0.3, 0.5, 0.75, 1.0])
def test_among_any_steps_in_turn_the_share_is_lambdas(lam: float) -> None:
    """Every window's count is within log2(n) + 2 of λ n: the discrepancy of the golden ratio."""
    chosen = [draw(even_draw(t), (lam, 1.0 - lam)) == 0 for t in range(600)]
    counts = [sum(chosen[:t]) for t in range(601)]
    for n in (1, 2, 5, 20, 100, 500):
        worst = max(abs(counts[t + n] - counts[t] - lam * n) for t in range(600 - n))
        assert worst <= math.log2(n) + 1.0
    assert abs(counts[500] - lam * 500) <= 2.0  # a coin's would differ by 11, typically


def test_half_and_half_takes_turns_closely() -> None:
    chosen = [draw(even_draw(t), (0.5, 0.5)) for t in range(300)]
    assert all(0 < sum(chosen[t : t + 3]) < 3 for t in range(298))  # never the same three times


# Controller.expected.


@pytest.mark.parametrize("rule", [Mix(0.5), Alright(0.5), Sequential((2, 2))])
def test_only_maxright_expects_something(rule: Rule) -> None:
    control = Controller(rule, 2, gaps=[1.0, 2.0])
    assert control.expected is None


def test_nothing_is_expected_before_all_gaps_are_known() -> None:
    rule = Maxright(0.5, (0.0, 0.0), 2)
    assert Controller(rule, 2).expected is None
    assert Controller(rule, 2, gaps=[math.nan, 1.0]).expected is None
    assert Controller(rule, 2, gaps=[1.0, math.nan]).expected is None
    assert Controller(rule, 2, gaps=[1.0, 2.0]).expected == 1


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.integers(0, 5))
def test_the_expected_choice_is_the_decision(gaps: list[float], t: int) -> None:
    """Between evaluations `decide` has nothing else to go by."""
    control = Controller(Maxright((0.2, 0.3, 0.5), (0.5, 0.1, 0.0), k=7), 3, t=t + 1, gaps=gaps)
    decision = control.decide({})
    assert decision is not None
    assert control.expected == decision.index == largest_weighted_gap((0.2, 0.3, 0.5), gaps)


def test_an_evaluation_may_bring_another_choice_than_expected() -> None:
    control = Controller(Maxright(0.5, (0.0, 0.0)), 2, t=1, gaps=[1.0, 2.0], ages=[1, 1])
    assert control.expected == 1
    decision = control.decide({0: 5.0, 1: 2.0})
    assert decision is not None
    assert (decision.index, control.expected) == (0, 0)


# Controller.set_f_star.


def test_new_optima_move_the_gaps_and_keep_their_ages() -> None:
    control = Controller(Maxright(0.25, (0.5, 1.0), k=4), 2, t=6, gaps=[2.0, 0.25], ages=[2, 1])
    control.set_f_star((1.5, 0.25))
    assert control.gaps == [1.0, 1.0]
    assert control.ages == [2, 1]
    assert control.t == 6
    assert control.rule == Maxright(0.25, (1.5, 0.25), 4)
    assert control.expected == 1
    control.set_f_star([1.5, 0.25])  # a list, the same numbers: nothing moves
    assert control.gaps == [1.0, 1.0]
    assert control.rule == Maxright(0.25, (1.5, 0.25), 4)


@given(st.lists(st.floats(0, 4), min_size=2, max_size=2), st.lists(st.floats(0, 4), min_size=2, max_size=2))
def test_the_order_of_values_and_optima_does_not_matter(f: list[float], star: list[float]) -> None:
    first, second = (Controller(Maxright(0.5, (0.1, 0.2)), 2) for _ in range(2))
    first.set_f_star(star)
    first.decide(dict(enumerate(f)))
    second.decide(dict(enumerate(f)))
    second.set_f_star(star)
    assert first.gaps == pytest.approx(second.gaps, abs=1e-14)
    assert first.gaps == pytest.approx([a - b for a, b in zip(f, star, strict=True)], abs=1e-14)


def test_gaps_that_are_not_known_stay_so() -> None:
    control = Controller(Maxright(0.5, (0.0, 0.0)), 2, gaps=[math.nan, 3.0])
    control.set_f_star((1.0, 1.0))
    assert math.isnan(control.gaps[0])
    assert control.gaps[1] == 2.0


def test_new_optima_count_from_the_next_decision() -> None:
    control = Controller(Maxright(0.5, (0.0, 0.0), k=9), 2)
    first = control.decide({0: 2.0, 1: 3.0})
    control.record({1: 3.0})
    control.set_f_star((0.0, 2.5))
    second = control.decide({})
    assert first is not None
    assert second is not None
    assert (first.index, second.index) == (1, 0)


def test_wrong_optima() -> None:
    control = Controller(Maxright(0.5, (0.0, 0.0)), 2, gaps=[1.0, 2.0])
    fails(lambda: control.set_f_star((1.0,)), ValueError, "f_star: 2 optima are needed", "(1.0,)")
    fails(lambda: control.set_f_star((1.0, math.inf)), ValueError, "f_star[1]", "inf")
    assert control.gaps == [1.0, 2.0]
    assert control.rule == Maxright(0.5, (0.0, 0.0))
    for rule in (Mix(0.5), Alright(0.5), Sequential((1, 1))):
        other = Controller(rule, 2)
        fails(
            lambda other=other: other.set_f_star((0.0, 0.0)),
            TypeError,
            "rule: only a rule that compares gaps",
            type(rule).__name__,
        )  # type: ignore[misc]
