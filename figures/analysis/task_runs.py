"""Evaluations, measures, checks and claims of runs on several tasks: the artefacts `tasks` and `realtasks`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import seeds, task_sweeps
from figures.analysis.small_tables import pack
from figures.analysis.sweep_summary import claim, key
from figures.artefact import Check, Data, equal, lower
from figures.pipeline.paths import grid_of

if TYPE_CHECKING:
    import pandas as pd

EVALUATION = (
    "label", "method", "order", "seed", "stage", "step", "task", "kind", "trained", "steps_trained", "loss",
    "accuracy", "performance",
)  # fmt: skip
MEASURES = ("average", "forgetting", "backward_transfer", "forward_transfer")
RUN = ("skill_exact_match", "cpu_seconds", "run")
COLUMNS = ("rows", *EVALUATION, *MEASURES, *RUN)
ROWS = ("evaluations", "measures")  # kinds of rows of the CSV
ORDERS = ("Sequential", "Sequential, reversed")
JOINT = ("Mix", "ALRIGHT", "MAXRIGHT")
_ABOUT = ("label", "method", "order", "seed", "stage", "step", "run")  # of a run, in the row of its measures


def results_of(parameters: Mapping[str, Any]) -> pd.DataFrame:
    """Return the results of the finished runs, with the printed names of the runs as column `label`."""
    results = seeds.results(parameters)
    return results.assign(label=[label_of(*pair) for pair in zip(results["grid"], results["method"], strict=True)])


def table_of(rows: pd.DataFrame, measures: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the table of the CSV: evaluations, then the measures of every run."""
    import pandas as pd

    kinds = (frame.assign(rows=kind) for frame, kind in zip((rows, measures), ROWS, strict=True))
    return seeds.columns(pd.concat([f.reindex(columns=COLUMNS) for f in kinds], ignore_index=True), COLUMNS)


def no_table() -> dict[str, np.ndarray]:
    """Return the table of the CSV without rows, for a figure of which nothing is recorded."""
    return {name: np.array([], dtype=float) for name in COLUMNS}


def is_measures(row: Mapping[str, Any]) -> bool:
    """Return whether a row of the table has the measures of a run."""
    return bool(row["rows"] == "measures")


