"""Rows, a tokenizer and a model for the benchmarks of `llm`: nothing is downloaded, everything comes from a seed.

Random and fixed parts: ids and weights are random, since speed does not depend on them. Lengths are drawn to be
like those of the two public sets of the paper (an assumption, in README.md): a lognormal each, cut off at both ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llm.data.tokenization import TokenizedDataset


@dataclass(frozen=True)
class Lengths:
    """Lengths in tokens: lognormal with a median and a deviation of the logarithm, from `least` to `most`."""

    median: float
    sigma: float
    least: int
    most: int

    def draw(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Return n lengths, shape (n,)."""
        drawn = np.exp(rng.normal(np.log(self.median), self.sigma, n)).round()
        return np.clip(drawn, self.least, self.most).astype(np.int64)


ALPACA_PROMPT = Lengths(20, 0.7, 6, 300)
ALPACA_RESPONSE = Lengths(120, 0.9, 2, 500)
HH_PROMPT = Lengths(120, 0.8, 10, 600)
HH_RESPONSE = Lengths(45, 0.9, 2, 250)


@dataclass(frozen=True)
class Size:
    """A model, batches, and how many of each make one measurement (an epoch of the rows, the same for all sides).

    The default model is pythia-14m's shape; its batches are half of the paper's 24 and 8.
    """

    vocabulary: int = 50304
    hidden: int = 128
    layers: int = 6
    heads: int = 4
    batch_sft: int = 12
    batch_preference: int = 4
    batches: int = 6
    longest: float = 1.0  # lengths are multiplied by it
    seed: int = 0


TINY = Size(vocabulary=300, hidden=16, layers=1, heads=2, batch_sft=3, batch_preference=2, batches=2, longest=0.1)
# The head has an eighth of the layers' weights, as in pythia-1b; in pythia-14m's shape five times as many.
LIGHT_HEAD = Size(vocabulary=2352, hidden=256, layers=6, heads=8)


def model(size: Size) -> Any:
    """Return a GPT-NeoX with random weights in float32, on the GPU if there is one."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.hidden,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(size.seed)
        return GPTNeoXForCausalLM(config).to("cuda" if torch.cuda.is_available() else "cpu")


def tokenizer(size: Size) -> Any:
    """Return a tokenizer with one word for every id, so that all sides have the same ids; `<eos>` is 0."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<eos>": 0} | {f"w{i}": i for i in range(1, size.vocabulary)}
    inner = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<eos>")


def sft_texts(size: Size) -> list[dict[str, str]]:
    """Return prompts and completions like alpaca-gpt4's."""
    rng, n = np.random.default_rng([size.seed, 1]), size.batches * size.batch_sft
    prompts, answers = ALPACA_PROMPT.draw(rng, n), ALPACA_RESPONSE.draw(rng, n)
    return [
        {"prompt": _text(rng, size, p) + " ", "completion": _text(rng, size, a)}
        for p, a in zip(prompts, answers, strict=True)
    ]


def preference_texts(size: Size) -> list[dict[str, str]]:
    """Return prompts with two responses like rm-hh-rlhf's."""
    rng, n = np.random.default_rng([size.seed, 2]), size.batches * size.batch_preference
    drawn = HH_PROMPT.draw(rng, n), HH_RESPONSE.draw(rng, n), HH_RESPONSE.draw(rng, n)
    return [
        {"prompt": _text(rng, size, p) + " ", "chosen": _text(rng, size, a), "rejected": _text(rng, size, b)}
        for p, a, b in zip(*drawn, strict=True)
    ]


def tokens(size: Size, kind: str) -> TokenizedDataset:
    """Return the rows ("sft" or "preference") as `llm` tokenizes them."""
    from llm.data.formats import load
    from llm.data.tokenization import tokenize

    texts = sft_texts(size) if kind == "sft" else preference_texts(size)
    return tokenize(load(texts, kind=kind), tokenizer(size), template="none")  # type: ignore[arg-type]


def count(rows: TokenizedDataset) -> int:
    """Count real tokens: a prompt once for every response, and the responses."""
    return sum(len(p) + len(a) for p, r in zip(rows.prompts, rows.responses, strict=True) for a in r)


def _text(rng: np.random.Generator, size: Size, length: int) -> str:
    n = max(1, round(length * size.longest))
    return " ".join(f"w{i}" for i in rng.integers(1, size.vocabulary, n))
