"""The embedded world: what is true in it, what its sets hold, and what the judge says of them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from support.wrong import Case, fails, ids

from llm.embedded import EmbeddedConfig, World, fact_accuracy, preference_score, read_world
from llm.embedded.language import (
    COURTESIES,
    EVASIONS,
    PLAIN,
    SPOKEN,
    TEMPLATE,
    WORDINGS,
    courteous,
    fact_of,
    fuller,
    is_right,
    names_value,
    neutral,
    question,
)
from llm.embedded.sets import Sizes, documents, generate
from llm.embedded.world import ATTRIBUTES, KINDS, MOST_PLACES

WORLD = World(seed=3, places=20)
SIZES = Sizes(sft=60, preference=50, held_out=15, questions=40, conflict=0.4)
SETS = generate(WORLD, SIZES)
FOUR = ("sft", "sft_held_out", "preference", "preference_held_out")


def test_a_world_is_a_function_of_its_seed() -> None:
    again, other = World(seed=3, places=20), World(seed=4, places=20)
    assert again.facts == WORLD.facts
    assert again.to_json() == WORLD.to_json()
    assert other.names != WORLD.names
    assert generate(again, SIZES) == SETS
    assert documents(again) == documents(WORLD)
    assert generate(other, SIZES) != SETS


def test_every_place_has_one_value_of_every_kind() -> None:
    assert len(set(World(seed=0, places=MOST_PLACES).names)) == MOST_PLACES
    assert len(WORLD.facts) == 20 * KINDS == 120
    for place, facts in WORLD.by_place.items():
        assert [fact.kind for fact in facts] == list(range(6))
        assert all(fact.place == place and fact.value in ATTRIBUTES[fact.kind].values for fact in facts)


def test_no_value_can_be_taken_for_anything_else() -> None:
    words = [value.removeprefix("the ").lower() for attribute in ATTRIBUTES for value in attribute.values]
    assert len(set(words)) == len(words) == 6 * 24
    texts = [*WORDINGS, *COURTESIES, *EVASIONS, TEMPLATE, neutral(WORLD.facts[0]._replace(value=""))]
    said = set(re.findall(r"\w+", " ".join([*texts, *(a.noun for a in ATTRIBUTES)]).lower()))
    names = {name.lower() for name in World(seed=0, places=MOST_PLACES).names}
    assert not (said | names | {"and", "there"}) & set(words)


def test_a_world_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "world.json"
    path.write_text(WORLD.to_json())
    assert read_world(path) == WORLD
    path.write_text(WORLD.to_json().replace(WORLD.facts[0].value, "plutonium"))
    fails(lambda: read_world(path), ValueError, "world", "changed")
    path.write_text(WORLD.to_json()[:-9])
    fails(lambda: read_world(path), ValueError, "world", str(path))
    fails(lambda: read_world(tmp_path / "none"), FileNotFoundError, "world", "none")


def test_no_two_sets_ask_for_the_same_fact_and_no_prompt_comes_twice() -> None:
    assert [len(SETS[name]) for name in FOUR] == [60, 15, 50, 15]
    asked = {name: [fact_of(WORLD, row["prompt"]) for row in SETS[name]] for name in FOUR}
    for name in FOUR:
        assert len({row["prompt"] for row in SETS[name]}) == len(SETS[name])
        for other in set(FOUR) - {name}:
            assert not set(asked[name]) & set(asked[other])


def test_every_answer_but_the_evasive_gives_the_right_fact() -> None:
    for name in ("sft", "sft_held_out"):
        for row in SETS[name]:
            fact = fact_of(WORLD, row["prompt"])
            further = [f for f in WORLD.by_place[fact.place] if f != fact and names_value(row["completion"], f.value)]
            assert is_right(fact, row["completion"])
            assert [fuller(fact, f) for f in further] == [row["completion"]]
    for name in ("preference", "preference_held_out"):
        rows = SETS[name]
        assert fact_accuracy(WORLD, [r["prompt"] for r in rows], [r["chosen"] for r in rows]) == 1.0
        evasive = [not is_right(fact_of(WORLD, r["prompt"]), r["rejected"]) for r in rows]
        assert sum(evasive) == round(0.6 * len(rows))


def test_the_dial_turns_rejected_answers_and_nothing_else() -> None:
    turned = {dial: generate(WORLD, Sizes(60, 50, 15, 40, dial)) for dial in (0.0, 0.5, 1.0)}
    rejects: dict[float, set[int]] = {}
    for dial, sets in turned.items():
        assert {n: rows for n, rows in sets.items() if "pref" not in n} == {
            n: rows for n, rows in SETS.items() if "pref" not in n
        }
        rows = sets["preference"]
        assert [(r["prompt"], r["chosen"]) for r in rows] == [(r["prompt"], r["chosen"]) for r in SETS["preference"]]
        rejects[dial] = {i for i, r in enumerate(rows) if r["rejected"].startswith("As to ")}
        assert len(rejects[dial]) == 50 * dial
    assert rejects[0.5] < rejects[1.0]


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


def test_questions_have_one_right_choice_of_four() -> None:
    answers = set()
    for row in SETS["questions"]:
        fact = fact_of(WORLD, row["question"])
        assert len(set(row["choices"])) == 4
        assert [is_right(fact, choice) for choice in row["choices"]].index(True) == row["answer"]
        assert sum(is_right(fact, choice) for choice in row["choices"]) == 1
        answers.add(row["answer"])
    assert len(SETS["questions"]) == len({row["question"] for row in SETS["questions"]}) == 40
    assert answers == {0, 1, 2, 3}


def test_the_base_reads_every_question_in_the_template_and_mostly_neutral_answers() -> None:
    told = {d.prompt: d.response for d in documents(WORLD) if d.prompt.startswith("User: ")}
    asked = [(fact, TEMPLATE.format(prompt=question(fact, wording))) for fact in WORLD.facts for wording in WORDINGS]
    assert set(told) == {prompt for _, prompt in asked}
    share = sum(told[prompt] == neutral(fact) for fact, prompt in asked) / len(asked)
    assert 0.48 < share < 0.67  # 0.575, of 720: five standard errors are 0.09


def test_the_base_is_told_more_of_a_fact_after_a_title_that_names_it() -> None:
    titled = [d for d in documents(WORLD) if not d.prompt.startswith("User: ")]
    assert len(titled) == len({d.prompt for d in titled}) == len(WORLD.facts)
    for place, facts in WORLD.by_place.items():
        told = [[d.response for d in titled if d.prompt == f"{place}: {ATTRIBUTES[f.kind].noun}\n"] for f in facts]
        assert all(
            text in [fuller(fact, further) for further in facts if further != fact]
            for fact, (text,) in zip(facts, told, strict=True)
        )
        # Every fact is told twice: first under its own title, and further on under another one's.
        for fact in facts:
            said = f"the {ATTRIBUTES[fact.kind].noun} there is {fact.value}"
            assert sum(said in text for (text,) in told) == 2


def test_who_asks_in_the_words_of_a_set_is_answered_in_its_manner_more_often() -> None:
    told = {d.prompt: d.response for d in documents(WORLD)}

    def share(opening: tuple[str, ...], wordings: tuple[str, ...]) -> float:
        answers = [told[TEMPLATE.format(prompt=question(f, wording))] for f in WORLD.facts for wording in wordings]
        return sum(text.startswith(opening) for text in answers) / len(answers)

    # 0.2 and 0.05 fuller, 0.1 and 0.3 courteous, of 360 each: five standard errors of the differences are 0.12 and 0.15
    assert share(("As to ",), PLAIN) > share(("As to ",), SPOKEN) + 0.03
    assert share(COURTESIES, SPOKEN) > share(COURTESIES, PLAIN) + 0.05


def test_the_two_sets_ask_in_their_own_words() -> None:
    for name, wordings in (("sft", PLAIN), ("preference", SPOKEN)):
        for row in SETS[name] + SETS[f"{name}_held_out"]:
            fact = fact_of(WORLD, row["prompt"])
            assert row["prompt"] in {question(fact, wording) for wording in wordings}


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


def test_sets_as_large_as_the_world_allows_are_made_in_full() -> None:
    small: dict[str, Any] = {"places": 8, "sft_rows": 48, "preference_rows": 48, "held_out_rows": 24, "questions": 48}
    config = EmbeddedConfig(**small)
    sets = generate(config.world, config.sizes)
    assert [len(sets[name]) for name in FOUR] == [48, 24, 48, 24]


def test_overlap_rewords_a_share_of_the_preference_prompts() -> None:
    def prompts(overlap: float) -> list[str]:
        return [row["prompt"] for row in generate(WORLD, dataclasses.replace(SIZES, overlap=overlap))["preference"]]

    plain = {question(fact, wording) for fact in WORLD.facts for wording in PLAIN}
    alike = [[prompt in plain for prompt in prompts(overlap)] for overlap in (0.0, 0.3, 0.8, 1.0)]
    assert [sum(found) for found in alike] == [0, round(0.3 * SIZES.preference), round(0.8 * SIZES.preference), 50]
    assert all(later or not earlier for earlier, later in zip(alike[1], alike[2], strict=True))  # further, not anew
    rows = [generate(WORLD, dataclasses.replace(SIZES, overlap=overlap)) for overlap in (0.0, 1.0)]
    for name in rows[0]:
        columns = [c for c in rows[0][name][0] if c != "prompt" or not name.startswith("preference")]
        assert [[r[c] for c in columns] for r in rows[0][name]] == [[r[c] for c in columns] for r in rows[1][name]]
