"""Figure `tasks`: performance on every task after each stage of training on several tasks (beyond the paper)."""

from __future__ import annotations

from typing import Any

from figures.analysis import loss_space, seeds, sweeps, task_runs, task_sweeps
from figures.artefact import Artefact, Data, Request
from figures.drawing.tasks import draw

FORGOTTEN = 0.1  # a mean fall of the performance by so much counts as forgetting


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs on four tasks of the embedded world, at every scale."""
    return {"grids": task_sweeps.in_a_row(sweeps.embedded(request))}


def compute(parameters: dict[str, Any]) -> Data:
    """Return every task's loss, accuracy and performance after every stage of every run, and the runs' measures."""
    results = task_runs.results_of(parameters)
    rows = task_runs.evaluations(parameters, results)
    measures = task_runs.measures_of(rows, results)
    expected, dpo = seeds.expected_runs(parameters), task_runs.dpo_tasks(parameters)
    checks = task_runs.checks(rows, measures, expected=expected, dpo=dpo)
    return task_runs.data_of(
        rows,
        measures,
        {"scale": loss_space.scale(parameters, results)},
        (*checks, task_runs.ends_check(rows, results), *task_runs.claims(measures, FORGOTTEN)),
    )


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
