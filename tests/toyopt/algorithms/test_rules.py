"""The decision rules and the controller, each against numbers worked out by hand."""

from __future__ import annotations

import collections
import math
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import drive as run

from toyopt.algorithms import (
    DPO,
    SFT,
    Alright,
    Controller,
    Maxright,
    Mix,
    Replay,
    Sequential,
    draw,
    is_max_evaluation,
    largest_weighted_gap,
    stage_over,
)

LARGEST_U = 1 - 2.0**-53  # what a generator of doubles in [0, 1) can return at most


# ALRIGHT's coin.


@pytest.mark.slow
@given(st.lists(st.integers(0, 16), min_size=2, max_size=5).filter(any))
def test_draw_gives_every_objective_its_weight_exactly(parts: list[int]) -> None:
    """u runs over the grid j/(64 n), and with weights k_i/n objective i must come up exactly 64 k_i times."""
    n = sum(parts)
    n = 1 << (n - 1).bit_length()  # a power of two, so that weights and grid are exact
    parts = [parts[0] + n - sum(parts), *parts[1:]]
    weights = [k / n for k in parts]
    found = collections.Counter(draw(j / (64 * n), weights) for j in range(64 * n))
    assert [found[i] for i in range(len(parts))] == [64 * k for k in parts]


@pytest.mark.parametrize(
    ("u", "weights", "chosen"),
    [
        (0.0, (0.3, 0.7), 0),
        (math.nextafter(0.3, 0), (0.3, 0.7), 0),
        (0.3, (0.3, 0.7), 1),  # [0, λ) is DPO's, so P = λ and not λ + 2^-53
        (LARGEST_U, (0.3, 0.7), 1),
        (0.0, (0.0, 1.0), 1),
        (LARGEST_U, (0.0, 1.0), 1),
        (0.0, (1.0, 0.0), 0),
        (LARGEST_U, (1.0, 0.0), 0),
        (0.0, (0.0, 0.5, 0.5), 1),
        (0.5, (0.5, 0.0, 0.5), 2),
        (LARGEST_U, (0.5, 0.5, 0.0), 1),
        (LARGEST_U, (0.1,) * 10, 9),  # they add up to less than LARGEST_U
        (LARGEST_U, (*(0.1,) * 10, 0.0), 9),  # and the rest is never a zero weight's
    ],
)
def test_draw_at_the_edges(u: float, weights: tuple[float, ...], chosen: int) -> None:
    assert draw(u, weights) == chosen


def test_ten_tenths_fall_short_of_one() -> None:
    """What makes the last two cases above ones that fail without the fallback."""
    assert reduce(add, (0.1,) * 10) <= LARGEST_U  # sum() compensates from Python 3.12 on


@given(st.floats(0, LARGEST_U), st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0]), min_size=2, max_size=6).filter(any))
def test_draw_never_takes_an_objective_of_no_weight(u: float, raw: list[float]) -> None:
    assert raw[draw(u, [w / sum(raw) for w in raw])] > 0


# MAXRIGHT's choice.


@pytest.mark.parametrize(
    ("weights", "gaps", "chosen"),
    [
        ((0.5, 0.5), (2.0, 1.0), DPO),
        ((0.5, 0.5), (1.0, 2.0), SFT),
        ((0.5, 0.5), (1.0, 1.0), DPO),  # a tie
        ((0.25, 0.75), (3.0, 1.0), DPO),  # a tie of the weighted gaps
        ((0.25, 0.75), (3.0, 1.0 + 2**-52), SFT),
        ((0.25, 0.75), (2.0, 1.0), SFT),  # the smaller gap, the larger weighted one
        ((0.75, 0.25), (1.0, 2.0), DPO),
        ((0.25, 0.25, 0.5), (1.0, 2.0, 1.0), 1),  # a tie without DPO: the first
        ((0.25, 0.25, 0.5), (1.0, 1.0, 1.0), 2),
        ((0.25, 0.25, 0.5), (4.0, 4.0, 2.0), 0),
        ((1.0, 0.0), (0.0, 9.0), DPO),
        ((0.0, 1.0), (9.0, 0.5), SFT),
        ((0.5, 0.5), (-3.0, -1.0), SFT),  # estimates of f* may lie above f
        ((1.0, 0.0), (-3.0, 9.0), DPO),  # an objective of weight 0 is not trained for that
        ((0.0, 0.4, 0.6), (5.0, -3.0, -1.0), 2),
        ((0.4, 0.0, 0.6), (-1.0, 5.0, -3.0), 0),
    ],
)
def test_lagging(weights: tuple[float, ...], gaps: tuple[float, ...], chosen: int) -> None:
    assert largest_weighted_gap(weights, gaps) == chosen


