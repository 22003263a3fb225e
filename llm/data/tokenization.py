"""Data sets to token ids: chat or plain template, the end of a response, truncation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llm.data.encoding import Encoder, as_row
from llm.data.messages import Text
from llm.data.rows import Dataset, Row
from llm.data.stops import closing_texts, eos_id
from llm.data.templates import TemplateOptions
from llm.data.token_rows import Ids, ResponseEnd, Responses, TokenRow, TokenRows, Trained, row_name
from llm.data.truncation import KEEP_PROMPT, truncate
from toyopt import _check

Overflow = Literal["truncate", "drop", "error"]
Turns = Literal["last", "all"]


@dataclass(frozen=True, eq=False)
class TokenizedDataset:
    """Tokenised rows.

    prompts     int32 ids, one array a row, not empty
    responses   row -> one array (SFT) or two (chosen, rejected), not empty; of unpaired rows one, and from
                `llm.data.unpaired.with_mismatches` on a mismatched one
    keys        16 hex digits for each prompt as it was given, equal for equal prompts whatever set they are in
    cut_prompts, cut_responses, dropped, equal_pairs  how many were truncated, how many rows left out, and how many of
                these as pairs of equal responses, when the whole set was tokenised; a selection keeps these numbers
    trained     for each row, whether the tokens of its response are trained, bool; None: all are
    notes       one line for each property of the token ids that a user should know
    labels      unpaired rows: whether each response is desirable; else None
    """

    kind: str
    prompts: tuple[Ids, ...]
    responses: tuple[Responses, ...]
    keys: tuple[str, ...]
    cut_prompts: int
    cut_responses: int
    dropped: int
    equal_pairs: int = 0
    trained: tuple[Trained, ...] | None = None
    notes: tuple[str, ...] = ()
    labels: tuple[bool, ...] | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def lengths(self) -> NDArray[np.int64]:
        """Return each row's number of tokens, its prompt and all its responses: shape (len,), int64."""
        rows = zip(self.prompts, self.responses, strict=True)
        return np.array([len(prompt) + sum(map(len, responses)) for prompt, responses in rows], dtype=np.int64)

    def trained_tokens(self, i: int) -> int:
        """Return the number of trained tokens of row i's first response."""
        return len(self.responses[i][0]) if self.trained is None else int(self.trained[i].sum())

    def select(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> TokenizedDataset:
        """Return the rows with these indices, in this order; TypeError for a mask, IndexError for an absent row."""
        chosen = [_check.whole("indices", i, low=0) for i in indices]
        if chosen and max(chosen) >= len(self):
            raise IndexError(f"indices: must be less than {len(self)}, the number of rows, got {max(chosen)}")
        return replace(
            self,
            prompts=tuple(self.prompts[i] for i in chosen),
            responses=tuple(self.responses[i] for i in chosen),
            keys=tuple(self.keys[i] for i in chosen),
            trained=None if self.trained is None else tuple(self.trained[i] for i in chosen),
            labels=None if self.labels is None else tuple(self.labels[i] for i in chosen),
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the kind, all ids and labels, in hex; the same in every process and on every machine."""
        digest = hashlib.sha256(self.kind.encode())
        for i in range(len(self)):
            digest.update(self._bytes(i))
        if self.labels is not None:
            digest.update(bytes(self.labels))
        return digest.hexdigest()

    def row_digest(self, i: int) -> str:
        """Return SHA-256 over the ids of row i, in hex; equal for equal rows of any set."""
        return hashlib.sha256(self._bytes(i)).hexdigest()

    def _bytes(self, i: int) -> bytes:
        """Return the ids of row i with the lengths of its prompt and responses."""
        # Without the lengths, moving an id from a prompt to its response would not be seen.
        prompt, responses = self.prompts[i], self.responses[i]
        sizes = np.array([1 + len(responses), len(prompt), *map(len, responses)])
        mask = [] if self.trained is None or self.trained[i].all() else [self.trained[i]]
        return b"".join(part.astype("<i4").tobytes() for part in (sizes, prompt, *responses, *mask))


def tokenize(
    rows: Dataset,
    tokenizer: Any,
    *,
    template: str | TemplateOptions = "auto",
    max_length: int = 2048,
    overflow: Overflow = "truncate",
    eos: str | None = None,
    encoder: bool = False,
    keep_prompt: float = KEEP_PROMPT,
    turns: Turns = "last",
) -> TokenizedDataset:
    r"""Return the token ids of every row.

    template     "auto": the tokenizer's chat template, else the paper's "User: {prompt}\nAssistant: "; "none": strings
                 exactly as they are; any other text with "{prompt}" in it: that, as a plain template; or all options. A
                 conversation is one plain template after another, a response and a line's end between them, its system
                 message first
    max_length   the most tokens of a prompt and its longest response
    overflow     for longer rows: "truncate" takes the prompt's beginning away (but a BOS stays, and `keep_prompt`), and
                 only then the response's end; "drop" leaves the row out; "error" raises ValueError
    eos          the token that ends a response, if it is not the tokenizer's own
    encoder      prompts are for an encoder of their own, and keep what the tokenizer puts after a text (T5's: its end)
    keep_prompt  least share of max_length that a long prompt keeps
    turns        SFT: "last" trains the response; "all" every assistant's message of the conversation, in one sequence

    Prompt and response have the ids of the text that they make together, see `llm.data.encoding`. A response ends in
    EOS once, or as the chat template ends a turn. A pair whose two responses have the same ids, as they are or once
    cut, teaches nothing and is dropped. Raises ValueError for everything that cannot be done.
    """
    max_length = _check.whole("max_length", max_length, low=1)
    if overflow not in ("truncate", "drop", "error"):
        raise ValueError(f"overflow: must be truncate, drop or error, got {overflow!r}")
    if not rows.rows:
        raise ValueError(f"{rows.origin}: the set is empty")
    if turns == "all" and encoder:
        raise ValueError("sft_turns: all needs a causal model, an encoder-decoder model reads prompts apart; use last")
    coder = Encoder.of(tokenizer, template, rows.rows[0], row_name(rows, 0), separate=encoder)
    kept_rows = TokenRows(
        rows, ResponseEnd(eos_id(tokenizer, eos), closing_texts(tokenizer, eos), coder.template.kind == "chat")
    )
    every = turns == "all" and rows.kind == "sft"
    tail = len(coder.trailing)
    for row in (kept_rows.all_turns if every else kept_rows.last_turns)(coder):
        lead = coder.kept_first(row.prompt)
        if not _keep(row, max_length=max_length, lead=lead + tail, overflow=overflow):
            continue
        kept, short = truncate(
            row.prompt, row.responses, max_length=max_length, lead=lead, tail=tail, keep_prompt=keep_prompt
        )
        kept_rows.add(row, kept, short)
    if not kept_rows.prompts:
        equal = kept_rows.counts["equal"]
        raise ValueError(
            f"{rows.origin}: no row is left of {len(rows.rows)}: {len(rows.rows) - equal} are longer than the limit of "
            f"{max_length} tokens (--max-length, --overflow truncate), {equal} have two responses with the same tokens"
        )
    return TokenizedDataset(
        rows.kind,
        tuple(kept_rows.prompts),
        tuple(kept_rows.responses),
        tuple(kept_rows.keys),
        kept_rows.counts["cut prompts"],
        kept_rows.counts["cut responses"],
        len(rows.rows) - len(kept_rows.prompts),
        kept_rows.counts["equal"],
        tuple(kept_rows.trained) if every else None,
        tuple(kept_rows.notes()),
        tuple(kept_rows.labels) if rows.kind == "unpaired" else None,
    )


def _keep(row: TokenRow, *, max_length: int, lead: int, overflow: Overflow) -> bool:
    """Return whether a row is kept, if need be truncated; ValueError where the options do not allow its length."""
    prompt, longest = len(row.prompt), max(map(len, row.responses))
    if prompt + longest <= max_length:
        return True
    if overflow == "error":
        raise ValueError(
            f"{row.where}: {prompt + longest} tokens (prompt {prompt}, longest response {longest}) are more than "
            f"the limit of {max_length}; raise --max-length, or use --overflow truncate or drop"
        )
    if overflow == "truncate" and max_length < lead + 2:
        raise ValueError(f"max_length: prompt and response need {lead + 2} at the least, got {max_length}")
    return overflow == "truncate"


def tokenize_prompts(
    prompts: Sequence[Text | Row],
    tokenizer: Any,
    *,
    template: str | TemplateOptions = "auto",
    encoder: bool = False,
) -> tuple[Ids, ...]:
    """Return the ids of prompts alone, for generation: equal to those of `tokenize`, but never truncated.

    prompts  texts, conversations, or rows, whose tools and template arguments then count as well
    """
    if not prompts:
        return ()
    coder = Encoder.of(tokenizer, template, prompts[0], "prompt 0", separate=encoder)
    texts = [coder.template.render(as_row(prompt), f"prompt {i}").prompt for i, prompt in enumerate(prompts)]
    return tuple(np.array(ids, dtype=np.int32) for ids in coder.prompts(texts))
