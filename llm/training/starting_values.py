"""Evaluations before the first step: computed once for all runs that begin at the same policy."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.common.cache import ContentCache, digest
from llm.common.code_digest import computation_digest
from llm.common.files import read_json, write_json
from llm.config import SINGLE_OBJECTIVE
from llm.models.fingerprints import adapter_fingerprint
from llm.training.objective import SUMS

if TYPE_CHECKING:
    from llm.training.base import BaseModel
    from llm.training.engine import Engine
    from llm.training.objective import Objective


def evaluating_code() -> str:
    """Return the digest of the code that evaluates an objective, and the versions of the libraries that compute."""
    return computation_digest("llm.training.engine", "llm.training.base", "llm.training.starting_values")


def starting_sums(base: BaseModel, engine: Engine, objective: Objective) -> dict[str, float]:
    """Return an objective's sums over all of its rows before the first step, by SUMS.

    Methods, λ and f* have no part in these numbers. They are read from the cache, if an earlier run had the same base,
    rows, reference and options; the sums are then that run's, to the bit. Several processes, and LoRA whose start
    is not the base itself (the option `lora`), evaluate in any case. A cache that cannot be written costs time alone.
    """
    rows = np.arange(len(objective), dtype=np.int64)
    if engine.world > 1 or engine.config.lora:
        return engine.evaluate(objective, rows)
    cache, key = ContentCache(engine.config.cache_folder, "starting_values"), _key(base, engine, objective)
    sums = cache.read(key, _load)
    if sums is None:
        sums = engine.evaluate(objective, rows)
        try:
            cache.write(key, functools.partial(_save, sums))
        except OSError:
            return sums
    return sums


def _key(base: BaseModel, engine: Engine, objective: Objective) -> str:
    """Return the name of everything that the sums depend on."""
    config, beside, reference = engine.config, objective.beside, objective.reference
    values: dict[str, Any] = {
        "code": evaluating_code(),
        "base": base.fingerprint,
        "adapter": adapter_fingerprint(config.adapter) if config.adapter else "",
        "device": engine.accelerator.device.type,
        "share_prompt": objective.share_prompt,
        "beside": {} if beside is None else {"loss": beside.name, **beside.numbers()},
        "reference": "" if reference is None else hashlib.sha256(reference.numpy().tobytes()).hexdigest(),
        "options": config.values_of(*SINGLE_OBJECTIVE),
        "objective": objective.describe(),
    }
    return digest(values)


def _save(sums: dict[str, float], folder: Path) -> None:
    write_json(folder / "sums.json", sums)


def _load(folder: Path) -> dict[str, float]:
    """Return the sums of a cache entry; ValueError for other names than SUMS."""
    sums: dict[str, float] = read_json(folder / "sums.json")
    if tuple(sums) != SUMS:
        raise ValueError(f"{folder} holds other sums than {', '.join(SUMS)}")
    return sums
