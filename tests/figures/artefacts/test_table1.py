"""Table 1 on made-up folders of runs, and at the paper's scale on made-up rows."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy.stats import t
from support import run_folders
from support.run_folders import SMOKE, TIES, computed, row_of, texts, write_runs

from figures.analysis import seeds
from figures.analysis.methods import NAMES
from figures.analysis.published import TABLE1
from figures.artefact import Data, Request
from figures.artefacts import table1
from figures.drawing import style
from figures.drawing.table1 import NOTE, draw
from figures.pipeline.paths import grid_of

PAPER = Request(scale="paper")


@pytest.mark.slow
def test_a_mean_its_interval_and_how_many_were_asked(tmp_path: Path) -> None:
    data = computed(table1.ARTEFACT, tmp_path)
    row = row_of(data, quantity="win rate", method="Mix", lam=0.5)
    low, high = 20 / 80, 22 / 80
    half = float(t.ppf(0.975, 1)) * (high - low) / 2  # the standard error of two values is half their distance
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((21 / 80, 21 / 80 - half, 21 / 80 + half))
    assert (row["n"], row["seeds"], row["by_seed"]) == (80, 2, "0.25 0.275")
    assert row_of(data, quantity="accuracy", method="Mix", lam=0.5)["n"] == 240
    assert row_of(data, quantity="ties", method="Mix", lam=0.5)["mean"] == pytest.approx(21 / 40)
    assert {o for m, o in zip(data.table["method"], data.table["order"], strict=True) if m == "Sequential"} == {
        "DPO first",
        "SFT first",
    }


@pytest.mark.slow
def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    data = computed(table1.ARTEFACT, tmp_path, replace(SMOKE, seeds=1))
    assert all(math.isnan(v) for v in (*data.table["low"], *data.table["high"]))
    assert not data.extra["ahead"].any()
    assert not any("±" in text for text in texts(draw(data)))


@pytest.mark.slow
def test_bold_is_only_the_method_above_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIES, "alright", (31, 31))
    monkeypatch.setitem(TIES, "maxright", (40, 40))
    for method in ("sequential", "mix"):
        monkeypatch.setitem(TIES, method, (20, 20))
    data = computed(table1.ARTEFACT, tmp_path)
    ahead = [(data.table["method"][i], data.table["quantity"][i]) for i, best in enumerate(data.extra["ahead"]) if best]
    assert ahead == [("MAXRIGHT", "win rate"), ("MAXRIGHT", "ties")]
    bold = [text.get_text() for text in draw(data).findobj(Text) if text.get_weight() == "bold"]
    assert bold == ["50.0 ± 0.0"]


@pytest.mark.slow
def test_the_papers_numbers_are_beside_those_with_sft_first(tmp_path: Path) -> None:
    beside = computed(table1.ARTEFACT, tmp_path, Request(seeds=3)).beside
    assert len(beside["paper"]) == 2 * len(TABLE1)
    pairs = list(zip(beside["quantity"], beside["method"], beside["lam"], beside["paper"], strict=True))
    assert ("accuracy (%)", "Mix", 0.5, 73.40) in pairs
    assert ("win rate (%)", "Sequential", 0.25, 57.19) in pairs
    assert all("own judge" in text for text in beside["ours at"])
    of = zip(beside["quantity"], beside["method"], beside["ours"], strict=True)
    ours = {method: value for quantity, method, value in of if quantity == "accuracy (%)"}
    # in per cent, of the seeds' 0.6, 0.7 and 0.8; Sequential's with SFT first are less by 0.05
    assert (ours["Mix"], ours["Sequential"]) == pytest.approx((70.0, 65.0))


@pytest.mark.slow
def test_a_run_that_was_not_judged_is_missed(tmp_path: Path) -> None:
    parameters = table1.parameters(SMOKE)
    for spec in parameters["grids"].values():
        spec["measures"] = ["questions"]
    write_runs(tmp_path, parameters["grids"], without=["answers"])
    data = table1.compute(parameters | {"root": str(tmp_path)})
    assert [check.name for check in data.checks if not check.holds] == ["measured"]
    assert "–" in texts(draw(data))


@pytest.mark.slow
def test_a_win_rate_that_is_not_its_counts_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run_folders.measures

    def wrong(method: str, seed: int) -> dict[str, Any]:
        result = plain(method, seed)
        result["answers"]["win_rate"] += 0.3 if method == "maxright" else 0.0
        return result

    monkeypatch.setattr(run_folders, "measures", wrong)
    data = computed(table1.ARTEFACT, tmp_path)
    assert [check.name for check in data.checks if not check.holds] == ["counts", "at-most-half"]


def rows_of(grids: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    """Return one row per run: 100 prompts, of which 80 are won, 4 tied and 10 without a verdict."""
    rows = []
    for run in (run for spec in grids.values() for run in grid_of(spec).runs()):
        about = {**run.about, "method": NAMES[run.config.method], "run": run.name, "steps": 6000}
        answers = {"win_rate": 82 / 90, "wins": 80, "ties": 4, "losses": 6, "n": 90, "invalid": 10, "judge": "gpt-x"}
        questions = {"accuracy": 0.7 + 0.01 * run.config.lam, "n": 14042, "shots": 1, "task": "mmlu"}
        about |= {f"answers_{k}": v for k, v in answers.items()} | {f"questions_{k}": v for k, v in questions.items()}
        rows.append(about | changes)
    return rows


def computed_from(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> Data:
    monkeypatch.setattr(seeds, "results", lambda _: pd.DataFrame(rows))
    return table1.compute(table1.parameters(PAPER))


def failed(data: Data) -> list[str]:
    return [check.name for check in data.checks if not check.holds]


@pytest.mark.slow
def test_the_questions_and_the_judge_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = computed_from(monkeypatch, rows_of(table1.parameters(PAPER)["grids"]))
    assert failed(data) == []
    assert data.facts["scale"] == "llama3-8b, 6000 steps, 1 seed"
    asked = "MMLU, each question with one example; sampled answers, judge gpt-x, in both orders"
    assert data.facts["judge"] == asked
    assert set(data.beside["ours at"]) == {f"llama3-8b, 6000 steps, 1 seed; {asked}"}
    assert len(data.beside["paper"]) == 2 * len(TABLE1)
    wins = data.beside["ours"][data.beside["quantity"] == "win rate (%)"]
    assert wins == pytest.approx(np.full(12, 100 * 82 / 90))
    assert set(data.table["order"]) == {"SFT first"}


@pytest.mark.slow
def test_quantities_of_the_embedded_world_alone_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    data = computed_from(monkeypatch, rows_of(table1.parameters(PAPER)["grids"]))
    assert set(data.table["quantity"]) == {"accuracy", "win rate", "ties"}
    figure = draw(data)
    shown = [text for text in figure.findobj(Text) if text.get_text()]
    texts = [text.get_text() for text in shown]
    assert "–" not in texts
    assert data.facts["judge"] in texts
    assert not any("manner" in text for text in texts)
    lowest = max(text.get_position()[1] for text in shown)
    assert lowest + NOTE / 72 <= figure.get_figheight()
    assert figure.get_figwidth() == pytest.approx(style.PAGE)


def test_two_judges_do_not_make_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(table1.parameters(PAPER)["grids"])
    rows[0]["answers_judge"] = "another"
    data = computed_from(monkeypatch, rows)
    assert failed(data) == ["one-judge"]
    assert "judge another and gpt-x" in str(data.facts["judge"])


def test_an_unmeasured_quantity_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(table1.parameters(PAPER)["grids"], answers_win_rate=None, answers_judge=None)
    data = computed_from(monkeypatch, rows)
    assert failed(data) == ["measured"]
    assert str(data.facts["judge"]).endswith("no judged answers")


def test_the_grid_is_the_papers() -> None:
    (spec,) = table1.parameters(PAPER)["grids"].values()
    assert (spec["preset"], spec["measures"], spec["orders"]) == ("llama3-8b", ["answers", "questions"], ["sft-dpo"])
    assert {(NAMES[r.config.method], r.config.lam) for r in grid_of(spec).runs()} == set(TABLE1)
