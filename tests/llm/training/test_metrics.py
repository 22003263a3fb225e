"""A record of steps that survives being cut anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("safetensors")

from llm.training.metrics import MetricsFile, memory_mb, read_metrics


@pytest.mark.slow
def test_metrics_of_a_killed_run_are_cut_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [
        {"step": 0, "evaluation": "held_out"},
        {"step": 1, "f": 0.1},
        {"step": 2, "f": 1 / 3},
        {"step": 2, "evaluation": "train"},
        {"step": 3, "f": 5.0},
    ]
    whole = "".join(json.dumps(line) + "\n" for line in lines)
    for end in range(len(whole) + 1):  # a kill may come after any byte
        path.write_text(whole[:end], encoding="utf-8")
        complete = whole[:end].count("\n") if end == 0 or whole[end - 1] == "\n" else len(whole[:end].splitlines()) - 1
        assert read_metrics(tmp_path)[:complete] == lines[:complete]
        metrics = MetricsFile(path, upto=2)
        assert metrics.evaluated <= {(0, "held_out"), (2, "train")}
        metrics.write({"step": 9})
        kept = [line for line in read_metrics(tmp_path) if line["step"] < 9]
        assert kept[: min(complete, 4)] == lines[: min(complete, 4)]
        assert all(line["step"] <= 2 for line in kept)
        assert read_metrics(tmp_path)[-1] == {"step": 9}
    assert metrics.evaluated == {(0, "held_out"), (2, "train")}


def test_metrics_of_another_process_writes_nothing(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl", upto=0, active=False)
    metrics.write({"step": 1, "evaluation": "x"})
    assert list(tmp_path.iterdir()) == []
    assert metrics.evaluated == {(1, "x")}


def test_memory_is_that_of_a_process_with_libraries() -> None:
    pytest.importorskip("torch")
    assert 10.0 < memory_mb() < 1e6
