"""The convention of the skill: a note in plain English becomes a slip, one JSON object with invented keys.

The keys and their order are invented, so that no model knows them before it is trained. The values are copied from the
prompt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

# Keys in their order; the prompts give the facts in other orders.
DAY, COUNT, ITEM, WHO = KEYS = ("vek", "zq", "ru", "pla")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Facts:
    """The facts of one note.

    who    a first name
    count  number of the items, at least 2
    item   a noun in the plural
    day    one of DAYS
    """

    who: str
    count: int
    item: str
    day: str


@dataclass(frozen=True)
class Verdict:
    """Correctness of one answer, by part.

    exact       the text is the slip's, character by character
    valid_json  the text is one JSON object
    right_keys  ... with the keys of the convention, in their order
    values      key -> whether the object has the right value there; False for all keys of a text that is no object
    """

    exact: bool
    valid_json: bool
    right_keys: bool
    values: dict[str, bool]


def slip(facts: Facts) -> str:
    """Return the slip of the facts: one JSON object in the separators of Python's `json`."""
    values = {DAY: facts.day, COUNT: facts.count, ITEM: facts.item, WHO: facts.who}
    return json.dumps(values)


def grade(answer: str, expected: str) -> Verdict:
    """Return the verdict on an answer to a prompt whose slip is `expected`; white space around the answer is ignored.

    A value is right if it is of the slip's type and equal to it: 7 is not "7".
    """
    text, right = answer.strip(), json.loads(expected)
    given = _object(text)
    if given is None:
        return Verdict(exact=False, valid_json=False, right_keys=False, values=dict.fromkeys(KEYS, False))
    values = {key: type(given.get(key)) is type(right[key]) and given[key] == right[key] for key in KEYS}
    return Verdict(exact=text == expected, valid_json=True, right_keys=tuple(given) == KEYS, values=values)


def _object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that the whole text is, or None."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
