"""The figure `real`: SmolLM2-135M-Instruct's skill and preferences after training, by method (beyond the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import recorded_runs, seeds, sweeps
from figures.analysis.methods import order as method_order
from figures.analysis.seeds import numeric
from figures.analysis.small_tables import pack
from figures.analysis.sweep_summary import claim
from figures.artefact import Artefact, Check, Data, Request, equal
from figures.drawing.real import draw
from figures.pipeline.paths import grid_of

if TYPE_CHECKING:
    import pandas as pd

EVALUATION = ("label", "method", "order", "lam", "k", "seed", "step", "f_dpo", "f_sft", "accuracy")
# of a whole run, on the row of its last evaluation
RUN = (
    "steps", "steps_dpo", "steps_sft", "skill_exact_match", "skill_exact_match_low",
    "skill_exact_match_high", "skill_exact_match_new", "skill_valid_json", "skill_n", "tokens", "cpu_seconds",
    "seconds", "device", "run",
)  # fmt: skip
MEASURED = ("f_dpo", "f_sft", "accuracy", "skill_exact_match")
SFT_FIRST, DPO_FIRST = "Sequential, SFT first", "Sequential, DPO first"
# (what ends higher, than what, quantity, its name)
CLAIMS = (
    ("ALRIGHT", SFT_FIRST, "skill_exact_match", "keeps more of the skill"),
    ("MAXRIGHT", SFT_FIRST, "skill_exact_match", "keeps more of the skill"),
    ("ALRIGHT", DPO_FIRST, "accuracy", "keeps more of the preferences"),
    ("MAXRIGHT", DPO_FIRST, "accuracy", "keeps more of the preferences"),
)


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs at scale `real`; at every other scale the recorded results, by their digests."""
    if request.scale == "real":
        return {"grids": sweeps.real(request)}
    return {"recorded": recorded_runs.digests()}


def compute(parameters: dict[str, Any]) -> Data:
    """Return every evaluation of every run, and the mean over seeds of every quantity at the end."""
    if "recorded" in parameters:
        rows, facts = recorded_runs.read()
    else:
        rows, facts = _evaluations(parameters), recorded_runs.about(parameters)
    ends = rows[rows["step"] == rows["steps"]].reset_index(drop=True)
    values = ends[["label", "seed"]].assign(**{name: numeric(ends, name) for name in MEASURED})
    means = seeds.summarize(values.melt(["label", "seed"], var_name="quantity"), ["label", "quantity"])
    path = _mean_path(rows)
    return Data(
        table=seeds.columns(rows, (*EVALUATION, *RUN)),
        extra=pack("mean", means) | pack("path", path),
        facts=facts,
        checks=(*_checks(parameters, rows, ends), *_claims(ends)),
    )


