"""The optimizer of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from llm.config import TrainConfig

# Patterns of the names without weight decay: those of transformers 5.23, `Trainer.get_decay_parameter_names`.
UNDECAYED = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]


def make_optimizer(model: torch.nn.Module, config: TrainConfig, device: str) -> torch.optim.Optimizer:
    """Return the configured optimizer of torch for a model's trainable weights.

    AdamW is the fused one on devices that have it, as in TRL. Its weight decay leaves out biases and norms.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=config.lr)
    betas = (config.beta1, config.beta2)
    options: dict[str, Any] = {"betas": betas, "weight_decay": config.weight_decay, "fused": device in ("cpu", "cuda")}
    apart = undecayed(model) if config.weight_decay else []
    if not apart:
        return torch.optim.AdamW(weights, lr=config.lr, **options)
    ids = set(map(id, apart))
    groups: list[dict[str, Any]] = [
        {"params": [p for p in weights if id(p) not in ids]},
        {"params": apart, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.lr, **options)


def undecayed(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the trainable weights that transformers' Trainer leaves out of weight decay: biases and norms."""
    from transformers import trainer_pt_utils

    library: Any = trainer_pt_utils  # whose functions are not annotated
    decayed = set(library.get_parameter_names(model, [torch.nn.LayerNorm], UNDECAYED))
    return [p for name, p in model.named_parameters() if p.requires_grad and name not in decayed]
