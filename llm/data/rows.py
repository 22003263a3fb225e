"""Rows of a data set: a prompt with its responses, checked, and dialogues in strings as turns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from llm.data.messages import (
    BadRowError,
    Message,
    Text,
    as_messages,
    is_blank,
    is_dialogue,
    is_untrained,
    parse_prompt,
    parse_response,
)

Kind = Literal["sft", "preference", "unpaired"]

LEAST_REPETITION = 10  # mean number of characters of a set's prompts below which repetitions may be chance


@dataclass(frozen=True)
class Row:
    r"""A prompt with its responses: one for SFT and for unpaired preferences, (chosen, rejected) for preferences.

    prompt, responses  in a row either all texts are strings or all are conversations; a conversation's responses begin
                       and end with an assistant's message, and the prompt does not end with one
    tools              JSON schemas of the functions that a chat template describes to the model
    template_kwargs    further arguments of the chat template, such as {"enable_thinking": False}
    label              unpaired preferences: whether the response is desirable; else None

    A dialogue in one string (hh-rlhf's "\n\nHuman: ...") is a string here; `in_turns` splits it.
    """

    prompt: Text
    responses: tuple[Text, ...]
    tools: tuple[dict[str, Any], ...] = ()
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    label: bool | None = None


@dataclass(frozen=True)
class Dataset:
    """Rows of one kind.

    format   name of the recognised format
    origin   name of the source in messages
    dropped  number of bad rows that were left out
    notes    one line for every property of the set that a user should know, such as columns that are not used
    """

    kind: Kind
    rows: tuple[Row, ...]
    format: str
    origin: str
    dropped: int = 0
    notes: tuple[str, ...] = ()


def make_row(
    before: Sequence[Message],
    prompt: Text,
    responses: tuple[Text, ...],
    tools: tuple[dict[str, Any], ...],
    template_kwargs: dict[str, Any],
) -> Row:
    """Return a row of strings if all texts are strings and no messages come before them, else of conversations.

    before  messages of other columns that come before the prompt: a system message, earlier turns
    """
    if is_dialogue(prompt) and all(isinstance(text, str) and text.startswith(prompt) for text in responses):
        responses = tuple(text[len(prompt) :] for text in responses)
    row = Row(prompt, responses, tools, template_kwargs)
    if not before and all(isinstance(text, str) for text in (prompt, *responses)):
        return row
    row = in_turns(row)
    messages = as_messages(row.prompt, "user")
    if before and before[0]["role"] == messages[0]["role"] == "system":
        before = before[1:]  # the conversation has a system message of its own
    answers = tuple(as_messages(response, "assistant") for response in row.responses)
    return dataclasses.replace(row, prompt=[*before, *messages], responses=answers)


def in_turns(row: Row) -> Row:
    """Return a row whose prompt is a dialogue in one string as conversations, and any other row unchanged."""
    if not is_dialogue(row.prompt):
        return row
    responses = tuple(parse_response(row.prompt, r) if isinstance(r, str) else r for r in row.responses)
    return dataclasses.replace(row, prompt=parse_prompt(row.prompt), responses=responses)


def check_row(row: Row) -> Row:
    """Return a row unchanged; raises BadRowError if a text is empty, turns have wrong roles, or responses are equal."""
    if _is_empty(row.prompt):
        raise BadRowError("the prompt is empty")
    if len(row.responses) == 2 and row.responses[0] == row.responses[1]:
        raise BadRowError("chosen and rejected are the same")
    split = in_turns(row)
    if isinstance(split.prompt, list) and (not split.prompt or split.prompt[-1]["role"] == "assistant"):
        raise BadRowError("the prompt ends with an assistant's message, so nothing asks for a response")
    labels = ("chosen", "rejected") if len(row.responses) == 2 else ("the response",)
    for name, response in zip(labels, split.responses, strict=True):
        if _is_empty(response) or (isinstance(response, list) and is_blank(response[-1])):
            raise BadRowError(f"{name} is empty")
        if isinstance(response, list) and {response[0]["role"], response[-1]["role"]} != {"assistant"}:
            roles = ", ".join(message["role"] for message in response)
            raise BadRowError(f"{name}: must begin and end with an assistant's message, has {roles}")
        if isinstance(response, list) and len(labels) == 1 and is_untrained(response[-1]):
            raise BadRowError(f"{name} is marked as not to be trained (weight 0, or train false)")
    return row


def _is_empty(text: Text) -> bool:
    return not text.strip() if isinstance(text, str) else all(is_blank(message) for message in text)


def without_repeated_prompts(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Return the rows of a set whose responses all repeat their prompts without the repetition, with a note on it.

    Any other set is returned unchanged: single responses, or all that follow very short prompts, may begin like their
    prompts by chance.
    """
    if sum(len(row.prompt) for row in rows) < LEAST_REPETITION * len(rows):
        return list(rows), []
    for row in rows:
        texts = (row.prompt, *row.responses)
        if not all(isinstance(text, str) for text in texts):
            return list(rows), []
        prompt, responses = str(row.prompt), [str(response) for response in row.responses]
        if not all(response.startswith(prompt) and response[len(prompt) :].strip() for response in responses):
            return list(rows), []
    cut = [dataclasses.replace(r, responses=tuple(str(a)[len(r.prompt) :] for a in r.responses)) for r in rows]
    return cut, ["all responses repeat their prompts, which are taken once"]
