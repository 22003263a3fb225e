"""The benchmarks of `llm` compare like with like: the same rows, ids and losses. No times are asserted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import llm_ours, llm_speed  # noqa: E402
from benchmarks.llm_rows import TINY  # noqa: E402
from benchmarks.timing import Row  # noqa: E402
from toyopt.algorithms import SFT, Maxright  # noqa: E402

SHAPE = {"tiny": TINY}
quiet_trl = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


@quiet_trl
@pytest.mark.slow
@pytest.mark.oracle
def test_all_sides_of_every_comparison_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl")
    for name in ("HF_HUB_OFFLINE", "TQDM_DISABLE"):  # set by the benchmarks; afterwards as before
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr("gc.unfreeze", lambda: None)  # to collect imported libraries takes longer than all turns
    turns = llm_speed.turns
    monkeypatch.setattr(llm_speed, "turns", lambda *args, **options: turns(*args, **{**options, "warm": False}))
    operations, counted = llm_speed.operations, list[str]()

    def once(name: str, calls: Mapping[str, Callable[[], Any]], bars: Mapping[str, float]) -> Row:
        """Count the operations of the first comparison alone: it makes the calls again that were timed."""
        counted.append(name)
        given = calls if len(counted) == 1 else {label: lambda: llm_ours.Turn(1.0, 1.0, 1, {SFT: 1}) for label in calls}
        return operations(name, given, bars)

    monkeypatch.setattr(llm_speed, "operations", once)
    rows = llm_speed.sft(SHAPE, 1) + llm_speed.dpo(SHAPE, 1) + llm_speed.authors(SHAPE, 1) + llm_speed.methods(TINY, 1)
    names = [label for row in rows for label in row.times]
    assert {
        "TRL",
        "TRL, precomputed",
        "TRL, head on labels only",
        "the authors' way",
        "MAXRIGHT k=10",
        "MAXRIGHT k=10, f* lowest, gap_rows 1/8 of the batch",
        "Sequential",
    } < set(names)
    assert len(counted) == 7
    rows = [row for row in rows if row.name not in [f"{name}, operations" for name in counted[1:]]]
    assert all(np.all(t > 0.0) for row in rows for t in row.times.values())
    assert any(row.bars for row in rows)


@pytest.mark.slow
def test_different_rows_are_not_compared() -> None:
    calls = {str(n): lambda n=n: llm_ours.Turn(1.0, 1.0, n, {SFT: 1}) for n in (5, 6)}
    with pytest.raises(AssertionError, match="not the same rows"):
        llm_speed.turns("x", calls, 1, {})


@pytest.mark.slow
def test_fewer_gap_rows_cost_fewer_operations() -> None:
    sides = {"few": llm_ours.Ours(TINY, f_star="lowest", gap_rows=1), "whole": llm_ours.Ours(TINY, f_star="lowest")}
    rule = Maxright(0.5, (0.0, 0.0), k=1)
    for side in sides.values():
        side.prepare()  # outside of what is counted
    calls = {label: lambda side=side: side.run(rule, 6) for label, side in sides.items()}
    row = llm_speed.operations("MAXRIGHT", calls, {"whole": 1.0})
    assert row.ratio("whole")[0] < 1.0
    assert row.quantity == "operations"
