"""Figure 6 on made-up pairs."""

from __future__ import annotations

from typing import Any

import pytest
from support.grid_runs import checks

from figures.artefact import Request
from figures.artefacts import fig6
from figures.drawing.fig6 import draw, example
from figures.drawing.render import render
from figures.pipeline.paths import grid_of

PAIR = {"prompt": "Where is Aun?", "sft_prompt": "Where is Aun?", "chosen": "North", "rejected": "Dunno", "target": "N"}


def similar(*changes: dict[str, Any]) -> dict[str, Any]:
    cosines = {"prompts": 1.0, "chosen_target": 0.5, "rejected_target": 0.75, "chosen_rejected": 0.25}
    rows = {"preference_row": 3, "sft_row": 5}
    pairs = [PAIR | cosines | rows | change for change in changes]
    return {"prompts": 80, "mean": 0.9, "embedder": "token", "sft": "embedded", "preference": "embedded"} | {
        "pairs": pairs
    }


@pytest.fixture(autouse=True)
def not_calmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep `calm`, which changes the whole process, from affecting other tests."""
    monkeypatch.setattr("llm.common.progress.calm", lambda: None)


def fake_similar(monkeypatch: pytest.MonkeyPatch, *changes: dict[str, Any]) -> list[Any]:
    asked: list[Any] = []

    def found(config: Any, **options: Any) -> dict[str, Any]:
        asked.append((config, options))
        return similar(*changes)

    monkeypatch.setattr("llm.evaluation.similarity.similar_embedded", found)
    return asked


OTHER = {"prompt": "Is Aun  äst? $x_1$", "prompts": 0.8, "chosen_target": 0.1}


def test_it_compares_the_world_of_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake_similar(monkeypatch, {}, OTHER)
    parameters = fig6.parameters(Request(scale="smoke"))
    data = fig6.compute(parameters)
    ((config, options),) = asked
    assert options == {"embedder": "token", "top": 40}
    own = grid_of(parameters["grids"]["base"])
    assert len(own.runs()) == 1
    names = ("world_size", "world_family", "world_seed", "conflict", "overlap", "cache")
    assert [getattr(config, n) for n in names] == [getattr(own.runs()[0].config, n) for n in names]
    assert data.facts["mean_chosen_target"] == pytest.approx(0.3)
    assert data.facts["pairs_with_the_same_prompt"] == 1
    assert list(data.table["rank"]) == [1, 2]
    assert all(check.holds for check in data.checks)


@pytest.mark.slow
def test_every_pair_is_drawn_and_the_first_with_two_prompts_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_similar(monkeypatch, {}, OTHER)
    data = fig6.compute(fig6.parameters(Request(scale="smoke")))
    assert example(data) == 1
    figure = draw(data)
    marks = figure.axes[0].get_lines()[1]
    assert list(marks.get_ydata()) == [0.5, 0.1]
    words = [text.get_text() for text in figure.axes[1].texts]
    assert "Is Aun ?st? $x_1$" in words
    assert "North" in words
    assert render(draw, data)["pdf"].startswith(b"%PDF")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (({"prompts": 0.9}, OTHER), "same"),  # the same text
        ((OTHER, {}), "order"),
        (({"chosen_target": 1.2}, OTHER), "range"),
        (({"chosen_target": -1.2}, OTHER), "range"),
    ],
)
def test_cosines_that_cannot_be_are_found(
    monkeypatch: pytest.MonkeyPatch, changes: tuple[dict[str, Any], ...], name: str
) -> None:
    fake_similar(monkeypatch, *changes)
    found = checks(fig6.compute(fig6.parameters(Request(scale="smoke"))))
    assert [check.name for check in found.values() if not check.holds] == [name]


def test_at_scale_paper_it_compares_the_sets_of_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def found(config: Any, *, quiet: bool) -> dict[str, Any]:
        asked.append((config, quiet))
        return similar({}, OTHER) | {"sft": config.sft, "preference": config.preference}

    monkeypatch.setattr("llm.evaluation.similarity.similarity", found)
    parameters = fig6.parameters(Request(scale="paper"))
    assert "grids" not in parameters
    data = fig6.compute(parameters)
    config, quiet = asked[0]
    assert quiet
    assert (config.sft, config.preference) == ("vicgalle/alpaca-gpt4", "Dahoas/rm-hh-rlhf")
    assert (config.model, config.embedder, config.bad_rows) == ("EleutherAI/pythia-1b", "token", "drop")
    assert (config.sft_rows, config.preference_rows) == (24000, 8000)
    assert data.facts["sft"] == "vicgalle/alpaca-gpt4"
    assert draw(data).axes


def test_an_unreadable_set_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> dict[str, Any]:
        raise FileNotFoundError("sft: there is no\nset x; give another")

    monkeypatch.setattr("llm.evaluation.similarity.similar_embedded", missing)
    with pytest.raises(RuntimeError, match=r"^the sets cannot be compared: sft: there is no set x; give another$"):
        fig6.compute(fig6.parameters(Request(scale="smoke")))
