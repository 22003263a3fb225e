"""Layers that get LoRA: by name, by a pattern, all linear layers, PEFT's choice, or parameters of experts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from llm.models.architecture import is_encoder_decoder

if TYPE_CHECKING:
    from llm.config import TrainConfig

ALL = "all-linear"
_PLAIN = ("FalconLinear", "Linear4bit")
# Part of the name of a layer for images or sounds that is inside a language model (Phi-4 multimodal, Fuyu).
_SENSES = re.compile(r"(.*[._])?(vision|visual|image|img|audio|speech|video)([._].*)?")


def target_modules(model: Any, config: TrainConfig) -> list[str] | str:
    """Return the layers that get LoRA, as PEFT's `target_modules` takes them.

    The configured ones, else PEFT's choice for the architecture, else "all-linear"; none if only parameters of experts
    are configured. A single text with a character that no name has is a regular expression over whole names.

    Raises ValueError if a configured name or pattern matches no layer of the model.
    """
    if not config.lora_targets:
        return [] if config.lora_parameters else default_targets(model)
    if config.lora_targets == (ALL,):
        return ALL
    names = [name for name, _ in model.named_modules() if name]
    for target in config.lora_targets:
        if re.fullmatch(r"[\w.]+", target):
            if any(name == target or name.endswith(f".{target}") for name in names):
                continue
        elif len(config.lora_targets) > 1:
            raise ValueError(f"lora_targets: a pattern must be the only value, got {target} among others")
        elif _matches(target, names):
            return target
        known = ", ".join(linear_layer_names(model))
        raise ValueError(f"lora_targets: {target} is no layer of this model; it has {known}")
    return list(config.lora_targets)


def target_parameters(model: Any, config: TrainConfig) -> list[str] | None:
    """Return the ends of names of parameters that get LoRA, as PEFT's `target_parameters` takes them, or None.

    Raises ValueError if a configured name matches no parameter of the model.
    """
    names = [name for name, _ in model.named_parameters()]
    for target in config.lora_parameters:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            experts = sorted({".".join(name.split(".")[-2:]) for name, p in model.named_parameters() if p.ndim == 3})
            raise ValueError(
                f"lora_parameters: {target} is no parameter of this model; "
                f"those of its experts are {', '.join(experts) or 'none'}"
            )
    return list(config.lora_parameters) or None


def excluded_modules(model: Any) -> list[str] | None:
    """Return full names of layers that get no LoRA whatever the targets; None if there are none.

    Routers whose class is a linear layer with a forward pass of its own; layers whose weights Gemma 3n reads without
    calling the layer in training, so that an adapter has no effect; and everything outside the language model of a
    model for images or sounds: training has only texts.
    """
    routers = [name for name, m in model.named_modules() if _is_linear(m) and not _is_plain(m)]
    uncalled = [name for name, _ in model.named_modules() if name.endswith("altup.correction_coefs")]
    return [*routers, *uncalled, *_outside_language_model(model)] or None


def default_targets(model: Any) -> list[str] | str:
    """Return PEFT's choice for a model's type, names or a pattern, or "all-linear" for types unknown to PEFT."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    choice = KNOWN.get(model.config.model_type, ALL)
    return choice if isinstance(choice, str) else list(choice)


def linear_layer_names(model: Any) -> list[str]:
    """Return the last parts of the names of all linear layers, sorted; layers of adapters are left out."""
    names = [name for name, m in model.named_modules() if _is_linear(m) and "lora_" not in name]
    return sorted({name.removesuffix(".base_layer").rpartition(".")[2] for name in names})


def _is_linear(module: nn.Module) -> bool:
    """Return whether PEFT takes a module for a linear layer."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def _is_plain(module: nn.Module) -> bool:
    """Return whether a linear layer's forward pass is that of its base class, so that LoRA may add to its output."""
    from transformers.pytorch_utils import Conv1D

    # Falcon's linear layer computes the same in two operations, and one of 4 bits has the weights of its numbers.
    return type(module).forward in (nn.Linear.forward, Conv1D.forward) or type(module).__name__ in _PLAIN


def _outside_language_model(model: Any) -> Iterator[str]:
    """Yield full names of layers for images or sounds."""
    yield from (n for n, module in model.named_modules() if _SENSES.fullmatch(n) and not list(module.children()))
    config = model.config
    if is_encoder_decoder(model) or not any(hasattr(config, f"{kind}_config") for kind in ("vision", "audio")):
        return
    inside = model.get_decoder()
    prefix = next((name for name, module in model.named_modules() if module is inside), "")
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if prefix and name and not name.startswith(prefix) and module is not head and not list(module.children()):
            yield name


def _matches(pattern: str, names: list[str]) -> bool:
    """Return whether a regular expression matches a whole name; ValueError if it is none."""
    try:
        return any(re.fullmatch(pattern, name) for name in names)
    except re.error as error:
        raise ValueError(f"lora_targets: {pattern} is no regular expression: {error}") from error
