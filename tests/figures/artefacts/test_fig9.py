"""Figure 9: both orders of a judged instance, and the terms of its scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.run_folders import SMOKE, WORLD, computed, row_of, write, write_runs

from figures.artefacts import fig9
from llm.embedded.language import PLAIN, courteous, fact_of, fuller, neutral, preference_score, question


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
