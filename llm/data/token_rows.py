"""Token ids of rows before and after truncation, and counts of the rows that are cut, dropped or kept."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm.data.encoding import Encoder
from llm.data.messages import REASONING, Message, Text, as_messages, is_dialogue, parse_prompt, text_of
from llm.data.rows import Dataset, Row
from llm.data.templates import TEMPLATED
from llm.data.turns import encode_turns

Ids = NDArray[np.int32]
Responses = tuple[Ids, ...]
Trained = NDArray[np.bool_]

# Keys of a message that are a part of what is asked.
_ASKED = ("role", "content", "name", "tool_calls", "tool_call_id", *REASONING)
_TAIL = 3  # trained ids among which the end of a turn is: white space may follow it
_BATCH = 4096  # rows a tokenizer call: enough for its threads, and not a second copy of the whole set


@dataclass(frozen=True)
class TokenRow:
    """Token ids of a row before truncation; `trained` is None where the whole response is trained."""

    where: str
    row: Row
    prompt: list[int]
    responses: list[list[int]]
    trained: list[bool] | None = None


@dataclass(frozen=True)
class ResponseEnd:
    """The end of responses: the id of EOS, and the texts that end a turn where a chat template writes them."""

    eos: int
    closing: tuple[str, ...]
    chat: bool

    def is_there(self, ids: list[int], text: str) -> bool:
        """Return whether a response has its end already."""
        return ids[-1] == self.eos or (self.chat and text.rstrip().endswith(self.closing))

    def is_trained(self, ids: list[int], trained: list[bool], tokenizer: Any) -> bool:
        """Return whether the last trained ids of a conversation have an end among them."""
        last = [token for token, mark in zip(ids, trained, strict=True) if mark][-_TAIL:]
        return self.eos in last or not set(self.closing).isdisjoint(tokenizer.convert_ids_to_tokens(last))


@dataclass
class TokenRows:
    """The rows of a set during tokenisation, with the numbers of rows that were cut or left out."""

    rows: Dataset
    end: ResponseEnd
    prompts: list[Ids] = field(default_factory=list)
    responses: list[Responses] = field(default_factory=list)
    trained: list[Trained] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    first_lost: dict[str, str] = field(default_factory=dict)

    def last_turns(self, coder: Encoder) -> Iterator[TokenRow]:
        """Yield rows whose responses are trained."""
        for start in range(0, len(self.rows.rows), _BATCH):
            batch = self.rows.rows[start : start + _BATCH]
            places = [row_name(self.rows, i) for i in range(start, start + len(batch))]
            rendered = [coder.template.render(row, where) for row, where in zip(batch, places, strict=True)]
            encoded = coder.rows(rendered, places)
            for where, row, texts, ids in zip(places, batch, rendered, encoded, strict=True):
                self.counts["apart"] += ids.apart
                self._count_lost(texts.lost, where)
                ended = [
                    answer if self.end.is_there(answer, text) else [*answer, self.end.eos]
                    for answer, text in zip(ids.responses, texts.responses, strict=True)
                ]
                yield TokenRow(where, row, ids.prompt, ended)

    def all_turns(self, coder: Encoder) -> Iterator[TokenRow]:
        """Yield rows in which all of the assistant's messages are trained; a response begins with the first of them."""
        for i, row in enumerate(self.rows.rows):
            where = row_name(self.rows, i)
            encoded = encode_turns(row, coder, where)
            self._count_lost(encoded.lost, where)
            ids, trained = encoded.ids, encoded.trained
            if not self.end.is_there(ids, encoded.text):
                ids, trained = [*ids, self.end.eos], [*trained, True]
            elif not self.end.is_trained(ids, trained, coder.tokenizer):
                self.counts["unended"] += 1
                self.first_lost.setdefault("unended", where)
            first = trained.index(True)
            if first == 0:
                raise ValueError(f"{where}: the tokenizer makes no tokens of the prompt or of a response")
            yield TokenRow(where, row, ids[:first], [ids[first:]], trained[first:])

    def _count_lost(self, parts: frozenset[str], where: str) -> None:
        for part in sorted(parts):
            self.counts[part] += 1
            self.first_lost.setdefault(part, where)

    def add(self, row: TokenRow, prompt: list[int], responses: list[list[int]]) -> None:
        """Append a row, truncated, unless its two responses are the same."""
        if len(responses) == 2 and responses[0] == responses[1]:
            self.counts["equal"] += 1
            return
        self.counts["cut prompts"] += len(prompt) < len(row.prompt)
        self.counts["cut responses"] += sum(len(a) < len(b) for a, b in zip(responses, row.responses, strict=True))
        self.prompts.append(np.array(prompt, dtype=np.int32))
        self.responses.append(tuple(np.array(ids, dtype=np.int32) for ids in responses))
        self.keys.append(prompt_key(row.row.prompt))
        if row.row.label is not None:
            self.labels.append(row.row.label)
        if row.trained is not None:
            self.trained.append(np.array(row.trained[: len(responses[0])], dtype=np.bool_))

    def notes(self) -> Iterator[str]:
        """Yield one line for each property of the token ids that a user should know."""
        of = f"of {len(self.rows.rows)} rows"
        for part, where in self.first_lost.items():
            if part == "unended":
                yield (
                    f"{self.counts[part]} {of}: the template's {{% generation %}} marks leave out the end of the last "
                    f"turn, so that the model does not learn to end an answer; use --sft-turns last (first: {where})"
                )
                continue
            if part == TEMPLATED:
                yield (
                    f"{self.counts[part]} {of}: the prompt is a text that the chat template has written already, and "
                    f"is written once more; use --template none for such a set (first: {where})"
                )
                continue
            of_prompt = part in ("tools", "earlier calls") or part.startswith("messages")
            whose = "the prompt's" if of_prompt else "the response's"
            yield f"{self.counts[part]} {of}: the template leaves out or changes {whose} {part} (first: {where})"
        if self.counts["apart"]:
            yield (
                f"{self.counts['apart']} {of}: a token would reach from the prompt into the response; the two are "
                "encoded apart, as in generation"
            )


def row_name(rows: Dataset, i: int) -> str:
    """Return the name of row i in messages; both rows of a pair that was unpaired have the pair's name."""
    if rows.kind == "unpaired" and not rows.format.startswith("labelled"):
        i //= 2
    # Rows were left out before the counting, so a number alone would send the reader to a wrong row.
    note = f" (not counting the {rows.dropped} bad rows left out)" if rows.dropped else ""
    return f"row {i} of {rows.origin}{note}"


def prompt_key(prompt: Text) -> str:
    """Return 16 hex digits of a prompt's messages, the same however the prompt is written or rendered.

    Contents count as texts, also if they are in parts; keys that say nothing of what is asked (an id, a weight) do not.
    """
    messages = parse_prompt(prompt) if is_dialogue(prompt) else as_messages(prompt, "user")
    text = json.dumps([_asked(message) for message in messages], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _asked(message: Message) -> Message:
    """Return the keys of a message that are a part of what is asked, its content as a text."""
    asked = {key: value for key, value in message.items() if key in _ASKED}
    return {**asked, "content": text_of(message)} if isinstance(message.get("content"), list) else asked
