"""Messages: the spellings that data sets use, tools, typed parts, and dialogues in strings."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.text_data import says, user

from llm.data.messages import (
    BadRowError,
    WrongTypeError,
    is_blank,
    is_dialogue,
    parse_prompt,
    parse_response,
    read_message,
    read_tools,
    written,
)

CALL = {"name": "weather", "arguments": {"city": "Berlin"}}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"from": "human", "value": "q"}, user("q")),
        ({"from": "gpt", "value": "a"}, says("a")),
        ({"role": "human", "content": "q"}, user("q")),
        ({"role": "User", "content": "q"}, user("q")),
        ({"role": "gpt", "content": "a"}, says("a")),
        ({"role": "ASSISTANT", "content": "a"}, says("a")),
        *(({"role": role, "content": "x"},) * 2 for role in ("developer", "observation", "ipython", "Context")),
        ({"from": "system", "value": "s"}, {"role": "system", "content": "s"}),
        ({"from": "observation", "value": "o"}, {"role": "tool", "content": "o"}),
        (
            {"from": "function_call", "value": json.dumps(CALL)},
            {"role": "assistant", "tool_calls": [{"type": "function", "function": CALL}]},
        ),
        ({**says("a"), "reasoning_content": "t", "name": None}, {**says("a"), "reasoning_content": "t"}),
        ({**says(""), "content": None, "tool_calls": [CALL]}, {"role": "assistant", "tool_calls": [CALL]}),
        ({**says(""), "tool_calls": json.dumps([CALL])}, {**says(""), "tool_calls": [CALL]}),
        *(({**says("a"), "tool_calls": none}, says("a")) for none in ([], "", None)),
        (
            {"role": "user", "content": [{"type": "text", "text": "q", "image": None}]},
            {"role": "user", "content": [{"type": "text", "text": "q"}]},
        ),
    ],
)
def test_messages_of_every_spelling(given: Any, read: Any) -> None:
    assert read_message(given, "c") == read


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("q", WrongTypeError, r"a message is needed.*got str 'q'"),
        ({"role": 1, "content": "q"}, WrongTypeError, r"role must be a text, got int 1"),
        ({"role": "assistant"}, WrongTypeError, r"content must be a text, got NoneType"),
        ({**says(""), "tool_calls": "weather"}, BadRowError, r"tool_calls must be a list or JSON, got str 'weather'"),
        ({**says(""), "tool_calls": "{}"}, WrongTypeError, r"tool_calls must be a list of calls"),
        ({**says(""), "tool_calls": [{"function": {}}]}, WrongTypeError, r"needs a function with a name"),
        ({"from": "function_call", "value": "weather(Berlin)"}, BadRowError, r"function call must be JSON with a name"),
        ({"role": "user", "content": [{"type": "image", "image": "x"}]}, BadRowError, r"of type text, got str 'image'"),
        ({"role": "user", "content": ["q"]}, WrongTypeError, r"needs a type and a text, got str 'q'"),
        ({**says("a"), "reasoning_content": "\ud83d"}, BadRowError, r"column 'c' is not valid Unicode"),
    ],
)
def test_what_is_no_message_is_named(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_message(given, "c")


def test_tools_are_a_list_or_json_and_bare_functions_can_be_wrapped() -> None:
    bare = {"name": "f", "parameters": {}}
    assert read_tools([bare], "tools") == read_tools(json.dumps([bare]), "tools") == (bare,)
    assert read_tools([json.dumps(bare)], "tools") == (bare,)
    assert read_tools([bare], "tools", wrap=True) == ({"type": "function", "function": bare},)
    assert [read_tools(empty, "tools") for empty in (None, "", " ", [], "[]", "null", math.nan)] == [()] * 7
    with pytest.raises(BadRowError, match=r"column 'tools' must hold tools as a list or as JSON, got str '\{'"):
        read_tools("{", "tools")
    with pytest.raises(BadRowError, match=r"column 'tools' must hold tools as a list or as JSON, got list"):
        read_tools(["{"], "tools")
    with pytest.raises(WrongTypeError, match=r"must hold a list of tools, got dict"):
        read_tools({"name": "f"}, "tools")


def test_a_call_or_a_thought_is_something() -> None:
    assert is_blank(says(" \n"))
    assert not is_blank({"role": "assistant", "tool_calls": [CALL]})
    assert not is_blank({**says(""), "thinking": "t"})
    assert written({**says("Look."), "tool_calls": [{"function": CALL}]}) == f"Look.\n{json.dumps(CALL)}"


def test_a_dialogue_is_split_at_its_marks() -> None:
    prompt = "\n\nHuman: q\n\nAssistant: a\n\nb\n\nHuman: r\n\nAssistant:"
    assert is_dialogue(prompt)
    assert not is_dialogue("Human: q")
    assert parse_prompt(prompt) == [user("q"), says("a\n\nb"), user("r")]
    assert parse_response(prompt, " c\n\nHuman: s\n\nAssistant: d") == [says("c"), user("s"), says("d")]
    # rm-hh-rlhf's prompts lack the last mark, and its responses begin with it.
    assert parse_prompt("\n\nHuman: q\n\n") == [user("q")]
    assert parse_response("\n\nHuman: q\n\n", "Assistant: a") == [says("a")]
    assert parse_response(prompt, " Assistant: a") == [says("Assistant: a")]
    assert parse_prompt("\n\nHuman: q\n\nHuman: r\n\nAssistant:") == [user("q\n\nr")]


@pytest.mark.parametrize("before", ["", "\n", " \n\n", "\n\n\n"])
def test_a_dialogue_may_lack_the_line_ends_before_it(before: str) -> None:
    dialogue = "Human: q\n\nAssistant: a\n\nHuman: r\n\nAssistant:"
    assert is_dialogue(before + dialogue)
    assert parse_prompt(before + dialogue) == [user("q"), says("a"), user("r")]
    assert is_dialogue(before + dialogue + " ")
    for text in ("Human: q", "Human: q\n\nAssistant: a", "Is it?\n\nAssistant:", "A Human: q\n\nAssistant:"):
        assert not is_dialogue(before + text)


TEXTS = st.text(alphabet="ab \n:", min_size=1, max_size=8).map(lambda text: f"x{text}".strip())


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_turns_that_are_written_as_a_dialogue_are_read_again(texts: list[str]) -> None:
    turns = [(user if i % 2 == 0 else says)(text) for i, text in enumerate(texts)]
    marks = {"user": "Human", "assistant": "Assistant"}
    prompt = "".join(f"\n\n{marks[turn['role']]}: {turn['content']}" for turn in turns)
    assert parse_prompt(prompt) == turns
