"""Every difference between model families: encoders, heads, attention, names of layers, sizes.

Windows and rotary frequencies are in `llm.models.positions`, numbers of positions in `llm.models.position_limits`, and
dropout is in `llm.models.dropout`.

A quirk is read from the model's configuration or modules here, and from nowhere else in the package. A family that none
of these functions knows is still safe: `Policy.select_forward_path` compares each shortcut with the model's own forward
pass and does without the shortcuts that disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from llm.models.positions import shared_prompt_masks

if TYPE_CHECKING:
    from llm.data.collate import Batch

SMALL_MODEL = 10_000_000  # weights below which a second thread costs more than the thread saves


# Encoder-decoder models.


def is_encoder_decoder(described: Any) -> bool:
    """Return whether a model, or the configuration of a model, has an encoder of its own for prompts."""
    return bool(getattr(getattr(described, "config", described), "is_encoder_decoder", False))


def decoder_start(model: Any) -> int:
    """Return the id of the token that an encoder-decoder model's decoder begins with.

    Raises ValueError if neither the configuration nor the generation configuration names the token.
    """
    for config in (model.config, getattr(model, "generation_config", None)):
        start = getattr(config, "decoder_start_token_id", None)
        if start is not None:
            return int(start)
    raise ValueError("model: its configuration names no decoder_start_token_id; set it and save the model again")


def check_trainable(model: Any) -> None:
    """Raise ValueError, in one line, for a model that adapters cannot train."""
    if model.config.model_type == "reformer":
        raise ValueError(
            "model: the reversible layers of Reformer pass no gradients to adapters, and its hashes are random; "
            "give another model"
        )


# Sizes.


def vocabulary_size(model: Any) -> int:
    """Return the number of token ids that have an input embedding."""
    return int(model.get_input_embeddings().weight.shape[0])


# Forward pass: the inputs of a batch, the hidden states, the head.


def causal_inputs(
    model: Any, batch: Batch, *, windows: bool = True, positions: bool = True
) -> tuple[dict[str, Any], torch.Tensor]:
    """Return a causal model's keyword arguments for a batch, and the flat indices (N,) of the predicting positions.

    windows    whether the mask of a shared prompt has the windows that the configuration names
    positions  whether positions are given; some families (RoBERTa) count from another number than 0 by themselves

    A batch with separate sequences is padded on the right and needs no mask: the model makes its own. With a shared
    prompt the mask is `shared_prompt_masks`, of which a family must respect every entry; one that does not fails the
    comparison in `Policy.select_forward_path`.
    """
    inputs: dict[str, Any] = {
        "input_ids": batch.input_ids,
        "use_cache": False,
    }
    if positions or batch.segments is not None:
        inputs["position_ids"] = batch.position_ids
    if batch.segments is not None:
        inputs["attention_mask"] = shared_prompt_masks(model.config, batch, model.dtype, windows=windows)
    return inputs, batch.logit_positions


def encoder_decoder_inputs(model: Any, batch: Batch, start: int) -> tuple[dict[str, Any], torch.Tensor]:
    """Return an encoder-decoder model's keyword arguments for a batch, and the flat indices (N,) into its outputs.

    The encoder runs once over the prompt of every row; its states are repeated for all responses of the row. The
    decoder's inputs (S, longest response) begin with the id `start`; they need no mask, as padding is on the right.
    """
    (longest_prompt, longest_response), counts = batch.max_lengths, batch.counts
    mask = (torch.arange(longest_prompt, device=counts.device) < batch.prompt_lengths[:, None]).long()
    encoder = model.get_encoder()
    encoded = encoder(input_ids=batch.input_ids[:, :longest_prompt], attention_mask=mask)
    states = encoded.last_hidden_state
    per_row = len(counts) // len(states)
    within = torch.arange(len(batch.targets), device=counts.device) - (counts.cumsum(0) - counts)[batch.response_index]
    # One column more than the inputs have: each response's last token is a target only.
    shifted = torch.full((len(counts), longest_response + 1), start, device=counts.device)
    shifted[batch.response_index, within + 1] = batch.targets
    inputs = {
        # The type is the encoder's own: a decoder with routers reads the fields that only this one has.
        "encoder_outputs": type(encoded)(last_hidden_state=states.repeat_interleave(per_row, dim=0)),
        "attention_mask": mask.repeat_interleave(per_row, dim=0),
        "decoder_input_ids": shifted[:, :-1],
        "use_cache": False,
    }
    if model.config.model_type == "fsmt":  # its decoder has a causal mask only where the prompt's ids are given, too
        inputs["input_ids"] = batch.input_ids[:, :longest_prompt].repeat_interleave(per_row, dim=0)
    return inputs, batch.response_index * longest_response + within


def hidden_states(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Return the states (sequences, length, width) that the language model head is applied to.

    inputs  of `causal_inputs` or `encoder_decoder_inputs`
    """
    if not is_encoder_decoder(model):
        return model.base_model(**inputs).last_hidden_state  # type: ignore[no-any-return]
    hidden: torch.Tensor = model.get_decoder()(
        input_ids=inputs["decoder_input_ids"],
        encoder_hidden_states=inputs["encoder_outputs"].last_hidden_state,
        encoder_attention_mask=inputs["attention_mask"],
        use_cache=False,
    ).last_hidden_state
    # The first T5 models divide by the square root of the width before the head.
    scaled = getattr(model.config, "scale_decoder_outputs", False)
    return hidden * hidden.shape[-1] ** -0.5 if scaled else hidden


def has_separate_head(model: Any) -> bool:
    """Return whether hidden states and logits can be computed one after the other: a decoder and a linear head."""
    head = model.get_output_embeddings()
    decoder = model.get_decoder() if is_encoder_decoder(model) else model.base_model
    return isinstance(head, nn.Module) and getattr(head, "weight", None) is not None and decoder is not model


def is_frozen_linear(head: nn.Module) -> bool:
    """Return whether a head is a plain linear map without trainable weights and without hooks (adapters, shards)."""
    trained = any(p.requires_grad for p in head.parameters())
    return type(head) is nn.Linear and not trained and not head._forward_hooks and not head._forward_pre_hooks


@contextmanager
def attention(model: Any, implementation: str) -> Iterator[None]:
    """Use an attention implementation of transformers ("": the model's own) as long as the block lasts."""
    before = model.config._attn_implementation
    try:
        if implementation:
            model.set_attn_implementation(implementation)
        yield
    finally:
        model.set_attn_implementation(before)


# LoRA.


def lora_task_type(model: Any) -> str:
    """Return PEFT's name of a model's task."""
    return "SEQ_2_SEQ_LM" if is_encoder_decoder(model) else "CAUSAL_LM"


# Threads.


def set_threads(model: nn.Module, threads: int = 0) -> None:
    """Set torch's number of CPU threads: `threads`, or 1 for a model with few weights if `threads` is 0.

    The operations of a small model end before a second thread has begun; where other programs occupy the cores,
    waiting for that thread takes most of the time. Models with at least `SMALL_MODEL` weights keep torch's choice.
    """
    if threads or sum(p.numel() for p in model.parameters()) < SMALL_MODEL:
        torch.set_num_threads(threads or 1)
