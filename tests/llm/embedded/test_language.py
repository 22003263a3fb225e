"""Manners of answering, and the score that prefers one of them."""

from __future__ import annotations

import pytest
from support.wrong import fails

from llm.embedded import World, fact_accuracy, preference_score
from llm.embedded.language import (
    COURTESIES,
    EVASIONS,
    PLAIN,
    WORDINGS,
    courteous,
    fuller,
    is_right,
    neutral,
    question,
)
from llm.embedded.sets import Sizes, generate
from llm.embedded.world import ATTRIBUTES

WORLD = World(seed=3, places=20)


@pytest.mark.parametrize("dial", [0.0, 0.4, 1.0])
def test_the_judge_prefers_every_chosen_answer(dial: float) -> None:
    for name in ("preference", "preference_held_out"):
        for row in generate(WORLD, Sizes(60, 50, 15, 40, dial))[name]:
            assert preference_score(WORLD, row["prompt"], row["chosen"]) == 3.0
            assert preference_score(WORLD, row["prompt"], row["rejected"]) < 2.0


def test_the_judge_s_order_of_manners() -> None:
    fact, other = WORLD.facts[0], WORLD.facts[1]
    wrong = fact._replace(value=next(v for v in ATTRIBUTES[0].values if v != fact.value))
    for wording in WORDINGS:
        prompt = question(fact, wording)
        scores = [
            preference_score(WORLD, prompt, text)
            for text in (
                courteous(fact, COURTESIES[0]),
                neutral(fact),
                fuller(fact, other),
                courteous(wrong, COURTESIES[1]),
                EVASIONS[1],
                neutral(wrong),
            )
        ]
        assert scores[0] == 3.0
        assert scores[1] == 2.0
        assert 0.5 < scores[2] < 2.0
        assert scores[3:] == [0.0, 0.0, -1.0]
    assert not is_right(fact, f"It is {fact.value} or {wrong.value}.")
    assert preference_score(WORLD, prompt, "") == 0.0
    assert preference_score(WORLD, prompt, "word " * 18) == pytest.approx(-1.0)


def test_the_share_of_right_answers() -> None:
    facts = WORLD.facts[:4]
    prompts = [question(fact, PLAIN[2]) for fact in facts]
    said = [neutral(facts[0]), "It is nothing.", f"It is {facts[2].value.upper()}!", ""]
    assert fact_accuracy(WORLD, prompts, said) == 0.5
    fails(lambda: fact_accuracy(WORLD, prompts, said[:3]), ValueError, "responses", "3 for 4")
    fails(lambda: fact_accuracy(WORLD, [], []), ValueError, "responses", "0 for 0")
    fails(lambda: fact_accuracy(WORLD, ["Why?"], ["So."]), ValueError, "prompt", "Why?")
    fails(lambda: preference_score(WORLD, "Why?", ""), ValueError, "prompt", "Why?")
