"""Small tokenizers, chat templates, rows and tokenized sets for the tests of `llm.data`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import tokenizers
import transformers

from llm.data.rows import Dataset, Row
from llm.data.tokenization import TokenizedDataset

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# As DeepSeek-R1's: the generation prompt opens a thought that an answer in the data does not have.
THINKING = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<U>{{ m.content }}"
    "{% else %}<A>{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<A><t>{% endif %}"
)


@cache
def byte_level(adds: str = "", chat: str | None = None, eos: str | None = "</s>") -> Any:
    """A byte-level BPE tokenizer, whose ids decode to any text; `adds`: what it puts around a text, "$" being that."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["User: where is it\nAssistant: it is here"] * 3, trainer)
    if adds:
        single = adds.replace("$", "$A")
        pairs = [(token, special.index(token)) for token in single.split() if token != "$A"]
        made.post_processor = tokenizers.processors.TemplateProcessing(single=single, special_tokens=pairs)
    options = {"eos_token": eos} if eos else {}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", additional_special_tokens=special[2:], **options
    )
    tokenizer.chat_template = chat
    return tokenizer


def words(*vocabulary: str) -> Any:
    """A tokenizer of whole words, to which a question mark is a space."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(vocabulary)}))
    made.normalizer = tokenizers.normalizers.Replace("?", " ")
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=vocabulary[0])


def sft(*pairs: tuple[Any, Any]) -> Dataset:
    return Dataset("sft", tuple(Row(prompt, (response,)) for prompt, response in pairs), "prompt-completion", "here")


def preference(*triples: tuple[Any, Any, Any]) -> Dataset:
    return Dataset("preference", tuple(Row(prompt, tuple(rest)) for prompt, *rest in triples), "explicit", "here")


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def texts(tokens: TokenizedDataset, tokenizer: Any) -> list[tuple[str, ...]]:
    rows = zip(tokens.prompts, tokens.responses, strict=True)
    return [tuple(tokenizer.decode(ids) for ids in (prompt, *responses)) for prompt, responses in rows]


def make(prompts: list[int]) -> TokenizedDataset:
    """A set whose i-th row has the response [i], so that rows can be told apart."""
    return TokenizedDataset(
        "sft",
        tuple(np.array([p], dtype=np.int32) for p in prompts),
        tuple((np.array([i], dtype=np.int32),) for i in range(len(prompts))),
        tuple(f"{p:016x}" for p in prompts),
        0,
        0,
        0,
    )


def numbers(tokens: TokenizedDataset) -> list[int]:
    return [int(responses[0][0]) for responses in tokens.responses]
