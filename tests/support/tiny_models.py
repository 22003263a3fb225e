"""Tiny models, tokenisers and sets for the tests of `llm`: made here, saved, and loaded like any other."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FAMILIES = ("gpt_neox", "llama", "opt")
WORDS = [f"{a}{b}" for a in ("ba", "de", "fi", "go", "ku", "la", "me", "no") for b in ("x", "r", "s", "t", "m", "l")]


def tokenizer(*, bos: bool = False) -> Any:
    """Word-level, with `<eos>`; no pad token and no chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<eos>", "<bos>", "User", "Assistant", ":", "\n", *WORDS]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    if bos:
        inner.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    extra = {"bos_token": "<bos>"} if bos else {}
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="<eos>", **extra)


def model(family: str = "gpt_neox", *, seed: int = 0, vocabulary: int = 60, hidden: int = 16) -> Any:
    """A causal language model of the family with random weights (large ones, so that answers differ)."""
    import torch
    from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, OPTConfig, Qwen2Config

    common = {"vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    configs = {
        "gpt_neox": lambda: GPTNeoXConfig(**common, **ids, intermediate_size=32, max_position_embeddings=128),
        "llama": lambda: LlamaConfig(
            **common, **ids, intermediate_size=32, max_position_embeddings=128, num_key_value_heads=1
        ),
        "opt": lambda: OPTConfig(**common, **ids, ffn_dim=32, max_position_embeddings=128, word_embed_proj_dim=hidden),
        "qwen2": lambda: Qwen2Config(
            **common,
            **ids,
            intermediate_size=32,
            max_position_embeddings=128,
            num_key_value_heads=1,
        ),
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = AutoModelForCausalLM.from_config(configs[family]())
        for parameter in made.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def base(folder: Path, family: str = "gpt_neox", *, bos: bool = False) -> Path:
    """Model and tokeniser saved in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _files_of_base(family, bos).items():
        (folder / name).write_bytes(content)
    return folder


@cache
def _files_of_base(family: str, bos: bool) -> dict[str, bytes]:
    """File name -> content of a saved base: many tests need the same one, and saving takes longer than writing."""
    with TemporaryDirectory() as folder:
        model(family).save_pretrained(folder)
        tokenizer(bos=bos).save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def sft_rows(n: int = 40, seed: int = 1) -> list[dict[str, str]]:
    """Prompts with completions of various lengths."""
    draw = random.Random(seed)
    return [{"prompt": text(draw, 2, 9), "completion": text(draw, 1, 12)} for _ in range(n)]


def preference_rows(n: int = 24, seed: int = 2) -> list[dict[str, str]]:
    """Prompts with a chosen and a rejected response."""
    draw = random.Random(seed)
    rows = []
    while len(rows) < n:
        row = {"prompt": text(draw, 2, 9), "chosen": text(draw, 1, 8), "rejected": text(draw, 1, 12)}
        rows += [row] if row["chosen"] != row["rejected"] else []
    return rows


def text(draw: random.Random, least: int, most: int) -> str:
    """Some words."""
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(least, most)))
