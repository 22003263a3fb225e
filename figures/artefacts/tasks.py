"""Figure `tasks`: performance on every task after each stage of training on several tasks (beyond the paper)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, seeds, task_sweeps
from figures.analysis.small_tables import pack
from figures.analysis.sweep_summary import claim, key
from figures.artefact import Artefact, Check, Data, Request, equal, lower
from figures.drawing.tasks import draw
from figures.pipeline.paths import grid_of

if TYPE_CHECKING:
    import pandas as pd

EVALUATION = (
    "label", "method", "order", "seed", "stage", "step", "task", "kind", "trained", "loss", "accuracy", "performance",
)  # fmt: skip
MEASURES = ("average", "forgetting", "backward_transfer", "forward_transfer")
COLUMNS = ("rows", *EVALUATION, *MEASURES, "skill_exact_match", "run")
ROWS = ("evaluations", "measures")  # kinds of rows of the CSV
ORDERS = ("Sequential", "Sequential, reversed")
JOINT = ("Mix", "ALRIGHT", "MAXRIGHT")
FORGOTTEN = 0.1  # a mean fall of the performance by so much counts as forgetting


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs on four tasks of the embedded world, or at scale `real` on the tasks of the user."""
    return {"grids": task_sweeps.in_a_row(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """Return every task's loss, accuracy and performance after every stage of every run, and the runs' measures."""
    import pandas as pd

    results = seeds.results(parameters)
    results = results.assign(label=[label_of(*pair) for pair in zip(results["grid"], results["method"], strict=True)])
    rows = evaluations(parameters, results)
    measures = measures_of(rows, results)
    cells = rows.groupby(["label", "stage", "task"], as_index=False, sort=False)[["performance", "trained"]].mean()
    dots = measures.melt(["label", "seed"], list(MEASURES), "quantity").dropna(subset="value")
    kinds = (frame.assign(rows=kind) for frame, kind in zip((rows, measures), ROWS, strict=True))
    return Data(
        table=seeds.columns(pd.concat([f.reindex(columns=COLUMNS) for f in kinds], ignore_index=True), COLUMNS),
        extra=pack("cell", cells)
        | pack("dot", dots)
        | pack("mean", seeds.summarize(dots, ["label", "quantity"]))
        | {"task": np.array(list(dict.fromkeys(rows["task"]))), "kind": kinds_of(rows)},
        facts={"scale": loss_space.scale(parameters, results)},
        checks=(*_checks(parameters, results, rows, measures), *_claims(measures)),
    )


def label_of(grid: str, method: str) -> str:
    """Return the printed name of a run: that of its grid, or of its method in the grid of several."""
    return method if grid == task_sweeps.JOINT else grid


def kinds_of(rows: pd.DataFrame) -> np.ndarray:
    """Return the kind of each task, sft or preference, in the order of the tasks."""
    return np.array(list(rows.drop_duplicates("task")["kind"]))


def evaluations(parameters: Mapping[str, Any], results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run, stage and task, with the columns `EVALUATION` and `run`; stage 0 is before training.

    trained      1 in the stage of the task itself, else 0; always 0 for runs without stages
    accuracy     share of held-out pairs with the higher reward for the chosen answer; NaN for SFT tasks
    performance  exp(-loss) in (0, 1]: the geometric mean of the probabilities of held-out response tokens, or of the
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

    skill = seeds.numeric(results, "skill_exact_match").set_axis(results["run"])
    out = []
    for (label, run), own in rows.groupby(["label", "run"], sort=False):
        about = own.iloc[-1]
        table = own.pivot(index="stage", columns="task", values="performance")
        row = {name: about[name] for name in ("label", "method", "order", "seed", "stage", "step", "run")}
        row |= {"skill_exact_match": skill[run], "backward_transfer": math.nan, "forward_transfer": math.nan}
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


def _checks(
    parameters: Mapping[str, Any], results: pd.DataFrame, rows: pd.DataFrame, measures: pd.DataFrame
) -> tuple[Check, ...]:
    """Check the number of runs and evaluations, equal stages, and the inequalities between the measures."""
    expected = len({(name, run.name) for name, spec in parameters["grids"].items() for run in grid_of(spec).runs()})
    tasks = list(dict.fromkeys(rows["task"]))
    each = rows.groupby(["label", "run"])["stage"].agg(lambda stages: sorted(stages))
    whole = sorted(list(range(len(tasks) + 1)) * len(tasks))
    objectives = [own for spec in parameters["grids"].values() for own in grid_of(spec).base.objectives]
    by_dpo = [own.name for own in objectives if own.loss is not None and own.loss.name == "dpo"]
    pairs = rows[(rows["stage"] == 0) & rows["task"].isin(by_dpo)]["loss"]
    apart = float(np.max(np.abs(pairs - math.log(2.0)))) if len(pairs) else 0.0
    sequential = results[results["method"] == "Sequential"]
    uneven = [np.abs(sequential[f"steps_{task}"] - sequential["steps"] / len(tasks)).max() for task in tasks]
    ends = rows[rows["stage"] == len(tasks)]
    finals = results.set_index(["label", "run"])
    last = [abs(row.loss - finals.loc[(row.label, row.run), f"f_{row.task}"]) for row in ends.itertuples()]
    staged = measures.dropna(subset="backward_transfer")
    sums = staged["forgetting"] + staged["backward_transfer"]
    return (
        equal("runs", "every method, order and seed has a finished run", expected, len(results), tolerance=0.0),
        equal(
            "evaluations",
            "every run is evaluated on every task before training and after each stage (runs that are not)",
            0.0,
            float(sum(stages != whole for stages in each)),
            tolerance=0.0,
        ),
        equal("ends", "the last evaluation of each run equals its result", 0.0, float(np.max(last)), tolerance=0.0),
        equal("start", "the DPO loss of a task starts at ln 2, within 1e-5", 0.0, apart, tolerance=1e-5),
        equal("stages", "Sequential trains each task for as many steps", 0.0, float(np.max(uneven)), tolerance=0.0),
        lower(
            "definitions",
            "forgetting is at least what backward transfer loses, within 1e-12 (least forgetting + transfer)",
            -1e-12,
            float(sums.min()),
        ),
    )


def _claims(measures: pd.DataFrame) -> tuple[Check, ...]:
    """Return the claims that Sequential forgets, that joint training ends higher, and that more replay forgets less."""
    claims = []
    for order in ORDERS:
        own = seeds.select(measures, label=order)
        text = f"Sequential forgets: the mean performance of the earlier tasks falls by at least {FORGOTTEN:g}"
        fall = seeds.mean(seeds.by_seed(own, "forgetting").values())
        claims.append(claim(f"forgetting/{name_of(order)}", order, text, fall, FORGOTTEN, "lower"))
        for method in JOINT:
            text = f"{method} ends with a higher average performance than Sequential (difference)"
            change = seeds.difference(seeds.select(measures, label=method), own, "average")
            claims.append(claim(f"average/{name_of(order)}/{key(method)}", order, text, change, 0.0, "lower"))
    replayed = [ORDERS[0], *(label for label in dict.fromkeys(measures["label"]) if label.startswith("Replay"))]
    for less, more in pairwise(replayed):
        ours, theirs = (seeds.select(measures, label=label) for label in (more, less))
        change = seeds.difference(ours, theirs, "forgetting")
        text = f"{more} forgets less than {less} (difference of the forgetting)"
        claims.append(claim(f"replay/{name_of(more)}-{name_of(less)}", "", text, change, 0.0, "upper"))
    return tuple(claims)


def name_of(label: str) -> str:
    """Return a label in the spelling of check names."""
    return key(label.replace(",", "").replace("%", ""))


ARTEFACT = Artefact(
    name="tasks",
    title="Four tasks in a row: what is left of each",
    paper="beyond the paper",
    cost="seconds, after its runs",
    seconds=4.0,
    caption=(
        "The embedded world's four tasks: disjoint groups of facts, each to be answered in a manner of its own, two by "
        "SFT and two by preferences (docs/llm.md). Sequential and Replay train one task a stage, in the order of the "
        "rows (reversed: from the last row to the first); a step of a later stage of Replay repeats an earlier task "
        "with the given probability. Mix, ALRIGHT and MAXRIGHT train all four together, with equal weights, and are "
        "evaluated after the same numbers of steps; a step of Mix uses all four sets. A cell is the performance "
        "exp(−f) on held-out rows of the task, about places of no training row: the geometric mean of the "
        "probabilities of response tokens (SFT), or of the right preferences (½ before training); means over seeds. "
        "Column 0 is before training. Orange frame: the stage of the task itself. Below, measures of these numbers "
        "over tasks j = 1, …, T in the order of training, R_ij after stage i: the average at the end; forgetting "
        "(Chaudhry et al. 2018), the mean over all tasks but the last of max_{l<T} R_lj − R_Tj; backward transfer "
        "(Lopez-Paz and Ranzato 2017), the mean of R_Tj − R_jj; forward transfer, the mean of R_{j−1,j} − R_0j. Runs "
        "without stages "
        "have no transfer, and their forgetting is the mean over all tasks. Marks are means over seeds, white dots the "
        "seeds, lines 95 % intervals; a line that ends at the frame continues beyond it. Losses and accuracies are in "
        "the data. Learning rate and number of steps were chosen on seed 1, which is not among these."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
