"""DPO's reference: its log-probabilities are computed once and cached; no second model is ever in memory.

The reference is the bare base or an adapter on it. Cached log-probabilities are found by everything they depend on: the
token ids (hence data, tokenizer, template and truncation), the base's configuration and weights, the adapter, precision
and layout of the computation, the code and the libraries. A large set's are computed and kept for the rows that a run
visits.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from llm.common.cache import ContentCache, digest
from llm.common.files import read_json, write_json
from llm.common.progress import say
from llm.data.objective_settings import reference_source
from llm.models.fingerprints import adapter_fingerprint
from llm.training.cached_run import run_once
from llm.training.engine import any_process
from llm.training.errors import InterruptedRunError
from llm.training.metrics import Stopwatch
from llm.training.objective import Objective, as_pairs, chosen_only, unmasked
from llm.training.reference_store import RowStore, Seconds, row_keys
from llm.training.single import single_objective_config
from llm.training.starting_values import evaluating_code

if TYPE_CHECKING:
    from llm.common.progress import Line
    from llm.data.sampler import Indices
    from llm.data.tokenization import TokenizedDataset
    from llm.training.engine import Engine
    from llm.training.inputs import Inputs

Entry = tuple[torch.Tensor, Seconds]  # log-probabilities, and the time of their computation
Needed = tuple["TokenizedDataset", "Indices"]  # a set, and the indices of its rows that are needed

# Floating-point operations of a forward pass over a whole set, up to which all rows are computed: seconds on a CPU.
# Then the rows are always computed in the same batches, and no bit depends on the rows that earlier runs needed.
WHOLE_SET_OPERATIONS = 1e12
PIECE = 256  # rows between two writes of a large set
POLL_EVERY = 0.2  # seconds, while other runs compute all that is absent


def reference_logps(inputs: Inputs, needed: Sequence[Needed]) -> list[torch.Tensor]:
    """Return (n, 2) float32 log-probabilities of both responses under the reference, for each set.

    needed  sets with the rows that are needed; the others may be NaN

    Cached; the reference's own adapter is trained first if it has to be. Raises ValueError, naming the row, if a
    log-probability is not finite, and InterruptedRunError, after saving, if a stop is requested.
    """
    if not any(len(rows) for _, rows in needed):
        return [torch.full((len(tokens), 2), torch.nan) for tokens, _ in needed]
    adapter = _adapter(inputs)
    key = _key(inputs, adapter)
    with _LazyEngine(inputs, adapter) as engine:
        return [_logps(inputs, engine, Objective("pairs", as_pairs(tokens)), rows, key) for tokens, rows in needed]


def reference_key(inputs: Inputs) -> str:
    """Return the name of everything but the rows that reference log-probabilities depend on."""
    return _key(inputs, _adapter(inputs))


def _key(inputs: Inputs, folder: Path | None) -> str:
    """Return the name of a reference with the adapter in `folder`."""
    config, adapter = inputs.config, "" if folder is None else adapter_fingerprint(folder)
    layout = {"share_prompt": config.share_prompt, "attention": config.attention, "precision": config.precision}
    return digest({"code": evaluating_code(), "base": inputs.base.fingerprint, "adapter": adapter, **layout})


class _LazyEngine:
    """The engine of the reference, opened at the first call and closed at the end of the block."""

    def __init__(self, inputs: Inputs, adapter: Path | None) -> None:
        self._open: Callable[[], Engine] = lambda: inputs.base.open_for_evaluation(inputs.config, adapter)
        self._engine: Engine | None = None

    def __call__(self) -> Engine:
        """Return the engine."""
        self._engine = self._engine or self._open()
        return self._engine

    def __enter__(self) -> _LazyEngine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._engine is not None:
            self._engine.close()


def _logps(inputs: Inputs, engine: _LazyEngine, objective: Objective, rows: Indices, key: str) -> torch.Tensor:
    """Return the log-probabilities (n, 2) of a set: all of them, or those of `rows` if the set is large."""
    if not len(rows):
        return torch.full((len(objective), 2), torch.nan)
    operations = 2.0 * inputs.base.parameters * float(objective.tokens.lengths().sum())
    if operations <= WHOLE_SET_OPERATIONS:
        return _whole_set(inputs, engine, objective, digest([key, objective.tokens.digest]))
    logps = torch.full((len(objective), 2), torch.nan)
    logps[torch.from_numpy(rows)] = _some_rows(inputs, engine, objective, rows, key)
    return logps


def _whole_set(inputs: Inputs, engine: _LazyEngine, objective: Objective, key: str) -> torch.Tensor:
    """Return the log-probabilities (n, 2) of a whole set, from its cache entry or computed now."""
    cache = ContentCache(inputs.cache, "reference")
    entry: Entry | None = cache.read(key, functools.partial(_load, rows=len(objective)))
    if not inputs.main_decides(entry is not None):
        with inputs.progress("reference log-probabilities") as line:
            entry = _compute(
                engine(), objective, np.arange(len(objective)), lambda share: line(round(100 * share), 100)
            )
        if inputs.base.is_main:
            cache.write(key, functools.partial(_save, *entry))
        inputs.accelerator.wait_for_everyone()
    assert entry is not None
    inputs.costs[cache.path(key)] = "log_probs", entry[1]
    return entry[0]


def _some_rows(inputs: Inputs, engine: _LazyEngine, objective: Objective, rows: Indices, key: str) -> torch.Tensor:
    """Return the log-probabilities (len(rows), 2) of some rows; absent ones are computed and kept in pieces.

    Runs that need the same rows at the same time share the work: each computes pieces that no other computes.
    """
    store, waited = RowStore(inputs.cache / "reference_rows", key, row_keys(objective.tokens, rows)), False
    with inputs.progress("reference log-probabilities") as line:
        while True:
            with store.claim(PIECE) if inputs.base.is_main else nullcontext() as own:
                part, absent = inputs.from_main((own, len(store.absent)))
                if not absent:
                    break
                if len(part):
                    report = _percent(line, 1.0 - absent / len(rows), len(part) / len(rows))
                    logps, spent = _compute(engine(), objective, rows[part], report)
                    if inputs.base.is_main:
                        store.write(part, logps, spent)
            if any_process(inputs.accelerator, inputs.stop()):
                raise InterruptedRunError(
                    "stopped at the reference log-probabilities, as asked; the same command resumes"
                )
            if not len(part):
                if not waited:
                    say("waiting for another run's reference log-probabilities", active=not inputs.quiet)
                waited = True
                time.sleep(POLL_EVERY)
        inputs.accelerator.wait_for_everyone()
    values, seconds = inputs.from_main((store.values, store.seconds))
    inputs.costs[store.folder / objective.tokens.digest] = "log_probs", seconds
    return torch.from_numpy(values)


def _compute(engine: Engine, objective: Objective, rows: Indices, report: Callable[[float], None]) -> Entry:
    """Return the log-probabilities (len(rows), 2) of rows under the engine's policy, and the seconds they took.

    Raises ValueError, naming the row, if a log-probability is not finite.
    """
    stopwatch = Stopwatch()
    chosen = dataclasses.replace(objective.select(rows), share_prompt=engine.raw.share_prompt)
    logps = engine.logps(chosen, report)
    if not torch.isfinite(logps).all():
        row = int(rows[int((~torch.isfinite(logps)).any(dim=1).nonzero()[0])])
        raise ValueError(
            f"reference: its log-probability of row {row} is not finite; is the model damaged, or bf16 too coarse?"
        )
    return logps, stopwatch.seconds


def _percent(line: Line, done: float = 0.0, share: float = 1.0) -> Callable[[float], None]:
    """Return a callback that reports percent: `done` plus a fraction of `share`."""
    return lambda fraction: line(round(100 * (done + share * fraction)), 100)


def _save(logps: torch.Tensor, seconds: Seconds, folder: Path) -> None:
    save_file({"logps": logps}, folder / "logps.safetensors")
    write_json(folder / "seconds.json", seconds)


def _load(folder: Path, rows: int) -> Entry:
    """Return a cache entry's log-probabilities, (rows, 2), and the seconds of their computation."""
    values = load_file(folder / "logps.safetensors")["logps"]
    if values.shape != (rows, 2):
        raise ValueError(f"{folder} holds log-probabilities of shape {tuple(values.shape)}, not {(rows, 2)}")
    return values, read_json(folder / "seconds.json")


def _adapter(inputs: Inputs) -> Path | None:
    """Return the folder of the reference's adapter, a given one or one that is trained now; None for the bare base."""
    kind = inputs.config.reference_kind
    if kind == "base":
        return None
    if kind not in ("chosen", "sft"):
        return Path(kind)
    config, own = inputs.config, reference_source(inputs.config)
    assert own is not None
    tokens = inputs.datasets.train[own.set_name]
    tokens = chosen_only(tokens) if kind == "chosen" else tokens
    tokens = unmasked(tokens) if config.reference_prompts else tokens
    alone = single_objective_config(config, config.objectives.index(own), config.reference_steps or config.steps)
    # Nothing is evaluated, so that the options of evaluations need not be equal.
    alone = dataclasses.replace(alone, lam=0.0, eval_every=0, eval_rows=1)
    if kind == "chosen":
        alone = dataclasses.replace(alone, batch_sft=own.batch)
    objective = Objective("sft", tokens, mean_by_part=config.sft_mean == "batch")
    return run_once(inputs, "adapters", objective, alone, title=f"reference ({kind})", held_out={}, key={})
