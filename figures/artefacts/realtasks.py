"""Figure `realtasks`: several tasks in a row on SmolLM2-135M-Instruct (beyond the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from figures.analysis import recorded_runs, recorded_tasks, seeds, task_runs, task_sweeps
from figures.analysis.real_runs import START
from figures.artefact import Artefact, Check, Data, Request
from figures.drawing.tasks import draw

if TYPE_CHECKING:
    import numpy as np

FOLDER = recorded_runs.folder_of("realtasks")
FORGOTTEN = 0.0  # any mean fall of the performance counts as forgetting
NOTHING = "Nothing is recorded yet. These runs are made by: python paper_repro.py realtasks --scale real --tasks ..."


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs at scale `real`; at every other scale the recorded results, by their digests ({}: none)."""
    if request.scale == "real":
        return {"grids": task_sweeps.in_a_row(request)}
    return {"recorded": recorded_runs.digests_if_there(FOLDER)}


def compute(parameters: dict[str, Any]) -> Data:
    """Return every task's loss, accuracy and performance after every stage of every run, and the runs' measures."""
    checks: tuple[Check, ...] = ()
    if "grids" in parameters:
        results = task_runs.results_of(parameters)
        rows = task_runs.evaluations(parameters, results)
        measures = task_runs.measures_of(rows, results)
        facts, checks = recorded_tasks.about(parameters), (task_runs.ends_check(rows, results),)
        expected, dpo = seeds.expected_runs(parameters), task_runs.dpo_tasks(parameters)
    elif not parameters["recorded"]:
        return Data(table=task_runs.no_table(), facts={"scale": NOTHING, "recorded": False})
    else:
        table, facts = recorded_runs.read(FOLDER)
        rows, measures = task_runs.frames_of(table)
        described = recorded_runs.described(FOLDER)
        expected, dpo = int(described["runs"]), recorded_tasks.dpo_tasks(described)
    checks += task_runs.checks(rows, measures, expected=expected, dpo=dpo, near=START[facts["precision"]])
    return task_runs.data_of(rows, measures, facts, (*checks, *task_runs.claims(measures, FORGOTTEN)))


def table_of(parameters: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the table of the CSV for the finished runs in `parameters["root"]`, of which some may be missing."""
    results = task_runs.results_of(parameters)
    rows = task_runs.evaluations(parameters, results)
    return task_runs.table_of(rows, task_runs.measures_of(rows, results))


ARTEFACT = Artefact(
    name="realtasks",
    title="A real model: four tasks in a row",
    paper="beyond the paper",
    cost="seconds; at scale real hours of training before",
    seconds=4.0,
    caption=(
        "SmolLM2-135M-Instruct with LoRA on tasks of the user's (`--tasks`); the recorded ones are an invented way of "
        "filing notes (`llm.skill`), instructions (alpaca-gpt4), human preferences (HH-RLHF, by DPO) and function "
        "calls. Sequential and Replay train one task a stage, in the order of the rows (reversed: from the last row to "
        "the first); a step of a later stage of Replay repeats an earlier task with the given probability. Mix, "
        "ALRIGHT and MAXRIGHT train all tasks together, with equal weights, and are evaluated after the same numbers "
        "of steps; a step of Mix uses all sets, with as many rows together as a step of the others, so that all "
        "methods train on equally many rows. Cells, frames and measures are those of `tasks`: a cell is exp(−f) on "
        "held-out rows, for instructions and calls the geometric mean of the probabilities of response tokens, for "
        "preferences that of the right preferences (½ before training); means over seeds. Without --scale real the "
        "figure shows recorded results (`results/realtasks`), and the line below tells where and when they were made; "
        "`python paper_repro.py realtasks --scale real` makes them anew. Learning rate, β and number of steps were "
        "fixed before the first run."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
