"""`--verify`: what it takes for the same, what for different, and that it writes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from support.pipeline_fakes import Door, door_in_process

from figures.cli import main
from figures.pipeline.verify import ATOL, RTOL, excess


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    found = door_in_process(tmp_path, monkeypatch)
    assert main(["--seed", "1", "--out", str(found.out)], found.registry) == 0
    return found


def verify(door: Door, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and the last line; fails if anything was written."""
    before = door.files()
    capsys.readouterr()
    status = main(["--verify", *arguments, "--out", str(door.out)], door.registry)
    assert door.files() == before
    return status, capsys.readouterr().out.splitlines()[-1]


def in_text(path: Path, change: Callable[[str], str]) -> None:
    old = path.read_text()
    new = change(old)
    assert new != old
    path.write_text(new)


def test_the_same(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.log()
    status, line = verify(door, capsys)  # with the seed that is recorded, not the default
    assert status == 0
    assert "same: 4 rows of 4 columns, 4 facts, 1 checks" in line
    assert door.log() == ["compute a"]  # neither from the cache nor drawn


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("0.6666666666666666", "0.66666667", "column x, row 2: 0.6666666666666666 now, 0.66666667 there"),
        ("0.6666666666666666", "nan", "column x, row 2"),
        ("0.6666666666666666", "", "column x, row 2"),
        ('"b,c"', "bc", "column word, row 2: b,c now, bc there"),
        ("x,word", "y,word", "columns: x,word,yes,k now, y,word,yes,k there"),
        ("true,3\n", "true,3\n1.0,g,true,4\n", "rows: 4 now, 5 there"),
        ("true,3\n", "true\n", "its rows differ in length"),
    ],
)
def test_a_changed_table(door: Door, old: str, new: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    in_text(door.out / "a.csv", lambda text: text.replace(old, new, 1))
    status, line = verify(door, capsys)
    assert status == 1
    assert "differs: " in line
    assert words in line


def test_the_worst_of_several_is_named(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    in_text(
        door.out / "a.csv",
        lambda text: text.replace("0.6666666666666666", "0.6667").replace("1.3333333333333333", "7.0"),
    )
    assert "column x, row 4" in verify(door, capsys)[1]


def test_rounding_is_no_difference(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    in_text(door.out / "a.csv", lambda text: text.replace("0.6666666666666666", "0.66666666666"))
    assert verify(door, capsys)[0] == 0


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("fact", 3.0, "fact mean"),
        ("check", 1.0, "check small, attained"),
        ("holds", False, "check small, holds"),
        ("parameter", 9, "parameter n: 4 now, 9 there"),
    ],
)
def test_a_changed_json(door: Door, place: str, value: float, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = door.out / "a.json"
    record = json.loads(path.read_text())
    holder, key = {
        "fact": (record["facts"], "mean"),
        "check": (record["checks"][0], "attained"),
        "holds": (record["checks"][0], "holds"),
        "parameter": (record["parameters"], "n"),
    }[place]
    holder[key] = value
    path.write_text(json.dumps(record))
    status, line = verify(door, capsys)
    assert status == 1
    assert words in line


def test_changed_mathematics(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.change("a", "/ 3.0", "/ 3.0000001")
    status, line = verify(door, capsys)
    assert status == 1
    assert "differs" in line


def test_what_the_user_passes_takes_precedence(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    status, line = verify(door, capsys, "--seed", "5")
    assert status == 1
    assert "parameter seed: 5 now, 1 there" in line


@pytest.mark.parametrize("suffix", ["json", "csv", "pdf", "png"])
def test_missing(door: Door, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    (door.out / f"a.{suffix}").unlink()
    status, line = verify(door, capsys)
    assert status == 1
    assert line.endswith(f"missing: a.{suffix}")


def test_no_folder_at_all(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.out = door.folder / "elsewhere"
    status, line = verify(door, capsys)
    assert status == 1
    assert "missing" in line
    assert not door.out.exists()


def test_an_artefact_that_raises(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.add("a", body="raise ValueError('not today')")
    status, line = verify(door, capsys)
    assert status == 1
    assert "ValueError: not today" in line


def test_a_broken_check_fails_also_if_it_was_recorded_so(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.add("a", bound=0.5)
    assert main(["--out", str(door.out)], door.registry) == 1
    status, line = verify(door, capsys)
    assert status == 1
    assert "same, and fails what must hold: small" in line


def test_tolerance() -> None:
    assert excess(math.nan, math.nan) == excess(math.inf, math.inf) == excess(0.5, 0.5) == 0.0
    assert excess(math.inf, -math.inf) == excess(math.nan, 1.0) == excess(1.0, math.inf) == math.inf
    assert excess(100.0 + 90.0 * RTOL, 100.0) < 1.0 < excess(100.0 + 110.0 * RTOL, 100.0)
    assert excess(0.9 * ATOL, 0.0) < 1.0 < excess(1.1 * ATOL, 0.0)
