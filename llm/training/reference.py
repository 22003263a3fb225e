"""DPO's reference: its log-probabilities are computed once and cached; no second model is ever in memory.

The reference is the bare base or an adapter on it. Cached log-probabilities are found by everything they depend on: the
token ids (hence data, tokenizer, template and truncation), the weights of base and adapter, and the precision.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from llm.common.cache import ContentCache, digest
from llm.common.files import read_json, write_json
from llm.models.loading import adapter_fingerprint
from llm.training.cached_run import run_once, single_objective_config
from llm.training.metrics import Stopwatch
from llm.training.objective import Objective, chosen_only, unmasked
from toyopt.algorithms import SFT

if TYPE_CHECKING:
    from llm.data.tokenization import TokenizedDataset
    from llm.training.engine import Engine
    from llm.training.inputs import Inputs

Entry = tuple[torch.Tensor, dict[str, float]]  # log-probabilities, seconds by metrics.KINDS


def reference_logps(inputs: Inputs, datasets: Sequence[TokenizedDataset]) -> list[torch.Tensor]:
    """Return (n, 2) float32 log-probabilities of chosen and rejected responses under the reference, for each set.

    Cached; the reference's own adapter is trained first if it has to be.
    """
    if not datasets:
        return []
    kind = inputs.config.reference_kind
    adapter = None if kind == "base" else _adapter(inputs, kind)
    name = "" if adapter is None else adapter_fingerprint(adapter)
    cache = ContentCache(inputs.cache, "reference")
    objectives = [Objective("dpo", tokens) for tokens in datasets]
    keys = [cache_key(o, inputs.base.fingerprint, name, inputs.config.precision) for o in objectives]
    cached = [cache.read(key, functools.partial(_load, rows=len(o))) for key, o in zip(keys, objectives, strict=True)]
    if not inputs.main_decides(all(entry is not None for entry in cached)):
        engine = inputs.base.open_for_evaluation(inputs.config, adapter)
        for j, (key, objective) in enumerate(zip(keys, objectives, strict=True)):
            if not inputs.main_decides(cached[j] is not None):
                cached[j] = _compute(inputs, engine, objective, cache, key)
        engine.close()
    logps = []
    for key, entry in zip(keys, cached, strict=True):
        assert entry is not None
        values, seconds = entry
        inputs.costs[cache.path(key)] = "log_probs", seconds
        logps.append(values)
    return logps


def cache_key(objective: Objective, base: str, adapter: str, precision: str) -> str:
    """Return the key of an objective's reference log-probabilities.

    base, adapter  fingerprints; "" for no adapter
    """
    tokens = objective.tokens.digest
    return digest({"version": 1, "tokens": tokens, "base": base, "adapter": adapter, "precision": precision})


def _load(folder: Path, rows: int) -> Entry:
    """Return a cache entry's log-probabilities, (rows, 2), and the seconds of their computation."""
    values = load_file(folder / "logps.safetensors")["logps"]
    if values.shape != (rows, 2):
        raise ValueError(f"{folder} holds log-probabilities of shape {tuple(values.shape)}, not {(rows, 2)}")
    return values, read_json(folder / "seconds.json")


def _compute(inputs: Inputs, engine: Engine, objective: Objective, cache: ContentCache, key: str) -> Entry:
    """Compute and cache the log-probabilities of all pairs under the engine's policy, with the seconds they took.

    Raises ValueError, naming the row, if a log-probability is not finite.
    """
    stopwatch = Stopwatch()
    with inputs.progress("reference log-probabilities") as line:
        objective = dataclasses.replace(objective, share_prompt=engine.raw.share_prompt)
        logps = engine.logps(objective, lambda share: line(round(100 * share), 100))
    if not torch.isfinite(logps).all():
        row = int((~torch.isfinite(logps)).any(dim=1).nonzero()[0])
        raise ValueError(
            f"reference: its log-probability of row {row} is not finite; is the model damaged, or bf16 too coarse?"
        )
    seconds = stopwatch.seconds

    def save(folder: Path) -> None:
        save_file({"logps": logps}, folder / "logps.safetensors")
        write_json(folder / "seconds.json", seconds)

    if inputs.base.is_main:
        cache.write(key, save)
    inputs.accelerator.wait_for_everyone()
    return logps, seconds


def _adapter(inputs: Inputs, kind: str) -> Path:
    """Return the folder of the reference's adapter: a given folder, or an adapter that is trained now."""
    if kind not in ("chosen", "sft"):
        return Path(kind)
    config, datasets = inputs.config, inputs.datasets
    tokens = chosen_only(datasets.preference) if kind == "chosen" else datasets.sft
    tokens = unmasked(tokens) if config.reference_prompts else tokens
    alone = single_objective_config(config, SFT, config.reference_steps or config.steps)
    # Nothing is evaluated, so that the options of evaluations need not be equal.
    alone = dataclasses.replace(alone, eval_every=0, eval_rows=1)
    if kind == "chosen":
        alone = dataclasses.replace(alone, batch_sft=config.batch_preference)
    objective = Objective("sft", tokens, mean_by_part=config.sft_mean == "batch")
    return run_once(inputs, "adapters", SFT, objective, alone, title=f"reference ({kind})", held_out={}, key={})
