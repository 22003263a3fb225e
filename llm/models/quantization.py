"""A base model in 4 bits: NF4 of bitsandbytes, the base of QLoRA (arXiv 2305.14314)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from llm.config import TrainConfig

LEAST = (0, 46, 1)  # version of bitsandbytes that transformers 5 asks for; earlier ones need a GPU


def check_quantization(config: TrainConfig, *, given: bool, sharded: bool) -> None:
    """Raise ValueError, in one line, if a run's base cannot be quantised as configured.

    given    the model was given in memory
    sharded  the processes share the weights (FSDP)
    """
    if config.quantization == "none":
        return
    if given:
        raise ValueError("quantization: is for a model that a name leads to; load the model in memory in 4 bits")
    if sharded:
        raise ValueError("quantization: nf4 is not with FSDP, which cannot share weights of 4 bits; use DDP")
    check_available()


def check_available() -> None:
    """Raise ValueError, in one line, if bitsandbytes is absent or too old."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError("quantization: nf4 needs bitsandbytes, which is not installed; pip install -e '.[quant]'")
    version = importlib.metadata.version("bitsandbytes")
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if numbers < LEAST:
        least = ".".join(map(str, LEAST))
        raise ValueError(
            f"quantization: bitsandbytes {version} is older than {least}, the first for CPUs; pip install -e '.[quant]'"
        )


def loading_options(config: TrainConfig, dtype: torch.dtype) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` for a base in 4 bits; none for any other.

    dtype  of the computation
    """
    if config.quantization == "none":
        return {}
    check_available()
    from transformers import BitsAndBytesConfig

    make: Any = BitsAndBytesConfig  # which has no types
    options = make(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=config.double_quantization,
        bnb_4bit_compute_dtype=dtype,
    )
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    return {"quantization_config": options, **({"device_map": {"": "cpu"}} if on_cpu else {})}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the lines of bitsandbytes and transformers on kernels that are not used, and on dequantisation."""
    loggers = [logging.getLogger(name) for name in ("bitsandbytes", "transformers.integrations.bitsandbytes")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def use_exact_layout(model: Any) -> None:
    """Keep the weights of 4 bits as they are in evaluations.

    On CPUs with bf16 units, bitsandbytes repacks a layer's weights at its first evaluation and rounds the scales to
    bf16: from then on the model would be another one than the one that is trained.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def is_quantized(model: Any) -> bool:
    """Return whether some weights of a model have 4 bits."""
    return any(getattr(p, "quant_state", None) is not None for p in model.parameters())


def scale_tensors(model: Any) -> list[tuple[str, torch.Tensor]]:
    """Return the scales and tables of all weights of 4 bits, by name; they are neither parameters nor buffers."""
    tensors = []
    for name, parameter in model.named_parameters():
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            tensors += [(f"{name}.{key}", value) for key, value in state.as_dict(packed=True).items()]
    return tensors


def dequantized(model: Any) -> Any:
    """Return a model with each weight of 4 bits replaced by the number that it stands for; other models unchanged."""
    if not is_quantized(model):
        return model
    with quiet():
        return model.dequantize(dtype=model.dtype)


def without_scales(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state dict without the scales and tables of weights of 4 bits, which torch takes for trained values."""
    parts = ("absmax", "quant_map", "nested_absmax", "nested_quant_map", "quant_state.")
    return {name: value for name, value in state.items() if not name.rpartition(".weight.")[2].startswith(parts)}
