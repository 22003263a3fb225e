"""Loading base models and tokenizers in safetensors, and fingerprints of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from llm.models.architecture import is_encoder_decoder

if TYPE_CHECKING:
    from llm.config import TrainConfig

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_base(name: str, config: TrainConfig) -> Any:
    """Return the language model `name`: causal, or encoder-decoder if the model's configuration is.

    name    a hub name, or a folder that `save_pretrained` wrote; safetensors only
    config  gives the precision, the attention implementation, and whether code of the model may be run

    Raises FileNotFoundError, in one line, if the model is absent or in another format.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    auto: Any = AutoModelForSeq2SeqLM if is_encoder_decoder(load_config(name, config)) else AutoModelForCausalLM
    try:
        return auto.from_pretrained(
            str(Path(name).resolve()) if Path(name).is_dir() else name,  # an adapter names its base by the full path
            dtype=DTYPES[config.precision],
            attn_implementation=config.attention or None,
            trust_remote_code=config.remote_code,
            use_safetensors=True,
        )
    except (OSError, ValueError, ImportError) as error:
        raise FileNotFoundError(_reason(name, "model", error)) from error


def load_config(name: str, config: TrainConfig) -> Any:
    """Return the configuration of the model `name`, without its weights; raises as `load_base` does."""
    from transformers import AutoConfig

    _check_present(name, "config.json")
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=config.remote_code)
    except (OSError, ValueError, ImportError) as error:
        raise FileNotFoundError(_reason(name, "model", error)) from error


def load_tokenizer(name: str, config: TrainConfig) -> Any:
    """Return the tokenizer of the model `name`; raises FileNotFoundError, in one line, if the tokenizer is absent."""
    from transformers import AutoTokenizer

    _check_present(name, "tokenizer_config.json", "tokenizer.json")
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=config.remote_code)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise FileNotFoundError(_reason(name, "tokenizer", error)) from error


def _check_present(name: str, *files: str) -> None:
    """Raise FileNotFoundError if `name` can only be a folder and is absent, or is a folder with none of `files`."""
    path = Path(name)
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if not path.exists() and looks_local:
        raise FileNotFoundError(f"model: there is no folder {name}; give a folder with a saved model, or a hub name")
    if path.is_dir() and not any((path / file).exists() for file in files):
        raise FileNotFoundError(f"model: {name} has no {files[0]}; give a folder that save_pretrained wrote")


def _reason(name: str, what: str, error: Exception) -> str:
    """Return a failed loading's reason and remedy in one line."""
    text = " ".join(str(error).split())
    if Path(name).is_dir() and "safetensors" in text:
        return f"{what}: {name} has no safetensors, and nothing else is loaded; save it again with save_pretrained"
    if "trust_remote_code" in text:
        return f"{what}: {name} brings code of its own, which is not run unless you say --remote-code"
    if Path(name).is_dir():
        return f"{what}: {name} cannot be loaded: {text[:300]}"
    return (
        f"model: {name} is neither a folder nor could it be had from the hub (offline, private or misspelt?); "
        f"download it first and give its folder. The hub's library says: {text[:200]}"
    )


def fingerprint(weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return 32 hex digits of SHA-256 over named tensors: names, dtypes, shapes and bytes, on whatever device."""
    total = hashlib.sha256()
    for name, tensor in weights:
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        total.update(flat.numpy().data)
    return total.hexdigest()[:32]


def base_fingerprint(model: nn.Module) -> str:
    """Return the fingerprint of all parameters of a model; tied parameters count once."""
    return fingerprint(sorted(model.named_parameters(), key=lambda pair: pair[0]))


def adapter_fingerprint(folder: str | Path) -> str:
    """Return 32 hex digits of SHA-256 over a saved adapter's configuration and weights."""
    total = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        total.update((Path(folder) / name).read_bytes())
    return total.hexdigest()[:32]
