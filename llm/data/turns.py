"""Conversations whose assistant turns are all trained in one pass: token ids, and which of them are trained."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llm.data.encoding import Encoder
from llm.data.lost_parts import missing_parts
from llm.data.messages import Message, as_messages, is_untrained
from llm.data.rows import Row, in_turns
from llm.data.templates import Template, special_texts

Span = tuple[int, int]  # first character, and the character after the last


@dataclass(frozen=True)
class EncodedTurns:
    """Token ids of a conversation whose turns are trained.

    ids      ids of the whole conversation
    trained  for each id whether it is trained
    text     the conversation's text
    lost     parts of the assistant's messages that the template leaves out, as in `llm.data.templates.Rendered`
    """

    ids: list[int]
    trained: list[bool]
    text: str
    lost: frozenset[str]


def encode_turns(row: Row, encoder: Encoder, where: str) -> EncodedTurns:
    """Return an SFT row's token ids, with all of the assistant's turns trained.

    A template that marks the assistant's tokens by {% generation %} decides by itself, as in TRL's
    `assistant_only_loss`. Else the turns are found by rendering one conversation after another, each with a message
    more: the tokens of a turn are those that follow the generation prompt. Raises ValueError, naming the row by
    `where`, if the template writes earlier turns otherwise than the last one.
    """
    template = encoder.template
    row = row if template.kind == "none" else in_turns(row)
    rendered = template.render(row, where)
    messages = [*as_messages(row.prompt, "user"), *as_messages(row.responses[0], "assistant")]
    text = rendered.wholes[0]
    lost = rendered.lost | missing_parts(messages, text)
    if template.kind == "chat" and template.chat.marks_responses:
        ids, trained = _by_marks(row, messages, template, where)
        return EncodedTurns(ids, trained, text, lost)
    if template.kind == "chat":
        spans = _spans(row, messages, template, text, where)
    elif isinstance(row.prompt, str):
        spans = [(len(rendered.prompt), len(text))]
    else:
        turns = [message for message in messages if message["role"] == "assistant"]
        every = template.flat(messages, where)[1]
        spans = [span for span, turn in zip(every, turns, strict=True) if not is_untrained(turn)]
    ids, trained = _by_offsets(encoder, text, spans, where)
    return EncodedTurns(ids, trained, text, lost)


def _by_marks(row: Row, messages: Sequence[Message], template: Template, where: str) -> tuple[list[int], list[bool]]:
    encoded = template.chat.apply(
        messages,
        where,
        tools=row.tools,
        kwargs=row.template_kwargs,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    trained = _without_untrained([bool(mark) for mark in encoded["assistant_masks"]], messages, where)
    if not any(trained):
        raise ValueError(f"{where}: the chat template marks nothing of this conversation by {{% generation %}}")
    return list(encoded["input_ids"]), trained


def _without_untrained(trained: list[bool], messages: Sequence[Message], where: str) -> list[bool]:
    """Return the mask of the assistant's tokens without the turns that are marked as not to be trained."""
    turns = [message for message in messages if message["role"] == "assistant"]
    if not any(map(is_untrained, turns)):
        return trained
    runs = [list(run) for _, run in itertools.groupby(range(len(trained)), key=lambda i: trained[i])]
    marked = [run for run in runs if trained[run[0]]]
    if len(marked) != len(turns):
        raise ValueError(
            f"{where}: the chat template marks {len(marked)} parts of {len(turns)} assistant's messages, so that those "
            "of weight 0 cannot be left out; use --sft-turns last"
        )
    left_out = {i for run, message in zip(marked, turns, strict=True) if is_untrained(message) for i in run}
    return [mark and i not in left_out for i, mark in enumerate(trained)]


def _spans(row: Row, messages: Sequence[Message], template: Template, whole: str, where: str) -> list[Span]:
    """Return where the assistant's turns begin and end in a conversation's text."""
    given: dict[str, Any] = {"tools": row.tools, "kwargs": row.template_kwargs}
    special = special_texts(template.tokenizer)
    spans = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant" or i == 0 or is_untrained(message):  # nothing asks for a first message
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
                "thoughts), so they cannot all be trained in one pass; use --sft-turns last, or use a chat template "
                "with {% generation %} marks"
            )
        if not whole.startswith(until.rstrip()):
            end = max(end, _end_between(row, messages[: i + 1], template, turn, whole, where))
        spans.append((len(start), end))
    return spans


def _end_between(row: Row, messages: Sequence[Message], template: Template, turn: str, whole: str, where: str) -> int:
    """Return the character after the special token that ends a turn inside a conversation, or the length of `turn`.

    messages  up to the turn
    turn      the conversation's text up to the turn's last words

    gpt-oss ends the last turn in <|return|> and those before in <|end|>. Such an end is the special token after the
    turn that also stands before the next generation prompt, and that does not itself begin the prompt.
    """
    rest = whole[len(turn) :]
    blank = rest[: len(rest) - len(rest.lstrip())]
    tokens = [token for token in special_texts(template.tokenizer) if token and rest.startswith(blank + token)]
    if not tokens:
        return len(turn)
    token = max(tokens, key=len)
    given: dict[str, Any] = {"tools": row.tools, "kwargs": row.template_kwargs}
    before = str(template.chat.apply(messages[:-1], where, **given))
    asked = str(template.chat.apply(messages[:-1], where, **given, add_generation_prompt=True))
    header = asked[len(os.path.commonprefix([before, asked])) :]  # noqa: RUF071 (by characters is what is wanted)
    try:
        after = str(template.chat.apply(messages, where, **given, add_generation_prompt=True))
    except ValueError:  # a template may refuse to write twice for the assistant
        return len(turn)
    if header.lstrip().startswith(token) or not after.startswith(turn + blank + token):
        return len(turn)
    return len(turn + blank + token)


def _without_end(text: str, special: Sequence[str]) -> str:
    """Return a text without the special tokens and the white space at its end."""
    while True:
        text = text.rstrip()
        token = next((token for token in special if text.endswith(token)), None)
        if token is None:
            return text
        text = text.removesuffix(token)


def _by_offsets(encoder: Encoder, text: str, spans: Sequence[Span], where: str) -> tuple[list[int], list[bool]]:
    """Return a text's ids, and for each whether it ends in one of the spans; it may begin before, as in TRL's masks."""
    try:
        encoded = encoder.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
    except NotImplementedError as error:
        raise ValueError(
            "sft_turns: all needs a fast tokenizer, which knows where its tokens are; use --sft-turns last"
        ) from error
    trained = [any(start < e <= end for start, end in spans) for _, e in encoded["offset_mapping"]]
    if not any(trained):
        raise ValueError(f"{where}: the tokenizer makes no tokens of the prompt or of a response")
    none = [False] * len(encoder.leading)
    return [*encoder.leading, *encoded["input_ids"]], [*none, *trained]
