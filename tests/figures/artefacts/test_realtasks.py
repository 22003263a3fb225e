"""The real model's figure of several tasks: on made-up folders of runs whose measures are worked by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.grid_runs import checks, picked
from support.run_folders import texts, write

from figures.analysis import recorded_runs
from figures.artefact import Data, Request
from figures.artefacts import realtasks
from figures.drawing.render import render
from figures.drawing.tasks import draw
from figures.pipeline.paths import grid_of
from figures.recorded import real as record
from figures.recorded import real_tables
from figures.recorded.real_figures import TASKS
from llm.common.cache import sha256
from llm.study.measures import measure_digest as code_of

pytestmark = pytest.mark.usefixtures("present_code")

NAMES = ("skill", "chat", "pairs")
LABELS = ["Sequential", "Sequential, reversed", "Replay 5%", "Replay 20%", "Mix", "ALRIGHT", "MAXRIGHT"]
START = {"skill": 3.0, "chat": 1.5, "pairs": math.log(2.0)}
OWN, LATER = 0.1, {"sequential": 0.8, "replay": 0.4}  # loss after the own stage, and its rise by each later stage
JOINT = (0.6, 0.3, 0.4)  # loss of every task of runs without stages, after each third
SKILL = {"sequential": 0.2, "replay": 0.5, "mix": 0.9, "alright": 0.7, "maxright": 0.6}


def loss(config: Any, task: str, stage: int) -> float:
    """Return the loss of a task after a stage; it is higher by 0.01 for each seed, but for that before training."""
    if stage == 0:
        return START[task]
    if config.method not in LATER:
        return JOINT[stage - 1] + 0.01 * config.seed
    own = config.order.split("-").index(task) + 1
    return 0.01 * config.seed + (OWN + LATER[config.method] * (stage - own) if stage >= own else START[task])


def request_of(folder: Path, **more: Any) -> Request:
    """Return the request for three tasks, one of them a file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "mine.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    tasks = ("skill=sft:skill", "rows=400", f"chat=sft:{file}", "pairs=preference:Dahoas/rm-hh-rlhf")
    return Request(scale="real", tasks=tasks, **{"seeds": 2, "precision": "bf16"} | more)


