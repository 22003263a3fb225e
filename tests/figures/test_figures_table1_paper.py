"""Table 1 at the paper's scale: it says what was asked and who judged, and asks nothing of a judge that is not ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text

from figures.analysis.published import TABLE1
from figures.artefact import Data, Request
from figures.artefacts import table1
from figures.drawing import style
from figures.pipeline.training import grid_of

PAPER = Request(scale="paper")
NAMES = {"sequential": "Sequential", "mix": "Mix", "alright": "ALRIGHT", "maxright": "MAXRIGHT"}


def rows_of(grids: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    """A row a run, as `llm.study.table` gives it: 100 prompts, of which 80 are won, 4 tied and 10 without a verdict."""
    found = []
    for run in (run for spec in grids.values() for run in grid_of(spec).runs()):
        about = {**run.about, "method": NAMES[run.config.method], "run": run.name, "steps": 6000}
        answers = {"win_rate": 82 / 90, "wins": 80, "ties": 4, "losses": 6, "n": 90, "invalid": 10, "judge": "gpt-x"}
        questions = {"accuracy": 0.7 + 0.01 * run.config.lam, "n": 14042, "shots": 1, "task": "mmlu"}
        about |= {f"answers_{k}": v for k, v in answers.items()} | {f"questions_{k}": v for k, v in questions.items()}
        found.append(about | changes)
    return found


def computed(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> Data:
    monkeypatch.setattr(table1.runs, "results", lambda _: rows)
    return table1.compute(table1.parameters(PAPER))


def failed(data: Data) -> list[str]:
    return [check.name for check in data.checks if not check.holds]


def test_what_was_asked_and_who_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    data = computed(monkeypatch, rows_of(table1.parameters(PAPER)["grids"]))
    assert failed(data) == []
    assert data.facts["scale"] == "llama3-8b, 6000 steps, 1 seed"
    asked = "MMLU, each question with one example; sampled answers, judge gpt-x, in both orders"
    assert data.facts["judge"] == asked
    assert set(data.beside["ours at"]) == {f"llama3-8b, 6000 steps, 1 seed; {asked}"}
    assert len(data.beside["paper"]) == 2 * len(TABLE1)
    wins = data.beside["ours"][data.beside["quantity"] == "win rate (%)"]
    assert wins == pytest.approx(np.full(12, 100 * 82 / 90))
    assert set(data.table["order"]) == {"SFT first"}


def test_what_only_the_embedded_world_knows_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    data = computed(monkeypatch, rows_of(table1.parameters(PAPER)["grids"]))
    assert set(data.table["quantity"]) == {"accuracy", "win rate", "ties"}
    figure = table1.draw(data)
    shown = [text for text in figure.findobj(Text) if text.get_text()]
    texts = [text.get_text() for text in shown]
    assert "–" not in texts
    assert data.facts["judge"] in texts
    assert not any("manner" in text for text in texts)
    lowest = max(text.get_position()[1] for text in shown)
    assert lowest + table1.NOTE / 72 <= figure.get_figheight()
    assert figure.get_figwidth() == pytest.approx(style.PAGE)


def test_two_judges_do_not_make_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(table1.parameters(PAPER)["grids"])
    rows[0]["answers_judge"] = "another"
    data = computed(monkeypatch, rows)
    assert failed(data) == ["one-judge"]
    assert "judge another and gpt-x" in str(data.facts["judge"])


def test_what_was_not_measured_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(table1.parameters(PAPER)["grids"], answers_win_rate=None, answers_judge=None)
    data = computed(monkeypatch, rows)
    assert failed(data) == ["measured"]
    assert str(data.facts["judge"]).endswith("nothing was judged")


def test_the_grid_is_the_papers() -> None:
    (spec,) = table1.parameters(PAPER)["grids"].values()
    assert (spec["preset"], spec["measures"], spec["orders"]) == ("llama3-8b", ["answers", "questions"], ["sft-dpo"])
    assert {(NAMES[r.config.method], r.config.lam) for r in grid_of(spec).runs()} == set(TABLE1)
