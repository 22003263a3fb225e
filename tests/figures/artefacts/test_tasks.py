"""The artefact `tasks`: cells and measures of made-up runs that are worked by hand, and that its checks can fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.grid_runs import checks, picked

from figures.analysis import seeds, task_sweeps
from figures.analysis.methods import NAMES
from figures.analysis.small_tables import unpack
from figures.artefact import Data, Request
from figures.artefacts import tasks
from figures.drawing.render import render
from figures.drawing.tasks import draw
from figures.pipeline.paths import grid_of
from llm.embedded.tasks import TASKS

Row = dict[str, Any]
Change = Callable[[Row], Row]
START = {"reports": 0.7, "courtesy": math.log(2.0), "candour": 3.0, "reticence": math.log(2.0)}
OWN = 0.1  # loss of a task after its own stage
LATER = {"sequential": 0.8, "replay": 0.3}  # added to the loss of a trained task by each later stage
JOINT = {1: 0.6, 2: 0.5, 3: 0.35, 4: 0.4}  # loss of every task of runs without stages


def loss(run: Any, task: str, stage: int) -> float:
    """Return a task's loss after a stage: OWN in its own, LATER more in each that follows; seeds differ by 0.01."""
    if stage == 0:
        return START[task]
    noise = 0.01 * run.config.seed
    if not run.config.rule().stages:
        return JOINT[stage] + noise
    own = run.config.order.split("-").index(task) + 1
    worse = LATER[run.config.method] / (1.0 + 10.0 * run.config.replay * (run.config.method == "replay"))
    return noise + (OWN + worse * (stage - own) if stage >= own else START[task])


def install(patch: pytest.MonkeyPatch, change: Change = lambda row: row) -> None:
    """Replace the readers of `figures.analysis.seeds` by made-up runs; `change` edits an evaluation."""

    def every(parameters: Row) -> list[tuple[Any, Row]]:
        return [
            (run, {"grid": grid, **run.about, "method": NAMES[run.config.method], "run": run.name})
            for grid, spec in parameters["grids"].items()
            for run in grid_of(spec).runs()
        ]

    def paths(parameters: Row) -> pd.DataFrame:
        rows = []
        for run, about in every(parameters):
            for stage in range(5):
                row = {**about, "step": stage * run.config.eval_every}
                row |= {f"f_{task}": loss(run, task, stage) for task in TASKS}
                row |= {f"rewards/accuracies/{t}": 0.2 * stage for t in ("courtesy", "reticence")}
                rows.append(change(row))
        return pd.DataFrame(rows)

    def results(parameters: Row) -> pd.DataFrame:
        rows = []
        for run, about in every(parameters):
            row = {**about, "steps": run.config.steps} | {f"f_{task}": loss(run, task, 4) for task in TASKS}
            rows.append(row | {f"steps_{task}": run.config.steps // 4 for task in TASKS})
        return pd.DataFrame(rows)

    patch.setattr(seeds, "paths", paths)
    patch.setattr(seeds, "results", results)


def data_of(**request: Any) -> Data:
    return tasks.compute(tasks.parameters(Request(scale="smoke", seeds=2, **request)) | {"root": "nowhere"})


@pytest.fixture(scope="module")
def data() -> Data:
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        return data_of()


SEEDS = (2, 3)


@pytest.mark.slow
def test_cells_are_the_means_of_exp_of_minus_the_loss(data: Data) -> None:
    first = picked(data, "cell", label="Sequential", stage=1, task="reports")
    assert first["performance"] == pytest.approx(np.mean([math.exp(-0.1 - 0.01 * s) for s in SEEDS]))
    last = picked(data, "cell", label="Sequential", stage=4, task="reports")
    assert last["performance"] == pytest.approx(np.mean([math.exp(-0.1 - 2.4 - 0.01 * s) for s in SEEDS]))
    assert picked(data, "cell", label="Mix", stage=0, task="courtesy")["performance"] == pytest.approx(0.5)
    reverse = unpack(data.extra, "cell", label="Sequential, reversed")
    own = [(int(s), t) for s, t, o in zip(reverse["stage"], reverse["task"], reverse["trained"], strict=True) if o]
    assert own == [(1, "reticence"), (2, "candour"), (3, "courtesy"), (4, "reports")]
    assert not unpack(data.extra, "cell", label="ALRIGHT")["trained"].any()


@pytest.mark.slow
def test_measures_of_a_sequence_are_those_worked_by_hand(data: Data) -> None:
    """After its own stage a task has exp(-0.1 - n), after j later ones exp(-0.1 - n - 0.8 j), n the seed's noise."""
    for seed in SEEDS:
        after = [math.exp(-0.1 - 0.8 * j - 0.01 * seed) for j in range(4)]
        wanted = {
            "average": sum(after) / 4,
            "forgetting": sum(after[0] - after[j] for j in (1, 2, 3)) / 3,
            "backward_transfer": -sum(after[0] - after[j] for j in (1, 2, 3)) / 3,
            # Before its own stage a task's loss is the start's, but for the noise that all stages have.
            "forward_transfer": sum(
                math.exp(-START[t] - 0.01 * seed) - math.exp(-START[t]) for t in ("courtesy", "candour", "reticence")
            )
            / 3,
        }
        for quantity, value in wanted.items():
            dot = picked(data, "dot", label="Sequential", quantity=quantity, seed=seed)
            assert dot["value"] == pytest.approx(value), quantity


@pytest.mark.slow
def test_a_run_without_stages_declines_from_its_best_evaluation_and_has_no_transfer(data: Data) -> None:
    for seed in SEEDS:
        best, end = (math.exp(-JOINT[stage] - 0.01 * seed) for stage in (3, 4))
        assert picked(data, "dot", label="Mix", quantity="forgetting", seed=seed)["value"] == pytest.approx(best - end)
        assert picked(data, "dot", label="Mix", quantity="average", seed=seed)["value"] == pytest.approx(end)
    assert not len(unpack(data.extra, "dot", label="Mix", quantity="backward_transfer")["value"])


@pytest.mark.slow
def test_the_csv_has_every_evaluation_and_the_measures_of_every_run(data: Data) -> None:
    kinds = data.table["rows"]
    runs = 2 * 6  # two orders, one share of replay, three joint rules; two seeds
    assert (kinds == "evaluations").sum() == runs * 5 * 4
    assert (kinds == "measures").sum() == runs
    assert np.isnan(data.table["average"][kinds == "evaluations"]).all()
    sft = (data.table["kind"] == "sft") & (kinds == "evaluations")
    assert np.isnan(data.table["accuracy"][sft]).all()
    pairs = (data.table["kind"] == "preference") & (data.table["stage"] == 3)
    assert data.table["accuracy"][pairs] == pytest.approx(0.6)


@pytest.mark.slow
def test_claims_are_judged_by_the_seeds(data: Data) -> None:
    found = checks(data)
    assert found["forgetting/sequential"].verdict == found["average/sequential/mix"].verdict == "seen"
    end, forgotten = math.exp(-0.4), [math.exp(-0.1 - 0.8 * j) for j in range(4)]
    noise = np.mean([math.exp(-0.01 * s) for s in SEEDS])
    assert found["average/sequential-reversed/alright"].attained == pytest.approx(noise * (end - sum(forgotten) / 4))
    kept = [math.exp(-0.1 - 0.3 / 4.0 * j) for j in range(4)]  # replay of 0.3 divides LATER by 4
    fall = [sum(values[0] - v for v in values[1:]) / 3 for values in (kept, forgotten)]
    assert found["replay/replay-30-sequential"].attained == pytest.approx(noise * (fall[0] - fall[1]))
    assert {name for name, check in found.items() if check.must_hold and not check.holds} == set()


def failing(data: Data) -> set[str]:
    return {check.name for check in data.checks if check.must_hold and not check.holds}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda row: row | {"f_courtesy": 0.6} if row["step"] == 0 else row, {"start"}),
        (lambda row: row | {"f_candour": 0.6} if row["step"] == 32 else row, {"ends"}),
    ],
)
def test_checks_can_fail(monkeypatch: pytest.MonkeyPatch, change: Change, names: set[str]) -> None:
    install(monkeypatch, change)
    assert failing(data_of()) == names


