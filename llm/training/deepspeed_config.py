"""The launcher's DeepSpeed configuration: what of it counts, and what is refused in one line."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.utils import DeepSpeedPlugin

    from llm.config import TrainConfig

# Sections that change memory, speed or reports alone, and sections in whose place options decide.
FREE = (
    "zero_optimization", "communication_data_type", "data_types", "comms_logger", "wall_clock_breakdown", "dump_state",
    "memory_breakdown", "disable_allgather", "prescale_gradients", "gradient_predivide_factor", "seed",
    "zero_allow_untested_optimizer",
)  # fmt: skip
DECIDED = (
    "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping", "bf16",
    "fp16", "amp", "steps_per_print", "managed_gradient_accumulation", "zero_force_ds_cpu_optimizer",
)  # fmt: skip
ABOUT = "accelerate: the DeepSpeed configuration"
INSTALL = "pip install -e '.[deepspeed]'"


def wants_deepspeed() -> bool:
    """Return whether the launcher asks for DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"


def is_zero(accelerator: Accelerator) -> bool:
    """Return whether the processes train by DeepSpeed."""
    return "DEEPSPEED" in str(accelerator.distributed_type)


def shares_weights(accelerator: Accelerator) -> str:
    """Return "FSDP" or "ZeRO-3" if each process holds a share of the weights alone, else ""."""
    if "FSDP" in str(accelerator.distributed_type):
        return "FSDP"
    zero3 = is_zero(accelerator) and accelerator.deepspeed_plugin.hf_ds_config.is_zero3()
    return "ZeRO-3" if zero3 else ""


def make_plugin(config: TrainConfig) -> DeepSpeedPlugin | None:
    """Return accelerate's plugin for the launcher's DeepSpeed configuration; None if the launcher asks for none.

    Batches, accumulation, clipping, precision, optimizer and schedule are those of the options. Raises ValueError, in
    one line, for a configuration that would decide any of the last three, or that is not supported.
    """
    if not wants_deepspeed():
        return None
    for given, name in ((config.quantization != "none", "quantization"), (config.compile, "compile")):
        if given:
            raise ValueError(f"{name}: not with DeepSpeed; leave the option out, or use DDP")
    _check_installed()
    plugin = _read()
    values: dict[str, Any] = plugin.deepspeed_config
    _check_sections(values, config)
    for name in DECIDED:
        values.pop(name, None)
    _drop_auto(values)
    values |= {
        "train_micro_batch_size_per_gpu": 1,  # of a data loader, which DeepSpeed is not given
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": config.clip,
        "bf16": {"enabled": config.precision == "bf16"},
        "fp16": {"enabled": False},
        "steps_per_print": None,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # states on the CPU are stepped by the same optimizer of torch
    }
    values.setdefault("data_types", {}).setdefault("grad_accum_dtype", "fp32")
    return plugin


def load_whole() -> None:
    """Let transformers load whole models under ZeRO-3, whose weights are checked, fingerprinted, and then shared."""
    from transformers.integrations import deepspeed

    forget: Any = deepspeed.unset_hf_deepspeed_config
    forget()
    # torch 2.13 has new names for these, which DeepSpeed 0.19 does not know yet and calls at every step
    warnings.filterwarnings("ignore", message=r"`torch\.distributed\.\w+` is deprecated", category=FutureWarning)


def _check_installed() -> None:
    """Raise ValueError if DeepSpeed is absent, or too old to leave gradient accumulation to its caller."""
    try:
        from deepspeed import DeepSpeedEngine, __version__
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"accelerate: its launcher asks for DeepSpeed, which cannot be imported ({reason}); {INSTALL}, or use DDP "
            "or --use_fsdp"
        ) from error
    if not hasattr(DeepSpeedEngine, "managed_gradient_accumulation"):
        raise ValueError(f"accelerate: DeepSpeed {__version__} is too old; {INSTALL}")


def _read() -> DeepSpeedPlugin:
    """Return accelerate's plugin for the launcher's settings or file; ValueError if the file cannot be read."""
    from accelerate.utils import DeepSpeedPlugin

    name = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if name != "none":
        try:
            values = json.loads(Path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{ABOUT} {name} cannot be read ({error}); give a JSON file") from error
        if not isinstance(values, dict) or not isinstance(values.get("zero_optimization"), dict):
            raise ValueError(f'{ABOUT} {name} has no object "zero_optimization"; give one with the stage, 2 or 3')
    return DeepSpeedPlugin(zero3_init_flag=False)


def _check_sections(values: Mapping[str, Any], config: TrainConfig) -> None:
    """Raise ValueError for a section that options decide, or that is not supported."""
    for name, options in (("optimizer", "--optimizer, --lr"), ("scheduler", "--schedule, --warmup")):
        if name in values:
            raise ValueError(f"{ABOUT} has the section {name}; remove the section: {options} decide")
    for name in ("fp16", "amp"):
        if _is_enabled(values, name):
            raise ValueError(f"{ABOUT} asks for {name}, which is not supported; remove it, or use --precision bf16")
    if _is_enabled(values, "bf16") and config.precision != "bf16":
        raise ValueError(f"{ABOUT} asks for bf16, and --precision is {config.precision}; use --precision bf16")
    for name in values:
        if name not in (*FREE, *DECIDED):
            raise ValueError(f"{ABOUT} has the section {name}, which is not supported; remove the section")
    zero = values["zero_optimization"]
    if zero.get("stage") not in (2, 3):
        raise ValueError(f"{ABOUT} has ZeRO stage {zero.get('stage')}; use stage 2 or 3, or DDP")
    for name in ("offload_optimizer", "offload_param"):
        device = (zero.get(name) or {}).get("device", "none")
        if device not in ("none", "cpu", None):
            raise ValueError(f"{ABOUT} has {name} to {device}; use cpu, or none")


def _is_enabled(values: Mapping[str, Any], name: str) -> bool:
    """Return whether a section is enabled; "auto" is not."""
    section = values.get(name)
    return isinstance(section, dict) and str(section.get("enabled")).lower() == "true"


def _drop_auto(values: dict[str, Any]) -> None:
    """Remove the entries that are "auto", at any depth, in place, so that DeepSpeed's defaults hold."""
    for name, value in list(values.items()):
        if value == "auto":
            del values[name]
        elif isinstance(value, dict):
            _drop_auto(value)
