"""NEFTune (arXiv 2310.05914): uniform noise on the input embeddings, in training only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def noisy_embeddings(model: Any, alpha: float) -> Iterator[None]:
    """Add noise to the embeddings of a transformers model, within the block and in training mode only.

    alpha  of the noise, which is uniform within ± α/√(L d); L is the length of the batch's rows, padding included, and
           d the size of an embedding, as in transformers and TRL; 0: no noise

    The noise is drawn from torch's generator, which the trainer seeds at every step.
    """
    if not alpha:
        yield
        return

    def add_noise(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
        if not module.training:
            return output
        size = alpha / math.sqrt(output.shape[1] * output.shape[2])
        return output + torch.zeros_like(output).uniform_(-size, size)

    hook = model.get_input_embeddings().register_forward_hook(add_noise)
    try:
        yield
    finally:
        hook.remove()
