"""The rows that a run is planned to need are the rows that the run trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_models as tiny

from llm import TrainConfig, train

pytest.importorskip("torch")

ROWS = tiny.preference_rows(60, seed=9)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny saved model."""
    return tiny.base(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The preference rows on which a training loss was computed."""
    from llm.training.objective import Objective

    rows: set[int] = set()
    ordinary = Objective._pairs

    def noted(self: Objective, loss: Any, logps: Any, batch: Any, indices: Any) -> Any:
        rows.update(int(i) for i in indices)
        return ordinary(self, loss, logps, batch, indices)

    monkeypatch.setattr(Objective, "_pairs", noted)
    return rows


def config(base: Path, folder: Path, **changes: Any) -> TrainConfig:
    """Of a run that visits a part of its rows."""
    own = {"steps": 6, "batch_sft": 2, "batch_preference": 2, "lora_rank": 2, "lr": 1e-2, "max_length": 64}
    where = {"model": str(base), "out": str(folder / "run"), "cache": str(base.parent / "cache"), "device": "cpu"}
    quiet = {"held_out": 0.0, "eval_every": 0, "window": 0, "sft": "x", "preference": "y"}
    return TrainConfig(**{**own, **where, **quiet, **changes})


def planned(c: TrainConfig) -> set[int]:
    """The rows that `needed_rows` names."""
    from llm.training.inputs import GivenInputs, open_inputs
    from llm.training.objectives import needed_rows

    with open_inputs(c, GivenInputs(sft=tiny.sft_rows(), preference=ROWS), quiet=True) as inputs:
        return {int(i) for i in needed_rows(inputs)[0]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"method": "sequential", "lam": 0.5},
        {"method": "sequential", "order": "sft-dpo", "lam": 0.3},
        {"method": "mix"},
        {"method": "alright", "lam": 0.5},
        {"method": "alright", "alternation": "even", "block": 2},
        {"method": "alright", "draw_both": True},
        {"method": "replay", "replay": 0.4, "order": "dpo-sft"},
        {"method": "mix", "f_star": "compute", "optima_steps": 9, "eval_rows": 3},
    ],
    ids=str,
)
def test_the_planned_rows_are_the_rows_of_the_run(
    base: Path, tmp_path: Path, visited: set[int], options: dict[str, Any]
) -> None:
    c = config(base, tmp_path, **options)
    expected = planned(c)
    train(c, sft=tiny.sft_rows(), preference=ROWS, quiet=True)
    assert visited == expected
    assert len(expected) < len(ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"k": 3}, {"gap_rows": 2, "k": 2}, {"draw_both": True}], ids=str)
def test_the_planned_rows_contain_those_of_maxright(
    base: Path, tmp_path: Path, visited: set[int], options: dict[str, Any]
) -> None:
    c = config(base, tmp_path, method="maxright", **options)
    expected = planned(c)
    train(c, sft=tiny.sft_rows(), preference=ROWS, quiet=True)
    assert visited <= expected
    assert 0 < len(visited) < len(ROWS)


@pytest.mark.slow
def test_a_set_ten_times_as_large_needs_no_more_rows(base: Path, tmp_path: Path) -> None:
    from llm.data.formats import load
    from llm.data.tokenization import tokenize
    from llm.training.objective import Objective
    from llm.training.streams import rows_of_run

    c = config(base, tmp_path, method="mix")
    counts = []
    for copies in (1, 10):
        rows = [{**row, "prompt": f"{row['prompt']} {j}"} for j in range(copies) for row in ROWS]
        tokens = tokenize(load(rows, kind="preference"), tiny.tokenizer())
        counts.append(len(np.unique(rows_of_run(c, Objective("dpo", tokens)))))
    assert counts == [12, 12]
