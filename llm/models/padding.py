"""Prompts of several lengths in one batch of generation: padding on the left, where a model's numbers allow it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llm.models.merging import rounding_tolerance

if TYPE_CHECKING:
    from llm.data.collate import Ids


def left_padded(rows: Sequence[Ids], padding: int, device: Any, *, right: bool = False) -> dict[str, torch.Tensor]:
    """Return input_ids and attention_mask (rows, longest) of prompts, whose answers then begin together.

    padding  id that fills up shorter prompts
    right    pad on the right, as an encoder is trained
    """
    width = max(map(len, rows))
    tokens = np.full((len(rows), width), padding, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for j, row in enumerate(rows):
        offset = 0 if right else width - len(row)
        tokens[j, offset : offset + len(row)], mask[j, offset : offset + len(row)] = row, 1
    arrays = {"input_ids": tokens, "attention_mask": mask}
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def allows_padding(model: Any, rows: Sequence[Ids], padding: int) -> bool:
    """Return whether a short prompt has the same numbers beside a long one as alone: log-probabilities of a next token.

    Models that count positions from the beginning of the sequence (BART's and Pegasus' decoders, GIT), or compress
    blocks of it (DeepSeek V4), have others: for these, prompts of one batch must have one length.
    """
    shortest, longest = min(rows, key=len), max(rows, key=len)
    if len(shortest) == len(longest):
        return True
    alone, beside = (
        _next_logps(model, left_padded(some, padding, model.device)) for some in ([shortest], [shortest, longest])
    )
    difference = float((alone - beside).abs().max())
    return difference <= rounding_tolerance(model.dtype) * (1.0 + float(alone.abs().max()))


def _next_logps(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the log-probabilities (vocabulary,) of the token after the first prompt, with generation's positions."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    mask = inputs["attention_mask"]
    if "position_ids" in inspect.signature(base.forward).parameters:
        inputs = {**inputs, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits
    return logits[0, -1].float().log_softmax(-1)  # type: ignore[no-any-return]
