"""Formats of data sets (TRL's and the paper's two): columns of raw rows to a prompt and its responses.

`load` recognises the format by the columns and gives every row the same shape. `FORMATS` has one entry for each format,
with its columns and its converter; options and error messages derive from the entries, so that a new format is a new
entry and its converter, in this file alone. Templates and token ids are made in `llm.data.templates` and
`llm.data.tokenization`. No code that comes with a data set is ever run.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from llm.data.readers import Table, read
from toyopt import _check

Message = dict[str, str]  # {"role": ..., "content": ...}
Text = str | list[Message]
Kind = Literal["sft", "preference"]

ASSISTANT = "\n\nAssistant:"  # where a response begins in dialogues written as one string (Anthropic's hh-rlhf)


@dataclass(frozen=True)
class Row:
    """A prompt with its responses: one for SFT, (chosen, rejected) for preferences.

    In a row either all texts are strings or all are conversations; a conversation's responses begin and end with an
    assistant's message, and the prompt does not end with one.
    """

    prompt: Text
    responses: tuple[Text, ...]


@dataclass(frozen=True)
class Dataset:
    """Rows of one kind.

    format   name of the recognised format
    origin   name of the source in messages
    dropped  number of bad rows that were left out
    """

    kind: Kind
    rows: tuple[Row, ...]
    format: str
    origin: str
    dropped: int = 0


class _BadRowError(Exception):
    """Problem of a single row."""


class _WrongTypeError(_BadRowError):
    """A cell that is neither a text nor a conversation."""


def load(
    source: Any,
    *,
    kind: Kind,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    format: str = "auto",
    limit: int | None = None,
    ignore_input: bool = False,
    bad_rows: Literal["error", "drop"] = "error",
) -> Dataset:
    """Return the rows of a data set.

    source        a .jsonl, .json (each also .gz) or .parquet file; a folder of such files, or one that
                  `datasets.save_to_disk` wrote; a hub name "org/name" or "org/name:config"; a `datasets.Dataset` or
                  `DatasetDict`; a list of dicts. What exists locally goes before the hub
    split         "train" if not given; what has no splits (a file, a list) is all "train"
    columns       our column name -> theirs, e.g. {"prompt": "question", "completion": "answer"}
    format        SFT: "prompt-completion", "messages", "instruction"; preference: "explicit", "implicit"; or "auto"
    limit         read the first `limit` rows only (bad ones count)
    ignore_input  leave the column `input` of "instruction" out, as the paper's authors do
    bad_rows      "drop" leaves rows with a problem out and counts them in `Dataset.dropped`

    Of "messages" only the last message is the response. Raises, in one line, FileNotFoundError for a source that is
    absent or not reachable, and ValueError or TypeError for all other problems. Rows are counted from 0, lines from 1.
    """
    if kind not in FORMATS:
        raise ValueError(f"kind: must be one of {', '.join(FORMATS)}, got {kind!r}")
    if bad_rows not in ("error", "drop"):
        raise ValueError(f"bad_rows: must be 'error' or 'drop', got {bad_rows!r}")
    if limit is not None:
        limit = _check.whole("limit", limit, low=1)
    table = read(source, split, limit)
    if not table.rows:
        raise ValueError(f"{table.origin}: the set is empty")
    names = dict(columns or {})
    name = _recognise(table, kind, format, names)
    convert = FORMATS[kind][name].convert
    rows, problems = [], []
    for i, cells in enumerate(table.rows):
        try:
            rows.append(_checked(convert(_Cells(cells, names, ignore_input))))
        except _BadRowError as error:
            problems.append((i, error))
    if problems and (bad_rows == "error" or not rows):
        i, problem = problems[0]
        remedy = "" if bad_rows == "drop" else ", to leave such rows out use --bad-rows drop"
        message = f"row {i} of {table.origin}: {problem} ({len(problems)} of {len(table.rows)} rows are bad{remedy})"
        raise (TypeError if isinstance(problem, _WrongTypeError) else ValueError)(message)
    return Dataset(kind, tuple(rows), name, table.origin, len(problems))


# From a row's cells to a prompt and responses.


@dataclass(frozen=True)
class _Cells:
    """Raw row under our column names, with checked access."""

    cells: Mapping[str, Any]
    names: Mapping[str, str]
    ignore_input: bool

    def text(self, column: str) -> Text:
        """Return a cell that is a string or a conversation, and not empty."""
        theirs = self.names.get(column, column)
        value = self.cells.get(theirs)
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            value = [_message(message, theirs) for message in value]
            if not any(message["content"].strip() for message in value):
                raise _BadRowError(f"column '{theirs}' is empty")
            return value
        return self.string(column, "a text or a list of messages")

    def string(self, column: str, kinds: str = "a text", *, optional: bool = False) -> str:
        """Return a cell that is a string, and not empty unless `optional`; "" for an absent optional cell."""
        theirs = self.names.get(column, column)
        value = self.cells.get(theirs)
        if optional and value is None:
            return ""
        if not isinstance(value, str):
            raise _WrongTypeError(f"column '{theirs}' must hold {kinds}, got {_short(value)}")
        if not optional and not value.strip():
            raise _BadRowError(f"column '{theirs}' is empty")
        return _encodable(value, theirs)


def _message(message: Any, column: str) -> Message:
    if not isinstance(message, Mapping):
        raise _WrongTypeError(f"column '{column}': a message is needed, with role and content, got {_short(message)}")
    for part in ("role", "content"):
        if not isinstance(message.get(part), str):
            raise _WrongTypeError(
                f"column '{column}': a message's {part} must be a text, got {_short(message.get(part))}"
            )
    return {"role": message["role"], "content": _encodable(message["content"], column)}


def _encodable(text: str, column: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # JSON can spell half a surrogate pair, and every tokenizer fails on it.
        raise _BadRowError(f"column '{column}' is not valid Unicode at character {error.start}") from None
    return text


def _short(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"


def _prompt_completion(cells: _Cells) -> Row:
    return _same_shape(cells.text("prompt"), (cells.text("completion"),))


def _messages(cells: _Cells) -> Row:
    messages = cells.text("messages")
    if isinstance(messages, str):
        raise _WrongTypeError(f"messages must be a list of messages, got {_short(messages)}")
    if messages[-1]["role"] != "assistant":
        raise _BadRowError(f"the last message must be the assistant's, is of role {messages[-1]['role']}")
    return Row(messages[:-1], (messages[-1:],))


def _instruction(cells: _Cells) -> Row:
    prompt, extra = cells.string("instruction"), "" if cells.ignore_input else cells.string("input", optional=True)
    return Row(f"{prompt}\n\n{extra}" if extra.strip() else prompt, (cells.string("output"),))


def _explicit(cells: _Cells) -> Row:
    row = _same_shape(cells.text("prompt"), (cells.text("chosen"), cells.text("rejected")))
    n = len(row.prompt)
    # Some sets (UltraFeedback) have a prompt, and it once more at the beginning of both conversations.
    if isinstance(row.prompt, list) and all(response[:n] == row.prompt for response in row.responses):
        return Row(row.prompt, tuple(response[n:] for response in row.responses))
    return row


def _implicit(cells: _Cells) -> Row:
    """Split off the common beginning as the prompt: as TRL's `extract_prompt`; of strings up to a turn's end."""
    chosen, rejected = cells.text("chosen"), cells.text("rejected")
    if chosen == rejected:
        raise _BadRowError("chosen and rejected are the same")
    if isinstance(chosen, list) and isinstance(rejected, list):
        n = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False)))
    elif isinstance(chosen, str) and isinstance(rejected, str):
        # Characters may agree into the responses; where these begin only the turn's own mark can tell.
        common = os.path.commonprefix([chosen, rejected])  # noqa: RUF071 (by characters is what is wanted)
        mark = common.rfind(ASSISTANT)
        if mark < 0:
            raise _BadRowError(f"chosen and rejected have no common beginning that ends in {ASSISTANT!r}")
        n = mark + len(ASSISTANT)
    else:
        raise _WrongTypeError("chosen and rejected must both be texts or both be lists of messages")
    return Row(chosen[:n], (chosen[n:], rejected[n:]))


def _same_shape(prompt: Text, responses: tuple[Text, ...]) -> Row:
    """Return a row of strings unchanged, and any other row with all texts as conversations."""
    if isinstance(prompt, str) and all(isinstance(response, str) for response in responses):
        return Row(prompt, responses)
    return Row(as_messages(prompt, "user"), tuple(as_messages(response, "assistant") for response in responses))


def as_messages(text: Text, role: str) -> list[Message]:
    """Return a conversation unchanged, and a string as one message of `role`."""
    return [{"role": role, "content": text}] if isinstance(text, str) else text


def _checked(row: Row) -> Row:
    if _empty(row.prompt):
        raise _BadRowError("the prompt is empty")
    if len(row.responses) == 2 and row.responses[0] == row.responses[1]:
        raise _BadRowError("chosen and rejected are the same")
    if isinstance(row.prompt, list) and row.prompt[-1]["role"] == "assistant":
        raise _BadRowError("the prompt ends with an assistant's message, so nothing asks for a response")
    labels = ("chosen", "rejected") if len(row.responses) == 2 else ("the response",)
    for name, response in zip(labels, row.responses, strict=True):
        if _empty(response):
            raise _BadRowError(f"{name} is empty")
        if isinstance(response, list) and {response[0]["role"], response[-1]["role"]} != {"assistant"}:
            roles = ", ".join(message["role"] for message in response)
            raise _BadRowError(f"{name}: must begin and end with an assistant's message, has {roles}")
    return row


def _empty(text: Text) -> bool:
    return not any(message["content"].strip() for message in as_messages(text, ""))


class Format(NamedTuple):
    """Format of a data set.

    columns   names that a table must have
    convert   raw row -> prompt and responses
    optional  names that a table may have
    """

    columns: tuple[str, ...]
    convert: Callable[[_Cells], Row]
    optional: tuple[str, ...] = ()

    def recognises(self, table: Table, names: Mapping[str, str]) -> bool:
        """Return whether a table has all columns, and all of the mapped `names` belong to the format."""
        present = all(names.get(column, column) in table.columns for column in self.columns)
        return present and set(names) <= {*self.columns, *self.optional}


# Kind -> name -> format, in the order in which "auto" tries them.
FORMATS: dict[str, dict[str, Format]] = {
    "sft": {
        "prompt-completion": Format(("prompt", "completion"), _prompt_completion),
        "messages": Format(("messages",), _messages),
        "instruction": Format(("instruction", "output"), _instruction, optional=("input",)),
    },
    "preference": {
        "explicit": Format(("prompt", "chosen", "rejected"), _explicit),
        "implicit": Format(("chosen", "rejected"), _implicit),
    },
}


def _recognise(table: Table, kind: Kind, format: str, names: Mapping[str, str]) -> str:
    """Return the name of `format`, or for "auto" of the first format in `FORMATS` whose columns the table has."""
    formats = FORMATS[kind]
    there = f"its columns are {', '.join(table.columns) or 'none'}"
    if format != "auto" and format not in formats:
        raise ValueError(f"format: must be auto, {' or '.join(formats)} for {kind} sets, got {format!r}")
    known = {column for each in formats.values() for column in (*each.columns, *each.optional)}
    for ours, theirs in names.items():
        if ours not in known:
            raise ValueError(f"columns: {kind} sets have {', '.join(sorted(known))}, got {ours!r}")
        if theirs not in table.columns:
            raise ValueError(f"{table.origin}: column '{theirs}' (given by --columns for {ours}) is missing; {there}")
    if format != "auto":
        for column in formats[format].columns:
            if names.get(column, column) not in table.columns:
                raise ValueError(
                    f"{table.origin}: column '{column}' of format {format} is missing; {there}; "
                    "say by --columns which it is"
                )
        return format
    for name, each in formats.items():
        if each.recognises(table, names):
            return name
    wanted = ", or ".join(f"{' + '.join(each.columns)} ({name})" for name, each in formats.items())
    raise ValueError(
        f"{table.origin}: missing columns: a {kind} set needs {wanted}; {there}; say by --columns which are which"
    )
