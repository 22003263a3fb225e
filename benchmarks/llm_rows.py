"""Rows, a tokenizer and a model for the benchmarks of `llm`: from a seed, or from files on disk.

From a seed, ids and weights are random, since speed does not depend on them. Lengths are drawn to be like those of the
two public sets of the paper (an assumption, in README.md): a lognormal each, cut off at both ends.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llm.data.rows import Kind
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


class Workload(Protocol):
    """A model, rows of both kinds, and the batches of one measurement: an epoch of the rows, the same for all sides."""

    batch_sft: int
    batch_preference: int
    batches: int
    precision: Literal["fp32", "bf16"]
    rank: int
    targets: tuple[str, ...]
    template: str

    def model(self) -> Any:
        """Return the base model in its precision, on the GPU if there is one."""

    def tokenizer(self) -> Any:
        """Return the model's tokenizer, with a token for padding."""

    def texts(self, kind: Kind) -> list[dict[str, Any]]:
        """Return the rows of a kind in the form that TRL takes: strings, or messages."""


@dataclass(frozen=True)
class Size:
    """A workload of random weights and ids in float32: a model's shape, batches, and lengths like the public sets'.

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
    precision: Literal["fp32", "bf16"] = field(default="fp32", init=False)
    rank: int = field(default=8, init=False)
    targets: tuple[str, ...] = field(default=("query_key_value",), init=False)
    template: str = field(default="none", init=False)

    def model(self) -> Any:
        """Return a GPT-NeoX with random weights."""
        import torch
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

        config = GPTNeoXConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=4 * self.hidden,
            max_position_embeddings=2048,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return GPTNeoXForCausalLM(config).to(device())

    def tokenizer(self) -> Any:
        """Return a tokenizer with one word for every id, so that all sides have the same ids; `<eos>` is 0."""
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        words = {"<eos>": 0} | {f"w{i}": i for i in range(1, self.vocabulary)}
        inner = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
        inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<eos>")

    def texts(self, kind: Kind) -> list[dict[str, Any]]:
        """Return rows with lengths like alpaca-gpt4's (SFT) and rm-hh-rlhf's (preferences)."""
        names, lengths, batch = {
            "sft": (("prompt", "completion"), (ALPACA_PROMPT, ALPACA_RESPONSE), self.batch_sft),
            "preference": (
                ("prompt", "chosen", "rejected"), (HH_PROMPT, HH_RESPONSE, HH_RESPONSE), self.batch_preference,
            ),
        }[kind]  # fmt: skip
        rng, n = np.random.default_rng([self.seed, 1 if kind == "sft" else 2]), self.batches * batch
        drawn = [each.draw(rng, n) for each in lengths]
        rows = [
            {name: self._text(rng, m) for name, m in zip(names, row, strict=True)} for row in zip(*drawn, strict=True)
        ]
        return [row | {"prompt": row["prompt"] + " "} for row in rows]

    def _text(self, rng: np.random.Generator, length: int) -> str:
        n = max(1, round(length * self.longest))
        return " ".join(f"w{i}" for i in rng.integers(1, self.vocabulary, n))


@dataclass(frozen=True)
class RealSize:
    """A workload of a model and sets from disk, in its chat template.

    path, sft, preference  a folder that `save_pretrained` wrote, and files in any form that `llm` reads
    max_length             rows with more tokens (prompt and longest response) are left out, so that no side cuts any
    """

    path: str
    sft: str
    preference: str
    precision: Literal["fp32", "bf16"] = "bf16"
    batch_sft: int = 8
    batch_preference: int = 8
    batches: int = 3
    max_length: int = 512
    rank: int = 16
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    template: str = field(default="auto", init=False)

    def model(self) -> Any:
        """Return the model, loaded without our own code."""
        import torch
        from transformers import AutoModelForCausalLM

        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        return AutoModelForCausalLM.from_pretrained(self.path, dtype=dtype).to(device())

    def tokenizer(self) -> Any:
        """Return the folder's tokenizer; EOS pads where it has no other token for it."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.path)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def texts(self, kind: Kind) -> list[dict[str, Any]]:
        """Return the first rows that are short enough, as messages; ValueError if the file has too few."""
        from llm.data.formats import load
        from llm.data.messages import as_messages
        from llm.data.rows import in_turns
        from llm.data.tokenization import tokenize

        source, batch = (self.sft, self.batch_sft) if kind == "sft" else (self.preference, self.batch_preference)
        names, n = ("completion",) if kind == "sft" else ("chosen", "rejected"), self.batches * batch
        rows, tokenizer, out = load(source, kind=kind, bad_rows="drop"), self.tokenizer(), list[dict[str, Any]]()
        for row in rows.rows:
            if len(out) == n:
                return out
            row = in_turns(row)
            one = dataclasses.replace(rows, rows=(row,))
            ids = tokenize(one, tokenizer, max_length=100_000)
            if len(ids) and len(ids.prompts[0]) + max(map(len, ids.responses[0])) <= self.max_length:
                answers = (as_messages(text, "assistant") for text in row.responses)
                out.append({"prompt": as_messages(row.prompt, "user"), **dict(zip(names, answers, strict=True))})
        if len(out) == n:
            return out
        raise ValueError(f"{source}: {n} rows of at most {self.max_length} tokens are needed, and it has {len(out)}")


TINY = Size(vocabulary=300, hidden=16, layers=1, heads=2, batch_sft=3, batch_preference=2, batches=2, longest=0.1)
# The head has an eighth of the layers' weights, as in pythia-1b; in pythia-14m's shape five times as many.
LIGHT_HEAD = Size(vocabulary=2352, hidden=256, layers=6, heads=8)


def described(size: Workload) -> str:
    """Return JSON text of a workload, for another process."""
    given = {f.name: getattr(size, f.name) for f in dataclasses.fields(size) if f.init}  # type: ignore[arg-type]
    return json.dumps({"real": isinstance(size, RealSize), "fields": given})


def read(text: str) -> Workload:
    """Return the workload that `described` wrote."""
    found = json.loads(text)
    fields = {name: tuple(v) if isinstance(v, list) else v for name, v in found["fields"].items()}
    return RealSize(**fields) if found["real"] else Size(**fields)


def device() -> str:
    """Return "cuda" if torch sees a GPU, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def tokens(size: Workload, kind: Kind) -> TokenizedDataset:
    """Return the rows ("sft" or "preference") as `llm` tokenizes them."""
    from llm.data.formats import load
    from llm.data.tokenization import tokenize

    return tokenize(load(size.texts(kind), kind=kind), size.tokenizer(), template=size.template)


def count(rows: TokenizedDataset) -> int:
    """Count real tokens: a prompt once for every response, and the responses."""
    return sum(len(p) + len(a) for p, r in zip(rows.prompts, rows.responses, strict=True) for a in r)
