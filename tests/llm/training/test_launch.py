"""What a launcher's environment may change, and what it may not: the losses and their gradients."""

from __future__ import annotations

import pytest
import torch

from llm.config import TrainConfig
from llm.training.launch import make_accelerator


@pytest.mark.slow
def test_a_launchers_gradient_accumulation_divides_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate takes the number from the environment, and divides every loss by it."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    weight = torch.ones(2, requires_grad=True)
    make_accelerator(TrainConfig(device="cpu")).backward((3.0 * weight).sum())
    assert weight.grad is not None
    assert weight.grad.tolist() == [3.0, 3.0]


@pytest.mark.slow
def test_a_launcher_does_not_compile_what_the_options_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "EAGER")
    module = torch.nn.Linear(2, 2)
    prepared = make_accelerator(TrainConfig(device="cpu")).prepare_model(module, evaluation_mode=True)
    assert prepared is module


@pytest.mark.parametrize("name", ["DEEPSPEED", "MEGATRON_LM"])
def test_a_launcher_that_takes_steps_by_itself_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(ValueError, match=rf"^accelerate: its launcher asks for {name}, .*use DDP or --use_fsdp$"):
        make_accelerator(TrainConfig(device="cpu"))
