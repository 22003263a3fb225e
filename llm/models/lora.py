"""LoRA adapters on a base model: add, load, select for training, and join. LoRA itself is PEFT's."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llm.common.processes import seeded_torch
from llm.models.architecture import lora_task_type, vocabulary_size
from llm.models.checkpoint_files import check_safetensors
from llm.models.lora_settings import lora_settings, subtracts
from llm.models.lora_start import convert_saved, restore_base, subtract_start
from llm.models.targets import excluded_modules, target_modules, target_parameters

if TYPE_CHECKING:
    from llm.config import TrainConfig

# Names of saved embeddings and heads of whole vocabularies, which are no factors of LoRA.
_EMBEDDINGS = re.compile(r"(?!.*(lora_|position)).*(embed|wte|shared|lm_head).*weight")


def add_adapter(model: Any, config: TrainConfig, *, seed: int, name: str = "default") -> Any:
    """Return PEFT's model with a new trainable adapter of random weights; earlier adapters are frozen and stay active.

    model  a model of transformers, or one that has adapters already
    seed   of the new adapter's initial weights; torch's generators are left as they were
    name   of the new adapter

    Raises ValueError or TypeError, in one line, for settings (the option `lora`) that PEFT does not have.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    base = model.get_base_model() if isinstance(model, PeftModel) else model
    settings = lora_settings(config.lora)
    start = settings.get("init_lora_weights", True)
    if subtracts(start):
        settings["init_lora_weights"] = True  # the start follows, layer by layer
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=target_modules(base, config),
        target_parameters=target_parameters(base, config),
        exclude_modules=excluded_modules(base),
        task_type=lora_task_type(model),
        **settings,
    )
    with seeded_torch(seed), warnings.catch_warnings():
        # PEFT corrects this for layers that keep their weights transposed (GPT-2), layer by layer.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to", category=UserWarning)
        if not isinstance(model, PeftModel):
            model = get_peft_model(model, lora, adapter_name=name)
        else:
            model.add_adapter(name, lora)
        if subtracts(start):
            subtract_start(model, name, start)
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
    rows = vocabulary_size(base)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys", category=UserWarning)
            model = PeftModel.from_pretrained(base, folder, adapter_name=name, is_trainable=trainable)
        _check_used(model, folder, name, trainable=trainable)
        if not any_kind and _saved_modules_in_float32(model):
            model.load_adapter(folder, adapter_name=name, is_trainable=trainable)  # once more, without rounding
        return model
    except Exception as error:  # damaged files give errors of all types in PEFT and safetensors
        text = _resized(Path(folder), rows) or " ".join(str(error).split())[:200]
        misfit = isinstance(error, RuntimeError | ValueError | UserWarning)
        reason = "does not fit the base model" if misfit else "cannot be loaded"
        raise ValueError(f"adapter: {folder} {reason}: {text}") from error


