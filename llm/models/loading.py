"""Base models and adapters: loading, making, joining. What LoRA is, PEFT knows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from llm.models.policy import encodes, seeded

if TYPE_CHECKING:
    from llm.config import TrainConfig

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_base(name: str, config: TrainConfig) -> Any:
    """The language model `name`, a hub name or a folder: safetensors only, no code of its own unless asked.

    A causal one, or an encoder-decoder one if its configuration says that it is.
    FileNotFoundError in one line where it is not there, or is there in another format only.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    auto: Any = AutoModelForSeq2SeqLM if has_encoder(name, config) else AutoModelForCausalLM
    try:
        return auto.from_pretrained(
            str(Path(name).resolve()) if Path(name).is_dir() else name,  # the adapter names its base: by the full path
            dtype=DTYPES[config.precision],
            attn_implementation=config.attention or None,
            trust_remote_code=config.remote_code,
            use_safetensors=True,
        )
    except (OSError, ValueError, ImportError) as error:
        raise FileNotFoundError(_why(name, "model", error)) from error


def has_encoder(name: str, config: TrainConfig) -> bool:
    """Whether the model `name` is an encoder-decoder one, by its configuration alone; raises as `load_base` does."""
    from transformers import AutoConfig

    _check_there(name, "config.json")
    try:
        described = AutoConfig.from_pretrained(name, trust_remote_code=config.remote_code)
    except (OSError, ValueError, ImportError) as error:
        raise FileNotFoundError(_why(name, "model", error)) from error
    return bool(getattr(described, "is_encoder_decoder", False))


def load_tokenizer(name: str, config: TrainConfig) -> Any:
    """The tokenizer of the same name."""
    from transformers import AutoTokenizer

    _check_there(name, "tokenizer_config.json", "tokenizer.json")
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=config.remote_code)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise FileNotFoundError(_why(name, "tokenizer", error)) from error


def _check_there(name: str, *files: str) -> None:
    path = Path(name)
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if not path.exists() and looks_local:
        raise FileNotFoundError(f"model: there is no folder {name}; give a folder with a saved model, or a hub name")
    if path.is_dir() and not any((path / file).exists() for file in files):
        raise FileNotFoundError(f"model: {name} has no {files[0]}; give a folder that save_pretrained wrote")


def _why(name: str, what: str, error: Exception) -> str:
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


def targets(model: Any, config: TrainConfig) -> list[str] | str | None:
    """Which layers get LoRA: those of the configuration, else PEFT's for the architecture, else all linear ones."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    if config.lora_targets:
        names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
        absent = [t for t in config.lora_targets if t not in names]
        if absent:
            raise ValueError(f"lora_targets: {absent[0]} is no layer of this model; it has {', '.join(_layers(model))}")
        return list(config.lora_targets)
    return list(KNOWN[model.config.model_type]) if model.config.model_type in KNOWN else "all-linear"


def _layers(model: Any) -> list[str]:
    return sorted({name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)})


def add_adapter(model: Any, config: TrainConfig, *, seed: int, name: str = "default") -> Any:
    """PEFT's model with a new trainable adapter, drawn from `seed`; all others stay as they are, frozen and active."""
    from peft import LoraConfig, PeftModel, get_peft_model

    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=targets(model.get_base_model() if isinstance(model, PeftModel) else model, config),
        task_type="SEQ_2_SEQ_LM" if encodes(model) else "CAUSAL_LM",
    )
    with seeded(seed):
        if not isinstance(model, PeftModel):
            return get_peft_model(model, lora, adapter_name=name)
        model.add_adapter(name, lora)
    train_only(model, name)
    return model


def load_adapter(base: Any, folder: str, *, trainable: bool, name: str = "default") -> Any:
    """PEFT's model with a saved adapter; one line if the folder holds none, or one of another base."""
    from peft import PeftModel

    if not (Path(folder) / "adapter_config.json").exists():
        raise FileNotFoundError(f"adapter: {folder} has no adapter_config.json; give a folder with a PEFT adapter")
    if not (Path(folder) / "adapter_model.safetensors").exists():
        raise FileNotFoundError(f"adapter: {folder} has no adapter_model.safetensors, and nothing else is loaded")
    try:
        return PeftModel.from_pretrained(base, folder, adapter_name=name, is_trainable=trainable)
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise ValueError(f"adapter: {folder} does not fit the base model: {text}") from error


def try_out(model: Any, config: TrainConfig, reference: str) -> None:
    """Make the adapters that a run needs on its base, and take them off again, before anything is written.

    reference  base, chosen, sft, or the folder of an adapter

    ValueError or FileNotFoundError, in one line, if one of them cannot be made or does not fit.
    """
    if reference not in ("base", "chosen", "sft"):
        if not (Path(reference) / "adapter_config.json").exists():
            raise FileNotFoundError(
                f"reference: must be base, chosen, sft, paper, or the folder of a PEFT adapter, got {reference}"
            )
        load_adapter(model, reference, trainable=False).unload()
    if config.adapter:
        load_adapter(model, config.adapter, trainable=False).unload()
    elif config.lora_rank:
        try:
            add_adapter(model, config, seed=0).unload()
        except ValueError as error:
            if str(error).startswith("lora_targets:"):
                raise
            named = ", ".join(config.lora_targets) or "PEFT's choice"
            raise ValueError(
                f"lora_targets: {named} cannot be adapted; the linear layers are {', '.join(_layers(model))}"
            ) from error


def train_only(model: Any, name: str) -> None:
    """All adapters of `model` take part in the forward pass, and `name` alone is trained."""
    model.base_model.set_adapter(list(model.peft_config))
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(f".{name}." in parameter_name and "lora_" in parameter_name)


def join(model: Any, weights: Sequence[float] = ()) -> Any:
    """The weighted sum of all adapters' updates as one, named default: ranks add up, nothing is approximated.

    weights  one an adapter, in the order in which they were added; empty: 1 each
    """
    names = list(model.peft_config)
    if names == ["default"]:
        return model
    model.add_weighted_adapter(names, list(weights) or [1.0] * len(names), "default", combination_type="cat")
    model.set_adapter("default")
    return model


def fingerprint(weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    """A short name of named tensors: the same for the same bytes, wherever they lie."""
    total = hashlib.sha256()
    for name, tensor in weights:
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        total.update(flat.numpy().data)
    return total.hexdigest()[:32]


def base_fingerprint(model: nn.Module) -> str:
    """Of a whole model; parameters that are tied count once."""
    return fingerprint(sorted(model.named_parameters(), key=lambda pair: pair[0]))


def adapter_fingerprint(folder: str | Path) -> str:
    """Of a saved adapter: its weights and its configuration."""
    total = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        total.update((Path(folder) / name).read_bytes())
    return total.hexdigest()[:32]
