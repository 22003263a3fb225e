"""Evaluations before the first step: shared by runs that begin at the same policy, and by no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import pipeline_runs as door
from support import tiny_models as tiny

from llm import TrainConfig, train
from llm.common.files import read_json, write_json
from llm.training import starting_values
from llm.training.engine import Engine
from llm.training.metrics import read_metrics
from llm.training.objective import Objective

pytestmark = pytest.mark.slow


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the objectives that engines evaluated."""
    names: list[str] = []
    evaluate = Engine.evaluate

    def recorded(self: Engine, objective: Objective, rows: Any) -> dict[str, float]:
        names.append(objective.name)
        return evaluate(self, objective, rows)

    monkeypatch.setattr(Engine, "evaluate", recorded)
    return names


def first_line(folder: Path) -> dict[str, Any]:
    """Return the evaluation before the first step."""
    line = read_metrics(folder)[0]
    assert line["step"] == 0
    return line


def run(folder: Path, out: str, cache: str = "cache", **changes: Any) -> Path:
    """Train three steps with evaluations before the first and after the last one."""
    own: dict[str, Any] = {**door.place(folder), "steps": 3, "eval_every": 5, "f_star": "estimate", "method": "mix"}
    return train(
        TrainConfig(**{**own, "out": str(folder / out), "cache": str(folder / cache), **changes}), quiet=True
    ).folder


def test_runs_of_other_methods_share_the_values_of_one_evaluation(tmp_path: Path, evaluated: list[str]) -> None:
    first = run(tmp_path, "first")
    assert evaluated == ["dpo", "sft"] * 2
    evaluated.clear()
    second = run(tmp_path, "second", method="alright", lam=0.2)
    assert evaluated == ["dpo", "sft"]  # after the last step
    alone = run(tmp_path, "alone", cache="other", method="alright", lam=0.2)
    assert first_line(second) == first_line(alone) == first_line(first)
    adapters = [(folder / "adapter_model.safetensors").read_bytes() for folder in (second, alone)]
    assert adapters[0] == adapters[1]
    drop = ("seconds", "cpu_seconds", "memory_mb")
    lines = [[{k: v for k, v in line.items() if k not in drop} for line in read_metrics(f)] for f in (second, alone)]
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    "change", [{"beta": 0.7}, {"attention": "eager"}, {"seed": 2}, {"lora": ("init_lora_weights=gaussian",)}]
)
def test_other_losses_options_and_starts_are_evaluated(
    tmp_path: Path, evaluated: list[str], change: dict[str, Any]
) -> None:
    run(tmp_path, "first")
    evaluated.clear()
    run(tmp_path, "second", **change)
    assert "dpo" in evaluated[:-2]


def test_other_rows_another_base_and_other_code_are_evaluated(
    tmp_path: Path, evaluated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, "first")
    evaluated.clear()
    run(tmp_path, "rows", sft=door.write(tmp_path / "s.jsonl", tiny.sft_rows(30, 5)))
    assert evaluated == ["sft", "dpo", "sft"]
    evaluated.clear()
    with monkeypatch.context() as patch:
        patch.setattr(starting_values, "evaluating_code", lambda: "other code")
        run(tmp_path, "code")
    assert evaluated == ["dpo", "sft"] * 2
    evaluated.clear()
    model = tiny.model()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(1.5)
    own = {**door.place(tmp_path), "steps": 3, "eval_every": 5, "f_star": "estimate", "method": "mix"}
    config = TrainConfig(**{**own, "out": str(tmp_path / "scaled"), "cache": str(tmp_path / "cache")})
    train(config, quiet=True, model=model, tokenizer=tiny.tokenizer())
    assert evaluated == ["dpo", "sft"] * 2


def test_a_damaged_entry_is_evaluated_again(tmp_path: Path, evaluated: list[str]) -> None:
    first = run(tmp_path, "first")
    for path in (tmp_path / "cache" / "starting_values").glob("*/sums.json"):
        write_json(path, {**read_json(path), "loss": 0.0})
    evaluated.clear()
    second = run(tmp_path, "second", lam=0.3)
    assert evaluated == ["dpo", "sft"] * 2
    assert first_line(second) == first_line(first)
