"""KTO's estimate of the divergence from the reference, on responses to other prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from llm.training.objective import SUMS

if TYPE_CHECKING:
    from accelerate import Accelerator

    from llm.data.collate import Batch
    from llm.data.sampler import Indices
    from llm.training.objective import Objective

Pieces = Iterable[tuple["Indices", Sequence[bool] | None]]  # rows of a pass, and which of them count; None: all


@torch.no_grad()
def begin_sums(
    accelerator: Accelerator, policy: Callable[[Batch], torch.Tensor], objective: Objective, pieces: Pieces
) -> tuple[float, torch.Tensor]:
    """Return KTO's estimate of KL(π_θ ‖ π_ref), at least 0, and sums by SUMS with the tokens of its passes alone.

    policy  batch on the device -> (S,) summed log-probabilities
    pieces  this process's rows, as many pieces on every process

    The estimate is the mean of log π_θ(y'|x) - log π_ref(y'|x) over the rows of all processes (arXiv 2402.01306,
    sec. 4.1); TRL takes the mean over a micro-batch. For other losses, or without pieces, it is 0, and nothing is
    computed.
    """
    sums = torch.zeros(len(SUMS), dtype=torch.float64, device=accelerator.device)
    pieces = list(pieces)
    if not objective.is_unpaired or not pieces:
        return 0.0, sums
    total = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    for rows, keep in pieces:
        batch = objective.mismatched_batch(rows).to(accelerator.device)
        total = total + objective.divergence(policy(batch), rows, keep)
        sums[SUMS.index("mismatched")] += batch.tokens
    summed, count = accelerator.reduce(total, reduction="sum").tolist()
    return max(0.0, summed / count), sums
