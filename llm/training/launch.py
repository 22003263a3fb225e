"""accelerate's handle of the processes of a run, whose launcher decides their number, and DDP or FSDP."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator

    from llm.config import TrainConfig


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Return accelerate's handle of the processes; `accelerate launch` decides their number, and DDP or FSDP.

    Raises ValueError for a tracker that is not installed, or a launcher that is not supported.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState
    from accelerate.utils import GradientAccumulationPlugin, TorchDynamoPlugin

    refuse_launchers()
    for name in config.log_with:
        if find_spec(name) is None:
            raise ValueError(f"log_with: {name} is not installed; pip install {name}")
    AcceleratorState._reset_state()  # a second run in one process may have another precision
    return Accelerator(
        cpu=config.device == "cpu",
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        # Named here, these are not taken from the launcher's environment, which would divide losses, or compile.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_plugin=TorchDynamoPlugin(backend="inductor" if config.compile else "no", dynamic=True),
        # Buffers never change, and a broadcast in every forward pass would tie the processes' passes together.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        log_with=list(config.log_with) or None,
        project_dir=str(config.folder),
    )


def refuse_launchers() -> None:
    """Raise ValueError for a launcher that takes steps by itself, without the trainer's clipping and means."""
    for name in ("DEEPSPEED", "MEGATRON_LM"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            raise ValueError(f"accelerate: its launcher asks for {name}, which is not supported; use DDP or --use_fsdp")