def _resized(folder: Path, rows: int) -> str | None:
    """Return the reason, with the remedy, where a saved adapter has embeddings of more ids than the base's `rows`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
            shapes = [file.get_slice(n).get_shape() for n in file.keys() if _EMBEDDINGS.fullmatch(n)]  # noqa: SIM118
    except (SafetensorError, OSError):
        return None
    larger = max((shape[0] for shape in shapes if len(shape) == 2), default=rows)
    if larger <= rows:
        return None
    return (
        f"it was trained with embeddings of {larger} ids, and the base has {rows}; resize the base's embeddings "
        "(resize_token_embeddings), save it with the adapter's tokenizer, and give it"
    )


def _check_used(model: Any, folder: str, name: str, *, trainable: bool) -> None:
    """Raise ValueError if a saved adapter has weights that found no place in the model; PEFT says nothing of these."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    placed = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    with safe_open(Path(folder) / "adapter_model.safetensors", framework="pt") as file:
        if set(file.keys()) <= placed.keys():
            return
    # Other names need not be foreign (experts of transformers 4): PEFT reports these if it loads once more. Embeddings
    # may be saved twice, so that LoRA's factors count.
    report = model.load_adapter(folder, adapter_name=name, is_trainable=trainable)
    if unexpected := sorted(key for key in report.unexpected_keys if "lora_" in key):
        more = f" and {len(unexpected) - 1} more" if len(unexpected) > 1 else ""
        raise ValueError(f"the model has no place for the weight {unexpected[0]}{more}")


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

    PEFT's own `unload` leaves the trained copies of whole modules (`modules_to_save`) in the base, and the weights from
    which a start was subtracted.
    """
    from peft.utils import ModulesToSaveWrapper

    restore_base(model)
    base = model.get_base_model()
    wrapped = [(name, m.original_module) for name, m in base.named_modules() if isinstance(m, ModulesToSaveWrapper)]
    base = model.unload()
    for name, original in wrapped:
        base.set_submodule(name, original)
    return base


def save_by_peft(model: Any, folder: Path, name: str, **options: Any) -> None:
    """Write the adapter `name` of PEFT's model into `folder`, for the original base.

    options  of PEFT's `save_pretrained`

    PEFT's model card is left out: to compile its template takes longest.
    """
    model.create_or_update_model_card = lambda _: None
    try:
        model.save_pretrained(folder, selected_adapters=[name], save_embedding_layers=False, **options)
    finally:
        del model.create_or_update_model_card
    inner = folder / name
    if inner.is_dir():  # PEFT puts an adapter of another name than default into a folder of that name
        for path in inner.iterdir():
            shutil.move(path, folder / path.name)
        inner.rmdir()
    convert_saved(model, folder, name)


def train_only(model: Any, name: str) -> None:
    """Make the adapter `name` the only trainable one; all adapters take part in the forward pass.

    PEFT decides which weights of the adapter are trained.
    """
    model.set_adapter(name)
    _saved_modules_in_float32(model)
    if len(model.peft_config) == 1:
        return
    trained = {parameter_name for parameter_name, p in model.named_parameters() if p.requires_grad}
    model.base_model.set_adapter(list(model.peft_config))
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter_name in trained)


def _saved_modules_in_float32(model: Any) -> bool:
    """Keep copies of whole modules (`modules_to_save`) in float32, as LoRA's factors; return whether some were not.

    PEFT leaves them in the base's precision, in which most updates of a usual learning rate are rounded away. The
    copies take and give tensors of the base's precision, so that the other modules are as before.
    """
    from peft.utils import ModulesToSaveWrapper

    changed = False
    wrappers = (module for module in model.modules() if isinstance(module, ModulesToSaveWrapper))
    for copy in (copy for wrapper in wrappers for copy in wrapper.modules_to_save.values()):
        for kind in {p.dtype for p in copy.parameters()} & {torch.bfloat16, torch.float16}:
            changed = True
            copy.float()
            copy.register_forward_pre_hook(_to_weights_precision, with_kwargs=True)
            copy.register_forward_hook(lambda _module, _inputs, output, kind=kind: _to(output, kind))
    return changed


def _to_weights_precision(
    module: Any, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a module's inputs in the precision of its weights; DeepSpeed may have changed this since."""
    kind = next(module.parameters()).dtype
    return _to(arguments, kind), {name: _to(value, kind) for name, value in named.items()}


def _to(value: Any, kind: torch.dtype) -> Any:
    """Return a tensor of floating-point numbers, also in tuples, in a precision; any other value unchanged."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.to(kind)
    return tuple(_to(item, kind) for item in value) if type(value) is tuple else value


def join_adapters(model: Any, weights: Sequence[float] = ()) -> Any:
    """Return the model with one adapter, "default": the exact weighted sum of all adapters' updates; ranks add up.

    weights  one number for each adapter, in the order in which the adapters were added; empty: 1 for each
    """
    names = list(model.peft_config)
    if names == ["default"]:
        return model
    # PEFT copies this into the sum's configuration, whose scale must be 1; the adapters' own scales are set already.
    model.peft_config[names[0]].use_rslora = False
    model.add_weighted_adapter(names, list(weights) or [1.0] * len(names), "default", combination_type="cat")
    model.set_adapter("default")
    return model
