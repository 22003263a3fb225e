"""Figure 9: both orders of a judged instance, and the terms of its scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.run_folders import SMOKE, WORLD, computed, row_of, texts, write, write_runs

from figures.artefact import Data, Request
from figures.artefacts import fig9
from figures.pipeline.paths import grid_of
from llm.embedded.language import PLAIN, courteous, fact_of, fuller, neutral, preference_score, question
from llm.judging import world as judged


def test_the_judged_instance_has_both_orders_and_the_terms_of_both_scores(tmp_path: Path) -> None:
    data = computed(fig9.ARTEFACT, tmp_path)
    answer, reference = (row_of(data, part=part) for part in ("answer", "reference"))
    assert (answer["fact"], answer["courtesy"], answer["words"], answer["score"]) == (-1.0, 0.0, 0.0, -1.0)
    assert (reference["fact"], reference["courtesy"], reference["score"]) == (2.0, 1.0, 3.0)
    assert (data.facts["verdict"], data.facts["outcome"]) == ("reference", "loss")
    asked = {
        first: str(row_of(data, part="asked", first=first, role="user")["text"]) for first in ("answer", "reference")
    }
    for first, text in asked.items():
        other = {"answer": reference, "reference": answer}[first]
        mine = {"answer": answer, "reference": reference}[first]
        assert text.index(str(mine["text"])) < text.index(str(other["text"]))


@pytest.mark.parametrize("manner", ["courteous", "fuller", "neutral", "nothing"])
def test_the_terms_are_those_of_the_score(manner: str) -> None:
    fact, further = WORLD.facts[:2]
    prompt = question(fact, PLAIN[1])
    manners: dict[str, Callable[[], str]] = {
        "courteous": lambda: courteous(fact, "Of course:"),
        "fuller": lambda: fuller(fact, further),
        "neutral": lambda: neutral(fact),
        "nothing": lambda: "",
    }
    text = manners[manner]()
    found = fig9.terms(text, preference_score(WORLD, prompt, text))
    assert found["fact"] == pytest.approx(0.0 if manner == "nothing" else 2.0)
    assert found["fact"] + found["courtesy"] + found["words"] == pytest.approx(found["score"])
    assert fact_of(WORLD, prompt) == fact


def test_a_score_that_is_not_the_judges_is_caught(tmp_path: Path) -> None:
    parameters = fig9.parameters(SMOKE)
    write_runs(tmp_path, parameters["grids"])
    path = next(tmp_path.glob("maxright-*/measures/answers.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    content["result"]["answers"][0]["score"] = 0.5
    content["result"]["answers"][0]["right"] = True
    write(path, content)
    checks = fig9.compute(parameters | {"root": str(tmp_path)}).checks
    assert [check.holds for check in checks] == [False, False]


def real(tmp_path: Path, measure: str, result: dict[str, Any]) -> Data:
    """Return Figure 9 of the real model, whose run has this result of a measure."""
    parameters = fig9.parameters(Request(scale="real"))
    (run,) = (run for spec in parameters["grids"].values() for run in grid_of(spec).runs())
    assert run.measures == (measure,)
    write_runs(tmp_path, parameters["grids"])
    record = {"seconds": 1.0, "code": "", "result": result}
    write(run.folder(tmp_path) / "measures" / f"{measure}.json", record)
    return fig9.compute(parameters | {"root": str(tmp_path)})


ROW = {"set": "preference", "prompt": "How?", "answer": 'Like "this".', "reference": "Like\nthat."}


def test_the_real_models_instance_without_a_judge_has_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (judged.URL, judged.MODEL):
        monkeypatch.delenv(name, raising=False)
    data = real(tmp_path, "samples", {"answers": [ROW]})
    assert all(check.holds for check in data.checks)
    assert (data.facts["outcome"], data.facts["judge"]) == ("not judged", "")
    asked = str(row_of(data, part="asked", first="reference", role="user")["text"])
    assert asked.index('"Like\\nthat."') < asked.index('"Like \\"this\\"."')
    assert "Not judged: the environment names no judge." in texts(fig9.draw(data))


def test_the_real_models_instance_has_both_verdicts_of_the_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(judged.URL, "http://127.0.0.1:9/v1")
    verdicts = [
        {"first": "answer", "verdict": "answer", "reply": "The first is better.\nm"},
        {"first": "reference", "verdict": "answer", "reply": "The second is better.\nM"},
    ]
    row = ROW | {"verdicts": verdicts, "outcome": "win"}
    data = real(tmp_path, "answers", {"answers": [row], "judge": "gpt-x"})
    assert all(check.holds for check in data.checks)
    assert data.facts["outcome"] == "win"
    assert row_of(data, part="reply", first="reference")["role"] == "answer"
    said = " ".join(texts(fig9.draw(data)))
    assert "(c) verdicts by gpt-x" in said
    assert "For the win rate: win." in said
    verdicts[1]["verdict"] = "reference"
    other = real(tmp_path, "answers", {"answers": [row], "judge": "gpt-x"})
    assert [check.name for check in other.checks if not check.holds] == ["outcome"]
    assert other.facts["outcome"] == "tie"