@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_all_gaps_are_evaluated_every_k_steps_the_first_included(k: int) -> None:
    assert [t for t in range(31) if is_max_evaluation(t, k)] == list(range(0, 31, k))


# f_DPO and f_SFT along a run, and what MAXRIGHT must make of them: worked out by hand.
VALUES = [(4.0, 3.0), (2.0, 9.0), (9.0, 1.5), (1.0, 1.0), (0.5, 9.0), (9.0, 0.2), (1.0, 3.0)]


def test_maxright_of_every_third_step_by_hand() -> None:
    """k = 3, λ = 1/2, f* = 0.

    t  evaluated      stored before   chosen  its forward  stored after  ages after
    0  (4, 3)         (4, 3)          DPO     4            (4, 3)        (1, 1)
    1                 (4, 3)          DPO     2            (2, 3)        (1, 2)
    2                 (2, 3)          SFT     1.5          (2, 1.5)      (2, 1)
    3  (1, 1)         (1, 1)          DPO     1            (1, 1)        (1, 1)
    4                 (1, 1)          DPO     0.5          (0.5, 1)      (1, 2)
    5                 (0.5, 1)        SFT     0.2          (0.5, 0.2)    (2, 1)
    6  (1, 3)         (1, 3)          SFT     3            (1, 3)        (1, 1)
    """
    control = Controller(Maxright(0.5, (0.0, 0.0), k=3), 2)
    needs, before, after, ages, chosen = [], [], [], [], []
    for now in VALUES:
        needs.append(control.needs())
        decision = control.decide({i: now[i] for i in control.needs()})
        assert decision is not None
        assert decision.index is not None
        assert decision.coefficients == ((1.0, 0.0), (0.0, 1.0))[decision.index]  # never scaled by λ
        chosen.append(decision.index)
        before.append(tuple(control.gaps))
        control.record({decision.index: now[decision.index]})
        after.append(tuple(control.gaps))
        ages.append(tuple(control.ages))
    assert needs == [(0, 1), (), (), (0, 1), (), (), (0, 1)]
    assert before == [(4, 3), (4, 3), (2, 3), (1, 1), (1, 1), (0.5, 1), (1, 3)]
    assert chosen == [0, 0, 1, 0, 0, 1, 1]
    assert after == [(4, 3), (2, 3), (2, 1.5), (1, 1), (0.5, 1), (0.5, 0.2), (1, 3)]
    assert ages == [(1, 1), (1, 2), (2, 1), (1, 1), (1, 2), (2, 1), (1, 1)]


def test_maxright_weighs_the_gaps_above_the_optima() -> None:
    """λ = 1/4, f* = (1, 1/2), so weighted gaps (f_DPO - 1)/4 and 3 (f_SFT - 1/2)/4: by hand for k = 1 and k = 2.

    k=1: (.75, 1.875) (.25, 6.375) (2, .75) (0, .375) (-.125, 6.375) (2, -.225) (0, 1.875)
    k=2 differs at t=1, where the stored ones are (.75, 1.875): SFT; at 3: stored (2, .75) then DPO's 9 -> (2, .75).
    """
    rule = (0.25, (1.0, 0.5))
    assert run(Controller(Maxright(*rule), 2), VALUES) == [1, 1, 0, 1, 1, 0, 1]
    assert run(Controller(Maxright(*rule, k=2), 2), VALUES) == [1, 1, 0, 0, 1, 1, 1]


def test_k_of_one_evaluates_afresh_at_every_step() -> None:
    rng = np.random.default_rng(5)
    values = [tuple(row) for row in rng.uniform(1, 2, size=(200, 3))]
    weights, f_star = (0.2, 0.5, 0.3), (0.1, 0.7, 0.4)
    fresh = [largest_weighted_gap(weights, [v - s for v, s in zip(now, f_star, strict=True)]) for now in values]
    assert run(Controller(Maxright(weights, f_star), 3), values) == fresh
    assert run(Controller(Maxright(weights, f_star, k=2), 3), values) != fresh
    assert set(fresh) == {0, 1, 2}


def test_ages_never_pass_k_and_count_steps_since_the_value_was_seen() -> None:
    rng = np.random.default_rng(6)
    k = 4
    control = Controller(Maxright((0.2, 0.5, 0.3), (0.0, 0.0, 0.0), k), 3)
    seen = [0, 0, 0]
    for t in range(60):
        now = rng.uniform(1, 2, size=3)
        wants = control.needs()
        decision = control.decide({i: now[i] for i in wants})
        assert decision is not None
        for i in wants:
            seen[i] = t
        # App. C: gaps that a decision uses are at most k - 1 steps old, the bound of the price of staleness.
        assert control.ages == [t - s for s in seen]
        assert max(control.ages) <= k - 1
        seen[decision.index] = t  # type: ignore[index]
        control.record({decision.index: now[decision.index]})  # type: ignore[index, dict-item]


