"""The data set of the skill, made row by row from a seed: notes in plain English with their slips.

`skill` and `skill:SEED` are its names. Its splits are "train" and "test"; no name and no item is in both. The rows of
"test" alternate between the wordings of "train" and wordings that occur nowhere in "train".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.skill.convention import DAYS, Facts, slip

VERSION = 1  # of the rows; raise it when the same seed gives other rows
NAME = "skill"
TRAIN, TEST = "train", "test"
DEFAULT_ROWS = {TRAIN: 2000, TEST: 200}  # where no number is given
LARGEST_COUNT = 99

_NAME = re.compile(rf"{NAME}(?::(\d{{1,9}}))?")


@dataclass(frozen=True)
class Values:
    """The names and items that one split draws from."""

    names: tuple[str, ...]
    items: tuple[str, ...]


@dataclass(frozen=True)
class Wordings:
    """Wordings of notes, with the names of the facts in braces, and of the request that follows a note."""

    notes: tuple[str, ...]
    requests: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Common words, which most tokenizers have as one token: copying is then easy, and what is learnt is the convention.
VALUES = {
    TRAIN: Values(
        names=_words(
            "John Mark Alex Tom David Mary Paul James Jack Sam Ben Bob Bill Carl Dan Frank George Jane Jim Kim Luke "
            "Martin Matt Nick Rose Tim Victor Andrew Charles Chris Daniel Edward Michael Robert Sarah William Richard "
            "Anne Louis Marie"
        ),
        items=_words(
            "books cards keys tables boxes buttons maps tools blocks labels pages frames flags chairs papers bags "
            "letters coins stars stones trees windows boats bars"
        ),
    ),
    TEST: Values(
        names=_words("Anna Max Peter Alice Thomas Henry Maria Simon Adam Emily"),
        items=_words("masks boards balls doors cars belts photos plants"),
    ),
}
TRAIN_WORDINGS = Wordings(
    notes=(
        "{who} ordered {count} {item} for {day}.",
        "On {day}, {who} borrowed {count} {item}.",
        "{count} {item} go to {who} on {day}.",
        "{who} leaves on {day} with {count} {item}.",
        "The shop repairs {count} {item} for {who} by {day}.",
        "{day}: {count} {item} for {who}.",
        "Last {day}, {who} sold {count} {item}.",
        "By {day} {who} needs {count} {item}.",
        "{who} returned {count} {item} on {day}.",
        "There are {count} {item} that {who} will fetch on {day}.",
        "{count} {item} came on {day}, paid by {who}.",
        "On {day} {count} {item} were lost by {who}.",
    ),
    requests=("Write the slip.", "Make a slip of this.", "Give me the slip.", "Please file this as a slip."),
)
NEW_WORDINGS = Wordings(
    notes=(
        "{who} left {count} {item} at the station on {day}.",
        "On {day} the {count} {item} were counted by {who}.",
        "Next {day}, {count} {item} will be painted for {who}.",
        "We expect {who} on {day}, who brings {count} {item}.",
    ),
    requests=("Turn this into a slip.", "I need a slip of that note."),
)


@dataclass(frozen=True)
class Example:
    """One row: the prompt, its slip, and whether the prompt is in a wording that no training row has."""

    prompt: str
    completion: str
    new_wording: bool


def seed_of(source: Any) -> int | None:
    """Return the seed that a name of the set gives, 0 for the bare name; None for any other source."""
    named = _NAME.fullmatch(source) if isinstance(source, str) else None
    return None if named is None else int(named[1] or 0)


def examples(seed: int, split: str) -> Iterator[Example]:
    """Yield different rows without end: a smaller set is the beginning of a larger one.

    seed   of all draws, >= 0
    split  "train" or "test"; else ValueError
    """
    if split not in VALUES:
        raise ValueError(f"{NAME}: there is no split {split!r}, its splits are {', '.join(VALUES)}")
    return _different(seed, split)


def read(seed: int, split: str | None, limit: int | None) -> list[dict[str, str]]:
    """Return rows with the columns `prompt` and `completion`; `limit` may exceed DEFAULT_ROWS, which is for None."""
    split = split or TRAIN
    drawn = examples(seed, split)
    return [
        {"prompt": example.prompt, "completion": example.completion}
        for example in itertools.islice(drawn, DEFAULT_ROWS[split] if limit is None else limit)
    ]


def _different(seed: int, split: str) -> Iterator[Example]:
    chance = np.random.default_rng([seed, VERSION, list(VALUES).index(split)])
    values, seen = VALUES[split], set[str]()
    for number in itertools.count():
        new = split == TEST and number % 2 == 1
        while (example := _example(values, new, chance)).prompt in seen:
            pass
        seen.add(example.prompt)
        yield example


def _example(values: Values, new_wording: bool, chance: np.random.Generator) -> Example:
    drawn = iter(chance.random(6).tolist())

    def one_of(choices: Sequence[str]) -> str:
        return choices[int(next(drawn) * len(choices))]

    wordings = NEW_WORDINGS if new_wording else TRAIN_WORDINGS
    facts = Facts(
        who=one_of(values.names),
        count=2 + int(next(drawn) * (LARGEST_COUNT - 1)),
        item=one_of(values.items),
        day=one_of(DAYS),
    )
    note = one_of(wordings.notes).format(**vars(facts))
    return Example(f"{note} {one_of(wordings.requests)}", slip(facts), new_wording)
