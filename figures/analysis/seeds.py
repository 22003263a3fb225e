"""What artefacts read of the runs: tidy rows by grid, and means over seeds with their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = dict[str, Any]

NAMES = {"sequential": "Sequential", "mix": "Mix", "alright": "ALRIGHT", "maxright": "MAXRIGHT"}
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with the ends of its Student-t interval, which are NaN for one seed."""

    value: float
    low: float
    high: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends."""
        return self.low, self.high


def mean(values: Iterable[float]) -> Mean:
    """The mean of one value a seed, and its 95 % interval (Student's t: the values are taken for normal draws)."""
    found = np.array([float(v) for v in values])
    if not len(found):
        raise ValueError("values: none to take a mean of")
    centre = float(found.mean())
    if len(found) < 2:
        return Mean(centre, math.nan, math.nan, 1)
    from scipy.stats import t

    half = float(t.ppf((1.0 + CONFIDENCE) / 2.0, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found)))
    return Mean(centre, centre - half, centre + half, len(found))


def results(parameters: Mapping[str, Any]) -> list[Row]:
    """A row a finished run of every grid of `parameters`, as `llm.study.table` gives it, with the grid's name.

    A run that is in two grids is there twice. `method` is in the spelling of the figures.
    """
    from llm.study import table

    return _every(parameters, table)


def paths(parameters: Mapping[str, Any]) -> list[Row]:
    """A row an evaluation, as `llm.study.paths` gives it, with the grid's name."""
    from llm.study import paths as found

    return _every(parameters, found)


def measured(parameters: Mapping[str, Any], name: str) -> list[tuple[Row, dict[str, Any]]]:
    """(about the run, what the measure `name` found) for every run of the grids that have this measure."""
    from llm.study import measure

    return [
        (_named(about, grid), result)
        for grid, spec in parameters["grids"].items()
        if name in spec["measures"]
        for about, result in measure(_grid(spec), parameters["root"], name)
    ]


def _every(parameters: Mapping[str, Any], read: Callable[..., Any]) -> list[Row]:
    specs = parameters["grids"].items()
    return [_named(row, name) for name, spec in specs for row in _records(read(_grid(spec), parameters["root"]))]


def _records(frame: Any) -> list[Row]:
    """Return the rows of a data frame as dicts, with None for missing values."""
    records: list[Row] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return records


def _grid(spec: Mapping[str, Any]) -> Any:
    from figures.pipeline.training import grid_of

    return grid_of(spec)


def _named(row: Row, grid: str) -> Row:
    return {"grid": grid, **row, "method": NAMES[row["method"]]}


def where(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    """The rows whose columns have these values; a value may be a tuple of several."""
    return [r for r in rows if all(r[k] in v if isinstance(v, tuple) else r[k] == v for k, v in wanted.items())]


def by_seed(rows: Sequence[Row], column: str) -> dict[int, float]:
    """Seed -> the column's mean over the rows of that seed."""
    found: dict[int, list[float]] = {}
    for row in rows:
        found.setdefault(row["seed"], []).append(float(row[column]))
    return {seed: float(np.mean(values)) for seed, values in found.items()}


def difference(ours: Sequence[Row], theirs: Sequence[Row], column: str) -> Mean:
    """The mean over seeds of ours minus theirs, seed by seed: each seed's rows are averaged first.

    ValueError if the seeds differ.
    """
    a, b = by_seed(ours, column), by_seed(theirs, column)
    if a.keys() != b.keys() or not a:
        raise ValueError(f"{column}: the seeds must be the same and at least one, got {sorted(a)} and {sorted(b)}")
    return mean(a[seed] - b[seed] for seed in a)


def swing(lines: Sequence[Row]) -> float:
    """How far a run moves in loss space between two evaluations of its second half, on average.

    lines  its evaluations in the order of the steps; NaN if there are not two in the second half
    """
    last = max((line["step"] for line in lines), default=0)
    late = [line for line in lines if 2 * line["step"] >= last]
    places = np.array([[float(line["f_dpo"]), float(line["f_sft"])] for line in late])
    return float(np.hypot(*np.diff(places, axis=0).T).mean()) if len(late) > 1 else math.nan


def columns(rows: Sequence[Row], names: Sequence[str]) -> dict[str, np.ndarray]:
    """The rows as a table of `Data`: numbers with NaN for what is not known, or texts."""
    found: dict[str, np.ndarray] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if any(isinstance(v, str) for v in values):
            found[name] = np.array(["" if v is None else str(v) for v in values])
        elif all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            found[name] = np.array(values, dtype=np.int64)
        else:
            found[name] = np.array([math.nan if v is None else float(v) for v in values])
    return found
