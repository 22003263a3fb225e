"""Made-up runs of the artefacts that compare several grids, with losses that are known by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from figures.analysis import seeds
from figures.analysis.methods import NAMES
from figures.analysis.small_tables import unpack
from figures.artefact import Check, Data, Request
from figures.pipeline.paths import grid_of

START, STAR = {"dpo": 0.7, "sft": 1.1}, {"dpo": 0.2, "sft": 0.1}  # initial gaps: 0.5 and 1
STEPS = (0, 30, 60)
# f_DPO and f_SFT at every evaluation, before a seed's noise
PATHS = {
    "sequential": ((0.7, 1.1), (0.3, 1.0), (0.5, 0.15)),
    "mix": ((0.7, 1.1), (0.4, 0.6), (0.3, 0.3)),
    "alright": ((0.7, 1.1), (0.4, 0.6), (0.35, 0.3)),
    "maxright": ((0.7, 1.1), (0.4, 0.6), (0.25, 0.25)),
    "replay": ((0.7, 1.1), (0.3, 1.0), (0.4, 0.2)),
}
NOISE = {1: 0.0, 2: 0.01, 3: -0.01, 4: 0.02}
Row = dict[str, Any]
Change = Callable[[Any, Row], Row]


def evaluation(run: Any, step: int) -> Row:
    """Return an evaluation; label conflict adds to the final f_DPO, and noise adds to all but the first evaluation."""
    dpo, sft = PATHS[run.config.method][STEPS.index(step)]
    late = 0.0 if step == 0 else NOISE[run.config.seed]
    dpo += late + (run.config.conflict if step == 60 else 0.0)
    gaps = {"gap_dpo": dpo - STAR["dpo"], "gap_sft": sft + late - STAR["sft"]}
    return {"step": step, "f_dpo": dpo, "f_sft": sft + late, **gaps, "ideal_distance": math.hypot(*gaps.values())}


def spectrum(run: Any) -> list[Row]:
    """Return the curvature at two points: negative eigenvalues of f_DPO at the first, of f_SFT at both."""
    rows = []
    for i, step in enumerate((0, 60)):
        for objective, negative in (("dpo", i == 0), ("sft", True), ("mix", False)):
            row = {"step": step, "objective": objective, "value": 1.0, "grad_norm": 0.5, "negative": negative}
            row |= {"largest": 100.0 * (i + 1), "smallest": -2.0 - run.config.seed if negative else 0.5}
            rows.append(row | {"residual": 0.2, "margin": 9.0, "along_gradient": None if i else 3.0})
    return rows


def cosines(run: Any) -> list[Row]:
    """Return cosines that are -0.2 - 0.6 conflict before training, lower by seed / 100, and half as large later."""
    points: list[Row] = []
    for step in STEPS if run.config.keep_every else (0, 60):
        value = -(0.2 + 0.6 * run.config.conflict + run.config.seed / 100.0) / (1.0 if step == 0 else 2.0)
        pair: Row = {"cosines": value, "errors": 0.1, "raw": value / 2.0}
        both = {name: [[1.0, x], [x, 1.0]] for name, x in pair.items()}
        by_name = {
            "values": {"dpo": math.log(2.0) if step == 0 else 0.3, "sft": 1.0},
            "noise": {"dpo": 0.5, "sft": 0.5},
        }
        points.append({"step": step, "part": "held_out" if step else "train", "groups": 8, **both, **by_name})
    return points


class GridRuns:
    """Made-up readers of `figures.analysis.seeds`; `change` edits a run's row of results."""

    def __init__(self, change: Change = lambda _, row: row) -> None:
        self.change = change

    def _every(self, parameters: Row) -> list[tuple[Any, Row]]:
        return [
            (run, {"grid": grid, **run.about, "method": NAMES[run.config.method], "run": run.name})
            for grid, spec in parameters["grids"].items()
            for run in grid_of(spec).runs()
        ]

    def results(self, parameters: Row) -> pd.DataFrame:
        rows = []
        for run, about in self._every(parameters):
            end = evaluation(run, 60)
            row = {**about, **end, "steps": 60, "steps_dpo": 30, "steps_sft": 30, "device": "CPU, 1 threads"}
            row |= {f"f_{n}_start": START[n] for n in START} | {f"f_{n}_star": STAR[n] for n in STAR}
            row["scale_free_distance"] = math.hypot(end["gap_dpo"] / 0.5, end["gap_sft"] / 1.0)
            row |= {"cpu_seconds": 1.0, "seconds": 1.0, "forward_tokens": 100}
            del row["step"]
            rows.append(self.change(run, row))
        return pd.DataFrame(rows)

    def paths(self, parameters: Row) -> pd.DataFrame:
        rows = [{**about, **evaluation(run, step)} for run, about in self._every(parameters) for step in STEPS]
        return pd.DataFrame([row | {"forward_tokens": 100 * row["step"], "tokens": 1, "seconds": 1.0} for row in rows])

    def measured(self, parameters: Row, name: str) -> list[tuple[Row, Row]]:
        made = {"curvature": spectrum, "cosine": cosines}[name]
        key = {"curvature": "rows", "cosine": "points"}[name]
        return [(about, {"names": ["dpo", "sft"], key: made(run)}) for run, about in self._every(parameters)]


def install(monkeypatch: pytest.MonkeyPatch, change: Change = lambda _, row: row) -> None:
    """Replace the readers of `figures.analysis.seeds` by made-up runs."""
    runs = GridRuns(change)
    for name in ("results", "paths", "measured"):
        monkeypatch.setattr(seeds, name, getattr(runs, name))


def data_of(module: Any, **request: Any) -> Data:
    """Return the data of an artefact's module, at scale smoke with two seeds unless given."""
    asked = Request(**({"scale": "smoke", "seeds": 2} if "scale" not in request else {}) | request)
    return module.compute(module.parameters(asked) | {"root": "nowhere"})


def checks(data: Data) -> dict[str, Check]:
    """Return the checks by name."""
    return {check.name: check for check in data.checks}


def picked(data: Data, prefix: str, **wanted: Any) -> Row:
    """Return the single row of a packed table with these values."""
    row = unpack(data.extra, prefix, **wanted)
    assert len(next(iter(row.values()))) == 1, wanted
    return {name: values[0] for name, values in row.items()}
