"""`--verify`: what it takes for the same, what for different, and that it writes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from support.pipeline_fakes import Cli, cli_in_process, strict

from figures.cli import main
from figures.options import Options
from figures.pipeline.run import _request
from figures.pipeline.verify import ATOL, RTOL, excess


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    found = cli_in_process(tmp_path, monkeypatch)
    assert main(["--seed", "1", "--out", str(found.out)], found.registry) == 0
    return found


def verify(cli: Cli, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and the last line; fails if anything was written."""
    before = cli.files()
    capsys.readouterr()
    status = main(["--verify", *arguments, "--out", str(cli.out)], cli.registry)
    assert cli.files() == before
    return status, capsys.readouterr().out.splitlines()[-1]


def in_text(path: Path, change: Callable[[str], str]) -> None:
    old = path.read_text()
    new = change(old)
    assert new != old
    path.write_text(new)


def test_the_same(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli.log()
    status, line = verify(cli, capsys)  # with the seed that is recorded, not the default
    assert status == 0
    assert "same: 4 rows of 4 columns, 4 facts, 1 checks" in line
    assert cli.log() == ["compute a"]  # neither from the cache nor drawn


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
def test_a_changed_table(cli: Cli, old: str, new: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    in_text(cli.out / "a.csv", lambda text: text.replace(old, new, 1))
    status, line = verify(cli, capsys)
    assert status == 1
    assert "differs: " in line
    assert words in line


def test_the_worst_of_several_is_named(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    in_text(
        cli.out / "a.csv",
        lambda text: text.replace("0.6666666666666666", "0.6667").replace("1.3333333333333333", "7.0"),
    )
    assert "column x, row 4" in verify(cli, capsys)[1]


@pytest.mark.slow
def test_rounding_is_no_difference(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    in_text(cli.out / "a.csv", lambda text: text.replace("0.6666666666666666", "0.66666666666"))
    assert verify(cli, capsys)[0] == 0


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("fact", 3.0, "fact mean"),
        ("check", 1.0, "check small, attained"),
        ("holds", False, "check small, holds"),
        ("parameter", 9, "parameter n: 4 now, 9 there"),
    ],
)
def test_a_changed_json(cli: Cli, place: str, value: float, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = cli.out / "a.json"
    record = json.loads(path.read_text())
    holder, key = {
        "fact": (record["facts"], "mean"),
        "check": (record["checks"][0], "attained"),
        "holds": (record["checks"][0], "holds"),
        "parameter": (record["parameters"], "n"),
    }[place]
    holder[key] = value
    path.write_text(json.dumps(record))
    status, line = verify(cli, capsys)
    assert status == 1
    assert words in line


@pytest.mark.slow
def test_changed_mathematics(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli.change("a", "/ 3.0", "/ 3.0000001")
    status, line = verify(cli, capsys)
    assert status == 1
    assert "differs" in line


@pytest.mark.slow
def test_what_the_user_passes_takes_precedence(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    status, line = verify(cli, capsys, "--seed", "5")
    assert status == 1
    assert "parameter seed: 5 now, 1 there" in line


@pytest.mark.parametrize("suffix", ["json", "csv", "pdf", "png"])
def test_missing(cli: Cli, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    (cli.out / f"a.{suffix}").unlink()
    status, line = verify(cli, capsys)
    assert status == 1
    assert line.endswith(f"missing: a.{suffix}")


def test_no_folder_at_all(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli.out = cli.folder / "elsewhere"
    status, line = verify(cli, capsys)
    assert status == 1
    assert "missing" in line
    assert not cli.out.exists()


@pytest.mark.slow
def test_an_artefact_that_raises(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli.add("a", body="raise ValueError('not today')")
    status, line = verify(cli, capsys)
    assert status == 1
    assert "ValueError: not today" in line


@pytest.mark.slow
def test_a_broken_check_fails_also_if_it_was_recorded_so(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli.add("a", bound=0.5)
    assert main(["--out", str(cli.out)], cli.registry) == 1
    status, line = verify(cli, capsys)
    assert status == 1
    assert "same, and these checks that must hold do not: small" in line


def test_tolerance() -> None:
    assert excess(math.nan, math.nan) == excess(math.inf, math.inf) == excess(0.5, 0.5) == 0.0
    assert excess(math.inf, -math.inf) == excess(math.nan, 1.0) == excess(1.0, math.inf) == math.inf
    assert excess(100.0 + 90.0 * RTOL, 100.0) < 1.0 < excess(100.0 + 110.0 * RTOL, 100.0)
    assert excess(0.9 * ATOL, 0.0) < 1.0 < excess(1.1 * ATOL, 0.0)


@pytest.fixture
def claiming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A cli whose one artefact has three empirical claims and a row beside the paper's."""
    found = cli_in_process(tmp_path, monkeypatch)
    found.change("a", "import Artefact,", "import Artefact, empirical,")
    claims = [("one", 0.5, (0.4, 0.6)), ("two", 1.5, (1.4, 1.6)), ("three", 1.0, (0.4, 1.6))]
    text = ", ".join(f"empirical('{n}', 'claim {n}', {v}, {i}, 1.0, 'upper')" for n, v, i in claims)
    found.change("a", "checks=(", f"checks=({text}, ")
    found.change("a", "extra={", "beside={'quantity': np.array(['gap']), 'ours': np.array([0.5])}, extra={")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("interval", [0.4, 0.7], "check one, interval: 0.6 now, 0.7 there"),
        ("verdict", "mixed", "check one, verdict: 'seen' now, 'mixed' there"),
        ("beside", [0.6], "ours beside the paper's, row 1: 0.5 now, 0.6 there"),
        ("beside", [], "the rows beside the paper's differ"),
    ],
)
def test_verify_compares_them(
    claiming: Cli, place: str, value: object, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(claiming.out)], claiming.registry) == 0
    record = strict(claiming.out / "a.json")
    if place == "beside":
        record["beside"]["ours"] = value
    else:
        record["checks"][0][place] = value
    (claiming.out / "a.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert main(["--verify", "--out", str(claiming.out)], claiming.registry) == 1
    assert words in capsys.readouterr().out


def test_recorded_toy_runs_are_verified_unless_others_are_given() -> None:
    recorded = {"scale": "smoke", "seeds": 2, "toy_runs": 70, "seed": 3}
    assert _request(Options(verify=True), recorded).toy_runs == 70
    assert _request(Options(verify=True, toy_runs=5), recorded).toy_runs == 5
    assert _request(Options(verify=True), {**recorded, "toy_runs": None}).toy_runs is None
