"""Texts to token ids: chat or plain template, the end of a response, truncation.

Prompt and response are tokenised apart. Tokenised together, the border could vanish in one token, and a model would be
trained on a prompt that generation never gives it; apart, generation and training have the same prompt ids.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llm.data.formats import Dataset, Row, Text, as_messages
from llm.data.templates import Template
from toyopt import _check

Ids = NDArray[np.int32]
Responses = tuple[Ids, ...]
Overflow = Literal["truncate", "drop", "error"]

_BATCH = 4096  # rows a tokenizer call: enough for its threads, and not a second copy of the whole set


@dataclass(frozen=True, eq=False)
class TokenizedDataset:
    """Tokenised rows.

    prompts     int32 ids, one array a row, not empty
    responses   row -> one array (SFT) or two (chosen, rejected), not empty
    keys        16 hex digits for each prompt as it was given, equal for equal prompts whatever set they are in
    cut_prompts, cut_responses, dropped  how many were truncated, and how many rows left out, when the whole set was
                tokenised; a selection keeps these numbers
    """

    kind: str
    prompts: tuple[Ids, ...]
    responses: tuple[Responses, ...]
    keys: tuple[str, ...]
    cut_prompts: int
    cut_responses: int
    dropped: int

    def __len__(self) -> int:
        return len(self.prompts)

    def lengths(self) -> NDArray[np.int64]:
        """Return each row's number of tokens, its prompt and all its responses: shape (len,), int64."""
        rows = zip(self.prompts, self.responses, strict=True)
        return np.array([len(prompt) + sum(map(len, responses)) for prompt, responses in rows], dtype=np.int64)

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
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the kind and all ids, in hex; the same in every process and on every machine."""
        digest = hashlib.sha256(self.kind.encode())
        for i in range(len(self)):
            digest.update(self._bytes(i))
        return digest.hexdigest()

    def row_digest(self, i: int) -> str:
        """Return SHA-256 over the ids of row i, in hex; equal for equal rows of any set."""
        return hashlib.sha256(self._bytes(i)).hexdigest()

    def _bytes(self, i: int) -> bytes:
        """Return the ids of row i with the lengths of its prompt and responses."""
        # Without the lengths, moving an id from a prompt to its response would not be seen.
        prompt, responses = self.prompts[i], self.responses[i]
        sizes = np.array([1 + len(responses), len(prompt), *map(len, responses)])
        return b"".join(part.astype("<i4").tobytes() for part in (sizes, prompt, *responses))


def tokenize(
    rows: Dataset,
    tokenizer: Any,
    *,
    template: str = "auto",
    max_length: int = 2048,
    overflow: Overflow = "truncate",
    eos: str | None = None,
    encoder: bool = False,
) -> TokenizedDataset:
    r"""Return the token ids of every row.

    template    "auto": the tokenizer's chat template, else the paper's "User: {prompt}\nAssistant: "; "none": strings
                exactly as they are; any other text with "{prompt}" in it: that, as a plain template. A conversation is
                one plain template after another, a response and a line's end between them, its system message first
    max_length  the most tokens of a prompt and its longest response
    overflow    for longer rows: "truncate" takes the prompt's beginning away (but a BOS stays, and one token more), and
                only then the response's end; "drop" leaves the row out; "error" raises ValueError
    eos         the token that ends a response, if it is not the tokenizer's own
    encoder     prompts are for an encoder of their own, and keep what the tokenizer puts after a text (T5's: its end)

    A response ends in EOS once, or as the chat template ends a turn. A pair whose two responses have the same ids, as
    they are or once cut, teaches nothing and is dropped. Raises ValueError for everything that cannot be done.
    """
    max_length = _check.whole("max_length", max_length, low=1)
    if overflow not in ("truncate", "drop", "error"):
        raise ValueError(f"overflow: must be truncate, drop or error, got {overflow!r}")
    if not rows.rows:
        raise ValueError(f"{rows.origin}: the set is empty")
    coder = _Encoder.of(tokenizer, template, rows.rows[0].prompt, _where(rows, 0), apart=encoder)
    end = eos_id(tokenizer, eos)
    closers = _closers(tokenizer, eos) if coder.template.kind == "chat" else ()
    tail = len(coder.trailing)
    prompts, responses, keys = [], [], []
    cut_prompts = cut_responses = 0
    for where, row, prompt, texts, bare in _encoded(rows, coder):
        answers = [
            ids if ids[-1] == end or text.rstrip().endswith(closers) else [*ids, end]
            for ids, text in zip(bare, texts, strict=True)
        ]
        lead = coder.lead(prompt)
        if not _keep(prompt, answers, where, max_length=max_length, lead=lead + tail, overflow=overflow):
            continue
        kept, short = truncate(prompt, answers, max_length=max_length, lead=lead, tail=tail)
        if len(short) == 2 and short[0] == short[1]:
            continue
        cut_prompts += len(kept) < len(prompt)
        cut_responses += sum(len(a) < len(b) for a, b in zip(short, answers, strict=True))
        prompts.append(np.array(kept, dtype=np.int32))
        responses.append(tuple(np.array(ids, dtype=np.int32) for ids in short))
        keys.append(prompt_key(row.prompt))
    if not prompts:
        raise ValueError(
            f"{rows.origin}: no row is left of {len(rows.rows)}: all are longer than the limit of {max_length} tokens "
            "(--max-length, --overflow truncate), or have two responses with the same tokens"
        )
    dropped = len(rows.rows) - len(prompts)
    return TokenizedDataset(
        rows.kind, tuple(prompts), tuple(responses), tuple(keys), cut_prompts, cut_responses, dropped
    )


def _keep(
    prompt: list[int], answers: list[list[int]], where: str, *, max_length: int, lead: int, overflow: Overflow
) -> bool:
    """Return whether a row is kept, if need be truncated; ValueError where the options do not allow its length."""
    longest = max(map(len, answers))
    if len(prompt) + longest <= max_length:
        return True
    if overflow == "error":
        raise ValueError(
            f"{where}: {len(prompt) + longest} tokens (prompt {len(prompt)}, longest response {longest}) are more than "
            f"the limit of {max_length}; raise --max-length, or say --overflow truncate or drop"
        )
    if overflow == "truncate" and max_length < lead + 2:
        raise ValueError(f"max_length: prompt and response need {lead + 2} at the least, got {max_length}")
    return overflow == "truncate"


def tokenize_prompts(
    prompts: Sequence[Text], tokenizer: Any, *, template: str = "auto", encoder: bool = False
) -> tuple[Ids, ...]:
    """Return the ids of prompts alone, for generation: equal to those of `tokenize`, but never truncated."""
    if not prompts:
        return ()
    coder = _Encoder.of(tokenizer, template, prompts[0], "prompt 0", apart=encoder)
    texts = [coder.template.render(Row(prompt, ()), f"prompt {i}")[0] for i, prompt in enumerate(prompts)]
    return tuple(np.array(ids, dtype=np.int32) for ids in coder.prompts(texts))


def truncate(
    prompt: list[int], responses: Sequence[list[int]], *, max_length: int, lead: int, tail: int = 0
) -> tuple[list[int], list[list[int]]]:
    """Truncate so that prompt + longest response <= max_length: the prompt's beginning, then the responses' ends.

    Of the prompt the first `lead` ids (BOS), the last `tail` ones and one more always stay, so max_length must be above
    lead + tail + 1.
    """
    least = min(len(prompt), lead + tail + 1)
    room = max(max_length - max(map(len, responses)), least)
    if len(prompt) > room:
        prompt = prompt[:lead] + prompt[len(prompt) - (room - lead) :]
    return prompt, [ids[: max_length - len(prompt)] for ids in responses]


@dataclass(frozen=True)
class _Encoder:
    """A tokenizer and a template. `leading`, `trailing`: what the tokenizer puts around a prompt, such as BOS."""

    tokenizer: Any
    template: Template
    leading: tuple[int, ...]
    trailing: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Any, template: str, prompt: Text, where: str, *, apart: bool) -> _Encoder:
        """Return the encoder of a template, with the ids that the tokenizer puts around a prompt.

        prompt  any prompt, to find these ids; `where` names the prompt in errors
        apart   no response follows a prompt; else ids after a prompt would end the text before the response: left out
        """
        named = Template.named(tokenizer, template)
        if named.kind == "chat":  # it writes its special tokens itself
            return cls(tokenizer, named, (), ())
        text, _ = named.render(Row(prompt, ()), where)
        bare, full = (_ids(tokenizer, [text], special=special)[0] for special in (False, True))
        at = next((n for n in range(len(full)) if full[n : n + len(bare)] == bare), None)
        if at is None:
            return cls(tokenizer, named, (), ())
        return cls(tokenizer, named, tuple(full[:at]), tuple(full[at + len(bare) :]) if apart else ())

    def ids(self, texts: list[str]) -> list[list[int]]:
        return _ids(self.tokenizer, texts, special=False)

    def prompts(self, texts: list[str]) -> list[list[int]]:
        return [[*self.leading, *ids, *self.trailing] for ids in self.ids(texts)]

    def lead(self, prompt: list[int]) -> int:
        """Return the number of a prompt's first ids that truncation keeps."""
        if self.template.kind == "chat":
            return int(prompt[0] == self.tokenizer.bos_token_id)
        return len(self.leading)


def _ids(tokenizer: Any, texts: list[str], *, special: bool) -> list[list[int]]:
    if not texts:
        return []
    only_ids = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
    try:
        encoded = tokenizer(texts, add_special_tokens=special, padding=False, truncation=False, **only_ids)
    except Exception as error:  # the compiled tokenizers raise nothing more special
        raise ValueError(f"the tokenizer cannot encode the texts: {error}") from error
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def _encoded(rows: Dataset, encoder: _Encoder) -> Iterator[tuple[str, Row, list[int], list[str], list[list[int]]]]:
    """Yield for every row its name in messages, the row, its prompt's ids, its responses' texts, and their ids."""
    for start in range(0, len(rows.rows), _BATCH):
        batch = rows.rows[start : start + _BATCH]
        places = [_where(rows, i) for i in range(start, start + len(batch))]
        rendered = [encoder.template.render(row, where) for row, where in zip(batch, places, strict=True)]
        prompts = encoder.prompts([prompt for prompt, _ in rendered])
        flat = iter(encoder.ids([text for _, texts in rendered for text in texts]))
        for where, row, prompt, (_, texts) in zip(places, batch, prompts, rendered, strict=True):
            answers = [next(flat) for _ in texts]
            if len(prompt) == len(encoder.leading) + len(encoder.trailing) or not all(answers):
                raise ValueError(f"{where}: the tokenizer makes no tokens of the prompt or of a response")
            yield where, row, prompt, texts, answers


def _where(rows: Dataset, i: int) -> str:
    # Rows were left out before the counting, so a number alone would send the reader to a wrong row.
    note = f" (not counting the {rows.dropped} bad rows left out)" if rows.dropped else ""
    return f"row {i} of {rows.origin}{note}"


def eos_id(tokenizer: Any, eos: str | None) -> int:
    """Return the id of the token that ends a response: `eos`, or the tokenizer's own if `eos` is None."""
    if eos is None:
        if tokenizer.eos_token_id is None:
            raise ValueError("eos: the tokenizer has no EOS token to end a response with; name one by --eos TOKEN")
        return int(tokenizer.eos_token_id)
    if eos not in tokenizer.get_vocab():
        raise ValueError(f"eos: must be one token of the tokenizer, got {eos!r}")
    return int(tokenizer.convert_tokens_to_ids(eos))


def _closers(tokenizer: Any, eos: str | None) -> tuple[str, ...]:
    """Return the texts of all special tokens: a chat template may end a turn in a token that is not EOS."""
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return tuple({*tokenizer.all_special_tokens, *added, *([eos] if eos else [])} - {""})


def prompt_key(prompt: Text) -> str:
    """Return 16 hex digits of a prompt as given, not as rendered: some chat templates write today's date."""
    return hashlib.sha256(json.dumps(as_messages(prompt, "user"), sort_keys=True).encode()).hexdigest()[:16]
