"""Rows: dialogues in strings as turns, and sets whose responses repeat their prompts."""

from __future__ import annotations

import pytest
from support.text_data import says, user

from llm.data.formats import load
from llm.data.messages import BadRowError
from llm.data.rows import Row, check_row, in_turns

HH = "\n\nHuman: What are some?\n\nAssistant: Here is a list.\n\nHuman: Which one?\n\nAssistant:"


def test_a_dialogue_becomes_turns_and_other_rows_stay() -> None:
    row = in_turns(Row(HH, (" This.", " None.")))
    asked = [user("What are some?"), says("Here is a list."), user("Which one?")]
    assert row == Row(asked, ([says("This.")], [says("None.")]))
    assert in_turns(Row("q", ("a",))) == Row("q", ("a",))


def test_a_dialogue_that_ends_with_the_human_is_a_bad_row() -> None:
    with pytest.raises(BadRowError, match=r"must begin and end with an assistant's message, has assistant, user"):
        check_row(Row(HH, (" This.\n\nHuman: Why?",)))
    with pytest.raises(BadRowError, match=r"the response is empty"):
        check_row(Row(HH, (" This.\n\nHuman: Why?\n\nAssistant:",)))


def test_repeated_prompts_are_taken_once_if_all_rows_repeat_them() -> None:
    rows = [{"prompt": f"Tell me about {x}.", "completion": f"Tell me about {x}. It is {x}."} for x in ("tea", "ink")]
    cut = load(rows, kind="sft")
    assert cut.rows[0] == Row("Tell me about tea.", (" It is tea.",))
    assert cut.notes == ("all responses repeat their prompts, which are taken once",)
    other = {"prompt": "Tell me more.", "completion": "There is no more."}
    kept = load([*rows, other], kind="sft")
    assert (kept.rows[0].responses, kept.notes) == ((rows[0]["completion"],), ())
    assert load([{"prompt": "a", "completion": "apple"}], kind="sft").rows[0].responses == ("apple",)


def test_dialogues_that_repeat_the_prompt_are_taken_once_row_by_row() -> None:
    cells = {"prompt": HH, "chosen": f"{HH} This.", "rejected": f"{HH} None."}
    again = {"prompt": HH, "chosen": " This.", "rejected": " None."}
    rows = load([cells, again], kind="preference").rows
    assert rows[0] == rows[1] == Row(HH, (" This.", " None."))
