"""Tokens that end a response: what training puts at its end is where generation stops."""

from __future__ import annotations

import pytest
from support import tokenizer_families as families
from support.text_data import CHATML, byte_level, says, sft, texts, user

from llm.data.stops import eos_id, stop_ids
from llm.data.tokenization import tokenize


@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("qwen2_5", ["<|im_end|>"]),
        ("llama3", ["<|eot_id|>"]),
        ("gemma", ["<eos>", "<end_of_turn>"]),
        ("phi3", ["<|endoftext|>", "<|end|>"]),
        ("gptoss", ["<|return|>", "<|call|>"]),  # an answer, and a call
        ("glm4moe", ["<|endoftext|>"]),  # the template ends a turn by nothing
        ("smolvlm", ["<|im_end|>", "<end_of_utterance>"]),
    ],
)
def test_stops_of_templates_that_people_use(name: str, stops: list[str]) -> None:
    tokenizer = families.byte_level(**families.ends_of(name))
    tokenizer.chat_template = families.trl_templates()[name]
    assert tokenizer.convert_ids_to_tokens(stop_ids(tokenizer)) == stops


def test_a_template_that_ends_a_turn_otherwise_than_eos() -> None:
    """As a base model whose EOS is <|endoftext|>, with ChatML."""
    tokenizer = byte_level("", CHATML)
    ids = tokenize(sft(([user("q")], [says("a")])), tokenizer).responses[0][0].tolist()
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.convert_ids_to_tokens(stop_ids(tokenizer)) == ["</s>", "<|im_end|>"]
    assert any(i in stop_ids(tokenizer) for i in ids)
    assert stop_ids(tokenizer, "none") == stop_ids(tokenizer, "Q{prompt}A") == [tokenizer.eos_token_id]


def test_eos_can_be_named_and_must_be_a_token() -> None:
    tokenizer = byte_level(eos=None)
    assert stop_ids(tokenizer, eos="<|im_end|>") == [eos_id(tokenizer, "<|im_end|>")]
    with pytest.raises(ValueError, match=r"^eos: the tokenizer has no EOS token"):
        stop_ids(tokenizer)
    assert texts(tokenize(sft(("q", "a")), tokenizer, eos="<|im_end|>"), tokenizer)[0][1] == "a<|im_end|>"
