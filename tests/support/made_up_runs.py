"""Made-up runs of the loss-space figures, in place of the results that `figures.analysis.seeds` reads."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
import pytest

from figures.analysis import loss_space, seeds
from figures.analysis.methods import NAMES
from figures.analysis.small_tables import unpack
from figures.artefact import Data, Request
from figures.pipeline.paths import grid_of

START, STAR = {"dpo": 0.7, "sft": 0.3}, {"dpo": 0.05, "sft": 0.1}
SPEED = {"Sequential": 1.0, "Mix": 1.8, "ALRIGHT": 1.05, "MAXRIGHT": 1.2}
Row = dict[str, Any]


def gaps(method: str, lam: float, k: int, seed: int) -> tuple[float, float]:
    """Return the final gaps of a made-up run: with λ, DPO's falls and SFT's rises; both depend a little on the seed."""
    off = 0.5 if method == "Sequential" else 0.1
    return off * (1.2 - lam) + 0.01 * seed + 0.001 * k, 0.15 * lam + 0.02 * seed


class MadeUpRuns:
    """Made-up results and evaluations of every run of the grids; `change` edits a run's row or drops it (None)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, change: Callable[[Row], Row | None] = lambda row: row) -> None:
        self.change = change
        self.made: dict[str, list[Row]] = {}  # by the grids, since every reader needs the same rows
        monkeypatch.setattr(seeds, "results", lambda parameters: pd.DataFrame(self.results(parameters)))
        monkeypatch.setattr(seeds, "paths", lambda parameters: pd.DataFrame(list(self.paths(parameters))))

    def results(self, parameters: Mapping[str, Any]) -> list[Row]:
        key = json.dumps(parameters["grids"])
        if key not in self.made:
            self.made[key] = self._results(parameters)
        return self.made[key]

    def _results(self, parameters: Mapping[str, Any]) -> list[Row]:
        rows = [
            self.change(self._row(grid, run))
            for grid, spec in parameters["grids"].items()
            for run in grid_of(spec).runs()
        ]
        return [row for row in rows if row is not None]

    def _row(self, grid: str, run: Any) -> Row:
        about, steps = run.about, run.config.steps
        method, lam, k, seed = NAMES[about["method"]], about["lam"], about["k"], about["seed"]
        dpo, sft = gaps(method, lam, k or 0, seed)
        seconds = 0.1 * steps * SPEED[method] * (1 + 0.02 * seed)
        row = {"grid": grid, "method": method, "lam": lam, "order": None, "k": k, "seed": seed, "steps": steps}
        row |= {"run": run.name, "steps_dpo": round(lam * steps), "gap_dpo": dpo, "gap_sft": sft}
        row |= {"ideal_distance": math.hypot(dpo, sft), "f_dpo": STAR["dpo"] + dpo, "f_sft": STAR["sft"] + sft}
        row |= {f"f_{n}_start": START[n] for n in START} | {f"f_{n}_star": STAR[n] for n in STAR}
        row |= {"scale_free_distance": 1.0, "hypervolume_share": 0.0, "device": "CPU, 1 threads"}
        row |= {"tokens": 100 * steps, "forward_tokens": int(100 * steps * SPEED[method])}
        row |= {"cpu_seconds": seconds, "seconds": 3.0 * seconds}
        return row | {"reference_cpu_seconds": 0.0, "log_probs_cpu_seconds": 0.5, "optima_cpu_seconds": 4.0}

    def paths(self, parameters: Mapping[str, Any]) -> Iterator[Row]:
        for row in self.results(parameters):
            for i in range(11):
                share, line = i / 10, {n: row[n] for n in ("grid", "method", "lam", "order", "k", "seed", "run")}
                line |= {n: row[n] and row[n] * share for n in ("tokens", "forward_tokens", "seconds", "cpu_seconds")}
                for n in START:
                    line[f"f_{n}"] = row[f"f_{n}"] if i == 10 else START[n] + share * (row[f"f_{n}"] - START[n])
                    line[f"gap_{n}"] = line[f"f_{n}"] - STAR[n]
                line["ideal_distance"] = math.hypot(line["gap_dpo"], line["gap_sft"])
                yield line | {"step": row["steps"] * i // 10}


def data_of(module: Any, **request: Any) -> Data:
    """Return the data of an artefact's module; at scale smoke with two seeds unless given."""
    asked = {"seeds": 2, **request} if request["scale"] == "smoke" else request
    return module.compute(module.parameters(Request(**asked)) | {"root": "nowhere"})


def bar(data: Data, quantity: str, method: str, prefix: str = "bar", **wanted: Any) -> tuple[float, ...]:
    """Return (value, low, high) of a quantity of a method."""
    rows = unpack(data.extra, prefix, quantity=quantity, method=method, **wanted)
    return tuple(float(rows[name][0]) for name in ("value", "low", "high"))


def front_data(**request: Any) -> Data:
    """Return the data of `loss_space.front_data` on the grids of Figure 3."""
    from figures.artefacts import fig3

    parameters = fig3.parameters(Request(**({"seeds": 2, **request} if request["scale"] == "smoke" else request)))
    return loss_space.front_data(parameters | {"root": "nowhere"})
