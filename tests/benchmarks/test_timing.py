"""Measurements are interleaved, and a bar is held or missed by the median ratio."""

from __future__ import annotations

import numpy as np

from benchmarks.timing import Row, interleave


def test_repetitions_are_interleaved_and_bars_are_held() -> None:
    calls: list[str] = []
    times = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, 10)
    assert "".join(calls) == "abababab"  # the first of each is not measured
    assert [len(t) for t in times.values()] == [3, 3]
    measured = {"toyopt": np.array([1.0, 4.0, 2.0]), "C": np.array([1.0, 2.0, 2.0])}
    assert Row("", "step", measured).ratio("C")[0] == 1.0
    assert Row("", "step", measured, {"C": 1.0}).holds()
    assert not Row("", "step", measured, {"C": 0.9}).holds()
    assert not Row("", "step", measured, {"toyopt": 1.5}).holds()  # seconds: the median is 2
