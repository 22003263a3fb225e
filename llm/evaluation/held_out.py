"""f_DPO, f_SFT and their gaps on held-out rows, for a finished run or for another adapter on its rows."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.common.files import ensure_writable, write_json
from llm.common.processes import preserve_torch_state, stop_requested
from llm.data.splits import check_fits, load_held_out
from llm.training.run_folder import FinishedRun, load_run
from toyopt.algorithms import DPO, SFT

if TYPE_CHECKING:
    from llm.training.run import Run


@dataclass(frozen=True)
class EvaluateConfig:
    """Which adapter on which rows."""

    run: str
    """Folder of a finished run; its held-out rows, reference and β are used."""
    adapter: str = ""
    """Another adapter on the same base, or `base` for the bare one; empty: the run's own."""
    sft: str = ""
    """Another SFT set to evaluate on."""
    preference: str = ""
    """Another preference set to evaluate on."""
    rows: int = 0
    """At most so many rows of each set; 0: as many as the run evaluated on."""
    out: str = ""
    """Write the numbers to this .json as well."""

    def __post_init__(self) -> None:
        if self.rows < 0:
            raise ValueError(f"rows: must be at least 0, got {self.rows}")
        if self.out and (not self.out.endswith(".json") or Path(self.out).is_dir()):
            raise ValueError(f"out: must be a .json file, got {self.out}")


def evaluate(config: EvaluateConfig, *, quiet: bool = False, **given: Any) -> dict[str, float]:
    """f_dpo, f_sft, the rewards under TRL's names, and gap_dpo, gap_sft, ideal_distance where the run knows optima.

    `given` takes model, tokenizer and sets, as `train` does: those that the run had in memory.
    """
    past = load_run(config.run)
    absent = [name for name in past.in_memory if given.get(name) is None]
    if absent:
        raise ValueError(
            f"run: its {absent[0]} was given in memory and no name leads to it; give it once more, by "
            f"llm.evaluation.held_out.evaluate(EvaluateConfig(...), {absent[0]}=...)"
        )
    if config.adapter not in ("", "base") and not (Path(config.adapter) / "adapter_config.json").is_file():
        raise FileNotFoundError(f"adapter: {config.adapter} has no adapter_config.json; give a folder with an adapter")
    if config.out:
        ensure_writable("out", Path(config.out).parent)
    from llm.training.run import Run

    model, tokenizer = given.pop("model", None), given.pop("tokenizer", None)
    with stop_requested() as wanted, preserve_torch_state(model):
        run = Run(past.config, past.folder, model=model, tokenizer=tokenizer, given=given, quiet=quiet, wanted=wanted)
        try:
            result = _measured(run, past, config)
        finally:
            run.give_back()
    optima = past.summary.get("f_star") or {}
    for name in ("dpo", "sft"):
        if optima.get(name) is not None and past.config.f_star != "estimate":
            result[f"gap_{name}"] = result[f"f_{name}"] - optima[name]
    if "gap_dpo" in result and "gap_sft" in result:
        result["ideal_distance"] = math.hypot(result["gap_dpo"], result["gap_sft"])
    if config.out:
        write_json(Path(config.out), result)
    return result


def _measured(run: Run, past: FinishedRun, config: EvaluateConfig) -> dict[str, float]:
    """The objectives' values on the run's held-out rows, or on the sets that are named instead."""
    # The run's own rows are needed for other sets as well: its reference may have been trained on them.
    for name, digest in past.rows.items():
        if run.sets.digests.get(name) != digest:
            raise ValueError(f"run: its {name} set has changed since; put it back, or train again on what it is now")
    if run.base_name != past.base:
        raise ValueError("run: its base model has changed since; put it back, or train again on what it is now")
    named = {"sft": config.sft, "preference": config.preference}
    others: dict[str, Any] = {
        f"{k}_held_out": load_held_out(run.config, run.tokenizer, k, v, encoder=run.encoder)
        for k, v in named.items()
        if v
    }
    run.sets = dataclasses.replace(run.sets, **others)
    check_fits(run.sets, run.base, run.config)
    _, evals = run.tasks(config.rows)
    if len(evals) < 2:
        raise ValueError("run: it held no rows out; say --sft and --preference to evaluate on")
    session = run.open_saved(None if config.adapter == "base" else Path(config.adapter or past.folder))
    result: dict[str, float] = {}
    for i, name in ((DPO, "dpo"), (SFT, "sft")):
        task = dataclasses.replace(evals[i], shared=session.raw.shared)
        sums = session.evaluate(task, np.arange(len(task), dtype=np.int64))
        result |= {f"f_{name}": task.value(sums), **task.metrics(sums)}
    run.close(session)
    return result
