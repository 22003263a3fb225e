"""The shared computations of a run, without the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.wrong import fails

pytest.importorskip("torch")

from support import pipeline_runs

from llm import TrainConfig, train
from llm.training.prepare import prepare


def entries(folder: Path) -> dict[str, list[str]]:
    """The complete entries of the cache, by kind."""
    kinds = ("reference", "optima")
    return {kind: sorted(p.name for p in (folder / kind).glob("[!.]*")) for kind in kinds}


@pytest.mark.slow
def test_a_run_finds_all_that_was_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {**pipeline_runs.place(tmp_path), "f_star": "compute", "method": "maxright", "k": 2}
    config, cache = TrainConfig(**options), tmp_path / "cache"
    prepare(config, "base", quiet=True)
    assert entries(cache) == {"reference": [], "optima": []}
    prepare(config, "reference", quiet=True)
    made = entries(cache)
    assert len(made["reference"]) == 2  # training rows and held-out rows
    assert made["optima"] == []
    prepare(config, "optima", quiet=True)
    made = entries(cache)
    assert len(made["reference"]) == 2
    assert len(made["optima"]) == 2
    assert not (tmp_path / "run").exists()
    before = {p: p.stat().st_mtime_ns for p in cache.rglob("*.json")}
    train(config, quiet=True)
    assert entries(cache) == made
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*.json")} == before
    capsys.readouterr()


def test_a_part_that_is_none() -> None:
    fails(lambda: prepare(TrainConfig(), "all"), ValueError, "part: must be one of base, reference", "all")
