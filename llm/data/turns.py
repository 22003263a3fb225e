"""Conversations whose assistant turns are all trained in one pass: token ids, and which of them are trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from llm.data.encoding import Encoder
from llm.data.messages import Message, as_messages
from llm.data.rows import Row, in_turns
from llm.data.templates import Template, special_texts

Span = tuple[int, int]  # first character, and the character after the last


def encode_turns(row: Row, encoder: Encoder, where: str) -> tuple[list[int], list[bool], str]:
    """Return an SFT row's token ids, for each whether it is trained, and the row's text.

    A template that marks the assistant's tokens by {% generation %} decides by itself, as in TRL's
    `assistant_only_loss`. Else the turns are found by rendering one conversation after another, each with a message
    more: the tokens of a turn are those that follow the generation prompt. Raises ValueError, naming the row by
    `where`, if the template writes earlier turns otherwise than the last one.
    """
    template, row = encoder.template, in_turns(row) if encoder.template.kind != "none" else row
    if isinstance(row.prompt, str) and template.kind != "chat":
        rendered = template.render(row, where)
        return _by_offsets(encoder, rendered.wholes[0], [(len(rendered.prompt), len(rendered.wholes[0]))], where)
    messages = [*as_messages(row.prompt, "user"), *as_messages(row.responses[0], "assistant")]
    if template.kind != "chat":
        template.render(row, where)  # raises for what only a chat template can write
        text, spans = template.flat(messages, where)
        return _by_offsets(encoder, text.removesuffix("\n"), spans, where)
    if template.chat.marks_responses:
        return _by_marks(row, messages, template, where)
    template.render(row, where)  # raises if nothing of the response is written
    text, spans = _spans(row, messages, template, where)
    return _by_offsets(encoder, text, spans, where)


def _by_marks(
    row: Row, messages: Sequence[Message], template: Template, where: str
) -> tuple[list[int], list[bool], str]:
    given: dict[str, Any] = {"tools": row.tools, "kwargs": row.template_kwargs}
    encoded = template.chat.apply(
        messages, where, **given, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    trained = [bool(mark) for mark in encoded["assistant_masks"]]
    if not any(trained):
        raise ValueError(f"{where}: the chat template marks nothing of this conversation by {{% generation %}}")
    return list(encoded["input_ids"]), trained, str(template.chat.apply(messages, where, **given))


def _spans(row: Row, messages: Sequence[Message], template: Template, where: str) -> tuple[str, list[Span]]:
    """Return a conversation's text, and where the assistant's turns begin and end in it."""
    given: dict[str, Any] = {"tools": row.tools, "kwargs": row.template_kwargs}
    whole = str(template.chat.apply(messages, where, **given))
    special = special_texts(template.tokenizer)
    spans = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant" or i == 0:  # nothing asks for a message at the beginning
            continue
        start = template.border(messages[:i], where, **given)
        end = len(whole)
        until = whole
        if i < len(messages) - 1:
            until = str(template.chat.apply(messages[: i + 1], where, **given))
            end = len(os.path.commonprefix([until, whole]))  # noqa: RUF071 (by characters is what is wanted)
        # Some templates end a conversation in a token that does not stand between its turns.
        turn = _without_end(until, special)
        if not whole.startswith(start) or not whole.startswith(turn) or len(turn) < len(start):
            raise ValueError(
                f"{where}: the chat template writes earlier turns otherwise than the last one (many leave out their "
                "thoughts), so they cannot all be trained in one pass; say --sft-turns last, or use a chat template "
                "with {% generation %} marks"
            )
        spans.append((len(start), end))
    return whole, spans


def _without_end(text: str, special: Sequence[str]) -> str:
    """Return a text without the special tokens and the white space at its end."""
    while True:
        text = text.rstrip()
        token = next((token for token in special if text.endswith(token)), None)
        if token is None:
            return text
        text = text.removesuffix(token)


def _by_offsets(encoder: Encoder, text: str, spans: Sequence[Span], where: str) -> tuple[list[int], list[bool], str]:
    """Return a text's ids, and for each whether it ends in one of the spans; it may begin before, as in TRL's masks."""
    try:
        encoded = encoder.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
    except NotImplementedError as error:
        raise ValueError(
            "sft_turns: all needs a fast tokenizer, which knows where its tokens are; say --sft-turns last"
        ) from error
    trained = [any(start < e <= end for start, end in spans) for _, e in encoded["offset_mapping"]]
    if not any(trained):
        raise ValueError(f"{where}: the tokenizer makes no tokens of the prompt or of a response")
    none = [False] * len(encoder.leading)
    return [*encoder.leading, *encoded["input_ids"]], [*none, *trained], text
