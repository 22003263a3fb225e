"""LoRA's linear layers on a CPU as one operation with a backward pass of its own, in place of PEFT's six.

PEFT computes W x + s B (A x) by six operations and autograd's backward passes of each. A product of a small model takes
about as long as the call of an operation, and a CPU's matrix library takes up to five times as long for a result of few
columns (the rank) as for its transpose of few rows. Here all products with the rank have few rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear
from torch import nn


class LoraLinear(torch.autograd.Function):
    """`F.linear(x, weight, bias) + scale * F.linear(F.linear(x, a), b)`, with gradients of x, a and b.

    The weight and the bias are not trained. The gradient cannot be differentiated once more: with create_graph,
    RuntimeError.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:  # fmt: skip
        """Return the layer's output (..., out) for x (..., in), weight (out, in), a (rank, in) and b (out, rank)."""
        output, rows, low = _forward(x, weight, bias, a, b, scale)
        ctx.save_for_backward(rows, low, weight, a, b)
        ctx.scale, ctx.shape = scale, x.shape
        return output

    @staticmethod
    def backward(ctx: Any, *above: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of x, a and b where they are needed, and None for the other arguments."""
        if torch.is_grad_enabled():  # create_graph: the saved tensors would count as constants
            raise RuntimeError("LoraLinear: its gradient has no derivative; call fuse_lora with twice_differentiable")
        rows, low, weight, a, b = ctx.saved_tensors
        of_x, _, _, of_a, of_b, _ = ctx.needs_input_grad
        slopes = above[0].reshape(-1, above[0].shape[-1])
        x_slopes = a_slopes = b_slopes = None
        if of_x or of_a:
            low_slopes = (b.t() @ slopes.t()).mul_(ctx.scale)  # (rank, rows)
            if of_x:
                x_slopes = (slopes @ weight).addmm_(low_slopes.t(), a).view(ctx.shape)
            if of_a:
                a_slopes = low_slopes @ rows
        if of_b:
            b_slopes = (low @ slopes).t()
        return x_slopes, None, None, a_slopes, b_slopes, None


def _forward(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the layer's output (..., out), x as (rows, in), and scale times A x as (rank, rows).

    The output is no view of another tensor: some families add to it in place, which autograd refuses for views.
    """
    rows = x.reshape(-1, x.shape[-1])
    output = x.new_empty((*x.shape[:-1], len(weight)))
    flat, low = output.view(-1, len(weight)), (a @ rows.t()).mul_(scale)
    if bias is None:
        torch.mm(rows, weight.t(), out=flat)
    else:
        torch.addmm(bias, rows, weight.t(), out=flat)
    flat.addmm_(low.t(), b.t())
    return output, rows, low


def composed(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor, scale: float
) -> torch.Tensor:
    """Return the output of `LoraLinear` by operations whose gradients can be differentiated again.

    The factors are laid out so that autograd's products with the rank have few rows as well.
    """
    rows = x.reshape(-1, x.shape[-1])
    low = a @ rows.t()
    output = torch.addmm(F.linear(rows, weight, bias), low.t(), b.t().contiguous(), alpha=scale)
    return output.view(*x.shape[:-1], -1)


class FusedLinear(Linear):
    """PEFT's LoRA layer, which computes by `LoraLinear` wherever that is the same function, else as PEFT does.

    twice_differentiable  whether it computes by `composed` instead
    """

    twice_differentiable = False

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the layer's output (..., out) for x (..., in)."""
        active = self.active_adapters
        if args or kwargs or len(active) != 1 or not self._is_plain(x, active[0]):
            return super().forward(x, *args, **kwargs)
        name = active[0]
        parts: Any = (self.base_layer, self.lora_A[name], self.lora_B[name])
        base, a, b = parts[0], parts[1].weight, parts[2].weight
        scale = float(self.scaling[name])
        if self.twice_differentiable:
            return composed(x, base.weight, base.bias, a, b, scale)
        if torch.is_grad_enabled():
            output: torch.Tensor = LoraLinear.apply(x, base.weight, base.bias, a, b, scale)  # type: ignore[no-untyped-call]
            return output
        return _forward(x, base.weight, base.bias, a, b, scale)[0]

    def _is_plain(self, x: torch.Tensor, name: str) -> bool:
        """Return whether the layer's output for x is W x + s B (A x), in the one dtype of all tensors."""
        if self.disable_adapters or self.merged or name not in self.lora_A or name in self.lora_variant:
            return False
        dropout = self.lora_dropout[name]
        if dropout.training and not isinstance(dropout, nn.Identity):
            return False
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        same = x.dtype == a.dtype == b.dtype == self.base_layer.weight.dtype
        return same and not torch.is_autocast_enabled(x.device.type)


def fuse_lora(model: nn.Module, *, twice_differentiable: bool = False) -> int:
    """Let a model's plain LoRA layers on a CPU compute by `LoraLinear`; return the number of these layers.

    model                 with PEFT's adapters, in one process or with whole copies of the weights in each
    twice_differentiable  the gradients of the layers can be differentiated once more, and are less fast

    Left as they are: layers on a GPU; layers of other kinds (embeddings, convolutions, 4 bits); those with a trained
    bias or weight, or with hooks. Saving, merging and unloading are PEFT's, and a layer's name and weights stay.
    """
    layers = [module for module in model.modules() if type(module) is Linear and _can_fuse(module)]
    for layer in layers:
        layer.__class__ = FusedLinear
        layer.twice_differentiable = twice_differentiable  # type: ignore[assignment]
    return len(layers)


def _can_fuse(layer: Linear) -> bool:
    """Return whether a layer's base and its adapters are plain linear maps on a CPU, the base without gradients."""
    base, parts = layer.base_layer, [*layer.lora_A.values(), *layer.lora_B.values()]
    plain = all(type(part) is nn.Linear and not _has_hooks(part) for part in (base, *parts))
    fixed = not any(p.requires_grad for p in base.parameters())
    biased = any(part.bias is not None for part in parts)
    return plain and fixed and not biased and base.weight.device.type == "cpu"


def _has_hooks(module: nn.Module) -> bool:
    """Return whether a module has hooks, which the fused layer would not call."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
