"""Merging of an adapter into its base model's weights; the written model has the adapted model's log-probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from llm.models.architecture import decoder_start, is_encoder_decoder, vocabulary_size
from llm.models.quantization import is_quantized


def save_merged(model: Any, folder: Path) -> None:
    """Write PEFT's model with its adapters merged into the weights; the folder loads by `from_pretrained`.

    The written model is loaded again and compared on a text of 16 tokens. Embeddings that the head shares, and that the
    adapter changes on one side, become two sets of weights.

    Raises ValueError, in one line, if PEFT cannot merge the adapter, if the base has weights of 4 bits, or if the
    numbers differ.
    """
    kind = next(iter(model.peft_config.values())).peft_type.value
    if not hasattr(model, "merge_and_unload") or not hasattr(model.base_model, "merge_and_unload"):
        raise ValueError(f"adapter: one of the kind {kind} has no weights to merge; use the adapter with PEFT")
    if is_quantized(model):
        raise ValueError("adapter: its base has weights of 4 bits, which would round the sum; give llm merge the run")
    model.eval()
    expected = fixed_text_logps(model)
    _separate_embeddings(model.get_base_model())
    try:
        merged = model.merge_and_unload()
    except (RuntimeError, ValueError, NotImplementedError, TypeError) as error:
        raise ValueError(f"adapter: PEFT cannot merge it: {' '.join(str(error).split())[:300]}") from error
    merged.save_pretrained(folder)
    written = type(merged).from_pretrained(folder, dtype=merged.dtype, use_safetensors=True).to(merged.device).eval()
    difference = float((fixed_text_logps(written) - expected).abs().max())
    if not difference <= rounding_tolerance(merged.dtype) * (1.0 + float(expected.abs().max())):
        raise ValueError(
            f"adapter: merged, its log-probabilities differ by {difference:.3g}; use the adapter with PEFT, unmerged"
        )


def fixed_text_logps(model: Any) -> torch.Tensor:
    """Return the log-probabilities (1, 16, vocabulary) of all tokens after each token of a fixed text, in float32."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    size = vocabulary_size(base)
    ids = (torch.arange(16, device=base.device) * 7 + 3)[None] % size
    inputs = {"input_ids": ids, "use_cache": False}
    if is_encoder_decoder(base):
        inputs["decoder_input_ids"] = torch.cat([torch.full_like(ids[:, :1], decoder_start(base)), ids[:, :-1]], dim=1)
    with torch.no_grad():
        return model(**inputs).logits.float().log_softmax(-1)  # type: ignore[no-any-return]


def rounding_tolerance(dtype: torch.dtype) -> float:
    """Return the relative difference that rounding explains: sums of products of `dtype` in another order."""
    return 1e-4 if dtype == torch.float32 else 0.05


def _separate_embeddings(base: Any) -> None:
    """Give the head separate weights if it shares the embeddings' and an adapter changes one of the two."""
    head, embeddings = base.get_output_embeddings(), base.get_input_embeddings()
    if head is None or embeddings is None or not (_is_adapted(head) or _is_adapted(embeddings)):
        return
    own, shared = _original(head), _original(embeddings)
    if own.weight is not shared.weight:
        return
    own.weight = nn.Parameter(own.weight.detach().clone())
    for config in {id(c): c for c in (base.config, base.config.get_text_config())}.values():
        config.tie_word_embeddings = False
    for part in base.modules():  # otherwise the head's weights are left out when the model is written
        if getattr(part, "all_tied_weights_keys", None):
            part.all_tied_weights_keys = {}


def _is_adapted(module: nn.Module) -> bool:
    """Return whether PEFT has put something in a module's place."""
    return hasattr(module, "base_layer") or hasattr(module, "original_module") or hasattr(module, "token_adapter")


def _original(module: Any) -> Any:
    """Return the layer of transformers below PEFT's wrappers."""
    if hasattr(module, "original_module"):
        return module.original_module
    if hasattr(module, "token_adapter"):
        return _original(module.token_adapter)
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module
