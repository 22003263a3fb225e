"""A controller's state goes through JSON and back in mid-run, and the run goes on as if nothing had happened."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.oracle import drive as run

from toyopt.algorithms import Alright, Controller, Maxright, Mix, Replay, Rule, Sequential

RULES = [
    Mix((0.2, 0.3, 0.5)),
    Alright((0.2, 0.3, 0.5)),
    Maxright((0.2, 0.3, 0.5), (0.1, 0.2, 0.3)),
    Maxright((0.2, 0.3, 0.5), (0.1, 0.2, 0.3), k=4),
    Sequential((5, 3, 6), order=(0, 2, 1)),
    Replay((5, 3, 6), order=(0, 2, 1), p=0.5),
    Sequential((5, 3, 6), order=(0, 2, 1), thresholds=(1.1, 1.1, 1.1)),
]


def _script(n: int) -> tuple[list[tuple[float, ...]], list[float]]:
    rng = np.random.default_rng(11)
    return [tuple(row) for row in rng.uniform(1, 2, size=(n, 3))], rng.random(n).tolist()


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_state_through_json_goes_on_as_if_nothing_had_happened(rule: Rule) -> None:
    values, us = _script(16)
    whole = run(Controller(rule, 3), values, us)
    for cut in range(len(values)):
        first = Controller(rule, 3)
        before = run(first, values[:cut], us[:cut])
        state = json.loads(json.dumps(first.state()))
        second = Controller(rule, 3, **state)
        assert before + run(second, values[cut:], us[cut:]) == whole, cut
        rest = Controller(rule, 3)
        run(rest, values, us)
        np.testing.assert_equal(second.state(), rest.state())


@pytest.mark.parametrize("key", ["t", "gaps", "stage", "done"])
def test_every_part_of_the_state_is_needed(key: str) -> None:
    """Without it some rule goes on differently from some step."""
    values, us = _script(16)
    differs = False
    for rule in RULES:
        whole = run(Controller(rule, 3), values, us)
        for cut in range(1, 14):
            first = Controller(rule, 3)
            before = run(first, values[:cut], us[:cut])
            state = {k: v for k, v in first.state().items() if k != key}
            differs |= before + run(Controller(rule, 3, **state), values[cut:], us[cut:]) != whole
    assert differs


def test_a_state_is_a_copy() -> None:
    control = Controller(Maxright(0.5, (0.0, 0.0), k=3), 2)
    run(control, [(4.0, 3.0)])
    state = control.state()
    run(control, [(2.0, 9.0)])
    assert state == {"t": 1, "gaps": [4.0, 3.0], "ages": [1, 1], "stage": 0, "done": 1, "drawn": None}
