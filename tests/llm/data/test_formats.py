"""Formats: which prompt and responses each of them gives, and one line of message for each bad row."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.text_data import says, user

from llm.data.formats import load
from llm.data.messages import ASSISTANT
from llm.data.rows import Row

QUESTION = {"prompt": "question", "completion": "answer"}
SFT = [{"prompt": "Where is Omu?", "completion": "In the north."}, {"prompt": "And Ipa?", "completion": "South."}]

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
CALLS = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]}
RESULT = {"role": "tool", "content": "o"}
PAIR = {"prompt": "Where is Omu?", "chosen": "North.", "rejected": "South."}

CASES: dict[str, tuple[str, dict[str, Any], str, Row]] = {
    "conversational prompt-completion": (
        "sft",
        {"prompt": [user("q")], "completion": [says("a")]},
        "prompt-completion",
        Row([user("q")], ([says("a")],)),
    ),
    "a string beside a conversation": (
        "sft",
        {"prompt": [user("q")], "completion": "a"},
        "prompt-completion",
        Row([user("q")], ([says("a")],)),
    ),
    "messages: the last one alone is the response": (
        "sft",
        {"messages": [user("q"), says("a"), user("r"), says("b")], "prompt": "unused"},
        "messages",
        Row([user("q"), says("a"), user("r")], ([says("b")],)),
    ),
    "further keys of a message are left out": (
        "sft",
        {"messages": [{**user("q"), "tool_calls": None}, says("a")]},
        "messages",
        Row([user("q")], ([says("a")],)),
    ),
    "messages with tools, calls and thoughts are kept": (
        "sft",
        {"tools": json.dumps(TOOLS), "messages": [user("q"), CALLS, RESULT, {**says("a"), "thinking": "t"}]},
        "messages",
        Row([user("q"), CALLS, RESULT], ([{**says("a"), "thinking": "t"}],), tuple(TOOLS)),
    ),
    "NaN, pandas' absent value, in columns that may be empty": (
        "sft",
        {"messages": [user("q"), says("a")], **dict.fromkeys(("tools", "system", "chat_template_kwargs"), math.nan)},
        "messages",
        Row([user("q")], ([says("a")],)),
    ),
    "a call alone is a response": (
        "sft",
        {"messages": [user("q"), {**CALLS, "content": None}], "chat_template_kwargs": {"enable_thinking": False}},
        "messages",
        Row([user("q")], ([CALLS],), (), {"enable_thinking": False}),
    ),
    "sharegpt": (
        "sft",
        {
            "conversations": [
                {"from": "human", "value": "q"},
                {"from": "function_call", "value": '{"name": "f", "arguments": {}}'},
                {"from": "observation", "value": "o"},
                {"from": "gpt", "value": "a"},
            ],
            "system": "S",
            "tools": '[{"name": "f"}]',
        },
        "sharegpt",
        Row(
            [{"role": "system", "content": "S"}, user("q"), CALLS, RESULT],
            ([says("a")],),
            ({"type": "function", "function": {"name": "f"}},),
        ),
    ),
    "two assistant's messages in a row are one response": (
        "sft",
        {"messages": [user("q"), says("Let me look."), CALLS]},
        "messages",
        Row([user("q")], ([says("Let me look."), CALLS],)),
    ),
    "alpaca with system and history": (
        "sft",
        {"instruction": "And now?", "input": "", "output": "Rain.", "system": "S", "history": [["Before?", "Sun."]]},
        "instruction",
        Row([{"role": "system", "content": "S"}, user("Before?"), says("Sun."), user("And now?")], ([says("Rain.")],)),
    ),
    "alpaca with an input that pandas has as NaN": (
        "sft",
        {"instruction": "Sum up.", "input": float("nan"), "output": "Short.", "system": ""},
        "instruction",
        Row("Sum up.", ("Short.",)),
    ),
    "instruction": (
        "sft",
        {"instruction": "Sum up.", "input": "A tale.", "output": "Short."},
        "instruction",
        Row("Sum up.\n\nA tale.", ("Short.",)),
    ),
    "instruction with an empty input": (
        "sft",
        {"instruction": "Sum up.", "input": "", "output": "Short."},
        "instruction",
        Row("Sum up.", ("Short.",)),
    ),
    "instruction without the column": (
        "sft",
        {"instruction": "Sum up.", "output": "Short."},
        "instruction",
        Row("Sum up.", ("Short.",)),
    ),
    "explicit": ("preference", PAIR, "explicit", Row("Where is Omu?", ("North.", "South."))),
    "explicit, whitespace kept": (
        "preference",
        {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": " a", "rejected": " b"},
        "explicit",
        Row("\n\nHuman: q\n\nAssistant:", (" a", " b")),
    ),
    "explicit, the prompt once more in the conversations": (
        "preference",
        {"prompt": "q", "chosen": [user("q"), says("a")], "rejected": [user("q"), says("b")]},
        "explicit",
        Row([user("q")], ([says("a")], [says("b")])),
    ),
    "explicit, the prompt once more with other white space and a system message": (
        "preference",
        {
            "prompt": "q ",
            "chosen": [{"role": "system", "content": "S"}, user("q"), says("a")],
            "rejected": [{"role": "system", "content": "S"}, user("q"), says("b")],
        },
        "explicit",
        Row([{"role": "system", "content": "S"}, user("q")], ([says("a")], [says("b")])),
    ),
    "explicit with a system column": (
        "preference",
        {**PAIR, "system": "You are a pirate."},
        "explicit",
        Row(
            [{"role": "system", "content": "You are a pirate."}, user("Where is Omu?")],
            ([says("North.")], [says("South.")]),
        ),
    ),
    "sharegpt pairs": (
        "preference",
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        },
        "sharegpt",
        Row([user("q")], ([says("a")], [says("b")])),
    ),
    "alpaca pairs": (
        "preference",
        {"instruction": "Sum up.", "input": "A tale.", "chosen": "Short.", "rejected": "Long."},
        "instruction",
        Row("Sum up.\n\nA tale.", ("Short.", "Long.")),
    ),
    "implicit conversations": (
        "preference",
        {
            "chosen": [user("q"), says("a"), user("r"), says("b")],
            "rejected": [user("q"), says("a"), user("r"), says("c")],
        },
        "implicit",
        Row([user("q"), says("a"), user("r")], ([says("b")], [says("c")])),
    ),
    "implicit strings: the last mark that both have, not the last common character": (
        "preference",
        {
            "chosen": "\n\nHuman: q\n\nAssistant: It\n\nHuman: r\n\nAssistant: It is big",
            "rejected": "\n\nHuman: q\n\nAssistant: It\n\nHuman: r\n\nAssistant: It is blue",
        },
        "implicit",
        Row("\n\nHuman: q\n\nAssistant: It\n\nHuman: r\n\nAssistant:", (" It is big", " It is blue")),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_row_of_every_format_is_recognised_and_read(case: str) -> None:
    kind, cells, name, row = CASES[case]
    found = load([cells], kind=kind)  # type: ignore[arg-type]
    assert (found.format, found.rows) == (name, (row,))
    assert load([cells], kind=kind, format=name).rows == (row,)  # type: ignore[arg-type]


def test_conversational_rows_are_trls_own(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl.data_utils")
    pair = {
        "chosen": [user("q"), says("a"), user("r"), says("b")],
        "rejected": [user("q"), says("a"), user("r"), says("c")],
    }
    theirs = trl.extract_prompt(pair)
    # Through Parquet, where a message is a struct.
    datasets.Dataset.from_list([pair]).to_parquet(tmp_path / "x.parquet")
    ours = load(tmp_path / "x.parquet", kind="preference").rows[0]
    assert ours == Row(theirs["prompt"], (theirs["chosen"], theirs["rejected"]))


@pytest.mark.slow
@given(st.text(max_size=20), st.text(max_size=20), st.lists(st.text(alphabet="ab \n", max_size=6), max_size=3))
def test_implicit_strings_split_where_the_response_begins(chosen: str, rejected: str, turns: list[str]) -> None:
    """Whatever the turns before are, prompt + response is the text again, and the prompt ends in the mark."""
    prompt = "".join(f"\n\nHuman: {turn}{ASSISTANT} {turn}" for turn in turns) + f"\n\nHuman: q{ASSISTANT}"
    chosen, rejected = "a" + chosen.replace(ASSISTANT, ""), "b" + rejected.replace(ASSISTANT, "")
    row = load([{"chosen": prompt + chosen, "rejected": prompt + rejected}], kind="preference").rows[0]
    assert row == Row(prompt, (chosen, rejected))


def test_the_input_can_be_left_out_as_the_authors_do() -> None:
    cells = [{"instruction": "Sum up.", "input": "A tale.", "output": "Short."}]
    assert load(cells, kind="sft", ignore_input=True).rows[0].prompt == "Sum up."


def test_columns_are_mapped_and_decide_the_format() -> None:
    cells = [{"question": "q", "answer": "a", "messages": [user("x"), says("y")]}]
    assert load(cells, kind="sft").format == "messages"
    mapped = load(cells, kind="sft", columns={"prompt": "question", "completion": "answer"})
    assert (mapped.format, mapped.rows) == ("prompt-completion", (Row("q", ("a",)),))


def test_columns_that_are_not_used_are_named() -> None:
    cells = {"id": 1, "source": "x", "prompt": "q", "completion": "a", "label": True}
    assert load([cells, {**cells, "score": 1}], kind="sft").notes == ("columns that are not used: id, source, score",)
    assert load([{"question": "q", "answer": "a"}], kind="sft", columns=QUESTION).notes == ()


def test_arrow_gives_no_keys_without_values(tmp_path: Path) -> None:
    """Arrow has the keys of all dicts of a column in each of them; TRL's sets of tool calls are published so."""
    calls = [[{"name": name, "arguments": {key: 1}}] for name, key in (("f", "x"), ("g", "y"))]
    rows = [{"messages": [user("q"), {"role": "assistant", "tool_calls": c}], "tools": [{"name": "f"}]} for c in calls]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "x.parquet")
    read = load(tmp_path / "x.parquet", kind="sft").rows
    assert [row.responses[0] for row in read] == [[{"role": "assistant", "tool_calls": c}] for c in calls]


