"""The end of a response: the token that training puts there, and the tokens at which generation stops."""

from __future__ import annotations

from typing import Any

from llm.data.chat import MARK, called
from llm.data.encoding import encode
from llm.data.messages import Message
from llm.data.rows import Row
from llm.data.templates import Template, TemplateOptions, special_texts

_ASKED, _CALL = called({"x": MARK})


def eos_id(tokenizer: Any, eos: str | None) -> int:
    """Return the id of the token that ends a response: `eos`, or the tokenizer's own if `eos` is None."""
    if eos is None:
        if tokenizer.eos_token_id is None:
            raise ValueError("eos: the tokenizer has no EOS token to end a response with; name one by --eos TOKEN")
        return int(tokenizer.eos_token_id)
    if eos not in tokenizer.get_vocab():
        raise ValueError(f"eos: must be one token of the tokenizer, got {eos!r}")
    return int(tokenizer.convert_tokens_to_ids(eos))


def closing_texts(tokenizer: Any, eos: str | None) -> tuple[str, ...]:
    """Return the texts of all special tokens: a chat template may end a turn in a token that is not EOS."""
    return tuple({*special_texts(tokenizer), *([eos] if eos else [])})


def stop_ids(tokenizer: Any, template: str | TemplateOptions = "auto", eos: str | None = None) -> list[int]:
    """Return the ids that end a response as training on a template taught it, EOS first.

    These are EOS (`eos`, or the tokenizer's own), the first special token that the chat template writes after an
    answer, and the last one that it writes after a tool call. Raises ValueError for a tokenizer without EOS.
    """
    ids = [eos_id(tokenizer, eos)]
    named = Template.named(tokenizer, template)
    if named.kind == "chat":
        closing = closing_texts(tokenizer, eos)
        ids += _special_after(named, named.chat.answer(MARK), closing)[:1]
        ids += _special_after(named, _CALL, closing)[-1:]
    return list(dict.fromkeys(ids))


def _special_after(template: Template, answer: Message, closing: tuple[str, ...]) -> list[int]:
    """Return the ids of the special tokens that a template writes after an answer; none if it cannot write it."""
    try:
        text = template.render(Row([_ASKED], ([answer],)), "an answer").wholes[0]
    except ValueError:
        return []
    _, answered, rest = text.rpartition(MARK)
    if not answered:
        return []
    tokenizer = template.tokenizer
    special = {int(tokenizer.convert_tokens_to_ids(token)) for token in closing}
    special -= {tokenizer.unk_token_id, tokenizer.bos_token_id}  # these end nothing, unless BOS is EOS as well
    return [i for i in encode(template.tokenizer, [rest])[0] if i in special]
