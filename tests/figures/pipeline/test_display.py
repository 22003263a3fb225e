"""Words and estimates of the time that remains."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from figures.pipeline import display
from figures.pipeline.display import RunsProgress, States, in_words, runs_in_words
from figures.pipeline.report import grid_in_words


def test_words_for_time_and_runs() -> None:
    assert [in_words(s) for s in (3.0, 44.0, 99.0, 360.0, 7200.0)] == [
        "a few seconds left", "about 40 s left", "about 100 s left", "about 6 min left", "about 2.0 h left",
    ]  # fmt: skip
    assert runs_in_words(RunsProgress(240, 57, 0, 360.0)) == "57 of 240 runs, about 6 min left"
    assert runs_in_words(RunsProgress(240, 57, 2, None)) == "57 of 240 runs, 2 failed"
    assert runs_in_words(RunsProgress(3, 3, 0, 0.0)) == "3 of 3 runs"
    spec = {"preset": "embedded", "options": {"simpo_beta": 2.0}, "methods": ["mix", "alright"], "measures": []}
    assert grid_in_words(spec) == "preset embedded; methods mix, alright; simpo beta 2.0"


def test_the_time_left_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    said = io.StringIO()
    shown = States(Console(file=said), ["a", "b", "c", "d"], jobs=2)
    assert shown.left() is None  # nothing is known
    for name, seconds, waits in (("a", 30.0, False), ("b", 10.0, False), ("c", 8.0, True), ("d", None, True)):
        shown.expect(name, seconds, waits=waits)
    assert shown.left() == 30.0 + 8.0
    shown.state("a", "computing")
    shown.runs(RunsProgress(10, 0, 0, None))
    assert shown.left() is None  # the runs are the most of it, and how long they take is not known
    shown.runs(RunsProgress(10, 1, 0, 90.0))
    now[0] += 20.0
    assert shown.left() == 70.0 + 8.0
    shown.state("a", "done")
    shown.state("runs", "done")
    assert shown.left() == 10.0 + 8.0
    assert said.getvalue().count("of 10 runs") == 1  # now and then, not at every look
    now[0] += 20.0
    shown.runs(RunsProgress(10, 2, 0, 60.0))
    assert "2 of 10 runs, about 60 s left (all: about 70 s left)" in said.getvalue()
