"""Find out whether a model may generate with prompts padded on the left, and with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llm.models.merging import rounding_tolerance

if TYPE_CHECKING:
    from llm.data.collate import Ids


STEPS = 3  # greedy tokens of a comparison


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


def allows_padding(model: Any, rows: Sequence[Ids], padding: int, steps: int = STEPS) -> bool:
    """Return whether prompts have the same numbers beside a longer one as alone: log-probabilities of next tokens.

    steps  number of greedy tokens on which these are compared, for the shortest prompt and the middle one

    Models that count positions from the beginning of the sequence (BART's and Pegasus' decoders, GIT), or compress
    blocks of it (DeepSeek V4), have others, some only from the second token on (RoFormer): for these, prompts of one
    batch must have one length.
    """
    ranked = sorted(rows, key=len)
    shorter = [row for row in (ranked[0], ranked[len(ranked) // 2]) if len(row) < len(ranked[-1])]
    if not shorter:
        return True
    together = _next_logps(model, left_padded([*shorter, ranked[-1]], padding, model.device), steps)
    for j, row in enumerate(shorter):
        alone = _next_logps(model, left_padded([row], padding, model.device), steps)[:, 0]
        both = min(len(alone), len(together))  # a batch goes on until all of its answers have ended
        tolerance = rounding_tolerance(model.dtype) * (1.0 + float(alone.abs().max()))
        if not float((alone[:both] - together[:both, j]).abs().max()) <= tolerance:
            return False
    return True


def allows_cache(model: Any, row: Ids, padding: int) -> bool:
    """Return whether a prompt's next tokens have the same log-probabilities with a cache of earlier tokens as without.

    Compared are `STEPS` greedy tokens, up to the first that differs.

    Some models have no cache that transformers' `generate` can make (BLT, xLSTM). Raises ValueError, in one line, if
    `generate` fails without one as well.
    """
    inputs = left_padded([row], padding, model.device)
    try:
        plain = _next_logps(model, inputs, STEPS, use_cache=False)[:, 0]
    except Exception as error:  # a model is foreign code, and may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(
            f"model: transformers cannot generate with a model of type {model.config.model_type} ({reason}); "
            "give another model"
        ) from error
    try:
        cached = _next_logps(model, inputs, STEPS, use_cache=True)[:, 0]
    except Exception:  # the reason is of no use: generation goes on without a cache
        return False
    same = (plain.argmax(-1) == cached.argmax(-1)).tolist() if len(plain) == len(cached) else [False]
    compared = 1 + (same.index(False) if False in same else len(same))
    tolerance = rounding_tolerance(model.dtype) * (1.0 + float(plain.abs().max()))
    return float((plain[:compared] - cached[:compared]).abs().max()) <= tolerance


def _next_logps(model: Any, inputs: dict[str, torch.Tensor], steps: int, **options: Any) -> torch.Tensor:
    """Return the log-probabilities (steps, rows, vocabulary) of the prompts' next tokens; fewer if all answers end.

    options  further arguments of `generate`
    """
    settings = {"max_new_tokens": steps, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    settings |= options
    with torch.no_grad():
        output = type(model).generate(model, **inputs, **settings)
    return torch.stack(list(output.logits)).float().log_softmax(-1)
