"""Fingerprints of models and adapters: equal only if every number that decides a forward pass is equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from llm.models.positions import reset_rotary_frequencies
from llm.models.quantization import scale_tensors

# Entries of a configuration that change no log-probability: places, versions, number formats (a fingerprint has the
# weights' own), and the kernels that a run chooses. Everything else counts, also if its meaning is unknown here.
NEUTRAL = {
    "_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "architectures", "auto_map", "dtype",
    "torch_dtype", "use_cache", "return_dict", "output_hidden_states", "output_attentions", "_attn_implementation",
    "attn_implementation", "_experts_implementation", "bos_token_id", "eos_token_id", "id2label", "label2id",
    "problem_type", "task_specific_params", "generation_config",
}  # fmt: skip


def tensors_fingerprint(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return 32 hex digits of SHA-256 over named tensors: names, dtypes, shapes and bytes, on whatever device."""
    total = hashlib.sha256()
    for name, tensor in tensors:
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        total.update(flat.numpy().data)
    return total.hexdigest()[:32]


def base_fingerprint(model: Any) -> str:
    """Return 32 hex digits of SHA-256 over a transformers model: parameters, buffers and configuration.

    Tied parameters count once, those of 4 bits with their scales. Buffers that are not saved count as well, such as
    rotary frequencies; those that depend on the latest batch are reset. Names, paths, versions and number formats in
    the configuration do not count.
    """
    reset_rotary_frequencies(model)
    tensors = [*model.named_parameters(), *model.named_buffers(), *scale_tensors(model)]
    config = json.dumps(_numbers(model.config.to_dict()), sort_keys=True, default=str)
    weights = tensors_fingerprint(sorted(tensors, key=lambda pair: pair[0]))
    return hashlib.sha256(f"{weights}\n{config}".encode()).hexdigest()[:32]


def adapter_fingerprint(folder: str | Path) -> str:
    """Return 32 hex digits of SHA-256 over a saved adapter's configuration and weights."""
    total = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        total.update((Path(folder) / name).read_bytes())
    return total.hexdigest()[:32]


def _numbers(value: Any) -> Any:
    """Return a configuration without the entries of NEUTRAL, at any depth."""
    if isinstance(value, dict):
        return {str(k): _numbers(v) for k, v in value.items() if k not in NEUTRAL}
    return [_numbers(v) for v in value] if isinstance(value, list | tuple) else value
