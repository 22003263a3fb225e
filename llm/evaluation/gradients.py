"""Gradients of an objective with respect to an engine's trainable weights, summed over groups of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from llm.training.mismatched import begin_sums

if TYPE_CHECKING:
    from llm.data.sampler import Indices
    from llm.training.engine import Engine
    from llm.training.objective import Objective

BLOCK = 1 << 20  # weights at a time in float64


def group_gradients(
    engine: Engine, objective: Objective, groups: Sequence[Indices]
) -> tuple[torch.Tensor, NDArray[np.float64], float]:
    """Return the gradients of each group's summed loss (K, weights), float32 on the CPU, their units (K,), the value.

    engine     with trainable weights, in one process; their gradients are empty afterwards
    objective  laid out as the engine's policy computes it
    groups     K sets of row indices

    The gradient of the objective on all these rows is the sum of the first divided by the sum of the second; the value
    is the objective's on all of them. A unit is a pair or a response token; a row, where the objective is a mean of
    micro-batches' means. KTO's estimate of the divergence is that of all these rows, as in a step on all of them.
    Routers' auxiliary loss counts as in training. All dropout is off.
    """
    weights = [p for p in engine.policy.parameters() if p.requires_grad]
    vectors, units, total = [], [], 0.0
    engine.policy.train()  # gradient checkpointing needs it
    for module in engine.policy.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    kl = _divergence(engine, objective, np.concatenate(groups)) if objective.is_unpaired else None
    for rows in groups:
        units.append(float(len(rows) if objective.mean_by_part else objective.units(rows)))
        engine.optimizer.zero_grad()
        total += units[-1] * engine.backward(objective, rows, units[-1], kl=kl).value
        vectors.append(torch.cat([_flat(p) for p in weights]))
    engine.optimizer.zero_grad()
    return torch.stack(vectors), np.array(units), total / sum(units)


def inner_products(gradients: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    """Return the inner products (n, K, n, K) of n objectives' group gradients, each (K, weights), in float64."""
    groups, size = gradients[0].shape
    total = np.zeros((len(gradients) * groups,) * 2)
    for start in range(0, size, BLOCK):
        block = torch.cat([g[:, start : start + BLOCK] for g in gradients]).double()
        total += (block @ block.T).numpy()
    return total.reshape(len(gradients), groups, len(gradients), groups)


def _divergence(engine: Engine, objective: Objective, rows: Indices) -> float:
    """Return KTO's estimate of KL(π_θ ‖ π_ref) on rows, at least 0."""
    parts = [(part, None) for part in engine.parts(objective, rows)]
    return begin_sums(engine.accelerator, engine.policy, objective, parts)[0]


def _flat(weight: nn.Parameter) -> torch.Tensor:
    """Return the gradient of a weight as a vector, float32 on the CPU; 0 where no row reaches the weight."""
    gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
    return gradient.detach().float().cpu().reshape(-1)
