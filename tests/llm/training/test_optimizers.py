"""The optimizer of an engine: torch's fused AdamW takes the steps of torch's plain AdamW, and which weights decay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import tiny_models as tiny

from llm import TrainConfig
from llm.models.lora import add_adapter
from llm.training.optimizers import make_optimizer, undecayed


class One(torch.nn.Module):
    """A module of eight weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1.0, 1.0, 8))


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
    fused, plain = One(), One().weight
    ours = make_optimizer(fused, config, "cpu")
    theirs = torch.optim.AdamW([plain], lr=1e-2, betas=(0.8, 0.95), weight_decay=0.1, fused=False, foreach=False)
    assert ours.defaults["fused"]
    # 30 steps of at most a few 1e-2, each rounded some ten times to 6e-8 of itself
    torch.testing.assert_close(steps_of(ours, fused.weight), steps_of(theirs, plain), rtol=0.0, atol=1e-6)


def test_a_device_without_the_fused_adamw_gets_the_plain_one() -> None:
    assert not make_optimizer(One(), TrainConfig(), "npu").defaults["fused"]
    assert isinstance(make_optimizer(One(), TrainConfig(optimizer="sgd"), "cpu"), torch.optim.SGD)


@pytest.mark.oracle
@pytest.mark.parametrize("family", ["gpt_neox", "llama", "opt", "qwen2"])
def test_full_fine_tuning_decays_what_transformers_trainer_decays(family: str) -> None:
    """OPT has biases and LayerNorm, Llama RMSNorm, Qwen2 both RMSNorm and biases."""
    from transformers import Trainer

    model = tiny.model(family)
    trainer: Any = Trainer
    names = dict(model.named_parameters())  # without second names of tied weights, which theirs have
    decayed = set(trainer.get_decay_parameter_names(None, model)) & names.keys()
    apart = {id(p) for p in undecayed(model)}
    assert {name for name, p in names.items() if id(p) not in apart} == decayed
    assert 0 < len(apart) < len(list(model.parameters()))
    groups = make_optimizer(model, TrainConfig(weight_decay=0.1), "cpu").param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert {id(p) for p in groups[1]["params"]} == apart
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    # Without weight decay the optimizer is as it was: a group of all weights, in the model's order.
    (group,) = make_optimizer(model, TrainConfig(), "cpu").param_groups
    assert list(map(id, group["params"])) == list(map(id, model.parameters()))


def test_a_bias_and_a_norm_keep_their_numbers_where_nothing_but_decay_moves_them() -> None:
    model = tiny.model("opt")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, TrainConfig(lr=0.5, weight_decay=0.1), "cpu")
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        factor = 1.0 if "bias" in name or "layer_norm" in name else 1.0 - 0.5 * 0.1
        torch.testing.assert_close(p.detach(), factor * before[name], rtol=1e-6, atol=0.0, msg=name)


@pytest.mark.parametrize("family", ["gpt_neox", "llama", "opt", "qwen2"])
def test_an_adapters_steps_are_to_the_bit_those_of_one_group(family: str) -> None:
    """LoRA trains neither biases nor norms: the optimizer is torch's of all its weights, which existing runs had."""
    weights, config = [], TrainConfig(lr=1e-2, weight_decay=0.1, lora_rank=2)
    for own in (True, False):
        model = add_adapter(tiny.model(family), config, seed=0)
        trained = [p for p in model.parameters() if p.requires_grad]
        betas = (config.beta1, config.beta2)
        plain = torch.optim.AdamW(trained, lr=1e-2, betas=betas, weight_decay=0.1, fused=True)
        optimizer = make_optimizer(model, config, "cpu") if own else plain
        draw = torch.Generator().manual_seed(0)
        for _ in range(3):
            for p in trained:
                p.grad = torch.randn(p.shape, generator=draw)
            optimizer.step()
        weights.append(torch.cat([p.detach().flatten() for p in trained]))
    assert torch.equal(*weights)