def test_bad_rows_are_counted_or_dropped() -> None:
    rows = [SFT[0], {"prompt": "x", "completion": " \n"}, SFT[1], {"prompt": "x"}]
    with pytest.raises(
        ValueError, match=r"^row 1 of the list: column 'completion' is empty \(2 of 4 rows are bad, .*--bad"
    ):
        load(rows, kind="sft")
    kept = load(rows, kind="sft", bad_rows="drop")
    assert ([row.prompt for row in kept.rows], kept.dropped) == (["Where is Omu?", "And Ipa?"], 2)
    with pytest.raises(ValueError, match=r"^row 0 of the list: .* is empty \(1 of 1 rows are bad\)$"):
        load(rows[1:2], kind="sft", bad_rows="drop")


BAD_ROWS: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("sft", {"prompt": "", "completion": "a"}, ValueError, r"column 'prompt' is empty"),
    ("sft", {"prompt": 3, "completion": "a"}, TypeError, r"column 'prompt' must hold a text or a list .* got int 3"),
    ("sft", {"prompt": "q", "completion": None}, TypeError, r"column 'completion' must hold .* got NoneType"),
    ("sft", {"prompt": [user(" ")], "completion": "a"}, ValueError, r"column 'prompt' is empty"),
    ("sft", {"prompt": ["q"], "completion": "a"}, TypeError, r"column 'prompt': a message is needed.* got str 'q'"),
    (
        "sft",
        {"prompt": [{"role": "user"}], "completion": "a"},
        TypeError,
        r"message's content must be a text, got None",
    ),
    ("sft", {"prompt": [user("q"), says("a")], "completion": "b"}, ValueError, r"prompt ends with an assistant's"),
    (
        "sft",
        {"messages": [user("q"), says("a"), user("r")]},
        ValueError,
        r"the last message must be the assistant's, is of role user",
    ),
    (
        "sft",
        {"prompt": [user("q")], "completion": [user("a")]},
        ValueError,
        r"must begin and end with an assist.*has user",
    ),
    ("sft", {"prompt": [user("q")], "completion": [says("a"), user("b")]}, ValueError, r"has assistant, user \("),
    (
        "preference",
        {"prompt": [user("q")], "chosen": [user("q"), says("a")], "rejected": [says("b")]},
        ValueError,
        r"chosen: must begin and end with an assistant's message, has user, assistant",
    ),
    ("sft", {"messages": [says("a")]}, ValueError, r"the prompt is empty"),
    ("sft", {"conversations": [{"from": "human", "value": "q"}]}, ValueError, r"last message must be the assistant's"),
    ("sft", {"prompt": "2+2?", "completion": "5", "label": False}, ValueError, r"'label' is false, which marks an und"),
    ("sft", {"instruction": "x", "output": "y", "history": ["z"]}, TypeError, r"'history' must hold pairs of question"),
    ("sft", {"instruction": "x", "output": "y", "history": 3}, TypeError, r"'history' must hold pairs of question"),
    ("sft", {**SFT[0], "chat_template_kwargs": "x"}, TypeError, r"'chat_template_kwargs' must hold names with values"),
    (
        "preference",
        {"prompt": "p", "chosen": [user("q"), says("a")], "rejected": [user("q"), says("b")]},
        ValueError,
        r"chosen and rejected begin with another prompt than column 'prompt'",
    ),
    ("sft", {"messages": [user("q"), says("")]}, ValueError, r"the response is empty"),
    ("sft", {"messages": "text"}, TypeError, r"messages must be a list"),
    ("sft", {"instruction": "x", "input": 3, "output": "y"}, TypeError, r"column 'input' must hold a text, got int 3"),
    ("sft", {"instruction": [user("x")], "output": "y"}, TypeError, r"column 'instruction' must hold a text, got list"),
    ("sft", {"prompt": "q", "completion": "a\ud800"}, ValueError, r"'completion' is not valid Unicode at character 1"),
    ("preference", {**PAIR, "rejected": ""}, ValueError, r"column 'rejected' is empty"),
    ("preference", {**PAIR, "rejected": PAIR["chosen"]}, ValueError, r"chosen and rejected are the same"),
    ("preference", {"chosen": [user("q")], "rejected": [user("q")]}, ValueError, r"chosen and rejected are the same"),
    ("preference", {"chosen": [user("q"), says("a")], "rejected": [user("q")]}, ValueError, r"rejected is empty"),
    ("preference", {"chosen": [says("a")], "rejected": [says("b")]}, ValueError, r"\(of role assistant\), so that"),
    (
        "preference",
        {"chosen": [{"role": "system", "content": "S"}, user("q"), says("a")], "rejected": [user("q"), says("b")]},
        ValueError,
        r"chosen and rejected differ from their first message on \(of role system and user\), so that they have no",
    ),
    ("preference", {"chosen": "It is blue", "rejected": "It is big"}, ValueError, r"no common beginning that ends in"),
    ("preference", {"chosen": "a", "rejected": [says("b")]}, TypeError, r"must both be texts or both be lists"),
    (
        "preference",
        {"chosen": f"\n\nHuman: q{ASSISTANT}", "rejected": f"\n\nHuman: q{ASSISTANT} a"},
        ValueError,
        "chosen is",
    ),
]


