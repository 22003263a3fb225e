"""Shared computations of Figures 1, 3, 4, 7, 8: evaluations as a table, mean paths, means by method and λ.

All losses are those of held-out rows. `Data.table` holds the evaluations. Means over seeds with their intervals are
in `Data.extra` as small tables (see `figures.analysis.small_tables`):

path  one row per step of (method, λ, k): f_dpo, f_sft, forward_tokens, ideal_distance with its _low and _high
bar   one row per quantity of (method, λ, k): value, low, high
dot   one row per quantity and seed of (method, λ, k): value
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import seeds
from figures.analysis.methods import order
from figures.analysis.seeds import numeric
from figures.analysis.small_tables import pack
from figures.artefact import Check, Data, equal, lower
from figures.pipeline.paths import grid_of

if TYPE_CHECKING:
    import pandas as pd

GAPS = ("gap_dpo", "gap_sft", "ideal_distance")
KEY = ("method", "lam", "k")
# columns of an evaluation, and those of a whole run, which stand on its last evaluation
EVALUATION = (
    "method", "lam", "order", "k", "seed", "step", "f_dpo", "f_sft", *GAPS,
    "tokens", "forward_tokens", "seconds", "cpu_seconds",
)  # fmt: skip
RUN = ("steps_dpo", "steps", "scale_free_distance", "hypervolume_share", "utilisation", "device")


@dataclass(frozen=True)
class FinishedRuns:
    """Finished runs, one row each, and their evaluations in the order of the steps.

    runtime  the column with the training time: CPU time on a CPU, which other programs affect less than wall-clock
             time; wall-clock time on a GPU
    """

    results: pd.DataFrame
    paths: pd.DataFrame
    runtime: str

    def path(self, run: str) -> pd.DataFrame:
        """Return the evaluations of one run."""
        return self.paths[self.paths["run"] == run]


def read_runs(parameters: Mapping[str, Any]) -> FinishedRuns:
    """Return the finished runs of `parameters["grids"]`, each once."""
    results = seeds.results(parameters).drop_duplicates("run", ignore_index=True)
    paths = seeds.paths(parameters)
    paths = paths.reindex(columns=list(dict.fromkeys([*paths, *EVALUATION, "run"])))
    paths = paths[paths["run"].isin(results["run"])].drop_duplicates(["run", "step"]).sort_values(["run", "step"])
    return FinishedRuns(results, paths.reset_index(drop=True), runtime_column(results))


def runtime_column(results: pd.DataFrame) -> str:
    """Return the column with the training time: cpu_seconds if all runs were on a CPU, else seconds."""
    on_cpu = "device" in results and all(str(device or "").startswith("CPU") for device in results["device"])
    return "cpu_seconds" if on_cpu else "seconds"


def evaluations(runs: FinishedRuns) -> dict[str, np.ndarray]:
    """Return the CSV's table: one row per evaluation; the columns of whole runs are filled on their last rows."""
    ends = runs.results.reindex(columns=["run", *RUN]).assign(step=runs.results["steps"])
    own = runs.paths.drop(columns=[name for name in RUN if name in runs.paths])
    rows = own.merge(ends, on=["run", "step"], how="left")
    keys = with_integer_k(rows)[[*KEY, "seed", "step"]]
    return seeds.columns(rows.loc[sort_by_method(keys).index], (*EVALUATION, *RUN))


