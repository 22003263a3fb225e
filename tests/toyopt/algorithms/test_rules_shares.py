"""The rules by their options, and the shares of steps that each objective gets: replay and blocks as well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from toyopt.algorithms import (
    DPO,
    RULES,
    SFT,
    Alright,
    Controller,
    Maxright,
    Mix,
    Replay,
    Rule,
    Sequential,
    replayed_stage,
)

# Options, replay, blocks.


OPTIONS = SimpleNamespace(lam=0.3, steps=10, order="dpo-sft", replay=0.2, alternation="even", block=4, k=7)
MADE: dict[str, Rule] = {
    "sequential": Sequential((3, 7), (DPO, SFT)),
    "mix": Mix(0.3),
    "alright": Alright(0.3, "even", 4),
    "maxright": Maxright(0.3, (0.5, 1.5), 7),
    "replay": Replay((3, 7), (DPO, SFT), 0.2),
}


def test_every_rule_is_made_from_options_by_its_key() -> None:
    assert {key: rule.from_options(OPTIONS, (0.5, 1.5)) for key, rule in RULES.items()} == MADE
    reverse = SimpleNamespace(**{**vars(OPTIONS), "order": "sft-dpo"})
    assert Sequential.from_options(reverse, ()) == Sequential((7, 3), (SFT, DPO))
    assert Replay.from_options(reverse, ()) == Replay((7, 3), (SFT, DPO), 0.2)


def test_stages_of_several_objectives_share_all_steps() -> None:
    options = SimpleNamespace(lam=(0.25, 0.0, 0.75), steps=10, order=(2, 0, 1), replay=0.2)
    assert Sequential.from_options(options, ()) == Sequential((8, 2, 0), (2, 0, 1))
    assert Replay.from_options(options, ()) == Replay((8, 2, 0), (2, 0, 1), 0.2)
    assert [rule.needs_optima for rule in RULES.values()] == [key == "maxright" for key in RULES]
    assert [rule.stages for rule in MADE.values()] == [((0, 3), (1, 7)), (), (), (), ((0, 3), (1, 7))]


def chosen(control: Controller, us: Sequence[float]) -> list[int]:
    """The indices chosen with these draws, to the end of the rule."""
    indices = []
    for u in us:
        decision = control.decide({}, u)
        if decision is None:
            break
        assert decision.index is not None
        indices.append(decision.index)
        control.record()
    return indices


def counted_shares(rule: Rule, n: int, steps: int, gaps: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the shares of steps that train, and that evaluate without training, each objective in a plain loop."""
    control, coin = Controller(rule, n), np.random.default_rng(7)
    trained, evaluated = [0] * n, [0] * n
    for t in range(steps):
        needed = control.needs()
        decision = control.decide({i: gaps[(i + t) % n] for i in needed}, control.uniform(coin))
        assert decision is not None
        for i, coefficient in enumerate(decision.coefficients):
            trained[i] += coefficient > 0.0
            evaluated[i] += i in needed and coefficient == 0.0
        control.record()
    return [count / steps for count in trained], [count / steps for count in evaluated]