@pytest.mark.parametrize(("kind", "cells", "error", "message"), BAD_ROWS)
def test_a_bad_row_is_named_with_its_column(kind: Any, cells: Any, error: type[Exception], message: str) -> None:
    good = CASES["instruction" if kind == "sft" else "explicit"][1]
    with pytest.raises(error, match=rf"^row 0 of the list: .*{message}") as caught:
        load([cells], kind=kind)
    assert "\n" not in str(caught.value)
    assert len(load([good], kind=kind).rows) == 1


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (SFT, {"kind": "dpo"}, ValueError, r"^kind: must be one of sft, preference, unpaired, got 'dpo'$"),
        (
            SFT,
            {"format": "implicit"},
            ValueError,
            r"^format: must be auto, prompt-completion or messages or .*'implicit'",
        ),
        (
            SFT,
            {"format": "messages"},
            ValueError,
            r"column 'messages' of format messages is missing.*prompt, comp.*--columns",
        ),
        (
            SFT,
            {"kind": "preference"},
            ValueError,
            r"missing columns: a preference set needs .* its columns are prompt, comp",
        ),
        (SFT, {"columns": {"prompt": "q"}}, ValueError, r"column 'q' \(given by --columns prompt q\) is missing"),
        (SFT, {"columns": {"answer": "prompt"}}, ValueError, r"^columns: sft sets have .*, got 'answer'$"),
        (SFT, {"bad_rows": "skip"}, ValueError, r"^bad_rows: must be 'error' or 'drop', got 'skip'$"),
        (SFT, {"limit": 0}, ValueError, r"^limit: must be at least 1, got 0$"),
        ([], {}, ValueError, r"^the list: the set is empty$"),
        (["text"], {}, TypeError, r"^row 0 of the list: a dict is needed, got str$"),
        (3, {}, TypeError, r"^source: a path, .* is needed, got int$"),
    ],
)
def test_wrong_arguments(source: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load(source, **{"kind": "sft", **options})


def test_the_remedy_names_the_option_by_which_the_user_names_columns() -> None:
    """The short form has an option for each set, an objective a field."""
    given = [{"prompt": "a", "text": "b"}]
    for naming, shown in (
        ("--sft-columns {} {}", "--sft-columns OURS THEIRS"),
        ("columns.{}={}", "columns.OURS=THEIRS"),
    ):
        with pytest.raises(ValueError, match=rf"; name them by {shown}$"):
            load(given, kind="sft", naming=naming)
    with pytest.raises(ValueError, match=r"; name it by columns\.completion=THEIRS$"):
        load(given, kind="sft", format="prompt-completion", naming="columns.{}={}")
