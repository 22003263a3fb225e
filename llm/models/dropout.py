"""The base model's own randomness in training: dropout, layer dropout and routers' noise; off unless asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NOISE = re.compile(r"drop(?!less)|jitter")  # in the names of a module's or a configuration's numbers
CHANGES = "_numbers_before_training"  # attribute of a model: what `disable_noise` has set to 0


def disable_noise(model: Any) -> None:
    """Set every probability of dropout and every router's jitter of a model to 0, until `restore_noise`.

    Covers modules (`nn.Dropout`), numbers of modules (`attention_dropout`, `layerdrop`) and of configurations, which
    some families read in their forward pass. A model stays in the mode that it is in: gradient checkpointing needs
    training mode. Call this before adapters are added; their dropout is their own.
    """
    if getattr(model, CHANGES, None):
        return
    changes: list[tuple[Any, str, float]] = []
    for holder in _holders(model):
        probability = {"p"} if type(holder).__name__.lower().find("dropout") >= 0 else set()
        for name, value in vars(holder).items():
            if isinstance(value, float) and value != 0.0 and (NOISE.search(name) or name in probability):
                changes.append((holder, name, value))
    for holder, name, _ in changes:
        object.__setattr__(holder, name, 0.0)
    object.__setattr__(model, CHANGES, changes)


def restore_noise(model: Any) -> None:
    """Undo `disable_noise`."""
    for holder, name, value in getattr(model, CHANGES, None) or ():
        object.__setattr__(holder, name, value)
    object.__setattr__(model, CHANGES, [])


@contextmanager
def own_noise(model: Any) -> Iterator[None]:
    """Give a model its own numbers as long as the block lasts, for saving its configuration."""
    disabled = bool(getattr(model, CHANGES, None))
    restore_noise(model)
    try:
        yield
    finally:
        if disabled:
            disable_noise(model)


def _holders(model: Any) -> Iterator[Any]:
    """Yield the modules and configurations of a model, each once."""
    seen: set[int] = set()
    for module in model.modules():
        config = getattr(module, "config", None)
        parts = [config, *(vars(config).values() if hasattr(config, "to_dict") else ())]
        for holder in [module, *(part for part in parts if hasattr(part, "to_dict"))]:
            if id(holder) not in seen:
                seen.add(id(holder))
                yield holder
