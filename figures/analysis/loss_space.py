"""What Figures 1, 3, 4, 7 and 8 share of computing: the evaluations as a table, mean paths, and means by method and λ.

Every number is that of a run's held-out rows. `Data.table` holds the evaluations as they are; what is drawn of them,
means over seeds with their intervals, is in `Data.extra` as small tables, whose columns are named PREFIX_COLUMN:

path  a row a step of (method, λ, k): f_dpo, f_sft, ideal_distance, forward_tokens; _low and _high of the distance
bar   a row a quantity of (method, λ, k): value, low, high
dot   a row a seed of it: value
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from figures.analysis import seeds as runs
from figures.analysis.seeds import Row
from figures.artefact import Check, Data, equal, lower

METHODS = ("Sequential", "Mix", "ALRIGHT", "MAXRIGHT")
GAPS = ("gap_dpo", "gap_sft", "ideal_distance")
KEY = ("method", "lam", "k")
# of an evaluation, and of a whole run: these stand on its last evaluation
EVALUATION = (
    "method", "lam", "order", "k", "seed", "step", "f_dpo", "f_sft", *GAPS,
    "tokens", "forward_tokens", "seconds", "cpu_seconds",
)  # fmt: skip
RUN = ("steps_dpo", "steps", "scale_free_distance", "hypervolume_share", "utilisation", "device")


@dataclass(frozen=True)
class Found:
    """Finished runs, each once, and their evaluations in the order of the steps.

    runtime  the column that time is read from: the processor's seconds on a CPU, which other programs change less
             than the clock's; the clock's where there is a GPU
    """

    results: list[Row]
    paths: list[Row]
    runtime: str


def find(parameters: Mapping[str, Any]) -> Found:
    """What the runs of `parameters["grids"]` left."""
    results = list({row["run"]: row for row in runs.results(parameters)}.values())
    known = {row["run"] for row in results}
    paths = {(row["run"], row["step"]): row for row in runs.paths(parameters) if row["run"] in known}
    on_cpu = all(str(row.get("device") or "").startswith("CPU") for row in results)
    return Found(results, [paths[key] for key in sorted(paths)], "cpu_seconds" if on_cpu else "seconds")


def number(row: Mapping[str, Any], column: str) -> float:
    """The value as a float; NaN for what is not known."""
    value = row.get(column)
    return math.nan if value is None else float(value)


def evaluations(found: Found) -> dict[str, np.ndarray]:
    """The CSV: a row an evaluation, with what is said of the whole run on its last one."""
    ends = {(row["run"], row["steps"]): row for row in found.results}
    rows = []
    for line in sorted(found.paths, key=_place):
        end = ends.get((line["run"], line["step"]), {})
        rows.append({**line, **{name: end.get(name) for name in RUN}})
    return runs.columns(rows, (*EVALUATION, *RUN))


def _place(row: Row) -> tuple[Any, ...]:
    return METHODS.index(row["method"]), row["lam"], row["k"] or 0, row["seed"], row["step"]


def grouped(rows: Iterable[Row]) -> dict[tuple[str, float, int], list[Row]]:
    """The rows of every (method, λ, k), in the order of METHODS; k is 0 for what has none."""
    groups: dict[tuple[str, float, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["lam"], row["k"] or 0), []).append(row)
    return {key: groups[key] for key in sorted(groups, key=lambda key: (METHODS.index(key[0]), *key[1:]))}


def mean_paths(paths: Sequence[Row]) -> list[Row]:
    """A row a step of every (method, λ, k) that all its seeds were evaluated at."""
    found = []
    for key, rows in grouped(paths).items():
        seeds = {row["seed"] for row in rows}
        for step in sorted({row["step"] for row in rows}):
            here = [row for row in rows if row["step"] == step]
            if {row["seed"] for row in here} != seeds:
                continue
            means = {n: runs.mean(number(row, n) for row in here) for n in ("f_dpo", "f_sft", "forward_tokens")}
            away = runs.mean(number(row, "ideal_distance") for row in here)
            ends = {"ideal_distance": away.value, "ideal_distance_low": away.low, "ideal_distance_high": away.high}
            row = {**dict(zip(KEY, key, strict=True)), "step": step, **{n: m.value for n, m in means.items()}, **ends}
            found.append(row)
    return found


def bars(results: Sequence[Row], values: Mapping[str, Callable[[Row], float]]) -> tuple[list[Row], list[Row]]:
    """(a row a quantity of every (method, λ, k), a row a seed of it); `values` says how a run tells a quantity."""
    means, dots = [], []
    for key, rows in grouped(results).items():
        about = dict(zip(KEY, key, strict=True))
        for quantity, value in values.items():
            by_seed = {row["seed"]: value(row) for row in rows}
            found = runs.mean(by_seed.values())
            means.append({**about, "quantity": quantity, "value": found.value, "low": found.low, "high": found.high})
            dots += [{**about, "quantity": quantity, "seed": s, "value": v} for s, v in by_seed.items()]
    return means, dots


def column(name: str) -> Callable[[Row], float]:
    """How a run tells a quantity that is a column of its own."""
    return lambda row: number(row, name)


def increase(results: Sequence[Row], name: str) -> Callable[[Row], float]:
    """By how many per cent a run's column is above that of Sequential with the same λ and seed; NaN without one."""
    base = {(row["lam"], row["seed"]): number(row, name) for row in results if row["method"] == "Sequential"}

    def value(row: Row) -> float:
        other = base.get((row["lam"], row["seed"]), math.nan)
        return 100.0 * (number(row, name) / other - 1.0) if other else math.nan

    return value