def table_of(parameters: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the table of the CSV for the finished runs in `parameters["root"]`, of which some may be missing."""
    return seeds.columns(_evaluations(parameters), (*EVALUATION, *RUN))


def _evaluations(parameters: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per evaluation of the finished runs, by label and seed; `RUN` is filled on the last rows."""
    results = seeds.results(parameters)
    paths = seeds.paths(parameters).rename(columns={"rewards/accuracies": "accuracy"})
    results = results.assign(label=[label_of(*key) for key in zip(results["grid"], results["method"], strict=True)])
    names = results.set_index(["grid", "run"])["label"]
    known = [(grid, run) in names.index for grid, run in zip(paths["grid"], paths["run"], strict=True)]
    paths = paths[known]
    paths = paths.assign(label=[names[key] for key in zip(paths["grid"], paths["run"], strict=True)])
    own = [name for name in RUN if name not in ("run", "steps")]
    ends = results.reindex(columns=["label", "run", "steps", *own]).assign(step=results["steps"])
    rows = paths.drop(columns=[name for name in own if name in paths]).merge(
        ends[["label", "run", "steps"]].drop_duplicates(), on=["label", "run"]
    )
    rows = rows.merge(ends.drop(columns="steps"), on=["label", "run", "step"], how="left")
    place = {label: i for i, label in enumerate(_order(results))}
    keys = rows.assign(place=rows["label"].map(place)).sort_values(["place", "seed", "step"], kind="stable")
    return rows.loc[keys.index].reset_index(drop=True)


def label_of(grid: str, method: str) -> str:
    """Return the printed name of a run: the name of its grid, or of its method and λ where a grid has several.

    λ = 1/2 is not named.
    """
    kind, _, lam = grid.partition(" ")
    if kind != "joint":
        return grid
    return f"{method}, λ = {lam}" if lam else method


def _order(results: pd.DataFrame) -> list[str]:
    """Return the labels in the order of rows: by grid, and within a grid by method."""
    frame = results[["grid", "method", "label"]].drop_duplicates()
    first = {grid: i for i, grid in enumerate(dict.fromkeys(frame["grid"]))}
    keys = [(first[grid], method_order(method)) for grid, method in zip(frame["grid"], frame["method"], strict=True)]
    return [label for _, label in sorted(zip(keys, frame["label"], strict=True))]


def _mean_path(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds of both objectives at every step of every label."""
    return rows.groupby(["label", "step"], as_index=False, sort=False)[["f_dpo", "f_sft"]].mean()


def _checks(parameters: Mapping[str, Any], rows: pd.DataFrame, ends: pd.DataFrame) -> tuple[Check, ...]:
    """Check that the runs are complete, that their steps add up, and that every run starts at ln 2."""
    if "grids" in parameters:
        grids = parameters["grids"].items()
        expected = len({(name, run.name) for name, spec in grids for run in grid_of(spec).runs()})
    else:
        expected = int(recorded_runs.described()["runs"])
    steps = ends["steps"] * ends["method"].map(lambda method: 2 if method == "Mix" else 1)
    odd = int((ends["steps_dpo"] + ends["steps_sft"] != steps).sum())
    start = numeric(rows[rows["step"] == 0], "f_dpo")
    apart = float(np.max(np.abs(start - np.log(2.0)))) if len(start) else np.nan
    doubled = "every run has the same number of steps, where a step of Mix uses both sets (runs with another number)"
    return (
        equal("runs", "every method and seed has a finished run", expected, len(ends), tolerance=0.0),
        equal("steps", doubled, 0.0, float(odd), tolerance=0.0),
        equal("start", "f_DPO is ln 2 before the first step, within 1e-5", 0.0, apart, tolerance=1e-5),
    )


def _claims(ends: pd.DataFrame) -> tuple[Check, ...]:
    """Return the claims that joint training keeps more than Sequential, for both objectives."""
    claims = []
    for ours, other, column, what in CLAIMS:
        near, far = (seeds.select(ends, label=label) for label in (ours, other))
        shared = set(near["seed"]) & set(far["seed"])
        if not shared or numeric(ends, column).isna().any():
            continue
        near, far = (frame[frame["seed"].isin(shared)] for frame in (near, far))
        difference = seeds.difference(near, far, column)
        name = f"{column.replace('_', '-')}/{ours}-{other.replace(', ', '-').replace(' ', '-')}".lower()
        statement = f"{ours} {what} than {other} (difference of the shares)"
        claims.append(claim(name, "", statement, difference, 0.0, "lower"))
    return tuple(claims)


ARTEFACT = Artefact(
    name="real",
    title="A real model: what is left of a skill and of preferences",
    paper="beyond the paper",
    cost="seconds; at scale real hours of training before",
    seconds=5.0,
    caption=(
        "SmolLM2-135M-Instruct with LoRA, λ = 0.5 unless it is named; every method takes the same number of steps, "
        "with batches of equal size, and a step of Mix uses both sets. SFT teaches a convention that the base cannot "
        "know: to file a note as a JSON object with invented keys in a fixed order (`llm.skill`); the preferences are "
        "human judgements of answers. (a), (b) Losses on held-out rows with λ = 0.5, means over seeds: lower is "
        "better; Sequential and Replay change the objective after half of the steps. (c) The share of held-out notes, "
        "about other persons and items, that the trained model files exactly right (greedy answers): 0 for the base. "
        "(d) The share of held-out pairs whose chosen response has the higher implicit reward; 0.5 for a model that "
        "prefers neither. Marks are means over seeds, white dots the seeds, lines 95 % intervals over seeds where "
        "there are several. Without --scale real the figure shows recorded results (`results/real`), and the line "
        "below the axes tells where and when they were made; `python paper_repro.py real --scale real` makes them "
        "anew."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
