"""The optimizer of an engine: torch's fused AdamW takes the steps of torch's plain AdamW."""

from __future__ import annotations

import pytest
import torch

from llm import TrainConfig
from llm.training.optimizers import make_optimizer


def steps_of(optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter, *, count: int = 30) -> torch.Tensor:
    """Return the weights (count, 8) after each step on gradients of changing sign and size."""
    draw, path = torch.Generator().manual_seed(1), []
    for step in range(count):
        weight.grad = torch.randn(8, generator=draw) * 10.0 ** (step % 5 - 3)
        optimizer.step()
        path.append(weight.detach().clone())
    return torch.stack(path)


@pytest.mark.oracle
def test_the_fused_adamw_takes_the_steps_of_the_plain_one() -> None:
    config = TrainConfig(lr=1e-2, beta1=0.8, beta2=0.95, weight_decay=0.1)
    fused, plain = (torch.nn.Parameter(torch.linspace(-1.0, 1.0, 8)) for _ in range(2))
    ours = make_optimizer([fused], config, "cpu")
    theirs = torch.optim.AdamW([plain], lr=1e-2, betas=(0.8, 0.95), weight_decay=0.1, fused=False, foreach=False)
    assert ours.defaults["fused"]
    # 30 steps of at most a few 1e-2, each rounded some ten times to 6e-8 of itself
    torch.testing.assert_close(steps_of(ours, fused), steps_of(theirs, plain), rtol=0.0, atol=1e-6)


def test_a_device_without_the_fused_adamw_gets_the_plain_one() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    assert not make_optimizer([weight], TrainConfig(), "npu").defaults["fused"]
    assert isinstance(make_optimizer([weight], TrainConfig(optimizer="sgd"), "cpu"), torch.optim.SGD)
