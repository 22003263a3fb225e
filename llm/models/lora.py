"""LoRA adapters on a base model: add, load, select for training, and join. LoRA itself is PEFT's."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.common.processes import seeded_torch
from llm.models.architecture import lora_task_type
from llm.models.checkpoint_files import check_safetensors
from llm.models.targets import excluded_modules, linear_layer_names, target_modules, target_parameters

if TYPE_CHECKING:
    from llm.config import TrainConfig


def add_adapter(model: Any, config: TrainConfig, *, seed: int, name: str = "default") -> Any:
    """Return PEFT's model with a new trainable adapter of random weights; earlier adapters are frozen and stay active.

    model  a model of transformers, or one that has adapters already
    seed   of the new adapter's initial weights; torch's generators are left as they were
    name   of the new adapter
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    base = model.get_base_model() if isinstance(model, PeftModel) else model
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=target_modules(base, config),
        target_parameters=target_parameters(base, config),
        exclude_modules=excluded_modules(base),
        task_type=lora_task_type(model),
    )
    with seeded_torch(seed), warnings.catch_warnings():
        # PEFT corrects this for layers that keep their weights transposed (GPT-2), layer by layer.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to", category=UserWarning)
        if not isinstance(model, PeftModel):
            model = get_peft_model(model, lora, adapter_name=name)
        else:
            model.add_adapter(name, lora)
    train_only(model, name)
    return model


def load_adapter(base: Any, folder: str, *, trainable: bool, name: str = "default", any_kind: bool = False) -> Any:
    """Return PEFT's model with the adapter saved in `folder`.

    any_kind  also other adapters than LoRA, and those that train biases of the base: for a base that is used only once

    Raises, in one line, FileNotFoundError if the folder holds no adapter in whole safetensors, and ValueError if the
    adapter is of another kind or does not fit the base model.
    """
    from peft import PeftModel

    _check_adapter(Path(folder), any_kind=any_kind)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys", category=UserWarning)
            return PeftModel.from_pretrained(base, folder, adapter_name=name, is_trainable=trainable)
    except Exception as error:  # damaged files give errors of all types in PEFT and safetensors
        text = " ".join(str(error).split())[:200]
        misfit = isinstance(error, RuntimeError | ValueError | UserWarning)
        reason = "does not fit the base model" if misfit else "cannot be loaded"
        raise ValueError(f"adapter: {folder} {reason}: {text}") from error


def _check_adapter(folder: Path, *, any_kind: bool) -> None:
    """Raise FileNotFoundError or ValueError, in one line, for a folder that holds no usable adapter."""
    described, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    if not described.exists():
        raise FileNotFoundError(f"adapter: {folder} has no adapter_config.json; give a folder with a PEFT adapter")
    if not weights.exists():
        raise FileNotFoundError(f"adapter: {folder} has no adapter_model.safetensors, and nothing else is loaded")
    check_safetensors(weights, "adapter")
    try:
        values = json.loads(described.read_text(encoding="utf-8"))
        kind, bias = values["peft_type"], values.get("bias") or "none"
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"adapter: {described} is damaged; save the adapter again with PEFT") from error
    if any_kind:
        return
    if kind != "LORA":
        raise ValueError(f"adapter: {folder} is of the kind {kind}; give a LoRA adapter, or merge it into its base")
    if bias != "none":
        raise ValueError(
            f"adapter: {folder} changes biases of the base model (bias={bias}); merge it (python -m llm merge) "
            "and give the merged model as the base"
        )


def unload(model: Any) -> Any:
    """Return the base model below PEFT's adapters, as it was before them.

    PEFT's own `unload` leaves the trained copies of whole modules (`modules_to_save`) in the base.
    """
    from peft.utils import ModulesToSaveWrapper

    base = model.get_base_model()
    wrapped = [(name, m.original_module) for name, m in base.named_modules() if isinstance(m, ModulesToSaveWrapper)]
    base = model.unload()
    for name, original in wrapped:
        base.set_submodule(name, original)
    return base


def check_adapters(model: Any, config: TrainConfig, reference: str) -> None:
    """Check that the adapters of a run fit its base model, before anything is written.

    model      the base model; adapters are put on it and removed
    reference  base, chosen, sft, or the folder of an adapter

    Raises ValueError or FileNotFoundError, in one line, if an adapter cannot be made or does not fit.
    """
    if reference not in ("base", "chosen", "sft"):
        if not (Path(reference) / "adapter_config.json").exists():
            raise FileNotFoundError(
                f"reference: must be base, chosen, sft, paper, or the folder of a PEFT adapter, got {reference}"
            )
        unload(load_adapter(model, reference, trainable=False))
    if config.adapter:
        unload(load_adapter(model, config.adapter, trainable=False))
    elif config.lora_rank:
        layers = ", ".join(linear_layer_names(model))
        try:
            unload(add_adapter(model, config, seed=0))
        except (ValueError, TypeError, NotImplementedError) as error:
            if str(error).startswith("lora_"):
                raise
            named = ", ".join((*config.lora_targets, *config.lora_parameters)) or "PEFT's choice"
            reason = " ".join(str(error).split()).removeprefix("[PEFT:PeftType.LORA] ")[:300]
            raise ValueError(
                f"lora_targets: {named} cannot be adapted: {reason} (the linear layers are {layers})"
            ) from error


def train_only(model: Any, name: str) -> None:
    """Make the adapter `name` the only trainable one; all adapters take part in the forward pass."""
    model.base_model.set_adapter(list(model.peft_config))
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(f".{name}." in parameter_name and "lora_" in parameter_name)


def join_adapters(model: Any, weights: Sequence[float] = ()) -> Any:
    """Return the model with one adapter, "default": the exact weighted sum of all adapters' updates; ranks add up.

    weights  one number for each adapter, in the order in which the adapters were added; empty: 1 for each
    """
    names = list(model.peft_config)
    if names == ["default"]:
        return model
    model.add_weighted_adapter(names, list(weights) or [1.0] * len(names), "default", combination_type="cat")
    model.set_adapter("default")
    return model
