"""Formats of data sets (TRL's, ShareGPT's, alpaca's, hh-rlhf's): columns of raw rows to a prompt and its responses.

`load` recognises the format by the columns and gives every row the same shape. `FORMATS` has one entry for each format,
with its columns and its converter; options and error messages derive from the entries, so that a new format is a new
entry and its converter, in this file alone. Templates and token ids are made in `llm.data.templates` and
`llm.data.tokenization`. No code that comes with a data set is ever run.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from llm.data.cells import Cells
from llm.data.messages import ASSISTANT, BadRowError, Message, Text, WrongTypeError, as_messages, text_of
from llm.data.readers import Table, read
from llm.data.rows import Dataset, Kind, Row, check_row, make_row, without_repeated_prompts
from llm.data.unpaired import unpair
from toyopt import _check


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
    naming: str = "--columns {} {}",
) -> Dataset:
    """Return the rows of a data set.

    source        a .jsonl, .json (each also .gz) or .parquet file; a folder of such files, or one that
                  `datasets.save_to_disk` wrote; "folder:config" of a folder whose README.md lists configurations; a hub
                  name "org/name" or "org/name:config"; a `datasets.Dataset` or `DatasetDict`; a list of dicts. What
                  exists locally goes before the hub
    split         "train" if not given; what has no splits (a file, a list) is all "train"
    columns       our column name -> theirs, e.g. {"prompt": "question", "completion": "answer"}
    format        a name in FORMATS[kind], or "auto"
    limit         read the first `limit` rows only (bad ones count)
    ignore_input  leave the column `input` of "instruction" out, as the paper's authors do
    bad_rows      "drop" leaves rows with a problem out and counts them in `Dataset.dropped`
    naming        the user's way to name a column, in messages: our name and theirs take the place of the two {}

    Of "messages" and "sharegpt" the last assistant's turn is the response. As "unpaired", a pair makes two rows.
    Raises, in one line, FileNotFoundError for a source that is absent or not reachable, and ValueError or TypeError for
    all other problems. Rows are counted from 0, lines from 1.
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
    name = _recognise(table, kind, format, names, naming)
    convert = FORMATS[kind][name].convert
    rows: list[Row] = []
    problems: list[tuple[int, BadRowError]] = []
    for i, cells in enumerate(table.rows):
        try:
            rows.append(check_row(convert(Cells(cells, names, ignore_input))))
        except BadRowError as error:
            problems.append((i, error))
    if problems and (bad_rows == "error" or not rows):
        i, problem = problems[0]
        remedy = "" if bad_rows == "drop" else ", to leave such rows out use --bad-rows drop"
        message = f"row {i} of {table.origin}: {problem} ({len(problems)} of {len(table.rows)} rows are bad{remedy})"
        raise (TypeError if isinstance(problem, WrongTypeError) else ValueError)(message)
    rows, notes = without_repeated_prompts(rows)
    rows = unpair(rows) if kind == "unpaired" else rows
    used = {names.get(column, column) for column in (*FORMATS[kind][name].columns, *FORMATS[kind][name].optional)}
    if unused := [column for column in table.columns if column not in used]:
        notes.append(f"columns that are not used: {', '.join(unused)}")
    return Dataset(kind, tuple(rows), name, table.origin, len(problems), tuple(notes))


# From a row's cells to a prompt and responses.


def _desirable(cells: Cells) -> Row:
    cells.refuse_undesirable()
    return _prompt_completion(cells)


def _prompt_completion(cells: Cells) -> Row:
    return _row(cells, cells.text("prompt"), (cells.text("completion"),))


def _messages(cells: Cells) -> Row:
    return _last_of(cells, cells.conversation("messages"))


def _labelled(convert: Callable[[Cells], Row]) -> Callable[[Cells], Row]:
    """Return the converter of a format with single responses that also reads the column `label`."""
    return lambda cells: dataclasses.replace(convert(cells), label=cells.label())


def _sharegpt(cells: Cells) -> Row:
    return _last_of(cells, cells.conversation("conversations"), wrap=True)


def _last_of(cells: Cells, messages: list[Message], *, wrap: bool = False) -> Row:
    if messages[-1]["role"] != "assistant":
        raise BadRowError(f"the last message must be the assistant's, is of role {messages[-1]['role']}")
    n = len(messages) - sum(1 for _ in itertools.takewhile(lambda m: m["role"] == "assistant", reversed(messages)))
    return _row(cells, messages[:n], (messages[n:],), wrap=wrap)


def _instruction(cells: Cells) -> Row:
    return _row(cells, _instruction_prompt(cells), (cells.string("output"),), history=cells.history())


def _instruction_prompt(cells: Cells) -> str:
    prompt, extra = cells.string("instruction"), "" if cells.ignore_input else cells.string("input", optional=True)
    return f"{prompt}\n\n{extra}" if extra.strip() else prompt


def _ranked_instruction(cells: Cells) -> Row:
    responses = (cells.text("chosen"), cells.text("rejected"))
    return _row(cells, _instruction_prompt(cells), responses, history=cells.history())


def _ranked_sharegpt(cells: Cells) -> Row:
    responses = (cells.text("chosen"), cells.text("rejected"))
    return _row(cells, cells.conversation("conversations"), responses, wrap=True)


def _explicit(cells: Cells) -> Row:
    prompt, chosen, rejected = cells.text("prompt"), cells.text("chosen"), cells.text("rejected")
    if isinstance(chosen, list) and isinstance(rejected, list):
        starts = [response[0]["role"] for response in (chosen, rejected)]
        if "assistant" not in starts:
            # Some sets (UltraFeedback) have a prompt, and it once more at the beginning of both conversations.
            n = _common(chosen, rejected)
            if n and _same_question(prompt, chosen[:n]):
                return _row(cells, chosen[:n], (chosen[n:], rejected[n:]))
            if n:
                raise BadRowError("chosen and rejected begin with another prompt than column 'prompt' has")
    return _row(cells, prompt, (chosen, rejected))


