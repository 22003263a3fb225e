"""Tiny models of families with windows, varying rotary frequencies, or experts; and their plain log-probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers

IDS = {"vocab_size": 60, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
SIZES = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 128, "initializer_range": 0.3,
}  # fmt: skip
W = 6  # the window, chunk, or original context length of every family below
TWO = {"layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}

# Families whose layers attend to a window or chunk, by name of their configuration's class.
WINDOWS: dict[str, dict[str, Any]] = {
    "Mistral": {"sliding_window": W},
    "Mixtral": {"sliding_window": W, **EXPERTS},
    "Phi3": {"sliding_window": W},
    "Starcoder2": {"sliding_window": W},
    "Qwen2": {"use_sliding_window": True, "sliding_window": W, "max_window_layers": 1},
    "Gemma2": {"sliding_window": W, "head_dim": 8, "query_pre_attn_scalar": 8, **TWO},
    "Gemma3Text": {"sliding_window": W, "head_dim": 8, "query_pre_attn_scalar": 8, **TWO},
    "GptOss": {"sliding_window": W, "head_dim": 8, **TWO, **EXPERTS},
    "Cohere2": {"sliding_window": W, "head_dim": 8, **TWO},
    "Olmo3": {"sliding_window": W, **TWO},
    "Llama4Text": {
        "attention_chunk_size": W, "head_dim": 8, "intermediate_size_mlp": 24, "num_local_experts": 2,
        "num_experts_per_tok": 1, "layer_types": ["chunked_attention", "full_attention"],
    },
}  # fmt: skip
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0, 8.0, 16.0, 32.0], "rope_theta": 1e4}
# Families whose rotary frequencies depend on the longest row of a batch.
ROTARY: dict[str, tuple[str, dict[str, Any]]] = {
    "longrope": (
        "Phi3",
        {
            "original_max_position_embeddings": W,
            "rope_parameters": LONG | {"original_max_position_embeddings": W},
        },
    ),
    "dynamic": (
        "Llama",
        {"max_position_embeddings": W, "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}},
    ),
}


def build(name: str, *, seed: int = 0, **values: Any) -> Any:
    """Return a causal model with random weights; `name` is that of its configuration's class without "Config"."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = getattr(transformers, f"{name}Config")(**{**SIZES, **IDS, **values})
        return transformers.AutoModelForCausalLM.from_config(config).float().eval()


def logp(model: Any, prompt: Any, response: Any) -> float:
    """Return log π(response | prompt) by the model's own forward pass on the row alone, summed in float64."""
    ids = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0].double().log_softmax(-1)
    at = np.arange(len(prompt) - 1, ids.shape[1] - 1)
    return float(logits[at, ids[0, at + 1]].sum())
