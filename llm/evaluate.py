"""f_DPO, f_SFT and their gaps on held-out rows, for a finished run or for another adapter on its rows."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llm.finished import finished
from llm.records import write_json


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


def evaluate(config: EvaluateConfig, *, quiet: bool = False) -> dict[str, float]:
    """f_dpo, f_sft, the rewards under TRL's names, and gap_dpo, gap_sft, ideal_distance where the run knows optima."""
    from llm.run import Run
    from llm.train import asked_to_stop

    past = finished(config.run)
    changes: dict[str, Any] = {"eval_rows": config.rows} if config.rows else {}
    if config.sft:
        changes |= {"sft_held_out": config.sft}
    if config.preference:
        changes |= {"preference_held_out": config.preference}
    absent = [k for k in past.in_memory if f"{k.removesuffix('_held_out')}_held_out" not in changes]
    if absent:
        raise ValueError(
            f"run: its {absent[0]} set was given in memory and no name leads to it; say --sft and --preference"
        )
    with asked_to_stop() as wanted:
        run = Run(dataclasses.replace(past.config, **changes), past.folder, quiet=quiet, wanted=wanted)
        _check_rows(run.sets.digests, past.rows, changes)
        _, evals = run.tasks()
        if len(evals) < 2:
            raise ValueError("run: it held no rows out; say --sft and --preference to evaluate on")
        folder = None if config.adapter == "base" else Path(config.adapter or past.folder)
        session = run.open_saved(folder)
        result: dict[str, float] = {}
        for i, name in ((0, "dpo"), (1, "sft")):
            task = dataclasses.replace(evals[i], shared=session.raw.shared)
            sums = session.evaluate(task, np.arange(len(task), dtype=np.int64))
            result |= {f"f_{name}": task.value(sums), **task.metrics(sums)}
        run.close(session)
    optima = past.summary.get("f_star") or {}
    for name in ("dpo", "sft"):
        if optima.get(name) is not None and past.config.f_star != "estimate":
            result[f"gap_{name}"] = result[f"f_{name}"] - optima[name]
    if "gap_dpo" in result and "gap_sft" in result:
        result["ideal_distance"] = math.hypot(result["gap_dpo"], result["gap_sft"])
    if config.out:
        write_json(Path(config.out), result)
    return result


def _check_rows(ours: dict[str, str], theirs: dict[str, str], changes: dict[str, Any]) -> None:
    """ValueError if the names of the run's sets lead to other rows by now."""
    for name, digest in theirs.items():
        kind = name.removesuffix("_held_out")
        if f"{kind}_held_out" not in changes and ours.get(name) != digest:
            raise ValueError(f"run: its {name} set has changed since; give --{kind} to evaluate on another on purpose")
