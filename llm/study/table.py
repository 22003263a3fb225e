"""Results of a study as tidy tables (pandas): one row per finished run, per evaluation, or per front.

"start" is the evaluation before the first step; f* are the optima on the same held-out rows, known only with `f_star`
computed or given. A number that is not known is missing (NaN or NA).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from llm.common.files import read_json
from llm.study.measures import columns, file_of, merged, name_of, result_of
from llm.study.status import is_finished
from llm.study.sweep import Grids, StudyRun, union, varied
from llm.training.metrics import PREPARATIONS, read_metrics

if TYPE_CHECKING:
    import pandas as pd

COSTS = ("seconds", "cpu_seconds", "tokens", "forward_tokens")
Row = dict[str, Any]


def table(grids: Grids, root: str | Path) -> pd.DataFrame:
    """Return one row per finished run: axes, last evaluation, distances, cost, and the scalars of measures.

    Scalars of measures are columns NAME_key. With several grids, the options in which the grids differ are columns too.

    scale_free_distance  hypot of (f_i - f_i*) / (f_i(start) - f_i*): 0 at the ideal point, sqrt(n) at the start
    hypervolume          area (volume of n objectives) between the start and (f_DPO, f_SFT); 0 unless all improved
    hypervolume_share    as a share of the area or volume between the start and the ideal point
    seconds, cpu_seconds, tokens, forward_tokens  of the run's own steps: wall-clock time, CPU time of all threads,
                         tokens trained on, and tokens that passed through the model (with MAXRIGHT's evaluations)
    utilisation          of the GPU in %: median over the steps, where the device reports it
    reference_seconds, log_probs_seconds, optima_seconds (and _cpu_seconds)  of the cached computations that the run
                         uses, whichever run made them
    """
    options = varied(grids)
    runs = [run for run in union(grids) if is_finished(run, Path(root))]
    return _frame([_result(run, run.folder(root), options) for run in runs])


def paths(grids: Grids, root: str | Path) -> pd.DataFrame:
    """Return one row per evaluation of every run, finished or not: step, objectives, gaps, and the cost so far."""
    rows: list[Row] = []
    options = varied(grids)
    for run in union(grids):
        folder = run.folder(root)
        if (folder / "metrics.jsonl").is_file():
            rows += [{**_about(run, options), **line, "run": run.name} for line in _evaluations(folder)]
    return _frame(rows)


def measure(grids: Grids, root: str | Path, name: str) -> list[tuple[Row, dict[str, Any]]]:
    """Return (axes of the run, result of the measure) for every run on which the measure was computed.

    Raises ValueError if no grid has such a measure.
    """
    options, results = varied(grids), []
    known = merged([m for run in union(grids) for m in run.measures])
    wanted = next((m for m in known if name_of(m) == name), None)
    if wanted is None:
        has = ", ".join(map(name_of, known)) or "none"
        raise ValueError(f"measures: {name} is not one of the grid's, which are {has}; give it as Grid(measures=...)")
    for run in union(grids):
        folder = run.folder(root)
        if file_of(folder, wanted).is_file():
            about = {**_about(run, options), "run": run.name, "folder": str(folder)}
            results.append((about, result_of(folder, wanted)))
    return results


def fronts(grids: Grids, root: str | Path) -> pd.DataFrame:
    """Return one row per front: the hypervolume, from the start, of the points of all λ of a method.

    A front is all finished runs of a method, of all λ or weights, with the same order, k and seed (and options in which
    the grids differ).
    """
    runs = table(grids, root)
    if runs.empty:
        return runs
    names = {run.name: run.config.names for run in union(grids)}
    axes = ["method", "order", "k", "seed", *varied(grids)]
    areas = [
        {**rows[axes].iloc[0].to_dict(), **_front(rows.to_dict("records"), names[rows["run"].iloc[0]])}
        for _, rows in runs.groupby(axes, sort=False, dropna=False)
    ]
    return _frame(areas)


def hypervolume(points: Iterable[Sequence[float]], reference: Sequence[float]) -> float:
    """Return the area or volume that the points dominate, up to the reference point, for objectives to be minimised.

    A place is dominated if some point is not above the place in any coordinate. Raises ValueError if a number is not
    finite. Exact: of more than two objectives by slices along the last one, in the number of points to the power n - 1.
    """
    made = [tuple(map(float, point)) for point in points]
    corner = tuple(map(float, reference))
    if not all(math.isfinite(v) for point in (corner, *made) for v in point):
        raise ValueError(f"points: must be finite, got {made} and the reference point {corner}")
    return _dominated(made, corner)


def _dominated(points: Sequence[tuple[float, ...]], corner: tuple[float, ...]) -> float:
    """Return the volume that finite points dominate."""
    if len(corner) == 2:
        area, (right, top) = 0.0, corner
        for x, y in sorted(points):
            if x < right and y < top:
                area += (right - x) * (top - y)
                top = y
        return area
    inside = sorted((point for point in points if point[-1] < corner[-1]), key=lambda point: point[-1])
    ends = [*(point[-1] for point in inside[1:]), corner[-1]][: len(inside)]
    flat = [point[:-1] for point in inside]
    slices = ((end - point[-1], flat[: i + 1]) for i, (point, end) in enumerate(zip(inside, ends, strict=True)))
    return math.fsum(height * _dominated(below, corner[:-1]) for height, below in slices if height > 0.0)


def scale_free_distance(gaps: Sequence[float], start: Sequence[float], star: Sequence[float]) -> float:
    """Return hypot(gap_i / (f_i(start) - f_i*)): the distance to the ideal point, normalised by the initial gaps.

    Raises ValueError if an initial gap is not positive.
    """
    if not all(s > best for s, best in zip(start, star, strict=True)):
        raise ValueError(f"start: must be above the optima {tuple(star)} in each objective, got {tuple(start)}")
    return math.hypot(*(g / (s - best) for g, s, best in zip(gaps, start, star, strict=True)))


def write_csv(rows: pd.DataFrame, file: TextIO) -> None:
    """Write a table with its header as CSV; a missing value is an empty field, and an empty table writes nothing."""
    if len(rows):
        rows.to_csv(file, index=False, lineterminator="\n")


def _frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a table of all their columns, in the order in which the columns first appear.

    Whole numbers stay whole where some are missing (Int64), so that a CSV has 10 and not 10.0.
    """
    import pandas as pd

    names = dict.fromkeys(name for row in rows for name in row)
    series = {}
    for name in names:
        values = [None if (value := row.get(name)) is pd.NA else value for row in rows]
        known = [value for value in values if value is not None]
        whole = len(known) < len(values) and all(isinstance(v, int) and not isinstance(v, bool) for v in known)
        series[name] = pd.Series(values, dtype="Int64") if known and whole else pd.Series(values)
    return pd.DataFrame(series)


def _about(run: StudyRun, options: Sequence[str]) -> Row:
    """Return a run's axes and options; lists as texts, so that a field of a CSV and a key can hold them."""
    values = {name: getattr(run.config, name) for name in options}
    return {**run.about, **{n: v if isinstance(v, bool | int | float | str) else str(v) for n, v in values.items()}}


def _result(run: StudyRun, folder: Path, options: Sequence[str]) -> Row:
    """Return the row of a finished run."""
    summary = read_json(folder / "summary.json")
    lines = _evaluations(folder)
    last = dict(summary["evaluation"])
    first = lines[0] if lines and lines[0]["step"] == 0 else {}
    row: Row = {**_about(run, options), "steps": run.config.steps}
    names = run.config.names
    row |= {f"steps_{n}": summary["steps_by_objective"][n] for n in names}
    row |= last | summary.get("benchmarks", {})
    row |= {f"f_{n}_start": first.get(f"f_{n}") for n in names}
    # The optima on these rows. Those in the summary may be MAXRIGHT's estimates, on other rows.
    row |= {f"f_{n}_star": last[f"f_{n}"] - last[f"gap_{n}"] if f"gap_{n}" in last else None for n in names}
    end, start, star = (_point(row, name, names) for name in ("f_{}", "f_{}_start", "f_{}_star"))
    row |= {"scale_free_distance": None, "hypervolume": None, "hypervolume_share": None}
    if end and start:
        row["hypervolume"] = hypervolume([end], start)
    if end and start and star and all(s > best for s, best in zip(start, star, strict=True)):
        gaps = [f - best for f, best in zip(end, star, strict=True)]
        row["scale_free_distance"] = scale_free_distance(gaps, start, star)
        row["hypervolume_share"] = hypervolume([end], start) / hypervolume([star], start)
    row |= {n: summary.get(n) for n in (*COSTS, "memory_mb", "device")}
    busy = [line["utilisation"] for line in read_metrics(folder) if line.get("utilisation") is not None]
    row["utilisation"] = statistics.median(busy) if busy else None
    row |= {n: summary.get("preparation", {}).get(n) for n in PREPARATIONS}
    row |= columns(folder, run.measures)
    return {**row, "run": run.name, "folder": str(folder)}


def _evaluations(folder: Path) -> list[Row]:
    """Return the evaluations in metrics.jsonl, each with the cost of the steps before and scores of benchmarks."""
    cost: Row = dict.fromkeys(COSTS, 0)
    evaluations = []
    for line in read_metrics(folder):
        if "evaluation" in line:
            evaluations.append({**line, **cost})
        elif "benchmark" in line:  # scores of the policy of the evaluation before, if that is of the same step
            if evaluations and evaluations[-1]["step"] == line["step"]:
                evaluations[-1] |= {name: value for name, value in line.items() if isinstance(value, float)}
        else:
            cost = {n: line.get(n) for n in COSTS}  # a run of an earlier version did not count all of them
    return evaluations


def _front(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Row:
    """Return the number of points of a front of the named objectives and their hypervolume, absolute and as a share."""
    points = [point for row in rows if (point := _point(row, "f_{}", names))]
    start, star = _point(rows[0], "f_{}_start", names), _point(rows[0], "f_{}_star", names)
    area = hypervolume(points, start) if start else None
    whole = hypervolume([star], start) if start and star else 0.0
    share = area / whole if area is not None and whole > 0.0 else None
    return {"points": len(points), "hypervolume": area, "hypervolume_share": share}


def _point(row: Mapping[str, Any], name: str, names: Sequence[str]) -> tuple[float, ...] | None:
    """Return each objective's number of a pattern such as f_{}_start, if all are known and finite."""
    values = [row.get(name.format(n)) for n in names]
    known = [value for value in values if value is not None and math.isfinite(value)]
    return tuple(known) if len(known) == len(values) else None
