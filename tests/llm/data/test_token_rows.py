"""Keys by which equal prompts are found, whatever the form of their set."""

from __future__ import annotations

from typing import Any

import pytest
from support.text_data import CHATML, byte_level, user

from llm.data.formats import load
from llm.data.splits import without
from llm.data.token_rows import prompt_key
from llm.data.tokenization import TokenizedDataset, tokenize

PARTS = [{"type": "text", "text": "Where is "}, {"type": "text", "text": "it?"}]
FORMS: dict[str, Any] = {
    "message": [user("Where is it?")],
    "parts": [{"role": "user", "content": PARTS}],
    "keys of a tree of messages": [{**user("Where is it?"), "message_id": "6ab2", "parent_id": None, "rank": 0.5}],
    "marks of training": [{**user("Where is it?"), "weight": 0, "train": False}],
    "sharegpt": [{"from": "human", "value": "Where is it?"}],
}


def tokens(prompt: Any) -> TokenizedDataset:
    rows = load([{"prompt": prompt, "completion": "Here."}], kind="sft")
    return tokenize(rows, byte_level("", CHATML))


@pytest.mark.parametrize("form", FORMS)
def test_a_prompt_that_is_held_out_is_found_in_every_form(form: str) -> None:
    asked, held_out = tokens(FORMS[form]), tokens("Where is it?")
    assert [p.tolist() for p in asked.prompts] == [p.tolist() for p in held_out.prompts]
    assert len(without(asked, held_out)) == 0


@pytest.mark.parametrize(
    "other",
    [
        [{"role": "system", "content": "Where is it?"}],
        [user("Where is it"), user("?")],
        [{**user("Where is it?"), "name": "Ann"}],
        [{"role": "user", "content": PARTS[:1]}],
    ],
)
def test_other_prompts_have_other_keys(other: Any) -> None:
    assert prompt_key(other) != prompt_key("Where is it?")
