"""accelerate's handle of the processes of a run, whose launcher decides their number, and DDP, FSDP or DeepSpeed."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from llm.common.progress import hide_unused_kernel
from llm.data.collate import collate
from llm.training.deepspeed_config import is_zero, load_whole, make_plugin, shares_weights, wants_deepspeed

if TYPE_CHECKING:
    from accelerate import Accelerator

    from llm.config import TrainConfig
    from llm.models.policy import Policy, Row

NO_GPU = "accelerate: its launcher asks for DeepSpeed, which needs a GPU; use torchrun on a CPU"


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Return accelerate's handle of the processes; the launcher decides their number, and DDP, FSDP or DeepSpeed.

    Raises ValueError for a tracker that is not installed, or a launcher or its settings that are not supported.
    """
    if config.quantization == "none":
        hide_unused_kernel()
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState
    from accelerate.utils import GradientAccumulationPlugin, TorchDynamoPlugin

    check_launcher(config)
    for name in config.log_with:
        if find_spec(name) is None:
            raise ValueError(f"log_with: {name} is not installed; pip install {name}")
    plugin = make_plugin(config)
    AcceleratorState._reset_state()  # a second run in one process may have another precision
    accelerator = Accelerator(
        cpu=config.device == "cpu",
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        # Named here, these are not taken from the launcher's environment, which would divide losses, or compile.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_plugin=TorchDynamoPlugin(backend="inductor" if config.compile else "no", dynamic=True),
        # Buffers never change, and a broadcast in every forward pass would tie the processes' passes together.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        deepspeed_plugin=plugin,
        log_with=list(config.log_with) or None,
        project_dir=str(config.folder),
    )
    check_processes(accelerator)
    if plugin is not None:
        load_whole()
    return accelerator


def search_unreached_weights(accelerator: Accelerator, policy: Policy, row: Row) -> None:
    """Have DDP look for weights without a gradient, at every step, if the policy has trained weights that have none.

    row  a short one: weights that it reaches are reached by longer ones

    DDP waits for the gradients of all trained weights. Some have none: those of DeepSeek's indexers, which only select
    tokens, and those of poolers, cross attention or vision that a text does not pass through.
    """
    trained = [p for p in policy.parameters() if p.requires_grad]
    if not trained or accelerator.num_processes == 1 or is_zero(accelerator) or shares_weights(accelerator):
        return
    batch, training = collate([row[0]], [row[1][:1]]).to(trained[0].device), policy.training
    policy.eval()
    with torch.enable_grad(), accelerator.autocast():
        gradients = torch.autograd.grad(policy(batch).sum(), trained, allow_unused=True)
    policy.train(training)
    accelerator.ddp_handler.find_unused_parameters = any(gradient is None for gradient in gradients)


def check_launcher(config: TrainConfig) -> None:
    """Raise ValueError for a launcher that is not supported, or for more processes than there are GPUs."""
    if os.environ.get("ACCELERATE_USE_MEGATRON_LM", "false").lower() == "true":
        raise ValueError("accelerate: its launcher asks for MEGATRON_LM, which is not supported; use DDP or --use_fsdp")
    if wants_deepspeed() and config.device != "cpu" and not torch.accelerator.is_available():
        raise ValueError(NO_GPU)  # DeepSpeed would first compile an extension, for minutes
    count, own = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
    if config.device != "cpu" and torch.cuda.is_available() and own >= count:
        raise ValueError(f"accelerate: process {own} here has no GPU of its own; use --num_processes {count}")


def check_processes(accelerator: Accelerator) -> None:
    """Raise ValueError if each of several processes would train by itself, or without the DeepSpeed that is asked for.

    accelerate leaves out what it cannot use, without a word.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if "LOCAL_RANK" in os.environ and accelerator.num_processes < count:
        raise ValueError(
            f"accelerate: of {count} processes each would train by itself, since there is no GPU; use --device cpu"
        )
    if wants_deepspeed() and not is_zero(accelerator):
        raise ValueError(NO_GPU)
