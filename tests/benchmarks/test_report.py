"""A part of benchmarks/README.md is replaced between its marks, and the rest stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import report
from benchmarks.timing import Row


def test_writing_a_part_keeps_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = [mark for pair in report.MARKS.values() for mark in pair]
    assert [report.README.read_text(encoding="utf-8").count(mark) for mark in marks] == [1] * len(marks)
    readme = tmp_path / "README.md"
    toyopt, llm = report.MARKS["toyopt"], report.MARKS["llm"]
    readme.write_text(f"a {toyopt[0]} kept {toyopt[1]} b {llm[0]} old {llm[1]} c", encoding="utf-8")
    monkeypatch.setattr(report, "README", readme)
    monkeypatch.setattr(report, "machine", lambda *_: ["a machine"])
    measured = {"llm": np.array([1.0]), "TRL": np.array([2.0])}
    report.write({"llm-sft": [Row("SFT", "token", measured, {"TRL": 0.4})]}, "llm", "the command")
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"a {toyopt[0]} kept {toyopt[1]} b {llm[0]}\na machine\n")
    assert text.endswith(f"| TRL | 2 s / token | 0.50 | ≤ 0.40 | NO |\n{llm[1]} c")
    assert "old" not in text


def test_close_bars_are_shown_with_three_digits() -> None:
    row = Row("", "token", {"a": np.array([1.0121e8]), "b": np.array([1e8])}, {"b": 1.01}, "operations")
    assert [line[1:] for line in report.lines(row)] == [
        ("101.2 million / token", "", "", ""),
        ("100 million / token", "1.012", "≤ 1.01", "NO"),
    ]
