"""The world's data sets: facts of each set, the two dials, questions, and pre-training documents."""

from __future__ import annotations

import dataclasses
from typing import Any

from llm.embedded import EmbeddedConfig, World, fact_accuracy
from llm.embedded.language import (
    COURTESIES,
    PLAIN,
    SPOKEN,
    TEMPLATE,
    WORDINGS,
    fact_of,
    fuller,
    is_right,
    names_value,
    neutral,
    question,
)
from llm.embedded.sets import Sizes, documents, generate
from llm.embedded.world import ATTRIBUTES

WORLD = World(seed=3, places=20)


SIZES = Sizes(sft=60, preference=50, held_out=15, questions=40, conflict=0.4)


SETS = generate(WORLD, SIZES)


FOUR = ("sft", "sft_held_out", "preference", "preference_held_out")


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


def test_documents_give_more_of_a_fact_after_a_title_that_names_it() -> None:
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
