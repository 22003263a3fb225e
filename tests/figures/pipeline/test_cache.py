"""Data of artefacts on disk: the cache, CSV and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from figures.artefact import Data, empirical
from figures.pipeline import cache
from llm.common.cache import ContentCache


def test_json_is_strict() -> None:
    text = cache.to_json({"a": [math.nan, -math.inf, np.float64(0.1)], "b": np.True_, "c": (np.int64(3), None)})
    assert json.loads(text) == {"a": ["nan", "-inf", 0.1], "b": True, "c": [3, None]}
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        cache.to_json({"a": object()})


def test_csv_reads_back_the_same() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(size=50) * 10.0 ** rng.integers(-300, 300, 50), [np.nan, np.inf, -0.0]])
    texts = cache.to_csv({"x": values}).decode().splitlines()[1:]
    back = np.array([float(text) for text in texts])
    assert back.tobytes() == np.where(np.isnan(values), np.nan, values).tobytes()
    assert cache.cells(np.array([True, False])) == ["true", "false"]
    with pytest.raises(TypeError, match="dtype object"):
        cache.cells(np.array([object()]))


def test_cache_keeps_the_newest_only(tmp_path: Path) -> None:
    data = Data(table={"x": np.arange(3)})
    for i in range(cache.KEPT + 3):
        cache.save(tmp_path, "a", f"{i:016d}", cache.Computed(data, {}))
    cache.save(tmp_path, "a2", "f" * 16, cache.Computed(data, {}))
    assert len(list((tmp_path / cache.FOLDER / "a").glob("*/data.npz"))) == cache.KEPT
    assert len(list((tmp_path / cache.FOLDER / "a2").glob("*/data.npz"))) == 1


def test_data_of_another_form_are_damaged(tmp_path: Path) -> None:
    cache.save(tmp_path, "a", "1" * 16, cache.Computed(Data(table={"x": np.arange(3)}), {}))
    reasons: list[str] = []
    assert cache.read(tmp_path, "a", "1" * 16, reasons.append) is not None
    entries = ContentCache(tmp_path / cache.FOLDER, "a")
    entries.write("2" * 16, lambda folder: np.savez(folder / cache.FILE, x=np.arange(3)))
    assert cache.read(tmp_path, "a", "2" * 16, reasons.append) is None
    entries.write("3" * 16, lambda folder: (folder / cache.FILE).write_bytes(b"no data") and None)
    assert cache.read(tmp_path, "a", "3" * 16, reasons.append) is None
    assert len(reasons) == 2


def test_the_cache_gives_them_back(tmp_path: Path) -> None:
    claim = replace(empirical("n", "s", 0.1, (-math.inf, 0.3), 1.0, "upper"), p_value=0.04)
    beside = {"quantity": np.array(["gap"]), "ours": np.array([0.1])}
    data = Data(table={"x": np.arange(3)}, checks=(claim,), beside=beside)
    cache.save(tmp_path, "a", "1" * 16, cache.Computed(data, {}))
    restored = cache.read(tmp_path, "a", "1" * 16)
    assert restored is not None
    assert restored.data.checks == (claim,)
    assert {k: v.tolist() for k, v in restored.data.beside.items()} == {"quantity": ["gap"], "ours": [0.1]}