@pytest.mark.slow
def test_missing_and_uneven_runs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    whole = seeds.results

    def fewer(parameters: Row) -> pd.DataFrame:
        rows = whole(parameters)
        return rows[rows["grid"] != "Replay 30%"].assign(steps_reports=rows["steps"] // 4 + 1)

    monkeypatch.setattr(seeds, "results", fewer)
    assert failing(data_of()) == {"runs", "stages"}


@pytest.mark.slow
def test_every_scale_has_the_same_grids_with_a_stage_between_evaluations() -> None:
    for scale, shares in (("smoke", 1), ("embedded", 2), ("real", 2), ("paper", 2)):
        grids = tasks.parameters(Request(scale=scale))["grids"]  # type: ignore[arg-type]
        assert len(grids) == 3 + shares
        for spec in grids.values():
            base = grid_of(spec).base
            assert base.names == tuple(TASKS)
            assert base.steps == 4 * base.eval_every
    given = ("a=sft:skill", "b=sft:x.jsonl", "c=preference:y.jsonl")
    for asked, names in (((), ("skill", "chat", "preferences", "calls")), (given, ("a", "b", "c"))):
        grids = task_sweeps.in_a_row(Request(scale="real", tasks=asked))
        base = grid_of(grids["Sequential, reversed"]).base
        assert base.names == names
        assert base.steps == len(names) * base.eval_every
        assert grid_of(grids["Sequential, reversed"]).orders == ("-".join(names[::-1]),)
        assert all(spec["measures"] == ["skill"] for spec in grids.values())


@pytest.mark.slow
def test_the_figure_shows_a_map_for_each_method_with_its_numbers(data: Data) -> None:
    assert render(draw, data)["png"].startswith(b"\x89PNG")
    figure = draw(data)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:6] == [
        "(a) Sequential", "(b) Sequential, reversed", "(c) Replay 30%", "(d) Mix", "(e) ALRIGHT", "(f) MAXRIGHT",
    ]  # fmt: skip
    numbers = [text.get_text() for text in figure.axes[0].texts]
    assert len(numbers) == 5 * 4
    value = np.mean([math.exp(-0.1 - 0.8 - 0.01 * s) for s in SEEDS])
    cell = next(t for t in figure.axes[0].texts if t.get_position() == (2, 0))  # reports after the second stage
    assert cell.get_text() == f"{value:.2f}"
    assert len(figure.axes[0].patches) == 4
    assert len(figure.axes[3].patches) == 0