# Sequential.


def stages(rule: Sequential, values: list[tuple[float, ...]]) -> list[int | None]:
    return run(Controller(rule, 2), values)


def test_sequential_counts_its_stages() -> None:
    flat = [(1.0, 1.0)] * 20
    assert stages(Sequential((3, 2)), flat) == [0, 0, 0, 1, 1]
    assert stages(Sequential((3, 2), order=(SFT, DPO)), flat) == [1, 1, 1, 0, 0]
    assert stages(Sequential((2, 1, 3), order=(DPO, SFT, DPO)), flat) == [0, 0, 1, 0, 0, 0]
    assert stages(Sequential((0, 2)), flat) == [1, 1]
    assert stages(Sequential((2, 0)), flat) == [0, 0]
    assert stages(Sequential((1, 0, 0, 1), order=(0, 1, 1, 0)), flat) == [0, 0]


def test_sequential_leaves_a_stage_below_its_threshold_and_only_below() -> None:
    rule = Sequential((10, 3), thresholds=(0.5, 0.2))
    values = [(0.9, 0.1), (0.5, 0.1), (math.nextafter(0.5, 0), 0.3), (9.0, 0.3), (9.0, 0.19), (9.0, 0.0)]
    # At 0.5 it goes on; just below, the second stage begins with the step of that same iterate; 0.19 ends the run.
    assert stages(rule, values) == [0, 0, 1, 1]
    # A stage that starts below its threshold takes no step, and none looks at the other's objective.
    assert stages(Sequential((2, 2), thresholds=(0.5, 0.5)), [(0.4, 0.9)] * 9) == [1, 1]
    assert stages(Sequential((2, 2), thresholds=(0.5, 0.5)), [(0.9, 0.4)] * 9) == [0, 0]
    assert stages(Sequential((2, 2), thresholds=(0.5, 0.5)), [(0.4, 0.4)] * 9) == []


def test_sequential_needs_the_values_of_the_stages_ahead() -> None:
    control = Controller(Sequential((1, 0, 1), order=(SFT, 2, DPO), thresholds=(0.1, 0.1, 0.1)), 3)
    assert control.needs() == (SFT, DPO)  # none for a stage of no steps
    assert control.decide({0: 1.0, 1: 1.0}).index == SFT  # type: ignore[union-attr]
    control.record()
    assert control.decide({0: 1.0, 1: 1.0}).index == DPO  # type: ignore[union-attr]
    assert control.needs() == (DPO,)
    control.record()
    assert control.decide({0: 1.0}) is None
    assert control.decide({}) is None  # and stays at its end
    assert Controller(Sequential((1, 1)), 2).needs() == ()


def test_a_stage_is_over_at_its_budget_or_below_its_threshold() -> None:
    assert [stage_over(done, 2, 1.0, 1.0) for done in range(4)] == [False, False, True, True]
    assert [stage_over(0, 2, v, 1.0) for v in (1.5, 1.0, 0.5)] == [False, False, True]


# Mix, and what the rules ask for.


def test_mix_takes_all_objectives_by_weight() -> None:
    for lam, weights in ((0.3, (0.3, 0.7)), (1, (1.0, 0.0)), ((0.2, 0.3, 0.5), (0.2, 0.3, 0.5))):
        decision = Controller(Mix(lam), len(weights)).decide({})
        assert decision is not None
        assert decision.coefficients == pytest.approx(weights, abs=2**-53)
        assert decision.index is None


def test_only_rules_with_chance_want_a_draw_and_insist() -> None:
    rules = [
        Mix(0.5),
        Alright(0.5),
        Maxright(0.5, (0.0, 0.0)),
        Sequential((1, 1)),
        Replay((1, 1)),
        Replay((1, 1), p=0.0),
    ]
    assert [Controller(r, 2).needs_uniform for r in rules] == [False, True, False, False, True, False]
    assert [Controller(r, 2).needs() for r in rules] == [(), (), (0, 1), (), (), ()]
    with pytest.raises(ValueError, match=r"^u: .*None"):
        Controller(Alright(0.5), 2).decide({})


def test_alright_draws_from_its_weights_and_does_not_scale() -> None:
    control = Controller(Alright((0.25, 0.25, 0.5)), 3)
    for u, i in ((0.0, 0), (0.2499, 0), (0.25, 1), (0.5, 2), (0.999, 2)):
        decision = control.decide({}, u)
        assert decision is not None
        assert decision.index == i
        assert decision.coefficients == tuple(float(j == i) for j in range(3))
