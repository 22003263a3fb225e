"""Table 1 of the real model on made-up rows, and the recorded benchmarks below the embedded world's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from support.run_folders import computed, row_of

from figures.analysis import recorded_runs, seeds
from figures.analysis.methods import NAMES
from figures.artefact import Data, Request
from figures.artefacts import table1
from figures.drawing.table1 import draw
from figures.pipeline.paths import grid_of
from llm.judging import world as judged


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A request with files of both benchmarks, and no judge."""
    for name in (judged.URL, judged.MODEL, judged.KEY_FROM):
        monkeypatch.delenv(name, raising=False)
    for name in ("mmlu.tar.gz", "xstest.csv"):
        (tmp_path / name).write_text("content", encoding="utf-8")
    return Request(scale="real", mmlu=str(tmp_path / "mmlu.tar.gz"), xstest=str(tmp_path / "xstest.csv"), seeds=2)


def rows_of(grids: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    rows = []
    for run in (run for spec in grids.values() for run in grid_of(spec).runs()):
        about = {**run.about, "method": NAMES[run.config.method], "run": run.name, "steps": 120}
        questions = {"accuracy": 0.3 + 0.01 * run.config.seed, "n": 285, "task": "mmlu", "limit": 5}
        questions |= {"base_accuracy": 0.31}
        refused = {"safe": 0.1, "unsafe": 0.4, "safe_n": 250, "unsafe_n": 200, "base_safe": 0.04, "base_unsafe": 0.5}
        refused |= {"judge": "xstest-string-rule"}
        skill = {"exact_match": 0.9, "n": 100}
        for name, values in (("questions", questions), ("refusals", refused), ("skill", skill)):
            about |= {f"{name}_{key}": value for key, value in values.items()}
        rows.append(about | {"rewards/accuracies": 0.55} | changes)
    return rows


def made(monkeypatch: pytest.MonkeyPatch, request: Request, **changes: Any) -> Data:
    parameters = table1.parameters(request)
    monkeypatch.setattr(seeds, "results", lambda _: pd.DataFrame(rows_of(parameters["grids"], **changes)))
    return table1.compute(parameters)


def failed(data: Data) -> list[str]:
    return [check.name for check in data.checks if not check.holds]


@pytest.mark.slow
def test_every_benchmark_that_the_user_names_is_in_the_table(
    request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made(monkeypatch, request_of)
    assert failed(data) == []
    assert set(data.table["quantity"]) == {
        "accuracy", "preferences", "refused, safe prompts", "refused, unsafe prompts", "skill",
    }  # fmt: skip
    row = row_of(data, quantity="accuracy", method="MAXRIGHT", lam=0.25)
    assert (row["mean"], row["n"], row["seeds"]) == (pytest.approx(0.325), 570.0, 2)  # seeds 2 and 3
    base = row_of(data, quantity="refused, unsafe prompts", method="base")
    assert (base["mean"], base["n"], math.isnan(base["lam"])) == (0.5, 200.0, True)
    asked = "MMLU, each question with one example (the first 5 of each subject)"
    assert data.facts["judge"] == f"{asked}; refusals of XSTest's 450 prompts by xstest-string-rule; no judged answers"
    figure = draw(data)
    shown = [text.get_text() for text in figure.findobj(Text) if text.get_text()]
    assert {"MMLU, 1-shot: right (%)", "XSTest, unsafe prompts: refused (%)", "skill: exact answers (%)"} <= set(shown)
    assert "win rate (%)" not in shown
    assert shown.count("base") == 2  # in the blocks with a value of the base
    assert {"31.0", "4.0", "50.0"} <= set(shown)
    lowest = max(text.get_position()[1] for text in figure.findobj(Text) if text.get_text())
    assert lowest < figure.get_figheight()


@pytest.mark.slow
def test_a_missing_benchmark_two_judges_and_two_bases_are_caught(
    request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failed(made(monkeypatch, request_of, refusals_safe=None)) == ["measured"]
    parameters = table1.parameters(request_of)
    rows = rows_of(parameters["grids"])
    rows[0] |= {"refusals_judge": "gpt-x", "questions_base_accuracy": 0.3}
    monkeypatch.setattr(seeds, "results", lambda _: pd.DataFrame(rows))
    assert failed(table1.compute(parameters)) == ["one-refusal-judge", "one-base/accuracy"]


def test_measures_are_those_with_files_and_a_judge(request_of: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    def measures(request: Request) -> list[str]:
        (names,) = {tuple(spec["measures"]) for spec in table1.parameters(request)["grids"].values()}
        return list(names)

    place = Path(request_of.mmlu).parent
    every = ["skill", f"questions:mmlu={place}/mmlu.tar.gz,limit=5", f"refusals:prompts={place}/xstest.csv,limit=0"]
    assert measures(request_of) == every
    monkeypatch.setenv(judged.URL, "http://127.0.0.1:9/v1")
    assert measures(request_of) == [*every, "answers"]
    assert measures(Request(scale="real", sft="some/set")) == ["answers"]
    before = table1.parameters(request_of)["files"]
    Path(request_of.mmlu).write_text("other content", encoding="utf-8")
    assert table1.parameters(request_of)["files"] != before


@pytest.mark.slow
def test_recorded_benchmarks_stand_below_the_embedded_worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame(
        {
            "label": ["base", "ALRIGHT"], "seed": [math.nan, 3], "mmlu": [0.25, 0.3],
            "mmlu_low": [0.2, 0.25], "mmlu_high": [0.3, 0.35],
            "safe": [0.04, 0.0], "safe_low": [0.01, 0.0], "safe_high": [0.1, 0.05], "unsafe": [0.09, 0.01],
            "unsafe_low": [0.05, 0.0], "unsafe_high": [0.17, 0.06], "object": [math.nan, 0.97],
            "preferences": [math.nan, 0.54], "skill": [math.nan, 0.89],
        }
    )  # fmt: skip
    monkeypatch.setattr(recorded_runs, "benchmark_digests", lambda: {"benchmarks.csv": "0"})
    monkeypatch.setattr(recorded_runs, "benchmarks", lambda: (frame, "a model, one seed"))
    data = computed(table1.ARTEFACT, tmp_path)
    assert data.facts["recorded"] == "a model, one seed"
    assert np.array_equal(data.extra["recorded_mmlu"], [0.25, 0.3])
    shown = [text.get_text() for text in draw(data).findobj(Text) if text.get_text()]
    assert {"base", "ALRIGHT, seed 3"} <= set(shown)
    assert {"25 [20, 30]", "30 [25, 35]", "0 [0, 5]", "54", "89", "97", "recorded: a model, one seed"} <= set(shown)
    plain = draw(Data(**{**vars(data), "extra": {"ahead": data.extra["ahead"]}}))
    assert not any("recorded" in text.get_text() for text in plain.findobj(Text))
