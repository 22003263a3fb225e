"""The slip of some facts, and verdicts on answers."""

from __future__ import annotations

import pytest

from llm.skill.convention import Facts, Verdict, grade, slip

MINE = '{"vek": "Thursday", "zq": 14, "ru": "lamps", "pla": "Mira"}'
NO_VALUES = {"vek": False, "zq": False, "ru": False, "pla": False}
ALL_VALUES = dict.fromkeys(NO_VALUES, True)


def test_a_slip_has_invented_keys_in_their_order() -> None:
    assert slip(Facts(who="Mira", count=14, item="lamps", day="Thursday")) == MINE


@pytest.mark.parametrize(
    ("answer", "exact", "right_keys", "wrong"),
    [
        (MINE, True, True, ()),
        (f"  {MINE}\n", True, True, ()),
        (MINE.replace(", ", ","), False, True, ()),
        ('{"zq": 14, "vek": "Thursday", "ru": "lamps", "pla": "Mira"}', False, False, ()),
        (MINE.replace("14", '"14"'), False, True, ("zq",)),
        (MINE.replace("14", "14.0"), False, True, ("zq",)),
        (MINE.replace("Thursday", "Friday"), False, True, ("vek",)),
        (MINE.replace("Mira", "mira").replace("lamps", "lamp"), False, True, ("ru", "pla")),
        ('{"day": "Thursday", "zq": 14, "ru": "lamps", "pla": "Mira"}', False, False, ("vek",)),
        (MINE[:-1] + ', "more": 1}', False, False, ()),
        ("{}", False, False, tuple(NO_VALUES)),
    ],
)
def test_an_object_is_compared_key_by_key(answer: str, exact: bool, right_keys: bool, wrong: tuple[str, ...]) -> None:
    values = ALL_VALUES | dict.fromkeys(wrong, False)
    assert grade(answer, MINE) == Verdict(exact=exact, valid_json=True, right_keys=right_keys, values=values)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Mira needs 14 lamps.",
        f"```json\n{MINE}\n```",
        f"{MINE} Done.",
        f"[{MINE}]",
        MINE[:-1],
        '"vek"',
        "[" * 100_000,
    ],
)
def test_what_is_not_one_object_has_nothing_right(answer: str) -> None:
    assert grade(answer, MINE) == Verdict(exact=False, valid_json=False, right_keys=False, values=NO_VALUES)
