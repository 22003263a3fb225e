"""Rules of a single step, without thresholds, and a controller's start."""

from __future__ import annotations

import pytest

from toyopt import _check
from toyopt.algorithms import (
    Controller,
    Maxright,
    Mix,
    Sequential,
)


def test_a_rule_of_one_single_step_is_a_rule() -> None:
    Sequential((1,), (0,)).check(1)
    Sequential((0, 1)).check(2)
    Maxright(0.5, (0.0, 0.0), 1).check(2)


def test_a_controller_starts_with_gaps_of_age_zero_and_names_lam() -> None:
    assert Controller(Maxright(0.5, (0.0, 0.0)), 2).ages == [0, 0]
    with pytest.raises(ValueError, match=r"^lam: must be in \[0, 1\]"):
        Controller(Mix(1.5), 2)


def test_a_stage_of_one_step_asks_for_its_threshold() -> None:
    control = Controller(Sequential((1, 1), (0, 1), (2.0, 0.0)), 2)
    assert control.needs() == (0, 1)
    decision = control.decide({0: 1.0, 1: 1.0})  # objective 0 is below 2 already
    assert decision is not None
    assert decision.index == 1


def test_without_thresholds_no_value_ends_a_stage() -> None:
    control = Controller(Sequential((2, 1)), 2)
    chosen = []
    while (decision := control.decide({})) is not None:
        chosen.append(decision.index)
        control.record()
    assert chosen == [0, 0, 1]


def test_weights_that_nearly_sum_to_one() -> None:
    assert _check.weights("lam", (0.5, 0.5 + 5e-10), 2) == (0.5, 0.5 + 5e-10)
    with pytest.raises(ValueError, match=r"^lam: the weights must sum to 1"):
        _check.weights("lam", (0.5, 0.5 + 2e-9), 2)
