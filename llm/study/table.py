"""The results of a study, tidy: a row a finished run, a row an evaluation, a row a front.

"start" is the evaluation before the first step; f* are the optima on the same held-out rows, which only `f_star`
compute and given know. What needs a number that is not known is None.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from llm.common.files import read_json
from llm.study.measures import columns, file_of, merged, name_of, result_of
from llm.study.status import is_finished
from llm.study.sweep import Grids, StudyRun, union, varied
from llm.training.metrics import PREPARATIONS, read_metrics

NAMES = ("dpo", "sft")
COSTS = ("seconds", "cpu_seconds", "tokens", "forward_tokens")
Row = dict[str, Any]


def table(grids: Grids, root: str | Path) -> list[Row]:
    """A row a finished run: what it was, its last evaluation, its distances, what it cost, and its measures' scalars
    as NAME_key. With several grids, also the options in which they differ.

    scale_free_distance  hypot of (f_i - f_i*) / (f_i(start) - f_i*): 0 at the ideal point, sqrt(2) at the start
    hypervolume          the area between the start and (f_DPO, f_SFT); 0 unless both are better than at the start
    hypervolume_share    of the area between the start and the ideal point
    seconds, cpu_seconds, tokens, forward_tokens  of the run's own steps: on the clock, of the processor (of all its
                         threads), trained on, and gone through the model with MAXRIGHT's looks
    utilisation          of the GPU in %, the median over the steps, where it could be asked for
    reference_seconds, log_probs_seconds, optima_seconds (and _cpu_seconds)  of what it relies on, whoever computed it
    """
    more = varied(grids)
    runs = [run for run in union(grids) if is_finished(run, Path(root))]
    return _even([_result(run, run.folder(root), more) for run in runs])


def paths(grids: Grids, root: str | Path) -> list[Row]:
    """A row an evaluation of every run that has any, finished or not: step, objectives, gaps, and the cost so far."""
    rows, more = [], varied(grids)
    for run in union(grids):
        folder = run.folder(root)
        if (folder / "metrics.jsonl").is_file():
            rows += [{**_about(run, more), **line, "run": run.name} for line in _evaluations(folder)]
    return _even(rows)


def measure(grids: Grids, root: str | Path, name: str) -> list[tuple[Row, dict[str, Any]]]:
    """(what the run was, what the measure found) for every run that has been measured by it. ValueError if no grid
    has such a measure.
    """
    more, found = varied(grids), []
    known = merged([m for run in union(grids) for m in run.measures])
    wanted = next((m for m in known if name_of(m) == name), None)
    if wanted is None:
        has = ", ".join(map(name_of, known)) or "none"
        raise ValueError(f"measures: {name} is not one of the grid's, which are {has}; give it as Grid(measures=...)")
    for run in union(grids):
        folder = run.folder(root)
        if file_of(folder, wanted).is_file():
            found.append(({**_about(run, more), "run": run.name, "folder": str(folder)}, result_of(folder, wanted)))
    return found


def fronts(grids: Grids, root: str | Path) -> list[Row]:
    """A row for all λ of a method with the same order, k, seed (and options in which the grids differ): the
    hypervolume of their points from the start.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    same = ("method", "order", "k", "seed", *varied(grids))
    for row in table(grids, root):
        groups.setdefault(tuple(row[n] for n in same), []).append(row)
    found = []
    for values, rows in groups.items():
        points = [p for p in (_pair(row, "f_{}") for row in rows) if p]
        start, star = _pair(rows[0], "f_{}_start"), _pair(rows[0], "f_{}_star")
        area = hypervolume(points, start) if start else None
        whole = hypervolume([star], start) if start and star else 0.0
        share = area / whole if area is not None and whole > 0.0 else None
        row = {**dict(zip(same, values, strict=True)), "points": len(points)}
        found.append({**row, "hypervolume": area, "hypervolume_share": share})
    return found


def hypervolume(points: Iterable[Sequence[float]], reference: Sequence[float]) -> float:
    """The area that the points dominate, up to the reference point: of all (x, y) below it in both coordinates that
    some point is not above. Two objectives, both to be minimised. ValueError if a number is not finite.
    """
    places = [(float(x), float(y)) for x, y in points]
    right, top = (float(v) for v in reference)
    if not all(map(math.isfinite, (right, top, *(v for place in places for v in place)))):
        raise ValueError(f"points: must be finite, got {places} and the reference point {(right, top)}")
    area = 0.0
    for x, y in sorted(places):
        if x < right and y < top:
            area += (right - x) * (top - y)
            top = y
    return area


def scale_free_distance(gaps: Sequence[float], start: Sequence[float], star: Sequence[float]) -> float:
    """hypot(gap_i / (f_i(start) - f_i*)): the distance to the ideal point, where each objective counts by how much of
    it there was to gain. ValueError if there was nothing to gain.
    """
    if not all(s > best for s, best in zip(start, star, strict=True)):
        raise ValueError(f"start: must be above the optima {tuple(star)} in each objective, got {tuple(start)}")
    return math.hypot(*(g / (s - best) for g, s, best in zip(gaps, start, star, strict=True)))


def write_csv(rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """The rows with a header; None is an empty field. Nothing for no rows."""
    if rows:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _about(run: StudyRun, more: Sequence[str]) -> Row:
    """What the run was; lists as texts, so that they may stand in a field and in a key."""
    values = {n: getattr(run.config, n) for n in more}
    return {**run.about, **{n: v if isinstance(v, bool | int | float | str) else str(v) for n, v in values.items()}}


def _result(run: StudyRun, folder: Path, more: Sequence[str]) -> Row:
    summary = read_json(folder / "summary.json")
    lines = _evaluations(folder)
    last = dict(summary["evaluation"])
    first = lines[0] if lines and lines[0]["step"] == 0 else {}
    row: Row = {**_about(run, more), "steps": run.config.steps}
    row |= {f"steps_{n}": summary["steps_by_objective"][n] for n in NAMES}
    row |= last
    row |= {f"f_{n}_start": first.get(f"f_{n}") for n in NAMES}
    # The optima on these rows. The ones in the summary may be MAXRIGHT's estimates, on other rows.
    row |= {f"f_{n}_star": last[f"f_{n}"] - last[f"gap_{n}"] if f"gap_{n}" in last else None for n in NAMES}
    end, start, star = (_pair(row, name) for name in ("f_{}", "f_{}_start", "f_{}_star"))
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
    """The evaluations in metrics.jsonl, each with what the steps before it cost."""
    cost: Row = dict.fromkeys(COSTS, 0)
    found = []
    for line in read_metrics(folder):
        if "evaluation" in line:
            found.append({**line, **cost})
        else:
            cost = {n: line.get(n) for n in COSTS}  # a run of an earlier version did not count all of them
    return found


def _pair(row: Row, name: str) -> tuple[float, float] | None:
    """(DPO's, SFT's) of a pattern such as f_{}_start, if both are known."""
    dpo, sft = (row.get(name.format(n)) for n in NAMES)
    if dpo is None or sft is None or not (math.isfinite(dpo) and math.isfinite(sft)):
        return None
    return dpo, sft


def _even(rows: list[Row]) -> list[Row]:
    """All rows with all columns, in the order in which they first come."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]