def _common(chosen: list[Message], rejected: list[Message]) -> int:
    """Return the number of messages at the beginning of both conversations."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False)))


def _same_question(prompt: Text, messages: list[Message]) -> bool:
    """Return whether a prompt and messages ask the same, white space and system message aside."""
    asked = [text_of(message).split() for message in as_messages(prompt, "user") if message["role"] != "system"]
    said = [text_of(message).split() for message in messages if message["role"] != "system"]
    return asked == said or (isinstance(prompt, str) and asked[-1:] == said[-1:])


def _implicit(cells: Cells) -> Row:
    """Split off the common beginning as the prompt: as TRL's `extract_prompt`; of strings up to a turn's end."""
    chosen, rejected = cells.text("chosen"), cells.text("rejected")
    if chosen == rejected:
        raise BadRowError("chosen and rejected are the same")
    if isinstance(chosen, list) and isinstance(rejected, list):
        n = _common(chosen, rejected)
        if not n:
            roles = {message["role"] for message in (chosen[0], rejected[0])}
            raise BadRowError(
                f"chosen and rejected differ from their first message on (of role {' and '.join(sorted(roles))}), so "
                "that they have no prompt in common"
            )
        return _row(cells, chosen[:n], (chosen[n:], rejected[n:]))
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        raise WrongTypeError("chosen and rejected must both be texts or both be lists of messages")
    # Characters may agree into the responses; where these begin only the turn's own mark can tell.
    common = os.path.commonprefix([chosen, rejected])  # noqa: RUF071 (by characters is what is wanted)
    mark = common.rfind(ASSISTANT)
    if mark < 0:
        raise BadRowError(f"chosen and rejected have no common beginning that ends in {ASSISTANT!r}")
    n = mark + len(ASSISTANT)
    return _row(cells, chosen[:n], (chosen[n:], rejected[n:]))


def _row(
    cells: Cells, prompt: Text, responses: tuple[Text, ...], *, wrap: bool = False, history: Sequence[Message] = ()
) -> Row:
    """Return a row with the columns that all formats may have: system, tools, chat_template_kwargs."""
    before = [*cells.system(), *history]
    return make_row(before, prompt, responses, cells.tools(wrap=wrap), cells.template_kwargs())


class Format(NamedTuple):
    """Format of a data set.

    columns   names that a table must have
    convert   raw row -> prompt and responses
    optional  names that a table may have
    """

    columns: tuple[str, ...]
    convert: Callable[[Cells], Row]
    optional: tuple[str, ...] = ()

    def recognises(self, table: Table, names: Mapping[str, str]) -> bool:
        """Return whether a table has all columns, and all of the mapped `names` belong to the format."""
        present = all(names.get(column, column) in table.columns for column in self.columns)
        return present and set(names) <= {*self.columns, *self.optional}


_CHAT = ("system", "tools", "chat_template_kwargs")
_ALPACA = ("input", "history", *_CHAT)
_PAIRED: dict[str, Format] = {
    "explicit": Format(("prompt", "chosen", "rejected"), _explicit, _CHAT),
    "sharegpt": Format(("conversations", "chosen", "rejected"), _ranked_sharegpt, _CHAT),
    "instruction": Format(("instruction", "chosen", "rejected"), _ranked_instruction, _ALPACA),
    "implicit": Format(("chosen", "rejected"), _implicit, _CHAT),
}
# Kind -> name -> format, in the order in which "auto" tries them.
FORMATS: dict[str, dict[str, Format]] = {
    "sft": {
        "prompt-completion": Format(("prompt", "completion"), _desirable, (*_CHAT, "label")),
        "messages": Format(("messages",), _messages, _CHAT),
        "sharegpt": Format(("conversations",), _sharegpt, _CHAT),
        "instruction": Format(("instruction", "output"), _instruction, _ALPACA),
    },
    "preference": _PAIRED,
    "unpaired": {
        "labelled": Format(("prompt", "completion", "label"), _labelled(_prompt_completion), _CHAT),
        "labelled-messages": Format(("messages", "label"), _labelled(_messages), _CHAT),
        "labelled-sharegpt": Format(("conversations", "label"), _labelled(_sharegpt), _CHAT),
        "labelled-instruction": Format(("instruction", "output", "label"), _labelled(_instruction), _ALPACA),
        **_PAIRED,
    },
}


def _recognise(table: Table, kind: Kind, format: str, names: Mapping[str, str], naming: str) -> str:
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
            raise ValueError(
                f"{table.origin}: column '{theirs}' (given by {naming.format(ours, theirs)}) is missing; {there}"
            )
    if format != "auto":
        for column in formats[format].columns:
            if names.get(column, column) not in table.columns:
                raise ValueError(
                    f"{table.origin}: column '{column}' of format {format} is missing; {there}; "
                    f"name it by {naming.format(column, 'THEIRS')}"
                )
        return format
    for name, each in formats.items():
        if each.recognises(table, names):
            return name
    wanted = ", or ".join(f"{' + '.join(each.columns)} ({name})" for name, each in formats.items())
    article = "a" if kind == "preference" else "an"
    remedy = f"name them by {naming.format('OURS', 'THEIRS')}"
    if kind == "preference" and any(each.recognises(table, names) for each in FORMATS["unpaired"].values()):
        remedy = "single responses with a label are for --preference-loss kto (loss=kto)"
    raise ValueError(f"{table.origin}: missing columns: {article} {kind} set needs {wanted}; {there}; {remedy}")
