"""The adapters of a run on its model, checked before anything is written; settings of LoRA are measured."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llm.common.processes import seeded_torch
from llm.models.lora import add_adapter, load_adapter, save_by_peft, unload
from llm.models.merging import fixed_text_logps, rounding_tolerance
from llm.models.targets import linear_layer_names

if TYPE_CHECKING:
    from llm.config import TrainConfig


# Errors by which PEFT refuses settings that it does not support on a model.
PEFT_ERRORS = (ValueError, TypeError, RuntimeError, AttributeError, LookupError, ImportError, AssertionError)


def check_adapters(model: Any, config: TrainConfig, reference: str) -> None:
    """Check that the adapters of a run fit its base model, before anything is written.

    model      the base model; adapters are put on it and removed
    reference  base, chosen, sft, or the folder of an adapter

    Raises ValueError, TypeError or FileNotFoundError, in one line, if an adapter cannot be made or does not fit.
    """
    if reference not in ("base", "chosen", "sft"):
        if not (Path(reference) / "adapter_config.json").exists():
            raise FileNotFoundError(
                f"reference: must be base, chosen, sft, paper, or the folder of a PEFT adapter, got {reference}"
            )
        unload(load_adapter(model, reference, trainable=False))
    if config.adapter:
        unload(load_adapter(model, config.adapter, trainable=False))
    elif config.lora:
        try:
            check_lora_on_model(model, config)
        except PEFT_ERRORS as error:
            if str(error).startswith("lora"):
                raise
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"lora: {' '.join(config.lora)}: PEFT cannot adapt this model: {reason}") from error
    elif config.lora_rank:
        layers = ", ".join(linear_layer_names(model))
        try:
            adapted = add_adapter(model, config, seed=0)
            lost = lost_keys(adapted)
            unload(adapted)
            if lost:
                raise ValueError(
                    f"lora_targets: PEFT does not load the adapter's weights of {', '.join(lost)} of this model again; "
                    f"give --lora-targets without them (the linear layers are {layers})"
                )
        except (ValueError, TypeError, NotImplementedError) as error:
            if str(error).startswith("lora_"):
                raise
            named = ", ".join((*config.lora_targets, *config.lora_parameters)) or "PEFT's choice"
            reason = " ".join(str(error).split()).removeprefix("[PEFT:PeftType.LORA] ")[:300]
            raise ValueError(
                f"lora_targets: {named} cannot be adapted: {reason} (the linear layers are {layers})"
            ) from error


def adapter_note(config: TrainConfig) -> str:
    """Return one line on options that an adapter to go on with has otherwise; "" if there are none."""
    if not config.adapter:
        return ""
    own = json.loads((Path(config.adapter) / "adapter_config.json").read_text(encoding="utf-8"))
    pairs = {
        "lora_rank": (config.lora_rank, own.get("r")),
        "lora_alpha": (config.lora_alpha, own.get("lora_alpha")),
        "lora_dropout": (config.lora_dropout, own.get("lora_dropout")),
    }
    other = [f"{name} {value:g} (it has {its})" for name, (value, its) in pairs.items() if value != its]
    if not other:
        return ""
    return f"adapter: {config.adapter} keeps its own settings and layers; without effect: {', '.join(other)}"


def other_base_note(option: str, folder: str, base: str) -> str:
    """Return one line if the adapter in a folder names another base model than `base`; "" if not.

    option  the option that names the folder
    base    name of the base in use; "" if it has none

    Adapters fit any model of the same shapes, and mean something on the weights that they were trained on alone. Names
    may differ for the same weights (a copy, a moved folder), so that this is no error.
    """
    described = Path(folder) / "adapter_config.json"
    if not folder or not described.is_file():
        return ""
    own = json.loads(described.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not own or not base or own == base or Path(own).expanduser().resolve() == Path(base).expanduser().resolve():
        return ""
    return f"{option}: {folder} was trained on {own}, and the base here is {base}; use that model if weights differ"


def lost_keys(model: Any) -> list[str]:
    """Return the last names of the layers whose adapter's weights PEFT saves under names that it does not load.

    model  PEFT's model with the adapter "default"

    PEFT renames a saved adapter's weights as transformers does a checkpoint's; for some families (Laguna, Inkling 2)
    the new names are those of no layer, and the layers would lose their adapters with a warning.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(model).items()}
        report: Any = set_peft_model_state_dict(model, state)
    lost = (name.partition(".lora_")[0] for name in report.missing_keys if ".lora_" in name)
    return sorted({".".join(name.split(".")[-2:]) for name in lost})


def check_lora_on_model(model: Any, config: TrainConfig) -> None:
    """Check on a text of 16 tokens that the option `lora` keeps the guarantees below, on which the trainer relies.

    model  the base; it is left as it was, without adapters

    All of the adapter is trained, since a checkpoint holds what is trained. The untrained adapter changes no
    log-probability (DPO's reference is the base); a changed adapter changes some; saved and loaded by PEFT on the base
    it gives the same numbers; taking it off gives back the base, to the bit.

    Raises ValueError, in one line, if one of these does not hold.
    """
    was_training = model.training
    model.eval()
    base = fixed_text_logps(model)
    tolerance = rounding_tolerance(model.dtype) * (1.0 + float(base.abs().max()))

    def distance(other: torch.Tensor, one: torch.Tensor = base) -> float:
        return float((one - other).abs().max())

    adapted = add_adapter(model, config, seed=0).eval()
    with tempfile.TemporaryDirectory() as folder:
        try:
            frozen = [name for name, p in adapted.named_parameters() if ".default." in name and not p.requires_grad]
            _require(config, not frozen, f"a part of the adapter is not trained ({', '.join(frozen[:1])})")
            rounding = distance(fixed_text_logps(adapted.get_base_model()))
            fact = f"an untrained adapter is not the base model (log-probabilities differ by {rounding:.3g})"
            _require(config, rounding <= tolerance, fact)
            _change(adapted)
            policy = fixed_text_logps(adapted.get_base_model())
            _require(config, distance(policy) > 2.0 * rounding, "a trained adapter has no effect")
            save_by_peft(adapted, Path(folder), "default")
        finally:
            model = unload(adapted).train(was_training)
        model.eval()
        left = distance(fixed_text_logps(model))
        loaded = load_adapter(model, folder, trainable=False, any_kind=True).eval()
        lost = distance(fixed_text_logps(loaded), policy)
        unload(loaded).train(was_training)
    fact = f"the base model is not the same without the adapter (log-probabilities differ by {left:.3g})"
    _require(config, left == 0.0, fact)
    fact = f"the saved adapter is not the trained one (log-probabilities differ by {lost:.3g})"
    _require(config, lost <= tolerance, fact)


def _require(config: TrainConfig, holds: bool, fact: str) -> None:
    """Raise ValueError with the settings and the fact that speaks against them, unless a condition holds."""
    if not holds:
        raise ValueError(f"lora: with {' '.join(config.lora)}, {fact}; leave it out")


def _change(model: Any) -> None:
    """Change all trainable weights by small random numbers, of a tenth of their size."""
    with seeded_torch(0), torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            size = 0.02 + 0.1 * float(parameter.float().abs().mean())
            parameter.add_(size * torch.randn_like(parameter))
