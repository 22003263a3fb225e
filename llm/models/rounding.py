"""The usual rounding of a model's log-probabilities in bfloat16 and float16, where it cannot be derived."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from llm.data.collate import Batch

DRAWS = 3


def change_by_one_rounding(
    call: Callable[[Batch], torch.Tensor], model: Any, batch: Batch, values: torch.Tensor
) -> float:
    """Return by how much log-probabilities change if the embeddings of tokens move by up to one unit in the last place.

    The passes that `Policy` compares differ in their kernels, hence in the rounding of every layer. How much that moves
    a response's log-probability depends on the model; of few rows two passes can also agree by chance. So the size of
    the difference is measured by another cause of the same kind, several times.

    call    the policy as accelerate prepared it: a batch -> (S,) log-probabilities
    model   the model of transformers below it
    batch   rows
    values  what `call` returns for the batch, (S,), in nats

    Returns the largest change of `DRAWS` seeded draws, in nats; 0 in float32, whose rounding is too small to hide a
    fault, and for models that name no embeddings.
    """
    try:
        embeddings = model.get_input_embeddings()
    except NotImplementedError:
        return 0.0
    if embeddings is None or model.dtype == torch.float32:
        return 0.0
    generator = np.random.default_rng(0)

    def moved(_module: Any, _inputs: Any, output: Any) -> Any:
        if not isinstance(output, torch.Tensor) or output.dtype not in (torch.bfloat16, torch.float16):
            return output
        shift = torch.from_numpy(generator.uniform(-1.0, 1.0, tuple(output.shape)).astype(np.float32))
        # eps is the unit in the last place of 1; relative to a number it is between one half and one unit
        scale = 1.0 + torch.finfo(output.dtype).eps * shift.to(output.device)
        return (output.float() * scale).to(output.dtype)

    handle = embeddings.register_forward_hook(moved)
    try:
        return max(float((call(batch) - values).abs().max()) for _ in range(DRAWS))
    finally:
        handle.remove()
