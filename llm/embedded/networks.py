"""The embedded base's networks with random weights: one per family, of similar size at the same shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

CONTEXT = 512  # maximum number of positions; the world's texts have at most about a hundred tokens


@dataclass(frozen=True)
class Shape:
    """Shape of the network, and its number of training steps."""

    hidden: int
    layers: int
    heads: int
    steps: int
    family: str = "neox"


def new_model(shape: Shape, tokenizer: Any, seed: int) -> Any:
    """Return a network of transformers with random weights; torch's global generator stays unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _FAMILIES[shape.family](shape, tokenizer)


def _neox(shape: Shape, tokenizer: Any) -> Any:
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            **_common(shape, tokenizer),
            intermediate_size=4 * shape.hidden,
            max_position_embeddings=CONTEXT,
            bos_token_id=tokenizer.bos_token_id,
        )
    )


def _llama(shape: Shape, tokenizer: Any) -> Any:
    """Return a network like Llama 3: RMSNorm, rotary positions, gated units, half as many key heads as query heads."""
    return LlamaForCausalLM(
        LlamaConfig(
            **_common(shape, tokenizer),
            num_key_value_heads=max(1, shape.heads // 2),
            intermediate_size=8 * (shape.hidden // 3),  # three matrices with as many weights as the usual two
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=False,
            bos_token_id=tokenizer.bos_token_id,
        )
    )


def _t5(shape: Shape, tokenizer: Any) -> Any:
    """Return an encoder of prompts and a decoder of responses; each has half of `layers`, at least two."""
    layers = max(2, shape.layers // 2)
    described: Any = T5Config  # its annotations lack the arguments of every configuration
    return T5ForConditionalGeneration(
        described(
            vocab_size=len(tokenizer),
            d_model=shape.hidden,
            d_kv=shape.hidden // shape.heads,
            d_ff=4 * shape.hidden,
            num_layers=layers,
            num_decoder_layers=layers,
            num_heads=shape.heads,
            dropout_rate=0.0,  # every document is to be memorized
            tie_word_embeddings=False,  # to transformers: outputs are not scaled before the head
            initializer_factor=0.3,  # with 1 it learns more slowly
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=tokenizer.pad_token_id,
        )
    )


def _common(shape: Shape, tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


_FAMILIES: dict[str, Callable[[Shape, Any], Any]] = {"neox": _neox, "llama": _llama, "t5": _t5}
