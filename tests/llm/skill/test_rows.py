"""The rows of the skill: slips follow from their prompts, no held-out fact is trained on, and a seed gives its rows."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from llm.skill.convention import DAYS, KEYS
from llm.skill.rows import DEFAULT_ROWS, TEST, TRAIN, Example, examples, read, seed_of

COPIED = ("zq", "ru", "pla")  # keys whose values stand in the prompt


def first(count: int, split: str = TRAIN, seed: int = 0) -> list[Example]:
    return list(itertools.islice(examples(seed, split), count))


def wording(example: Example) -> str:
    """Return a prompt with its facts left out."""
    values = json.loads(example.completion)
    text = re.sub("|".join(DAYS), "_", example.prompt)
    for key in COPIED:
        text, count = re.subn(rf"\b{values[key]}\b", "_", text)
        assert count == 1, (key, example)
    return text


@pytest.mark.parametrize("split", [TRAIN, TEST])
def test_a_prompt_has_every_fact_of_its_slip_once_and_no_part_of_the_convention(split: str) -> None:
    codes: dict[str, set[str]] = {}
    for example in first(300, split):
        wording(example)  # every value that is copied occurs once
        days = re.findall("|".join(DAYS), example.prompt)
        values = json.loads(example.completion)
        assert len(days) == 1
        assert tuple(values) == KEYS
        codes.setdefault(days[0], set()).add(values["vek"])
        assert not {*KEYS, *DAYS.values()} & set(re.findall(r"\w+", example.prompt))
    assert len(codes) == 7
    assert sorted(map(len, codes.values())) == [1] * 7  # a day has one code ...
    assert len(set().union(*codes.values())) == 7  # ... and a code one day


def test_no_name_item_or_new_wording_of_the_test_rows_is_in_the_training_rows() -> None:
    trained, tested = first(2000), first(400, TEST)
    for key in ("ru", "pla"):
        of = [{json.loads(example.completion)[key] for example in rows} for rows in (trained, tested)]
        assert min(map(len, of)) >= 10
        assert not of[0] & of[1]
    known = {wording(example) for example in trained}
    assert [wording(example) in known for example in tested] == [True, False] * 200
    assert [example.new_wording for example in tested] == [False, True] * 200
    assert not any(example.new_wording for example in trained)


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
            "prompt": "Paula ordered 56 shovels for Sunday. Write the slip.",
            "completion": '{"vek": "lir", "zq": 56, "ru": "shovels", "pla": "Paula"}',
        }
    ]
    assert read(0, TEST, 2)[1]["prompt"] == "Next Sunday, 53 saws will be painted for Max. I need a slip of that note."
    prompts = [{row["prompt"] for row in read(seed, TRAIN, 200)} for seed in (0, 1, 2)]
    assert all(len(a & b) < 10 for a, b in itertools.combinations(prompts, 2))


def test_only_its_own_names_are_the_set() -> None:
    assert (seed_of("skill"), seed_of("skill:0"), seed_of("skill:17")) == (0, 0, 17)
    others = ["", "skill:", "skill:x", "skill:-1", "./skill", "skill.jsonl", "my/skill", "embedded", None, ["skill"]]
    assert [seed_of(other) for other in others] == [None] * len(others)


def test_another_split_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^skill: there is no split 'validation', its splits are train, test$"):
        read(0, "validation", 1)
