"""What a launcher's environment may change, and what it may not: the losses and their gradients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.families import ROTARY, W, build

from llm.config import TrainConfig
from llm.data.tokenization import TokenizedDataset
from llm.training import base
from llm.training.launch import check_launcher, check_processes, make_accelerator


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


def test_a_launcher_that_takes_steps_by_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_MEGATRON_LM", "true")
    with pytest.raises(ValueError, match=r"^accelerate: its launcher asks for MEGATRON_LM, .*use DDP or --use_fsdp$"):
        make_accelerator(TrainConfig(device="cpu"))


def test_a_process_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "0")
    check_launcher(TrainConfig())
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match=r"^accelerate: process 1 here has no GPU of its own; use --num_processes 1$"):
        check_launcher(TrainConfig())
    check_launcher(TrainConfig(device="cpu"))


@pytest.mark.parametrize(("count", "name"), [(4, ""), (2, "ACCELERATE_USE_DEEPSPEED")])
def test_what_accelerate_leaves_out_is_an_error(monkeypatch: pytest.MonkeyPatch, count: int, name: str) -> None:
    accelerator: Any = SimpleNamespace(num_processes=2, distributed_type="DistributedType.MULTI_CPU")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_processes(accelerator)
    monkeypatch.setenv("WORLD_SIZE", str(count))
    if name:
        monkeypatch.setenv(name, "true")
    with pytest.raises(ValueError, match=r"^accelerate: .*DeepSpeed, which needs a GPU" if name else "train by itself"):
        check_processes(accelerator)


def test_deepspeed_without_a_gpu_is_refused_before_it_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^accelerate: .*DeepSpeed, which needs a GPU; use torchrun on a CPU$"):
        check_launcher(TrainConfig())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shared", "length", "refused"), [("FSDP", W + 2, True), ("FSDP", W, False), ("", W + 2, False)]
)
def test_shared_weights_with_rows_of_other_rotary_frequencies_are_refused(
    monkeypatch: pytest.MonkeyPatch, shared: str, length: int, refused: bool
) -> None:
    """Such rows take a pass of their own, so that the processes would take different numbers of passes, and wait."""
    monkeypatch.setattr(base, "shares_weights", lambda _: shared)
    config = TrainConfig(device="cpu", lora_rank=2, lora_targets=("o_proj",), max_length=64)
    name, values = ROTARY["longrope"]
    ids = [np.arange(3, 3 + length // 2, dtype=np.int32), np.arange(3, 3 + length - length // 2, dtype=np.int32)]
    rows = TokenizedDataset("sft", (ids[0],) * 2, ((ids[1],),) * 2, ("0" * 16,) * 2, 0, 0, 0)
    made = base.BaseModel(make_accelerator(config), config, build(name, **values), [rows], quiet=True)
    if refused:
        with pytest.raises(
            ValueError, match=rf"^max_length: a row has {length} tokens, .* use --max-length {W}, or DDP$"
        ):
            made.open_for_training(config, steps=1)
    else:
        made.open_for_training(config, steps=1)
