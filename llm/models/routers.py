"""The load-balancing loss of mixtures of experts, as transformers computes it and TRL weighs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from llm.models.architecture import is_encoder_decoder

if TYPE_CHECKING:
    from torch import nn

    from llm.data.collate import Batch


def router_coefficient(model: Any, asked: float | None) -> float:
    """Return the weight of the routers' auxiliary loss in training; 0.0 for a model without one.

    asked  None: the coefficient of the model's configuration, as in TRL 1.16

    Architectures of mixtures have dense models, too, whose configuration has a coefficient all the same.
    Raises ValueError if a positive weight is asked for a model that returns no such loss.
    """
    text = model.config.get_text_config()
    has_routers = hasattr(text, "output_router_logits") and not is_encoder_decoder(model) and _has_routers(model)
    if asked and not has_routers:
        raise ValueError(
            f"router_aux_loss: {type(model).__name__} returns no auxiliary loss of routers, got {asked:g}; use 0"
        )
    coefficient = getattr(text, "router_aux_loss_coef", 0.0) if asked is None else asked
    return float(coefficient or 0.0) if has_routers else 0.0


def _has_routers(model: Any) -> bool:
    """Return whether some module is of a class whose logits transformers records; True if it names none."""
    named = [(getattr(module, "_can_record_outputs", None) or {}).get("router_logits") for module in model.modules()]
    recorders = [one for found in named if found for one in (found if isinstance(found, list | tuple) else [found])]
    classes = tuple(getattr(one, "target_class", one) for one in recorders)
    return not classes or any(isinstance(module, classes) for module in model.modules())


def sequence_mask(batch: Batch) -> torch.Tensor:
    """Return (rows, L) int64: 1 for tokens and 0 for padding, of separate sequences."""
    lengths = batch.position_ids.amax(dim=1) + 1
    return (torch.arange(batch.input_ids.shape[1], device=lengths.device) < lengths[:, None]).long()


def states_and_router_loss(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the states (sequences, length, width) before the head, and the auxiliary loss () with its graph.

    inputs  of `causal_inputs` with the `attention_mask` of `sequence_mask`

    The model's own forward pass computes the loss; its head gets one position only.
    """
    kept: list[torch.Tensor] = []

    def shorten(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        kept.append(arguments[0])
        return (arguments[0][:, :1], *arguments[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(shorten)
    try:
        loss = model(**inputs, output_router_logits=True).aux_loss
    finally:
        handle.remove()
    return kept[0], _required(model, loss)


def logits_and_router_loss(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits (sequences, length, vocabulary) and the auxiliary loss (); see `states_and_router_loss`."""
    outputs = model(**inputs, output_router_logits=True)
    return outputs.logits, _required(model, outputs.aux_loss)


def _required(model: Any, loss: Any) -> torch.Tensor:
    """Return the auxiliary loss; ValueError, in one line, if the model computes none."""
    if not isinstance(loss, torch.Tensor):
        raise ValueError(
            f"router_aux_loss: {type(model).__name__} computes no auxiliary loss of routers; use --router-aux-loss 0"
        )
    return loss
