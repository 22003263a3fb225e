"""Environments that launchers set, and what lets accelerate use FSDP and DeepSpeed on CPUs as it does on GPUs."""

from __future__ import annotations

import os
import sys
from typing import Any

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "GPTNeoXLayer",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}  # what `accelerate launch --use_fsdp --fsdp_version 2 ...` sets


ZERO2 = {
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2",
    "ACCELERATE_GRADIENT_CLIPPING": "7.0",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "DS_ACCELERATOR": "cpu",
}  # what `accelerate launch --use_deepspeed --zero_stage 2 ...` sets, with numbers that options decide
ZERO3 = {**ZERO2, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3", "ACCELERATE_DEEPSPEED_ZERO3_INIT": "true"}


def allow_cpu() -> None:
    """Let this process use on CPUs what its environment asks for."""
    if "ACCELERATE_USE_FSDP" in os.environ:
        _shard_on_cpu()
    if "ACCELERATE_USE_DEEPSPEED" in os.environ:
        _deepspeed_on_cpu()


def _shard_on_cpu() -> None:
    """Let accelerate shard on CPUs as it does on GPUs.

    torch can; accelerate 1.15's AcceleratorState looks for FSDP's settings only where there are accelerators, and
    trains with DDP on CPUs without a word.
    """
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType
    from torch.distributed import fsdp

    ordinary = AcceleratorState.__init__

    def initialise(self: Any, *args: Any, **more: Any) -> None:
        ordinary(self, *args, **more)
        if "fsdp_plugin" not in more:  # what is made later shares the first one's values
            return
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = more["fsdp_plugin"]

    AcceleratorState.__init__ = initialise
    shard = fsdp.fully_shard

    def say_and_shard(module: Any, **more: Any) -> Any:
        print(f"sharded: {type(module).__name__}")
        return shard(module, **more)

    fsdp.fully_shard = say_and_shard


def _deepspeed_on_cpu() -> None:
    """Let accelerate use DeepSpeed on CPUs as it does on GPUs; accelerate 1.15 trains with DDP there without a word."""
    import deepspeed
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None  # an extension in C++, which would be compiled now
    ordinary = AcceleratorState.__init__

    def initialise(self: Any, *args: Any, **more: Any) -> None:
        ordinary(self, *args, **more)
        plugin = more.get("deepspeed_plugin")
        if plugin is None:  # what is made later shares the first one's values
            return
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.DEEPSPEED
        self._mixed_precision = "no"
        plugin.set_mixed_precision(more.get("mixed_precision"))
        plugin.select(_from_accelerator_state=True)
        self.deepspeed_plugins = plugin

    AcceleratorState.__init__ = initialise
    begin = deepspeed.initialize

    def say_and_begin(**more: Any) -> Any:
        engine, *others = begin(**more)
        print(f"zero: stage {engine.zero_optimization_stage()} of {engine.dp_world_size}")
        return engine, *others

    deepspeed.initialize = say_and_begin
