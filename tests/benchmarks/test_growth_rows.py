"""Generated rows are deterministic, and one side is measured on them: the first time and from the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from benchmarks import growth_rows  # noqa: E402


def test_rows_have_twelve_words_a_text_and_are_the_same_each_time(tmp_path: Path) -> None:
    rows = list(growth_rows.texts(3, ("prompt", "completion")))
    assert rows == list(growth_rows.texts(3, ("prompt", "completion")))
    assert [{name: len(text.split()) for name, text in row.items()} for row in rows] == [
        {"prompt": 12, "completion": 12}
    ] * 3
    assert growth_rows.write_rows(tmp_path / "a.jsonl", 3, ("prompt",)).read_text(encoding="utf-8").count("\n") == 3


@pytest.mark.slow
def test_the_second_time_pairs_come_from_the_cache_with_the_same_ids() -> None:
    times = growth_rows.main("pairs", 8000)  # above the least size that is cached
    assert 0.0 < times["from the cache"] < times["the first time"] / 2  # a hundredth, measured


@pytest.mark.slow
def test_our_side_is_measured_with_and_without_its_cache() -> None:
    costs = growth_rows.main("llm", 200)
    assert set(costs) == {"first seconds", "first bytes", "again seconds", "again bytes"}
    assert costs["first seconds"] > 0.0
