"""Starts that take a part of the base's weights into the adapter: PiSSA (arXiv 2404.02948) and OLoRA (2406.01775).

PEFT subtracts the start s·B₀A₀ from the base's weights W, so that the model is unchanged. Here the original weights are
kept and put back when the adapter is taken off, since the base is also DPO's reference. What is saved is an ordinary
adapter for the original base, of twice the rank: s·(BA - B₀A₀) = s·[B, -B₀] [A; A₀].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llm.common.files import read_json, write_json


@dataclass(frozen=True)
class SubtractedStart:
    """The start of one adapter, by the names of its layers.

    factors    A₀ (r, in) and B₀ (out, r) of each layer, on the CPU
    originals  weights of the base's layers before the start was subtracted
    """

    factors: dict[str, tuple[torch.Tensor, torch.Tensor]]
    originals: dict[str, torch.Tensor]


def subtract_start(model: Any, name: str, start: str) -> None:
    """Give the adapter `name` of PEFT's model the start `start`, and subtract the start from the base's weights.

    start  pissa, pissa_niter_N, or olora; PEFT computes the factors

    Raises ValueError, in one line, if an adapted layer is not linear.
    """
    from peft.tuners.lora import LoraLayer

    factors, originals = {}, {}
    layers: list[tuple[str, Any]] = [
        (n, m) for n, m in model.get_base_model().named_modules() if isinstance(m, LoraLayer)
    ]
    for path, layer in layers:
        if name not in layer.r:
            continue
        if name not in layer.lora_A or not hasattr(layer.get_base_layer(), "weight"):
            raise ValueError(f"lora: init_lora_weights={start} is for linear layers, and {path} is none")
        weight = layer.get_base_layer().weight
        originals[path] = weight.data
        weight.data = weight.data.clone()
        with torch.no_grad():
            if start == "olora":
                layer.olora_init(name)
            else:
                layer.pissa_init(name, start)
        pair = layer.lora_A[name].weight, layer.lora_B[name].weight
        factors[path] = (pair[0].detach().cpu().clone(), pair[1].detach().cpu().clone())
    _starts(model)[name] = SubtractedStart(factors, originals)


def restore_base(model: Any) -> None:
    """Put back the original weights of a base from which starts were subtracted, the last start first."""
    for start in reversed(_starts(model).values()):
        for path, original in start.originals.items():
            weight = model.get_base_model().get_submodule(path).get_base_layer().weight
            weight.data = original.to(weight.device)
    _starts(model).clear()


def convert_saved(model: Any, folder: Path, name: str) -> None:
    """Make the saved adapter `name` in `folder` one for the original base, if its start was subtracted."""
    from safetensors.torch import load_file, save_file

    start = _starts(model).get(name)
    if start is None:
        return
    path, described = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    tensors = load_file(path)
    for layer, (a, b) in start.factors.items():
        key_a, key_b = (f"base_model.model.{layer}.lora_{letter}.weight" for letter in "AB")
        tensors[key_a] = torch.cat([tensors[key_a], a.to(tensors[key_a].dtype)], dim=0).contiguous()
        tensors[key_b] = torch.cat([tensors[key_b], -b.to(tensors[key_b].dtype)], dim=1).contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    config = read_json(described)
    config["r"] *= 2
    config["lora_alpha"] *= 2**0.5 if config["use_rslora"] else 2  # alpha/√r or alpha/r, the scale, stays
    for pattern in ("rank_pattern", "alpha_pattern"):
        config[pattern] = {key: 2 * value for key, value in (config[pattern] or {}).items()}
    write_json(described, config)


def _starts(model: Any) -> dict[str, SubtractedStart]:
    """Return the subtracted starts of PEFT's model, by the names of its adapters."""
    starts: dict[str, SubtractedStart] = model.__dict__.setdefault("subtracted_starts", {})
    return starts
