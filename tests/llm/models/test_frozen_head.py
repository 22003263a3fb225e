"""The fixed head's own gradient is autograd's, whatever it is cut into, and only a fixed head has it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llm.models import policy
from llm.models.architecture import is_frozen_linear
from llm.models.frozen_head import FrozenHead, target_logps


def made(
    *, bias: bool, dtype: torch.dtype = torch.float32
) -> tuple[nn.Linear, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A head, hidden states, targets, and what comes from above in the backward pass."""
    draw = torch.Generator().manual_seed(2)
    head = nn.Linear(6, 40, bias=bias).requires_grad_(False)
    for parameter in head.parameters():
        parameter.normal_(generator=draw)
    hidden = torch.randn(11, 6, generator=draw)
    targets = torch.randint(0, 40, (11,), generator=draw)
    return head.to(dtype), hidden.to(dtype), targets, torch.randn(11, generator=draw)


def apply(head: nn.Linear, hidden: torch.Tensor, targets: torch.Tensor, rows: int) -> torch.Tensor:
    found: torch.Tensor = FrozenHead.apply(hidden, targets, head.weight, head.bias, rows)
    return found


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 4, 11, 100])
def test_values_and_gradient_are_autograds(rows: int, bias: bool) -> None:
    head, hidden, targets, above = made(bias=bias)
    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    values, expected = apply(head, ours, targets, rows), target_logps(head(theirs), targets)
    torch.testing.assert_close(values, expected)
    values.backward(above)
    expected.backward(above)
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert float(theirs.grad.abs().max()) > 0.1  # type: ignore[union-attr]


def test_a_likely_targets_gradient_is_not_lost_in_bfloat16() -> None:
    """For p near 1 the gradient is a small difference of two numbers that bfloat16 holds to 0.4 % only."""
    head, _, targets, _ = made(bias=False, dtype=torch.bfloat16)
    hidden = (head.weight[targets] * 2.0).detach()  # each state asks for its own target
    exact = hidden.float().requires_grad_()
    F.linear(exact, head.weight.float()).log_softmax(-1).gather(1, targets[:, None]).sum().backward()
    ours = hidden.clone().requires_grad_()
    values = apply(head, ours, targets, 4)
    values.sum().backward()
    assert float(values.detach().exp().max()) > 0.98
    assert exact.grad is not None
    assert ours.grad is not None
    off = (ours.grad.float() - exact.grad).norm(dim=1) / exact.grad.norm(dim=1)
    # Logits of about 10 are rounded by 2^-9 of that, which moves 1 - p by some per cent. Taking the 1 away after the
    # product is off by 86 % here.
    assert float(off.max()) < 0.1


def test_without_gradients_nothing_is_kept() -> None:
    head, hidden, targets, _ = made(bias=False)
    assert not apply(head, hidden, targets, 4).requires_grad
    with torch.no_grad():
        assert apply(head, hidden.requires_grad_(), targets, 4).grad_fn is None


def test_only_a_plain_head_that_is_not_trained_is_frozen_linear() -> None:
    head = made(bias=True)[0]
    assert is_frozen_linear(head)
    head.bias.requires_grad_(True)
    assert not is_frozen_linear(head)
    head = made(bias=True)[0]
    head.register_forward_hook(lambda *_: None)
    assert not is_frozen_linear(head)

    class Adapted(nn.Linear):
        pass

    assert not is_frozen_linear(Adapted(2, 2).requires_grad_(False))


def test_a_cpu_holds_fewer_logits() -> None:
    assert policy.MAX_LOGITS_CPU < policy.MAX_LOGITS
