"""Texts to token ids: prompts as generation gets them, responses as they follow a prompt.

A prompt and its response are one text, and have the ids of this text, split where the response begins. Where a token
would reach over the border, the prompt keeps the ids that it has alone, so that training and generation have the same
prompt ids, and the response has the ids that its text has after another text: without the space that SentencePiece puts
before the beginning of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llm.data.messages import Text
from llm.data.rows import Row
from llm.data.templates import Rendered, Template, TemplateOptions

# Texts after which a response is encoded to find its ids in the middle of a text: the first after which it begins with
# a new token is taken. A line's end alone would be joined with those at the beginning of a response.
_BEFORE = ("\n", "a\n", "a", ".", ":")
_FEW = 8  # texts on which a tokenizer is tried


@dataclass(frozen=True)
class Encoded:
    """Token ids of a row.

    prompt     ids of the prompt
    responses  ids of each response
    apart      whether a token would reach over the border, so that the response is encoded apart
    """

    prompt: list[int]
    responses: list[list[int]]
    apart: bool = False


@dataclass(frozen=True)
class Encoder:
    """A tokenizer with a template.

    leading, trailing  ids that the tokenizer puts around a prompt, such as BOS
    separate           prompts are for an encoder of their own: no text follows them
    """

    tokenizer: Any
    template: Template
    leading: tuple[int, ...] = ()
    trailing: tuple[int, ...] = ()
    separate: bool = False

    @classmethod
    def of(
        cls, tokenizer: Any, template: str | TemplateOptions, prompt: Text | Row, where: str, *, separate: bool
    ) -> Encoder:
        """Return the encoder of a template, with the ids that the tokenizer puts around a prompt.

        prompt    any prompt, to find these ids; `where` names the prompt in errors
        separate  no response follows a prompt; else ids after a prompt would end the text before the response: left out
        """
        named = Template.named(tokenizer, template)
        if named.kind == "chat":  # it writes its special tokens itself
            return cls(tokenizer, named, separate=separate)
        text = named.render(as_row(prompt), where).prompt
        bare, full = (encode(tokenizer, [text], special=special)[0] for special in (False, True))
        at = next((n for n in range(len(full)) if full[n : n + len(bare)] == bare), None)
        if at is None:
            return cls(tokenizer, named, separate=separate)
        after = tuple(full[at + len(bare) :]) if separate else ()
        return cls(tokenizer, named, tuple(full[:at]), after, separate)

    def prompts(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of prompts alone, as generation gets them."""
        return [[*self.leading, *ids, *self.trailing] for ids in encode(self.tokenizer, texts)]

    def rows(self, rendered: Sequence[Rendered], places: Sequence[str]) -> list[Encoded]:
        """Return the ids of rows; ValueError, naming a row by `places`, for a text without tokens."""
        prompts = self.prompts([row.prompt for row in rendered])
        if self.separate:
            flat = iter(encode(self.tokenizer, [text for row in rendered for text in row.responses]))
            encoded = [Encoded(p, [next(flat) for _ in r.wholes]) for p, r in zip(prompts, rendered, strict=True)]
        else:
            encoded = self._continued(rendered, prompts)
        around = len(self.leading) + len(self.trailing)
        for where, row in zip(places, encoded, strict=True):
            if len(row.prompt) == around or not all(row.responses):
                raise ValueError(f"{where}: the tokenizer makes no tokens of the prompt or of a response")
        return encoded

    def _continued(self, rendered: Sequence[Rendered], prompts: list[list[int]]) -> list[Encoded]:
        """Return the ids of rows whose responses follow their prompts."""
        flat = iter(encode(self.tokenizer, [whole for row in rendered for whole in row.wholes]))
        whole_ids = [[[*self.leading, *next(flat)] for _ in row.wholes] for row in rendered]
        cut = [
            all(ids[: len(prompt)] == prompt for ids in wholes)
            for prompt, wholes in zip(prompts, whole_ids, strict=True)
        ]
        texts = [text for row, clean in zip(rendered, cut, strict=True) if not clean for text in row.responses]
        rest = iter(encode_within(self.tokenizer, texts))
        return [
            Encoded(prompt, [ids[len(prompt) :] for ids in wholes])
            if clean
            else Encoded(prompt, [next(rest) for _ in wholes], apart=True)
            for prompt, wholes, clean in zip(prompts, whole_ids, cut, strict=True)
        ]

    def kept_first(self, prompt: list[int]) -> int:
        """Return the number of a prompt's first ids that truncation keeps."""
        if self.template.kind == "chat":
            return int(prompt[0] == self.tokenizer.bos_token_id)
        return len(self.leading)


def as_row(prompt: Text | Row) -> Row:
    """Return a prompt as a row without responses."""
    return prompt if isinstance(prompt, Row) else Row(prompt, ())


def encode(tokenizer: Any, texts: list[str], *, special: bool = False) -> list[list[int]]:
    """Return the ids of texts; `special`: with what the tokenizer puts around a text."""
    if not texts:
        return []
    only_ids = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
    try:
        encoded = tokenizer(texts, add_special_tokens=special, padding=False, truncation=False, **only_ids)
    except Exception as error:  # the compiled tokenizers raise nothing more special
        raise ValueError(f"the tokenizer cannot encode the texts: {error}") from error
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def encode_within(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the ids that texts have in the middle of a longer text: without a space before their beginning."""
    alone = encode(tokenizer, texts)
    few = _encode_after(tokenizer, texts[:_FEW])
    if all(few.get(i, ids) == ids for i, ids in enumerate(alone[:_FEW])):
        return alone  # the tokenizer puts nothing before the beginning of a text
    within = _encode_after(tokenizer, texts)
    return [within.get(i, ids) for i, ids in enumerate(alone)]


def _encode_after(tokenizer: Any, texts: list[str]) -> dict[int, list[int]]:
    """Return the ids that texts have after another text, by index; without texts that are joined with all of these."""
    within: dict[int, list[int]] = {}
    for before in _BEFORE:
        left = [i for i in range(len(texts)) if i not in within]
        if not left:
            break
        try:
            own, *after = encode(tokenizer, [before, *(before + texts[i] for i in left)])
        except ValueError:  # a tokenizer of whole words may have no token for it
            continue
        for i, ids in zip(left, after, strict=True):
            if ids[: len(own)] == own and len(ids) > len(own):
                within[i] = ids[len(own) :]
    return within
