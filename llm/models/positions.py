"""Windows of attention and rotary frequencies: how far a layer attends, and what depends on a batch's longest row.

A row's log-probability must be that of the row alone. Two things in a model depend on more than the row: a mask of ours
replaces the model's own, windows included (`shared_prompt_masks` has them); and two kinds of rotary frequencies depend
on the longest row of a batch (`regimes` separates the rows that need others).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from llm.data.collate import Batch

# Names in configurations of the number of keys that sparse attention selects for a query.
SELECTED_KEYS = ("index_topk", "keep_window_size", "indexer_budget")

# Masks: one tensor (rows, 1, L, L) for all layers, or one for each type of layer.
Masks = torch.Tensor | dict[str, torch.Tensor]


def shared_prompt_masks(config: Any, batch: Batch, dtype: torch.dtype, *, windows: bool = True) -> Masks:
    """Return the additive attention masks of sequences `prompt chosen rejected`.

    config   the model's configuration, which names the types of its layers and their windows
    batch    with a shared prompt
    windows  False: the same mask without windows for all layers

    An entry is 0 where a position attends to an earlier or equal one in the prompt or in its own response, within the
    layer's window; the least number of `dtype` elsewhere. Distances are those of positions, as in the row alone.
    """
    assert batch.segments is not None
    if not windows:
        return shared_prompt_mask(batch.segments, dtype)
    allowed = _own_text(batch.segments)
    positions = batch.position_ids
    masks = {
        kind: _additive(allowed if limit is None else allowed & limit.covers(positions), dtype)
        for kind, limit in layer_windows(config).items()
    }
    return masks if len(masks) > 1 else next(iter(masks.values()))


def shared_prompt_mask(segments: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the additive mask (rows, 1, L, L) without windows; `shared_prompt_masks` explains its entries.

    segments  (rows, L) integers of `Batch.segments`: 0 prompt, 1 chosen, 2 rejected, -1 padding
    """
    return _additive(_own_text(segments), dtype)


class Window:
    """The keys that a query of a layer attends to: the latest `size` ones, or those of its own chunk of `size`."""

    def __init__(self, size: int, *, chunked: bool = False) -> None:
        self.size, self.chunked = size, chunked

    def covers(self, positions: torch.Tensor) -> torch.Tensor:
        """Return (rows, L, L) bool, whether a query (second axis) attends to a key (third), for positions (rows, L)."""
        queries, keys = positions[:, :, None], positions[:, None, :]
        if self.chunked:
            return queries // self.size == keys // self.size
        return keys > queries - self.size


def layer_windows(config: Any) -> dict[str, Window | None]:
    """Return the window of each type of layer by transformers' name of the type; None: all earlier positions."""
    text = config.get_text_config()
    sliding, chunk = getattr(text, "sliding_window", None), getattr(text, "attention_chunk_size", None)
    default = ["full_attention" if sliding is None else "sliding_attention"]
    windows: dict[str, Window | None] = {}
    for kind in sorted(set(getattr(text, "layer_types", None) or default)):
        if kind == "sliding_attention" and sliding is not None:
            windows[kind] = Window(int(sliding))
        elif kind == "chunked_attention" and chunk is not None:
            windows[kind] = Window(int(chunk), chunked=True)
        else:
            windows[kind] = None
    return windows


def largest_shared_row(model: Any) -> int | None:
    """Return the largest number of tokens that a row with a shared prompt may have, or None if there is no limit.

    GPT-Neo's local layers have a window of their own that no mask reaches; it counts places in the sequence. Sparse
    attention (DeepSeek V3.2, Doge) selects a number of keys among all of the sequence, the other response's included.
    """
    text = model.config.get_text_config()
    numbers = [getattr(text, name, None) for name in SELECTED_KEYS]
    if "local" in (getattr(text, "attention_layers", None) or ()):
        numbers.append(text.window_size)
    return min((int(n) for n in numbers if n is not None), default=None)


# Rotary frequencies that depend on the longest row of a batch.


def rotary_limit(model: Any) -> int | None:
    """Return the length up to which no row of a batch changes another's rotary frequencies; None: there is no limit."""
    limits = [_original_length(module, kind) for module, kind in _varying(model)]
    return min(limits) if limits else None


def regimes(model: Any, lengths: torch.Tensor) -> torch.Tensor:
    """Return an integer for each sequence; sequences with equal integers may be computed in one batch.

    lengths  (rows,) tokens of each sequence
    """
    codes = torch.zeros_like(lengths)
    for module, kind in _varying(model):
        beyond = lengths > _original_length(module, kind)
        # Dynamic frequencies are others for every length; the long ones of longrope are the same for all.
        codes = codes + (beyond * lengths if "dynamic" in _rope_type(module, kind) else beyond.long())
    return codes


def reset_rotary_frequencies(model: Any) -> None:
    """Undo the effect of earlier batches on rotary frequencies, which transformers keeps until a longer row comes."""
    for module, kind in _varying(model):
        prefix = f"{kind}_" if kind else ""
        original = getattr(module, f"{prefix}original_inv_freq")
        frequencies = getattr(module, f"{prefix}inv_freq")
        module.register_buffer(f"{prefix}inv_freq", original.to(frequencies.device).clone(), persistent=False)
        if "dynamic" in _rope_type(module, kind):
            setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)


def _varying(model: Any) -> Iterator[tuple[Any, str]]:
    """Yield a model's rotary modules whose frequencies vary, each with the type of its layers ("": all layers)."""
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        for kind in kinds if isinstance(kinds, dict) else [""]:
            name = _rope_type(module, kind)
            if "dynamic" in name or name == "longrope":
                yield module, kind


def _rope_type(module: Any, kind: str) -> str:
    """Return transformers' name of the rotary frequencies of a module's layers; "" if the module has none."""
    named = getattr(module, "rope_type", None)
    named = named.get(kind) if isinstance(named, dict) else named
    return named if isinstance(named, str) and hasattr(module, "config") else ""


def _original_length(module: Any, kind: str) -> int:
    """Return the length up to which a module's frequencies are the original ones."""
    if "dynamic" in _rope_type(module, kind):
        return int(module.original_max_seq_len)
    parameters = module.config.rope_parameters
    return int((parameters[kind] if kind else parameters)["original_max_position_embeddings"])


def _own_text(segments: torch.Tensor) -> torch.Tensor:
    """Return (rows, L, L) bool: a key is not later than its query, and in the prompt or in the query's response."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    same = segments[:, :, None] == segments[:, None, :]
    return causal & (same | (segments[:, None, :] == 0))


def _additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the additive mask (rows, 1, L, L) of allowed entries (rows, L, L)."""
    mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]
