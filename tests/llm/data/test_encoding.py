"""Encoding: a response has the ids that it has after its prompt, and a prompt has those that generation gives it."""

from __future__ import annotations

from typing import Any

import pytest
from support import tokenizer_families as families
from support.text_data import byte_level, says, sft, texts, user

from llm.data.encoding import encode, encode_within
from llm.data.tokenization import tokenize, tokenize_prompts

# The templates of Mistral-7B and Zephyr, where a response begins with a space, and with a line.
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
ASKED, ANSWER = [user("What is the capital of France?")], [says("Paris is the capital of France")]
SPACED = ["prepend", "llama legacy", "llama", "unigram always", "unigram first"]


@pytest.mark.oracle
@pytest.mark.parametrize("template", [MISTRAL, ZEPHYR], ids=["mistral", "zephyr"])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_response_has_its_ids_within_the_conversation(family: str, template: str) -> None:
    tokenizer = families.FAMILIES[family](eos="</s>", bos="<s>")
    tokenizer.chat_template = template
    tokens = tokenize(sft((ASKED, ANSWER)), tokenizer)
    whole = tokenizer.apply_chat_template([*ASKED, *ANSWER], tokenize=True, return_dict=False)
    prompt = tokenizer.apply_chat_template(ASKED, tokenize=True, return_dict=False, add_generation_prompt=True)
    assert tokens.prompts[0].tolist() == prompt
    assert tokens.responses[0][0].tolist() == whole[len(prompt) :]
    assert tokens.notes == ()


@pytest.mark.parametrize("family", families.FAMILIES)
def test_where_a_token_reaches_over_the_border_the_prompt_is_generations(family: str) -> None:
    tokenizer = families.FAMILIES[family](eos="</s>", bos="<s>")
    rows = sft(("What is the capital?", "Paris is"))
    tokens = tokenize(rows, tokenizer)  # "User: {prompt}\nAssistant: ", with a space at the end
    alone = tokenize_prompts([row.prompt for row in rows.rows], tokenizer)
    assert [p.tolist() for p in tokens.prompts] == [p.tolist() for p in alone]
    whole = encode(tokenizer, ["User: What is the capital?\nAssistant: Paris is"])[0]
    start, response = tokens.prompts[0].tolist(), tokens.responses[0][0].tolist()
    joined = [i for i in [*start, *response] if i not in (tokenizer.bos_token_id, tokenizer.eos_token_id)]
    assert tokenizer.decode(joined) == tokenizer.decode(whole)
    apart = any("a token would reach" in note for note in tokens.notes)
    assert apart == (joined != whole)
    assert apart == (family != "word-piece" and "unigram" not in family)
    assert tokens.notes == ((tokens.notes[0],) if apart else ())


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize("text", ["Paris is", " Paris is", "\nParis", "\n\nParis", "[INST] Paris", "<|im_start|>Paris"])
def test_a_text_within_a_text_has_no_space_before_it(family: str, text: str) -> None:
    tokenizer = families.FAMILIES[family](eos="</s>", bos="<s>")
    within = encode_within(tokenizer, [text])[0]
    around = tokenizer.decode([*encode(tokenizer, ["It:"])[0], *within])
    if family == "word-piece":  # it has no white space
        assert around.split() == tokenizer.decode(encode(tokenizer, ["It:" + text])[0]).split()
    else:
        assert around == tokenizer.decode(encode(tokenizer, ["It:" + text])[0])
    alone = tokenizer.decode([*encode(tokenizer, ["It:"])[0], *encode(tokenizer, [text])[0]])
    if family in SPACED and text == "Paris is":
        assert alone == "It: Paris is"  # what is to be avoided


def test_strings_without_a_template_are_one_text() -> None:
    tokenizer = families.prepend()
    tokens = tokenize(sft(("What is the capital", " Paris is")), tokenizer, template="none")
    ids = [*tokens.prompts[0].tolist(), *tokens.responses[0][0].tolist()]
    assert ids == [*tokenizer("What is the capital Paris is")["input_ids"], tokenizer.eos_token_id]


def test_the_paper_s_template_with_byte_level_bpe_keeps_its_ids() -> None:
    """Prompt and response have been encoded apart from the beginning, and are again: " it" would be one token."""
    tokenizer = byte_level()
    tokens = tokenize(sft(("where", "it is")), tokenizer)
    apart: list[Any] = [encode(tokenizer, [text])[0] for text in ("User: where\nAssistant: ", "it is")]
    assert [tokens.prompts[0].tolist(), tokens.responses[0][0].tolist()] == [apart[0], [*apart[1], 1]]
    assert texts(tokens, tokenizer) == [("User: where\nAssistant: ", "it is</s>")]
    assert tokens.notes[0].startswith("1 of 1 rows: a token would reach from the prompt into the response")
