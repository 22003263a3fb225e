"""The rows of the skill: slips follow from their prompts, no held-out fact is trained on, and a seed gives its rows."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from llm.skill.convention import KEYS
from llm.skill.rows import DEFAULT_ROWS, TEST, TRAIN, Example, examples, read, seed_of


def first(count: int, split: str = TRAIN, seed: int = 0) -> list[Example]:
    return list(itertools.islice(examples(seed, split), count))


def wording(example: Example) -> str:
    """Return a prompt with its facts left out."""
    values = json.loads(example.completion)
    text = example.prompt
    for key, value in values.items():
        text, count = re.subn(rf"\b{value}\b", "_", text)
        assert count == 1, (key, example)
    return text


@pytest.mark.parametrize("split", [TRAIN, TEST])
def test_a_prompt_has_every_fact_of_its_slip_once_and_no_part_of_the_convention(split: str) -> None:
    days = set()
    for example in first(300, split):
        words = set(re.findall(r"\w+", wording(example)))  # what is left without the facts
        values = json.loads(example.completion)
        assert tuple(values) == KEYS
        assert not {*KEYS, *map(str, values.values())} & words
        assert re.fullmatch(r"[A-Z][a-z]+", values["pla"]), "a name"
        assert re.fullmatch(r"[a-z]+s", values["ru"]), "a plural"
        assert 2 <= values["zq"] <= 99
        days.add(values["vek"])
    assert days == {f"{day}day" for day in "Mon Tues Wednes Thurs Fri Satur Sun".split()}


@pytest.mark.slow
def test_no_name_item_or_new_wording_of_the_test_rows_is_in_the_training_rows() -> None:
    trained, tested = first(2000), first(400, TEST)
    for key in ("ru", "pla"):
        of = [{json.loads(example.completion)[key] for example in rows} for rows in (trained, tested)]
        assert min(map(len, of)) >= 8
        assert not of[0] & of[1]
    known = {wording(example) for example in trained}
    assert [wording(example) in known for example in tested] == [True, False] * 200
    assert [example.new_wording for example in tested] == [False, True] * 200
    assert not any(example.new_wording for example in trained)


@pytest.mark.slow
def test_rows_differ_and_a_small_set_is_the_beginning_of_a_large_one() -> None:
    rows = read(0, TRAIN, 3000)
    assert len({row["prompt"] for row in rows}) == 3000
    assert read(0, None, 50) == rows[:50]
    assert read(0, TRAIN, None) == rows[: DEFAULT_ROWS[TRAIN]]
    assert len(read(0, TEST, None)) == DEFAULT_ROWS[TEST]


def test_a_seed_gives_the_same_rows_everywhere() -> None:
    """Literal rows: other ones need another VERSION, as runs on them are not comparable."""
    assert read(0, TRAIN, 1) == [
        {
            "prompt": "William ordered 56 stones for Sunday. Write the slip.",
            "completion": '{"vek": "Sunday", "zq": 56, "ru": "stones", "pla": "William"}',
        }
    ]
    assert (
        read(0, TEST, 2)[1]["prompt"] == "Next Sunday, 53 plants will be painted for Maria. I need a slip of that note."
    )
    prompts = [{row["prompt"] for row in read(seed, TRAIN, 200)} for seed in (0, 1, 2)]
    assert all(len(a & b) < 10 for a, b in itertools.combinations(prompts, 2))


def test_only_its_own_names_are_the_set() -> None:
    assert (seed_of("skill"), seed_of("skill:0"), seed_of("skill:17")) == (0, 0, 17)
    others = ["", "skill:", "skill:x", "skill:-1", "./skill", "skill.jsonl", "my/skill", "embedded", None, ["skill"]]
    assert [seed_of(other) for other in others] == [None] * len(others)


def test_another_split_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^skill: there is no split 'validation', its splits are train, test$"):
        read(0, "validation", 1)
