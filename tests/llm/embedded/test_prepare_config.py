"""Configurations of the embedded world out of range."""

from __future__ import annotations

import pytest
from support.wrong import Case, fails, ids

from llm.embedded import EmbeddedConfig
from llm.embedded.world import MOST_PLACES

WRONG: list[Case] = [
    ({"seed": -1}, ValueError, "seed", "-1"),
    ({"places": 3}, ValueError, "places", "3"),
    ({"places": MOST_PLACES + 1}, ValueError, "places", str(MOST_PLACES + 1)),
    ({"places": 8.0}, TypeError, "places", "8.0"),
    ({"conflict": 1.5}, ValueError, "conflict", "1.5"),
    ({"conflict": -0.1}, ValueError, "conflict", "-0.1"),
    ({"conflict": "much"}, TypeError, "conflict", "much"),
    ({"hidden": 100}, ValueError, "hidden", "100"),
    ({"layers": 0}, ValueError, "layers", "0"),
    ({"heads": True}, TypeError, "heads", "True"),
    ({"pretrain_steps": 0}, ValueError, "pretrain_steps", "0"),
    ({"sft_rows": 5000}, ValueError, "places", "120 have 720 facts"),
    ({"places": 8}, ValueError, "places", "8 have 48 facts"),
    ({"held_out_rows": 0}, ValueError, "held_out_rows", "0"),
    ({"questions": 721}, ValueError, "questions", "at most 720"),
]


@pytest.mark.parametrize("case", WRONG, ids=ids)
def test_a_configuration_that_cannot_be(case: Case) -> None:
    changed, error, argument, value = case
    fails(lambda: EmbeddedConfig(**changed), error, argument, value)
