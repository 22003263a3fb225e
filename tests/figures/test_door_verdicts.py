"""Empirical claims and the numbers beside the paper's, from the artefact to the files; and the time that is left."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.pipeline_fakes import Door, door_in_process, strict

from figures.artefact import Check, Data, empirical
from figures.cli import main
from figures.pipeline import build, cache, display
from figures.pipeline.display import Progress, in_words, runs_in_words
from figures.pipeline.report import grid_in_words
from figures.pipeline.training import RunsProgress


@pytest.mark.parametrize(
    ("interval", "kind", "verdict"),
    [
        ((0.2, 0.9), "upper", "seen"),
        ((0.2, 1.0), "upper", "seen"),
        ((0.2, 1.1), "upper", "mixed"),
        ((1.0, 1.1), "upper", "mixed"),
        ((1.1, 1.2), "upper", "not seen"),
        ((1.1, 1.2), "lower", "seen"),
        ((0.9, 1.2), "lower", "mixed"),
        ((0.2, 0.9), "lower", "not seen"),
        ((math.nan, 0.9), "upper", "mixed"),
        ((0.2, math.nan), "lower", "mixed"),
    ],
)
def test_the_verdict_is_read_from_the_whole_interval(interval: tuple[float, float], kind: str, verdict: str) -> None:
    check = empirical("n", "s", 0.9, interval, 1.0, kind)  # type: ignore[arg-type]
    assert (check.verdict, check.holds, check.must_hold) == (verdict, verdict == "seen", False)
    assert repr(check.interval) == repr(interval)


def test_what_is_no_empirical_claim() -> None:
    assert empirical("n", "s", math.nan, (0.1, 0.2), 1.0, "upper").verdict == "mixed"
    with pytest.raises(ValueError, match="upper or lower, got 'equal'"):
        empirical("n", "s", 1.0, (0.1, 0.2), 1.0, "equal")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="begin before it ends"):
        empirical("n", "s", 1.0, (0.3, 0.2), 1.0, "upper")
    with pytest.raises(ValueError, match="must be one of seen, mixed, not seen, got 'perhaps'"):
        Check("n", "s", "upper", 1.0, 1.0, True, must_hold=False, verdict="perhaps")
    with pytest.raises(ValueError, match="need not hold"):
        Check("n", "s", "upper", 1.0, 1.0, True, verdict="seen")


def test_the_cache_gives_them_back(tmp_path: Path) -> None:
    claim = empirical("n", "s", 0.1, (-math.inf, 0.3), 1.0, "upper")
    beside = {"quantity": np.array(["gap"]), "ours": np.array([0.1])}
    data = Data(table={"x": np.arange(3)}, checks=(claim,), beside=beside)
    cache.save(tmp_path, "a", "1" * 64, cache.Computed(data, {}))
    found = cache.read(tmp_path, "a", "1" * 64)
    assert found is not None
    assert found.data.checks == (claim,)
    assert {k: v.tolist() for k, v in found.data.beside.items()} == {"quantity": ["gap"], "ours": [0.1]}
    with pytest.raises(ValueError, match="beside: columns"):
        Data(table={"x": np.arange(3)}, beside={"a": np.arange(2), "b": np.arange(3)})


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    """A door whose one artefact has three empirical claims and a row beside the paper's."""
    found = door_in_process(tmp_path, monkeypatch)
    found.change("a", "import Artefact,", "import Artefact, empirical,")
    claims = [("one", 0.5, (0.4, 0.6)), ("two", 1.5, (1.4, 1.6)), ("three", 1.0, (0.4, 1.6))]
    text = ", ".join(f"empirical('{n}', 'claim {n}', {v}, {i}, 1.0, 'upper')" for n, v, i in claims)
    found.change("a", "checks=(", f"checks=({text}, ")
    found.change("a", "extra={", "beside={'quantity': np.array(['gap']), 'ours': np.array([0.5])}, extra={")
    return found


def run(door: Door, *arguments: str) -> int:
    return main([*arguments, "--out", str(door.out)], door.registry)


def test_claims_are_counted_apart_and_need_not_be_seen(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(door) == 0
    said = capsys.readouterr().out
    assert "theory: 1 of 1 hold; empirical: seen 1, mixed 1, not seen 1" in said
    assert "a  not seen: claim two: 1.5 in [1.4, 1.6] <= 1" in said
    assert "a  mixed: claim three: 1 in [0.4, 1.6] <= 1" in said
    assert "claim one" not in said
    assert strict(door.out / "manifest.json")["artefacts"]["a"]["checks"] == {
        "total": 1,
        "hold": 1,
        "broken": [],
        "empirical": {"seen": 1, "mixed": 1, "not seen": 1},
    }
    record = strict(door.out / "a.json")
    assert record["beside"] == {"quantity": ["gap"], "ours": [0.5]}
    assert record["checks"][0]["interval"] == [0.4, 0.6]
    page = (door.out / "index.html").read_text()
    for number, word in ((1, "seen"), (2, "not seen"), (3, "mixed")):
        assert f'<a href="#a-check-{number}">claim' in page
        assert f'<tr id="a-check-{number}"><td class="verdict' in page.replace(">\n", ">")
        assert f"<strong>1</strong> {word}" in page
    assert run(door, "--verify") == 0


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("interval", [0.4, 0.7], "check one, interval: 0.6 now, 0.7 there"),
        ("verdict", "mixed", "check one, verdict: 'seen' now, 'mixed' there"),
        ("beside", [0.6], "ours beside the paper's, row 1: 0.5 now, 0.6 there"),
        ("beside", [], "the rows beside the paper's are others"),
    ],
)
def test_verify_compares_them(
    door: Door, place: str, value: object, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(door)
    record = strict(door.out / "a.json")
    if place == "beside":
        record["beside"]["ours"] = value
    else:
        record["checks"][0][place] = value
    (door.out / "a.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert run(door, "--verify") == 1
    assert words in capsys.readouterr().out


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
    shown = Progress(Console(file=said), ["a", "b", "c", "d"], jobs=2)
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


def test_the_cost_in_seconds() -> None:
    texts = ("instant", "seconds", "half a minute", "about 15 s", "40 s", "2 min", "1.5 h, once", "long")
    assert [build.seconds_of(text) for text in texts] == [1.0, 5.0, 30.0, 15.0, 40.0, 120.0, 5400.0, None]
