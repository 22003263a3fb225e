"""Measures of the base model: computed once for all runs on it, and again where they depend on something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door

pytest.importorskip("torch")
from llm import TrainConfig, train
from llm.evaluation.base_values import with_base


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs on one base with one cache."""
    folder = tmp_path_factory.mktemp("runs")
    options = door.place(folder) | {"steps": 1, "eval_every": 0}
    return [
        train(TrainConfig(**{**options, "seed": seed, "out": str(folder / str(seed))}), quiet=True).folder
        for seed in (1, 2)
    ]


@pytest.mark.slow
def test_the_base_is_measured_once_for_all_runs_on_it(runs: list[Path], tmp_path: Path) -> None:
    asked: list[bool] = []

    def measured(base: bool) -> dict[str, Any]:
        asked.append(base)
        return {"share": 0.25 if base else 0.5, "n": 4}

    file = tmp_path / "prompts.csv"
    file.write_text("one", encoding="utf-8")
    options = {"prompts": str(file), "limit": 3}
    expected = {"share": 0.5, "n": 4, "base_share": 0.25}
    for run in (*runs, runs[0]):
        assert with_base(run, "llm.skill.measure", options, measured, ("share",)) == expected
    assert asked == [False, True, False, False]
    with_base(runs[0], "llm.skill.measure", options | {"limit": 4}, measured, ("share",))
    with_base(runs[0], "llm.judging.samples", options, measured, ("share",))
    file.write_text("another", encoding="utf-8")
    with_base(runs[0], "llm.skill.measure", options, measured, ("share",))
    assert asked[4:] == [False, True] * 3


@pytest.mark.slow
def test_a_run_from_an_adapter_has_no_base_of_its_own(runs: list[Path], tmp_path: Path) -> None:
    further = door.place(tmp_path) | {"steps": 1, "eval_every": 0, "adapter": str(runs[0])}
    run = train(TrainConfig(**further), quiet=True).folder
    assert with_base(run, "llm.skill.measure", {}, lambda base: {"share": float(base)}, ("share",)) == {
        "share": 0.0,
        "base_share": None,
    }