def made(root: Path, request: Request, start: float = START["pairs"]) -> Data:
    """Return the figure's data of made-up runs."""
    parameters = realtasks.parameters(request)
    for run in (run for spec in parameters["grids"].values() for run in grid_of(spec).runs()):
        folder, c = run.folder(root), run.config
        (folder / "measures").mkdir(parents=True, exist_ok=True)
        lines = []
        for stage in range(4):
            values = {f"f_{task}": loss(c, task, stage) for task in NAMES}
            values |= {"f_pairs": start} if stage == 0 else {}
            lines.append({"step": stage * c.eval_every, "evaluation": "held_out", "rewards/accuracies": 0.6, **values})
        steps = dict.fromkeys(NAMES, c.steps if c.method == "mix" else c.steps // 3)
        summary = {"evaluation": values, "steps_by_objective": steps, "device": "CPU", "cpu_seconds": 7.0}
        config = {k: list(v) if isinstance(v, tuple) else v for k, v in c.as_dict().items()}
        write(folder / "run.json", {"fingerprint": {"rows": {}, "base": ""}, "config": config})
        write(folder / "summary.json", summary | {"versions": {"torch": "9"}})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        result = {"exact_match": SKILL[c.method] + 0.01 * c.seed, "n": 100}
        write(folder / "measures/skill.json", {"seconds": 1.0, "code": code_of("skill"), "result": result})
    return realtasks.compute(parameters | {"root": str(root)})


def failing(data: Data) -> list[str]:
    """Return the names of the checks that must hold and do not."""
    return [check.name for check in data.checks if check.must_hold and not check.holds]


def read(folder: Path) -> Data:
    """Return the figure's data from recorded results at another scale."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(realtasks, "FOLDER", folder)
        return realtasks.compute(realtasks.parameters(Request()))


@pytest.mark.slow
def test_every_label_has_its_cells_and_measures(tmp_path: Path) -> None:
    data = made(tmp_path, request_of(tmp_path / "sets"))
    assert list(dict.fromkeys(data.table["label"])) == LABELS
    assert failing(data) == []
    cell = picked(data, "cell", label="Replay 20%", stage=2, task="skill")
    assert cell["performance"] == pytest.approx(np.mean([math.exp(-0.1 - 0.4 - 0.01 * s) for s in (2, 3)]))
    after = [math.exp(-0.1 - 0.8 * j - 0.02) for j in range(3)]  # of seed 2, after j later stages
    dot = picked(data, "dot", label="Sequential, reversed", quantity="forgetting", seed=2)
    assert dot["value"] == pytest.approx((2 * after[0] - after[1] - after[2]) / 2)
    assert picked(data, "dot", label="Mix", quantity="forgetting", seed=2)["value"] == pytest.approx(
        math.exp(-0.3 - 0.02) - math.exp(-0.4 - 0.02)
    )
    assert checks(data)["forgetting/sequential"].verdict == "seen"
    ends = (data.table["rows"] == "measures") & (data.table["label"] == "ALRIGHT")
    assert data.table["skill_exact_match"][ends] == pytest.approx([0.72, 0.73])
    assert data.table["cpu_seconds"][ends] == pytest.approx([7.0, 7.0])


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "start", "names"), [
    ("bf16", 0.6965, []), ("bf16", 0.70, ["start"]), ("", 0.6965, ["start"]), ("", math.log(2.0), []),
])  # fmt: skip
def test_bf16_may_start_near_ln_2_and_fp32_may_not(
    tmp_path: Path, precision: str, start: float, names: list[str]
) -> None:
    request = request_of(tmp_path / "sets", seeds=1, precision=precision)
    assert failing(made(tmp_path, request, start)) == names


@pytest.mark.slow
def test_recorded_results_give_the_figure_of_the_runs(tmp_path: Path) -> None:
    """All runs are finished, but for the recorded ones the summary is no longer there to compare the ends with."""
    data = made(tmp_path / "runs" / "0123456789ab", request_of(tmp_path / "sets"))
    [line] = record.write(tmp_path / "results", tmp_path)
    assert line == "realtasks: 14 of 14 runs of seeds 2, 3"
    again = read(tmp_path / "results" / "realtasks")
    assert again.facts["recorded"] is True
    assert {check.name: check.holds for check in again.checks} | {"ends": True} == {
        check.name: check.holds for check in data.checks
    }
    assert again.table.keys() == data.table.keys()
    for name, column in data.table.items():
        np.testing.assert_array_equal(again.table[name], column, err_msg=name)
    for name, values in data.extra.items():
        np.testing.assert_array_equal(again.extra[name], values, err_msg=name)
    assert any(
        text.startswith("recorded results: SmolLM2-135M-Instruct, 120 steps, 2 seeds;") for text in texts(draw(again))
    )


@pytest.mark.slow
def test_the_description_names_tasks_and_files_without_their_place(tmp_path: Path) -> None:
    made(tmp_path / "runs" / "0123456789ab", request_of(tmp_path / "sets"))
    record.write(tmp_path / "results", tmp_path)
    folder = tmp_path / "results" / "realtasks"
    described = recorded_runs.described(folder)
    assert described["command"] == (
        "python paper_repro.py realtasks --scale real --seeds 2 --tasks skill=sft:skill rows=400 chat=sft:mine.jsonl "
        "pairs=preference:Dahoas/rm-hh-rlhf --precision bf16"
    )
    digest = sha256(tmp_path / "sets" / "mine.jsonl")
    assert described["sets"]["tasks"] == [
        {"task": "skill", "kind": "sft", "loss": "", "name": "skill"},
        {"task": "chat", "kind": "sft", "loss": "", "name": "mine.jsonl", "sha256": digest},
        {"task": "pairs", "kind": "preference", "loss": "dpo", "name": "Dahoas/rm-hh-rlhf"},
    ]
    for path in folder.iterdir():
        assert str(tmp_path) not in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_missing_runs_are_named_and_the_claims_are_about_the_shared_seeds(tmp_path: Path) -> None:
    """Of seed 3 ALRIGHT is not finished, of Replay 20% no run."""
    made(tmp_path / "runs" / "0123456789ab", request_of(tmp_path / "sets"))
    unfinished = list(tmp_path.glob("runs/*/alright-*seed3*/summary.json"))
    for path in tmp_path.glob("runs/*/replay-*/run.json"):
        unfinished += [path.parent / "summary.json"] * (json.loads(path.read_text())["config"]["replay"] == 0.2)
    assert len(unfinished) == 3
    for path in unfinished:
        path.unlink()
    [line] = record.write(tmp_path / "results", tmp_path)
    assert line == "realtasks: 11 of 14 runs of seeds 2, 3; missing: Replay 20% (seeds 2, 3), ALRIGHT (seed 3)"
    data = read(tmp_path / "results" / "realtasks")
    assert failing(data) == []
    found = checks(data)
    assert "[1 seeds]" in found["average/sequential/alright"].statement
    assert "[2 seeds]" in found["average/sequential/mix"].statement
    assert "replay/replay-5-sequential" in found
    assert "replay/replay-20-replay-5" not in found
    rows = record.ends(record.rows_of(tmp_path / "results/realtasks/runs.csv"), tuple(TASKS.shown), TASKS.is_end)
    described = recorded_runs.described(tmp_path / "results" / "realtasks")
    page = real_tables.runs({"realtasks": {**described, "rows": rows}}, TASKS)
    heads = "average | forgetting | backward transfer | forward transfer | skill: exact answers | CPU seconds"
    assert f"| method | {heads} |" in page
    average = np.mean([np.mean([math.exp(-0.1 - 0.8 * j - 0.01 * s) for j in range(3)]) for s in (2, 3)])
    assert f"| Sequential | {average:.2f} | " in page
    assert "| ALRIGHT (1 of 2 seeds) |" in page
    assert "Not finished: Replay 20% (seeds 2, 3), ALRIGHT (seed 3)." in page
    assert (
        f"tasks: skill (SFT) `skill`, chat (SFT) `mine.jsonl (SHA-256 {sha256(tmp_path / 'sets/mine.jsonl')[:12]})`"
        in page
    )


@pytest.mark.slow
def test_runs_on_other_tasks_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    request = request_of(tmp_path / "sets", seeds=1)
    root = tmp_path / "runs" / "0123456789ab"
    made(root, request)
    made(root, request_of(tmp_path / "sets", seeds=1, precision="fp32"))
    with pytest.raises(ValueError, match=r"realtasks: .* chat=sft:mine.jsonl .*, bf16; .*, fp32; keep those of one"):
        record.write(tmp_path / "results", tmp_path)


@pytest.mark.slow
def test_the_figure_has_a_map_for_each_label_and_is_rendered(tmp_path: Path) -> None:
    data = made(tmp_path, request_of(tmp_path / "sets"))
    assert render(draw, data)["png"].startswith(b"\x89PNG")
    titles = [ax.get_title() for ax in draw(data).axes]
    assert titles[:7] == [f"({letter}) {label}" for letter, label in zip("abcdefg", LABELS, strict=True)]


def test_without_recorded_results_the_figure_names_the_command(tmp_path: Path) -> None:
    data = read(tmp_path / "nothing")
    assert data.checks == ()
    assert all(len(column) == 0 for column in data.table.values())
    [text] = texts(draw(data))
    assert "python paper_repro.py realtasks --scale real" in text
    assert real_tables.runs({}, TASKS) == "Nothing is recorded yet."


def test_recorded_results_hold_no_place_of_a_machine() -> None:
    data = realtasks.compute(realtasks.parameters(Request()))
    assert failing(data) == []
    draw(data)
    for name in recorded_runs.digests_if_there(realtasks.FOLDER):
        text = (realtasks.FOLDER / name).read_text(encoding="utf-8")
        assert not any(word in text for word in ("/tmp", "/home", "/root", "/work", "C:\\"))


def test_the_grids_take_the_users_tasks_and_precision() -> None:
    usual = grid_of(realtasks.parameters(Request(scale="real"))["grids"]["Sequential"]).base
    assert (usual.names, usual.precision) == (("skill", "chat", "preferences", "calls"), "fp32")
    assert (usual.alternation, usual.f_star) == ("coin", "estimate")
    tasks = ("a=sft:skill", "b=sft:x.jsonl")
    grids = realtasks.parameters(Request(scale="real", tasks=tasks, precision="bf16"))["grids"]
    for name, spec in grids.items():
        base = grid_of(spec).base
        assert (base.names, base.precision) == (("a", "b"), "bf16")
        assert base.steps == 2 * base.eval_every
        assert {own.batch for own in base.objectives} == {2 if name == "Mix" else 4}  # of each set, a step