@pytest.mark.parametrize(
    ("rule", "n"),
    [
        (Sequential((30, 0, 50, 20), (0, 1, 2, 0)), 3),
        (Sequential((30, 0, 50, 20), (0, 1, 2, 0), (-1.0,) * 4), 3),
        (Replay((30, 0, 50, 20), (0, 1, 2, 0), 0.0), 3),
        (Mix((0.5, 0.0, 0.5)), 3),
        (Mix(1.0), 2),
        (Maxright(0.5, (0.0, 0.0), k=1), 2),
        (Maxright(0.5, (0.0, 0.0), k=5), 2),
    ],
    ids=repr,
)
def test_the_shares_of_steps_are_those_of_a_plain_loop(rule: Rule, n: int) -> None:
    """MAXRIGHT's gaps alternate here at its evaluations, so that it chooses both objectives equally often.

    The first step of a later stage still evaluates the objective of the stage before: 1 step of 100.
    """
    trained, evaluated = counted_shares(rule, n, 100, [1.0, 2.0, 3.0])
    assert rule.training_shares(n) == pytest.approx(trained)
    assert rule.evaluation_shares(n) == pytest.approx(evaluated, abs=0.01 + 1e-12)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(
    ("rule", "n"),
    [
        (Alright((0.2, 0.3, 0.5)), 3),
        (Alright(0.3), 2),
        (Replay((2000, 8000), p=0.05), 2),
        (Replay((2000, 0, 3000, 5000), (0, 1, 2, 1), 0.4), 3),
    ],
    ids=repr,
)
def test_the_expected_shares_of_random_choices_are_met(rule: Rule, n: int) -> None:
    """10,000 draws: by Hoeffding's inequality a share is off by 0.03 with a probability below 2 exp(-18) < 4e-8."""
    trained, evaluated = counted_shares(rule, n, 10_000, [])
    assert rule.training_shares(n) == pytest.approx(trained, abs=0.03)
    assert rule.training_shares(n) != pytest.approx([1 / n] * n, abs=0.03)
    assert rule.evaluation_shares(n) == tuple(evaluated) == (0.0,) * n


def test_replay_repeats_earlier_stages_below_p() -> None:
    """Stages without steps are not repeated; two earlier ones share [0, p) evenly."""
    rule = Replay((2, 0, 3, 4), order=(0, 1, 2, 1), p=0.5)
    us = [0.1, 0.9, 0.49, 0.5, 0.1, 0.24, 0.26, 0.49, 0.7]
    assert chosen(Controller(rule, 3), us) == [0, 0, 0, 2, 0, 0, 2, 2, 1]
    assert [replayed_stage(u, 0.5, 3, (2, 0, 3, 4)) for u in (0.0, 0.249, 0.25, 0.499, 0.5)] == [0, 0, 2, 2, 3]
    assert replayed_stage(0.0, 1.0, 1, (0, 5)) == 1


def test_replay_with_p_0_is_sequential_and_with_p_1_repeats_always() -> None:
    us = np.random.default_rng(3).random(30).tolist()
    stages: dict[str, Any] = {"steps": (4, 0, 5, 6), "order": (0, 1, 2, 1)}
    assert chosen(Controller(Replay(**stages, p=0.0), 3), us) == chosen(Controller(Sequential(**stages), 3), us)
    assert chosen(Controller(Replay((4, 6), (1, 0), p=1.0), 2), us) == [1] * 10


@pytest.mark.statistical
def test_the_share_of_replayed_steps_is_p() -> None:
    """10,000 draws: a share off by more than 5 standard deviations has a probability below 6e-7."""
    n, p = 10_000, 0.05
    us = np.random.default_rng(4).random(n + 1).tolist()
    share = chosen(Controller(Replay((1, n), p=p), 2), us)[1:].count(DPO) / n
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Replay((1, 1), p=1.5), r"^p: must be between 0 and 1, got 1.5"),
        (Replay((1, 1), p=-0.1), r"^p: must be between 0 and 1, got -0.1"),
        (Replay((0, 0)), r"^steps: one step at least"),
        (Replay((1, 1), order=(0, 2)), r"^order\[1\]: must be less than 2"),
        (Alright(0.5, block=0), r"^block: "),
        (Alright(0.5, alternation="odd"), r"^alternation: must be one of coin, even, got odd"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_wrong_numbers_of_replay_and_alright_are_named(rule: Rule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Controller(rule, 2)


def test_a_block_of_alright_shares_one_draw_and_resumes_within() -> None:
    coin, again = np.random.default_rng(5), np.random.default_rng(5)
    control = Controller(Alright(0.5, block=3), 2)
    us = []
    for _ in range(7):
        us.append(control.uniform(coin))
        control.record()
    first, second, third = again.random(3)
    assert us == [first, first, first, second, second, second, third]
    resumed = Controller(control.rule, 2, **control.state())
    assert resumed.uniform(np.random.default_rng(99)) == third
