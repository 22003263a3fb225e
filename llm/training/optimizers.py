"""The optimizer of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from llm.config import TrainConfig


def make_optimizer(weights: list[torch.nn.Parameter], config: TrainConfig, device: str) -> torch.optim.Optimizer:
    """Return the configured optimizer of torch; AdamW is the fused one on devices that have it, as in TRL."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=config.lr)
    betas = (config.beta1, config.beta2)
    fused = device in ("cpu", "cuda")
    return torch.optim.AdamW(weights, lr=config.lr, betas=betas, weight_decay=config.weight_decay, fused=fused)