def with_integer_k(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with k as integers, 0 for methods without a k."""
    return frame.assign(k=numeric(frame, "k").fillna(0).astype(int))


def sort_by_method(frame: pd.DataFrame) -> pd.DataFrame:
    """Sort by the method, in the order of METHODS, then by all further columns from left to right."""
    names = ["method", *(name for name in frame if name != "method")]
    return frame.sort_values(names, key=lambda c: c.map(order) if c.name == "method" else c, kind="stable")


def mean_paths(paths: pd.DataFrame) -> pd.DataFrame:
    """Return the table `path`: means over seeds at every step of (method, λ, k) at which all seeds were evaluated."""
    if not len(paths):
        return paths
    paths = with_integer_k(paths)
    count = paths.groupby(list(KEY))["seed"].transform("nunique")
    complete = paths[paths.groupby([*KEY, "step"])["seed"].transform("nunique") == count]
    complete = complete.loc[sort_by_method(complete[[*KEY, "step"]]).index]
    by = [*KEY, "step"]
    distance = seeds.summarize(complete.assign(value=numeric(complete, "ideal_distance")), by)
    distance = distance.rename(columns={"value": "ideal_distance", "low": "ideal_distance_low"})
    distance = distance.rename(columns={"high": "ideal_distance_high"}).drop(columns="n")
    names = ["f_dpo", "f_sft", "forward_tokens"]
    means = complete.astype(dict.fromkeys(names, float)).groupby(by, as_index=False, sort=False)[names].mean()
    return means.merge(distance, on=by)


def bars(
    results: pd.DataFrame, quantities: Mapping[str, pd.Series[float]], by: Sequence[str] = KEY
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables `bar` and `dot`: means with intervals over seeds, and the values of the seeds, by group.

    quantities  name -> one value per row of `results`; a group has one row per seed
    """
    rows = with_integer_k(results)[[*by, "seed"]].assign(**quantities)
    rows = rows.loc[sort_by_method(rows[[*by, "seed"]]).index]
    dots = rows.melt(id_vars=[*by, "seed"], value_vars=list(quantities), var_name="quantity")
    return seeds.summarize(dots, [*by, "quantity"]).drop(columns="n"), dots


def increase(results: pd.DataFrame, name: str) -> pd.Series[float]:
    """Return the increase of a column over Sequential with the same λ and seed, in %; NaN without such a run."""
    base = seeds.select(results, method="Sequential").drop_duplicates(["lam", "seed"], keep="last")
    values = numeric(base, name).set_axis(base.set_index(["lam", "seed"]).index)
    other = values.reindex(list(zip(results["lam"], results["seed"], strict=True))).replace(0.0, np.nan).to_numpy()
    return 100.0 * (numeric(results, name) / other - 1.0)


def resources(runs: FinishedRuns) -> dict[str, pd.Series[float]]:
    """Return the increases over Sequential, in %, of runtime and of utilization.

    The utilization is the GPU's where all runs recorded it, else the number of tokens that passed the model.
    """
    recorded = bool(numeric(runs.results, "utilisation").notna().all())
    use = ("utilisation_increase", "utilisation") if recorded else ("tokens_increase", "forward_tokens")
    return {"runtime_increase": increase(runs.results, runs.runtime), use[0]: increase(runs.results, use[1])}


def points(results: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return `start` and `ideal` as (f_SFT, f_DPO), means over seeds; NaN where unknown."""
    first = results.drop_duplicates("seed")
    return {
        name: np.array([numeric(first, f"f_{objective}_{of}").to_numpy().mean() for objective in ("sft", "dpo")])
        for name, of in (("start", "start"), ("ideal", "star"))
    }


def scale(parameters: Mapping[str, Any], results: pd.DataFrame) -> str:
    """Return the scale of the runs as text: `embedded world (small), 200 steps, 3 seeds`."""
    spec = next(iter(parameters["grids"].values()))
    options = spec.get("options", {})
    details = [options.get("world_size", "standard")]
    details += [options["world_family"]] if "world_family" in options else []
    model = f"embedded world ({', '.join(details)})" if spec.get("preset") == "embedded" else str(spec.get("preset"))
    steps = " and ".join(map(str, sorted(set(results["steps"]))))
    count = results["seed"].nunique()
    return f"{model}, {steps} steps, {count} seed{'s' if count > 1 else ''}"


def facts(parameters: Mapping[str, Any], runs: FinishedRuns) -> dict[str, float | int | str | bool]:
    """Return scale, devices and the column of the runtime, for the JSON."""
    devices = sorted({str(device) for device in runs.results["device"]})
    return {"scale": scale(parameters, runs.results), "device": ", ".join(devices), "runtime": runs.runtime}


def front_data(parameters: Mapping[str, Any]) -> Data:
    """Return the data of Figures 1, 3, 7 and 8: paths, and by method and λ the gaps, distances and resources."""
    runs = read_runs(parameters)
    means, dots = bars(runs.results, {name: numeric(runs.results, name) for name in GAPS} | resources(runs))
    extra = pack("path", mean_paths(runs.paths)) | pack("bar", means) | pack("dot", dots)
    return Data(
        table=evaluations(runs),
        extra=extra | points(runs.results),
        facts=facts(parameters, runs),
        checks=consistency_checks(parameters, runs),
    )


def consistency_checks(parameters: Mapping[str, Any], runs: FinishedRuns) -> tuple[Check, ...]:
    """Check that all runs exist and that their numbers agree with each other; no claim about the methods."""
    results = runs.results
    expected = len({run for spec in parameters["grids"].values() for run in _expected(spec)})
    last = results[["run", "steps"]].merge(runs.paths, left_on=["run", "steps"], right_on=["run", "step"], how="left")
    ends = [np.abs(numeric(results, f"f_{i}") - numeric(last, f"f_{i}").to_numpy()) for i in ("dpo", "sft")]
    known = results[np.logical_or.reduce([numeric(results, name).notna() for name in GAPS])]
    hypotenuse = np.abs(known["ideal_distance"] - np.hypot(*(numeric(known, f"gap_{i}") for i in ("dpo", "sft"))))
    sequential = seeds.select(results, method="Sequential")
    split = np.abs(sequential["steps_dpo"] - sequential["lam"] * sequential["steps"])
    checks = [
        equal("runs", "every method, λ, k and seed has a finished run", expected, len(results), tolerance=0.0),
        equal("ends", "the last evaluation of each run equals its result", 0.0, _largest(*ends), tolerance=0.0),
        equal("hypot", "ideal distance² = gap_DPO² + gap_SFT², within 1e-9", 0.0, _largest(hypotenuse), tolerance=1e-9),
        equal("split", "Sequential takes λT steps on DPO, within 1 step", 0.0, _largest(split), tolerance=1.0),
    ]
    if len(known):
        gains = [numeric(known, f"f_{i}_start") - numeric(known, f"f_{i}_star") for i in ("dpo", "sft")]
        statement = "both objectives start above their optima f*, for every seed"
        checks.append(lower("start", statement, 0.0, float(np.min([np.min(gain.to_numpy()) for gain in gains]))))
    return tuple(checks)


def _largest(*columns: pd.Series[float]) -> float:
    """Return the largest entry, at least 0; NaN if an entry is NaN, which `max` would hide."""
    return float(np.max(np.concatenate([np.zeros(1), *(column.to_numpy(dtype=float) for column in columns)])))


def _expected(spec: Mapping[str, Any]) -> list[str]:
    """Return the names of a grid's runs."""
    return [run.name for run in grid_of(spec).runs()]
