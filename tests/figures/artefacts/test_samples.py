"""The sample answers on made-up folders of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.text import Text
from support.run_folders import SMOKE, answers, computed, row_of, texts, write, write_runs

from figures.artefact import Request
from figures.artefacts import fig9, samples, table1
from figures.drawing.samples import SIZE, draw
from figures.pipeline.paths import grid_of


def test_the_samples_are_the_first_rows_of_both_sets(tmp_path: Path) -> None:
    data = computed(samples.ARTEFACT, tmp_path)
    assert len(data.table["answer"]) == (3 + 2) * (1 + 4)
    made = answers("sequential")
    row = row_of(data, set="SFT", number=2, answer_of="Sequential")
    assert (row["prompt"], row["answer"]) == (made[5]["prompt"], made[5]["answer"])
    assert row["fuller"]
    target = row_of(data, set="SFT", number=1, answer_of="target")
    assert target["right"]
    assert target["fuller"]
    assert target["score"] < 2.0
    assert not row_of(data, set="preference", number=1, answer_of="chosen response")["fuller"]
    assert not row_of(data, set="preference", number=1, answer_of="MAXRIGHT")["right"]


@pytest.mark.slow
def test_an_empty_answer_is_marked_and_other_prompts_are_caught(tmp_path: Path) -> None:
    parameters = samples.parameters(SMOKE)
    write_runs(tmp_path, parameters["grids"])
    assert "(nothing)" in texts(draw(samples.compute(parameters | {"root": str(tmp_path)})))
    path = next(tmp_path.glob("mix-*/measures/answers.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    content["result"]["answers"].reverse()
    for row in content["result"]["answers"]:
        row["set"] = {"sft": "preference", "preference": "sft"}[row["set"]]
    write(path, content)
    assert not samples.compute(parameters | {"root": str(tmp_path)}).checks[0].holds


@pytest.mark.slow
def test_lines_of_the_samples_do_not_overlap(tmp_path: Path) -> None:
    figure = draw(computed(samples.ARTEFACT, tmp_path))
    left = [t for t in figure.findobj(Text) if t.get_text() and t.get_ha() == "left"]
    by_column: dict[float, list[float]] = {}
    for text in left:
        by_column.setdefault(text.get_position()[0], []).append(text.get_position()[1])
    for places in by_column.values():
        gaps = [b - a for a, b in zip(sorted(places), sorted(places)[1:], strict=False)]
        assert min(gaps, default=1.0) >= SIZE / 72  # no less than the letters are high
    last = max(y for places in by_column.values() for y in places)
    assert last < figure.get_figheight()


def test_answers_of_the_real_model_have_no_scores(tmp_path: Path) -> None:
    parameters = samples.parameters(Request(scale="real"))
    write_runs(tmp_path, parameters["grids"])
    runs = [run for spec in parameters["grids"].values() for run in grid_of(spec).runs()]
    assert {(run.config.seed, run.config.lam, run.measures) for run in runs} == {(2, 0.5, ("samples",))}
    for run in runs:
        rows = [
            {"set": of, "prompt": f"prompt {of} {i}", "answer": f"{run.config.method} {i} " * 100, "reference": "right"}
            for of, count in (("preference", 3), ("sft", 2))
            for i in range(count)
        ]
        record = {"seconds": 1.0, "code": "", "result": {"answers": rows, "tokens": 96}}
        write(run.folder(tmp_path) / "measures" / "samples.json", record)
    data = samples.compute(parameters | {"root": str(tmp_path)})
    assert len(data.table["answer"]) == (3 + 2) * (1 + 4)
    assert data.checks[0].holds
    assert not {"score", "right", "fuller"} & set(data.table)
    assert row_of(data, set="SFT", number=2, answer_of="target")["answer"] == "right"
    assert row_of(data, set="SFT", number=2, answer_of="Mix")["answer"].startswith("mix 1 mix 1")
    assert data.facts["scale"] == "smollm2-135m, 120 steps, λ = 0.5, seed 2"
    shown = texts(draw(data))
    assert "…" in shown
    assert not {"score", "fact", "style"} & set(shown)


def test_samples_and_the_instance_need_no_more_than_runs_of_table_1() -> None:
    names = [
        {run.name for spec in a.parameters(Request())["grids"].values() for run in grid_of(spec).runs()}
        for a in (table1.ARTEFACT, samples.ARTEFACT, fig9.ARTEFACT)
    ]
    assert names[2] < names[1] < names[0]
    assert (len(names[1]), len(names[2])) == (4, 1)