def frames_of(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the evaluations and the measures of a table that `table_of` made."""
    rows, measures = (table[table["rows"] == kind].dropna(axis=1, how="all").reset_index(drop=True) for kind in ROWS)
    return rows.reindex(columns=[*EVALUATION, "run"]), measures.reindex(columns=[*_ABOUT, *MEASURES, *RUN[:2]])


def data_of(rows: pd.DataFrame, measures: pd.DataFrame, facts: Mapping[str, Any], checks: Sequence[Check]) -> Data:
    """Return the data of the figure: cells are means over seeds, dots the seeds' measures."""
    cells = rows.groupby(["label", "stage", "task"], as_index=False, sort=False)[["performance", "trained"]].mean()
    dots = measures.melt(["label", "seed"], list(MEASURES), "quantity").dropna(subset="value")
    return Data(
        table=table_of(rows, measures),
        extra=pack("cell", cells)
        | pack("dot", dots)
        | pack("mean", seeds.summarize(dots, ["label", "quantity"]))
        | {"task": np.array(list(dict.fromkeys(rows["task"]))), "kind": kinds_of(rows)},
        facts=facts,
        checks=tuple(checks),
    )


def label_of(grid: str, method: str) -> str:
    """Return the printed name of a run: that of its grid, or of its method in the grid of several."""
    return method if grid == task_sweeps.JOINT else grid


def kinds_of(rows: pd.DataFrame) -> np.ndarray:
    """Return the kind of each task, sft or preference, in the order of the tasks."""
    return np.array(list(rows.drop_duplicates("task")["kind"]))


def evaluations(parameters: Mapping[str, Any], results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run, stage and task, with the columns `EVALUATION` and `run`; stage 0 is before training.

    trained        1 in the stage of the task itself, else 0; always 0 for runs without stages
    steps_trained  number of the run's steps on the task, in the last stage; else NaN
    accuracy       share of held-out pairs with the higher reward for the chosen answer; NaN for SFT tasks
    performance    exp(-loss) in (0, 1]: the geometric mean of the probabilities of held-out response tokens, or of the
                   right preferences
    """
    import pandas as pd

    paths = seeds.paths(parameters)
    labels = results.set_index(["grid", "run"])["label"]
    frames = []
    for grid, spec in parameters["grids"].items():
        base = grid_of(spec).base
        several = sum(own.is_pairs for own in base.objectives) > 1
        own_paths = seeds.select(paths, grid=grid)
        own_paths = own_paths[[(grid, run) in labels.index for run in own_paths["run"]]]
        label = [labels[grid, run] for run in own_paths["run"]]
        stage = own_paths["step"] // base.eval_every
        ends = seeds.select(results, grid=grid).set_index("run")
        for task in base.objectives:
            accuracy = f"rewards/accuracies/{task.name}" if several else "rewards/accuracies"
            loss = seeds.numeric(own_paths, f"f_{task.name}")
            own = own_paths[["method", "order", "seed", "step", "run"]].assign(
                label=label,
                stage=stage,
                task=task.name,
                kind=task.kind,
                loss=loss,
                accuracy=seeds.numeric(own_paths, accuracy) if task.is_pairs else math.nan,
                performance=np.exp(-loss),
            )
            at_end = own["stage"] == len(base.objectives)
            own["steps_trained"] = own["run"].map(seeds.numeric(ends, f"steps_{task.name}")).where(at_end)
            own["trained"] = [
                int(isinstance(order, str) and at > 0 and order.split("-")[at - 1] == task.name)
                for order, at in zip(own["order"], own["stage"], strict=True)
            ]
            frames.append(own)
    rows = pd.concat(frames, ignore_index=True)
    place = {name: i for i, name in enumerate(dict.fromkeys(results["label"]))}
    keys = rows.assign(place=rows["label"].map(place)).sort_values(["place", "seed", "stage"], kind="stable")
    return rows.loc[keys.index].reset_index(drop=True)[[*EVALUATION, "run"]]


def measures_of(rows: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run with its measures of `performance` (`llm.study.continual`), and its skill at the end.

    Runs without stages have no transfer, and forgetting is the mean decline of all of their tasks.
    """
    import pandas as pd

    from llm.study import continual

    about_runs = {name: seeds.numeric(results, name).set_axis(results["run"]) for name in RUN[:2]}
    out = []
    for (label, run), own in rows.groupby(["label", "run"], sort=False):
        about = own.iloc[-1]
        table = own.pivot(index="stage", columns="task", values="performance")
        row = {name: about[name] for name in _ABOUT}
        row |= {name: values[run] for name, values in about_runs.items()}
        row |= {"backward_transfer": math.nan, "forward_transfer": math.nan}
        if isinstance(about["order"], str):
            values = table[about["order"].split("-")].to_numpy()
            row["forgetting"] = continual.forgetting(values[1:])
            row["backward_transfer"] = continual.backward_transfer(values[1:])
            row["forward_transfer"] = continual.forward_transfer(values[1:], values[0])
        else:
            values = table.to_numpy()
            row["forgetting"] = continual.decline(values[1:])
        out.append(row | {"average": continual.average(values), "label": label})
    return pd.DataFrame(out)


def dpo_tasks(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the tasks whose loss is DPO's, which is ln 2 before training."""
    tasks = [own for spec in parameters["grids"].values() for own in grid_of(spec).base.objectives]
    return tuple(dict.fromkeys(own.name for own in tasks if own.loss is not None and own.loss.name == "dpo"))


def ends_check(rows: pd.DataFrame, results: pd.DataFrame) -> Check:
    """Check that the last evaluation in a run's metrics is the one in its summary."""
    finals = results.set_index(["label", "run"])
    ends = rows[rows["stage"] == rows["stage"].max()]
    apart = [abs(row.loss - finals.loc[(row.label, row.run), f"f_{row.task}"]) for row in ends.itertuples()]
    text = "the last evaluation of each run equals its result"
    return equal("ends", text, 0.0, float(np.max(apart)), tolerance=0.0)


def checks(
    rows: pd.DataFrame, measures: pd.DataFrame, *, expected: int, dpo: Sequence[str], near: float = 1e-5
) -> tuple[Check, ...]:
    """Check the number of runs and evaluations, the start, equal stages, and the inequality between the measures.

    expected  number of runs
    dpo       tasks whose loss is DPO's
    near      how near to ln 2 these must start
    """
    tasks = list(dict.fromkeys(rows["task"]))
    each = rows.groupby(["label", "run"])["stage"].agg(lambda stages: sorted(stages))
    whole = sorted(list(range(len(tasks) + 1)) * len(tasks))
    pairs = rows[(rows["stage"] == 0) & rows["task"].isin(dpo)]["loss"]
    apart = float(np.max(np.abs(pairs - math.log(2.0)))) if len(pairs) else 0.0
    ends = rows[(rows["stage"] == len(tasks)) & (rows["method"] == "Sequential")]
    uneven = np.abs(ends["steps_trained"] - ends["step"] / len(tasks))
    staged = measures.dropna(subset="backward_transfer")
    sums = staged["forgetting"] + staged["backward_transfer"]
    return (
        equal("runs", "every method, order and seed has a finished run", expected, len(measures), tolerance=0.0),
        equal(
            "evaluations",
            "every run is evaluated on every task before training and after each stage (runs that are not)",
            0.0,
            float(sum(stages != whole for stages in each)),
            tolerance=0.0,
        ),
        equal("start", f"the DPO loss of a task starts at ln 2, within {near:g}", 0.0, apart, tolerance=near),
        equal(
            "stages",
            "Sequential trains each task for as many steps",
            0.0,
            float(np.max(uneven.to_numpy(), initial=0.0)),  # NaN, where a number is unknown, fails
            tolerance=0.0,
        ),
        lower(
            "definitions",
            "forgetting is at least what backward transfer loses, within 1e-12 (least forgetting + transfer)",
            -1e-12,
            float(sums.min()) if len(sums) else 0.0,
        ),
    )


def claims(measures: pd.DataFrame, forgotten: float) -> tuple[Check, ...]:
    """Return the claims that Sequential forgets, that joint training ends higher, and that more replay forgets less.

    Each is about the seeds that both sides have; a claim without any is left out.

    forgotten  mean fall of the performance that counts as forgetting
    """
    out = []
    for order in ORDERS:
        own = seeds.select(measures, label=order)
        text = f"Sequential forgets: the mean performance of the earlier tasks falls by at least {forgotten:g}"
        if len(own):
            fall = seeds.mean(seeds.by_seed(own, "forgetting").values())
            out.append(claim(f"forgetting/{name_of(order)}", order, text, fall, forgotten, "lower"))
        for method in JOINT:
            text = f"{method} ends with a higher average performance than Sequential (difference)"
            ours, theirs = seeds.shared(seeds.select(measures, label=method), own)
            if len(ours):
                change = seeds.difference(ours, theirs, "average")
                out.append(claim(f"average/{name_of(order)}/{key(method)}", order, text, change, 0.0, "lower"))
    replayed = [ORDERS[0], *(label for label in dict.fromkeys(measures["label"]) if label.startswith("Replay"))]
    for less, more in pairwise(replayed):
        ours, theirs = seeds.shared(*(seeds.select(measures, label=label) for label in (more, less)))
        if len(ours):
            change = seeds.difference(ours, theirs, "forgetting")
            text = f"{more} forgets less than {less} (difference of the forgetting)"
            out.append(claim(f"replay/{name_of(more)}-{name_of(less)}", "", text, change, 0.0, "upper"))
    return tuple(out)


def name_of(label: str) -> str:
    """Return a label in the spelling of check names."""
    return key(label.replace(",", "").replace("%", ""))
