"""Batches of an evaluation: every row once, and few padded tokens at a time on a CPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from llm.training.engine import Engine


@pytest.mark.parametrize(("device", "micro", "most"), [("cpu", 2048, 4096), ("cuda", 16384, 16384), ("cpu", 256, 2048)])
def test_batches_of_an_evaluation_hold_at_most_so_many_padded_tokens(device: str, micro: int, most: int) -> None:
    lengths = np.random.default_rng(0).integers(20, 500, size=80)
    accelerator = SimpleNamespace(device=SimpleNamespace(type=device), process_index=0)
    engine: Any = SimpleNamespace(world=1, max_tokens=micro, accelerator=accelerator)
    objective: Any = SimpleNamespace(lengths=lengths)
    parts = list(Engine._even(engine, objective, np.arange(80)))
    padded = [len(part) * int(lengths[part].max()) for part, _ in parts]
    assert max(padded) <= most
    assert max(padded) > most / 2  # and no smaller than they need to be
    assert sorted(row for part, _ in parts for row in part) == list(range(80))
    assert all(all(keep) for _, keep in parts)