def resources(found: Found) -> dict[str, Callable[[Row], float]]:
    """Increases over Sequential: of the runtime, and of the GPU's utilisation where it was recorded, else of the tokens
    that went through the model.
    """
    recorded = all(row.get("utilisation") is not None for row in found.results)
    use = ("utilisation_increase", "utilisation") if recorded else ("tokens_increase", "forward_tokens")
    columns = {"runtime_increase": found.runtime, use[0]: use[1]}
    return {quantity: increase(found.results, name) for quantity, name in columns.items()}


def packed(prefix: str, rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """The rows as columns PREFIX_NAME of `Data.extra`; `select` takes them out again."""
    return {f"{prefix}_{name}": values for name, values in runs.columns(rows, list(rows[0])).items()} if rows else {}


def select(arrays: Mapping[str, np.ndarray], prefix: str, **wanted: Any) -> dict[str, np.ndarray]:
    """The columns of one of `packed`'s tables, at the rows that have the wanted values; none if there is no such
    table.
    """
    table = {name.removeprefix(f"{prefix}_"): a for name, a in arrays.items() if name.startswith(f"{prefix}_")}
    return chosen(table, **wanted) if table else {}


def chosen(table: Mapping[str, np.ndarray], **wanted: Any) -> dict[str, np.ndarray]:
    """The columns at the rows that have the wanted values."""
    keep = np.logical_and.reduce([table[name] == value for name, value in wanted.items()])
    return {name: values[keep] for name, values in table.items()} if wanted else dict(table)


def points(results: Sequence[Row]) -> dict[str, np.ndarray]:
    """The start and the ideal point, means over seeds: each is (f_SFT, f_DPO), NaN where not known."""
    first = {row["seed"]: row for row in results}.values()
    return {
        name: np.array([np.mean([number(row, f"f_{i}_{of}") for row in first]) for i in ("sft", "dpo")])
        for name, of in (("start", "start"), ("ideal", "star"))
    }


def scale(parameters: Mapping[str, Any], results: Sequence[Row]) -> str:
    """At what scale the runs are, in words: `embedded world (small), 200 steps, 3 seeds`."""
    spec = next(iter(parameters["grids"].values()))
    options = spec.get("options", {})
    details = [options.get("world_size", "standard")]
    details += [options["world_family"]] if "world_family" in options else []
    what = f"embedded world ({', '.join(details)})" if spec.get("preset") == "embedded" else str(spec.get("preset"))
    steps = " and ".join(map(str, sorted({row["steps"] for row in results})))
    seeds = len({row["seed"] for row in results})
    return f"{what}, {steps} steps, {seeds} seed{'s' if seeds > 1 else ''}"


def facts(parameters: Mapping[str, Any], found: Found) -> dict[str, float | int | str | bool]:
    """Where the numbers come from."""
    devices = sorted({str(row.get("device")) for row in found.results})
    return {"scale": scale(parameters, found.results), "device": ", ".join(devices), "runtime": found.runtime}


def front_data(parameters: Mapping[str, Any]) -> Data:
    """The data of Figures 1, 3, 7 and 8: paths, and for every method and λ the gaps, the ideal distance and, over
    Sequential, the runtime and the use of the machine.
    """
    found = find(parameters)
    means, dots = bars(found.results, {n: column(n) for n in GAPS} | resources(found))
    extra = packed("path", mean_paths(found.paths)) | packed("bar", means) | packed("dot", dots)
    return Data(
        table=evaluations(found),
        extra=extra | points(found.results),
        facts=facts(parameters, found),
        checks=sound(parameters, found),
    )


def sound(parameters: Mapping[str, Any], found: Found) -> tuple[Check, ...]:
    """That the runs are all there and their numbers agree with each other; nothing about what came out."""
    expected = len({name for spec in parameters["grids"].values() for name in _wanted(spec)})
    ends = {(row["run"], row["step"]): row for row in found.paths}
    apart, hypot, split, above = [0.0], [0.0], [0.0], []
    for row in found.results:
        last = ends.get((row["run"], row["steps"]), {})
        apart += [abs(number(row, f"f_{i}") - number(last, f"f_{i}")) for i in ("dpo", "sft")]
        if row.get("ideal_distance") is not None:
            hypot.append(abs(row["ideal_distance"] - math.hypot(row["gap_dpo"], row["gap_sft"])))
            above += [number(row, f"f_{i}_start") - number(row, f"f_{i}_star") for i in ("dpo", "sft")]
        if row["method"] == "Sequential":
            split.append(abs(row["steps_dpo"] - row["lam"] * row["steps"]))
    checks = [
        equal("runs", "every method, λ, k and seed is there", expected, len(found.results), tolerance=0.0),
        equal("ends", "every path ends where its run's result says, exactly", 0.0, _worst(apart), tolerance=0.0),
        equal("hypot", "the ideal distance is that of the gaps, within 1e-9", 0.0, _worst(hypot), tolerance=1e-9),
        equal("split", "Sequential gives DPO λT steps, within one", 0.0, _worst(split), tolerance=1.0),
    ]
    if above:
        statement = "both objectives start above their optima f*, for every seed"
        checks.append(lower("start", statement, 0.0, float(np.min(above))))
    return tuple(checks)


def _worst(values: Iterable[float]) -> float:
    """The largest; NaN if one is, for `max` would hide it."""
    return float(np.max(list(values)))


def _wanted(spec: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What tells the runs of a grid apart; k matters to MAXRIGHT alone."""
    options = spec.get("options", {})
    lams, ks = spec.get("lams") or [None], spec.get("ks") or [options.get("k")]
    return [
        (method, lam, k if method == "maxright" else None, seed)
        for method in spec["methods"]
        for lam in lams
        for k in ks
        for seed in spec["seeds"]
    ]
