"""Evaluations and ends of the real model's runs, and the checks that every figure of them makes: `real` and `chat`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import recorded_runs, seeds
from figures.analysis.methods import order as method_order
from figures.analysis.real_sweeps import SFT_REFERENCE
from figures.analysis.seeds import numeric
from figures.artefact import Check, equal

if TYPE_CHECKING:
    import pandas as pd

EVALUATION = ("label", "method", "order", "lam", "k", "seed", "step", "f_dpo", "f_sft", "accuracy")
# of a whole run, on the row of its last evaluation
RUN = ("steps", "steps_dpo", "steps_sft", "tokens", "cpu_seconds", "seconds", "device", "run")
# How near to ln 2 f_DPO is before the first step. The reference's log-probabilities are computed in other batches,
# whose sums round otherwise. bf16 moves a response's by 0.3 nats (root mean square, measured), a margin β(Δ - Δ') by
# 0.04 at β = 0.1 and their mean over 100 pairs by 0.004; f_DPO moves by half of it.
START = {"fp32": 1e-5, "bf16": 5e-3}
Name = Callable[[str, str], str]  # (grid, method) -> printed name of a run


def evaluations(parameters: Mapping[str, Any], name: Name, columns: tuple[str, ...] = RUN) -> pd.DataFrame:
    """Return one row per evaluation of the finished runs, by label and seed; some runs may be missing.

    columns  values of a whole run, which are filled on its last row
    """
    results = seeds.results(parameters)
    paths = seeds.paths(parameters).rename(columns={"rewards/accuracies": "accuracy"})
    results = results.assign(label=[name(*key) for key in zip(results["grid"], results["method"], strict=True)])
    names = results.set_index(["grid", "run"])["label"]
    known = [(grid, run) in names.index for grid, run in zip(paths["grid"], paths["run"], strict=True)]
    paths = paths[known]
    paths = paths.assign(label=[names[key] for key in zip(paths["grid"], paths["run"], strict=True)])
    own = [column for column in columns if column not in ("run", "steps")]
    ends = results.reindex(columns=["label", "run", "steps", *own]).assign(step=results["steps"])
    rows = paths.drop(columns=[column for column in own if column in paths]).merge(
        ends[["label", "run", "steps"]].drop_duplicates(), on=["label", "run"]
    )
    rows = rows.merge(ends.drop(columns="steps"), on=["label", "run", "step"], how="left")
    place = {label: i for i, label in enumerate(_order(results))}
    keys = rows.assign(place=rows["label"].map(place)).sort_values(["place", "seed", "step"], kind="stable")
    return rows.loc[keys.index].reset_index(drop=True)


def _order(results: pd.DataFrame) -> list[str]:
    """Return the labels in the order of rows: by grid, and within a grid by method."""
    frame = results[["grid", "method", "label"]].drop_duplicates()
    first = {grid: i for i, grid in enumerate(dict.fromkeys(frame["grid"]))}
    keys = [(first[grid], method_order(method)) for grid, method in zip(frame["grid"], frame["method"], strict=True)]
    return [label for _, label in sorted(zip(keys, frame["label"], strict=True))]


def ends_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the last evaluation of every run."""
    return rows[rows["step"] == rows["steps"]].reset_index(drop=True)


def means(ends: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return the mean over seeds of every column at the end, with its interval, a row per label and quantity."""
    values = ends[["label", "seed"]].assign(**{name: numeric(ends, name) for name in columns})
    return seeds.summarize(values.melt(["label", "seed"], var_name="quantity"), ["label", "quantity"])


def mean_path(rows: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return the means over seeds of `columns` at every step of every label."""
    return rows.groupby(["label", "step"], as_index=False, sort=False)[list(columns)].mean()


def checks(
    parameters: Mapping[str, Any], rows: pd.DataFrame, ends: pd.DataFrame, folder: Path, facts: Mapping[str, Any]
) -> tuple[Check, ...]:
    """Check that the runs are complete, that their steps add up, and that f_DPO is ln 2 where it must be.

    It is where the policy is the reference. With the base that is before the first step; with a model after as many
    steps of SFT as Sequential takes ("SFT reference") it is after the first stage of Sequential with SFT first.

    folder  of the recorded results, which the parameters stand for where they have no grids
    facts   of the runs: `precision` (fp32 if absent) sets how near to ln 2 f_DPO must be, `reference` is that of all
            runs that do not name their own
    """
    if "grids" in parameters:
        expected = seeds.expected_runs(parameters)
    else:
        expected = int(recorded_runs.described(folder)["runs"])
    steps = ends["steps"] * ends["method"].map(lambda method: 2 if method == "Mix" else 1)
    odd = int((ends["steps_dpo"] + ends["steps_sft"] != steps).sum())
    near = START[facts.get("precision", "fp32")]
    doubled = "every run has the same number of steps, where a step of Mix uses both sets (runs with another number)"
    found = [
        equal("runs", "every method and seed has a finished run", expected, len(ends), tolerance=0.0),
        equal("steps", doubled, 0.0, float(odd), tolerance=0.0),
    ]
    named = rows["label"].str.endswith(SFT_REFERENCE)
    if facts.get("reference", "base") == "base":
        apart = _from_ln_2(rows[~named & (rows["step"] == 0)])
        found.append(
            equal("start", f"f_DPO is ln 2 before the first step, within {near:g}", 0.0, apart, tolerance=near)
        )
    staged = rows[named & rows["label"].str.contains("SFT first") & (rows["step"] == rows["steps"] / 2)]
    if len(staged):
        text = f"the SFT reference is Sequential after its SFT stage: f_DPO is ln 2 there, within {near:g}"
        found.append(equal("reference", text, 0.0, _from_ln_2(staged), tolerance=near))
    return tuple(found)


def _from_ln_2(rows: pd.DataFrame) -> float:
    """Return the largest distance of f_DPO from ln 2; NaN without rows."""
    return float(np.max(np.abs(numeric(rows, "f_dpo") - np.log(2.0)))) if len(rows) else np.nan
