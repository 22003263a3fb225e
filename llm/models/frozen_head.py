"""Log-probabilities under a linear head, in pieces; a head that is not trained gets a backward pass of its own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from llm.models.architecture import is_frozen_linear


def head_logps(
    head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, *, rows: int, whole: bool = False
) -> torch.Tensor:
    """Return log softmax(head(hidden))[targets], shape (N,), float32, with a graph if gradients are enabled.

    head     maps (N, width) to (N, vocabulary)
    hidden   (N, width), in the model's dtype
    targets  (N,) int64
    rows     most rows of logits that are held at once, at least 1
    whole    call a head that is trained once, on all rows
    """
    if is_frozen_linear(head):
        logps: torch.Tensor = FrozenHead.apply(hidden, targets, head.weight, head.bias, rows)  # type: ignore[no-untyped-call]
        return logps
    if whole or len(hidden) <= rows:
        return target_logps(head(hidden), targets)
    pieces = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    return torch.cat([_piece(head, h, t) for h, t in pieces])


def target_logps(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return log softmax(logits)[targets], shape (N,), summed in float32 for logits (N, vocabulary) of any dtype."""
    return -F.cross_entropy(logits.float(), targets, reduction="none")


class FrozenHead(torch.autograd.Function):
    """`target_logps(F.linear(hidden, weight, bias), targets)` for a head without trainable weights.

    At most `rows` rows of logits exist at a time. A row's gradient is (e_target - softmax(logits)) W times a number
    that only the backward pass knows, so the product is computed while the logits exist: the logits are neither kept
    nor computed twice. The gradient cannot be differentiated once more: with create_graph, RuntimeError.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        rows: int,
    ) -> torch.Tensor:
        """Return the log-probabilities (N,), float32, and keep each row's gradient (N, width)."""
        logps, slopes = [], []
        for h, t in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True):
            logits = F.linear(h, weight, bias).float().log_softmax(-1)
            logps.append(logits.gather(1, t[:, None])[:, 0])
            if ctx.needs_input_grad[0]:
                # The 1 is subtracted before the product: for a likely target the two parts nearly cancel.
                # exp(logits) are the probabilities; a CPU computes them faster by softmax.
                errors = logits.softmax(-1).scatter_add_(1, t[:, None], logits.new_full((len(t), 1), -1.0))
                slopes.append(errors.to(weight.dtype) @ weight)
        if slopes:
            ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(logps)

    @staticmethod
    def backward(ctx: Any, *above: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient with respect to the hidden states (N, width), and None for the other arguments."""
        if torch.is_grad_enabled():  # create_graph: the rows' gradients would count as constants
            raise RuntimeError("FrozenHead: its gradient has no derivative; set Policy.twice_differentiable")
        (slopes,) = ctx.saved_tensors
        return (-above[0][:, None] * slopes).to(slopes.dtype), None, None, None, None


def _piece(head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return a piece's log-probabilities; the backward pass computes the piece's logits once more."""
    if not torch.is_grad_enabled():
        return target_logps(head(hidden), targets)
    return checkpoint(lambda h, t: target_logps(head(h), t), hidden, targets, use_reentrant=False)  # type: ignore[no-any-return]
