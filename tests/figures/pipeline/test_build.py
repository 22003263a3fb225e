"""Files of artefacts, their cache, exit statuses and wrong requests, with small fake artefacts."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
from support.pipeline_fakes import Cli, cli_in_process, lines, strict

from figures.analysis import recorded_runs
from figures.cli import main
from figures.pipeline import cache
from llm.common.files import UNFINISHED, lock


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return cli_in_process(tmp_path, monkeypatch)


def run(cli: Cli, *arguments: str) -> int:
    return main([*arguments, "--out", str(cli.out)], cli.registry)


@pytest.mark.slow
def test_four_files_and_the_content_of_the_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = cli_in_process(tmp_path, monkeypatch, pictures=True)
    assert run(cli, "--seed", "2", "--scale", "smoke") == 0
    record = strict(cli.out / "a.json")
    assert set(record["files"]) == {"a.pdf", "a.png", "a.csv"}
    for name, file in record["files"].items():
        content = (cli.out / name).read_bytes()
        assert file == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert (cli.out / "a.pdf").read_bytes().startswith(b"%PDF-1")
    assert (cli.out / "a.png").read_bytes().startswith(b"\x89PNG")
    assert record["parameters"] == {"n": 4, "seed": 2, "seeds": 2, "scale": "smoke"}
    assert (record["scale"], record["seed"], record["seeds"]) == ("smoke", 2, None)
    assert record["facts"]["big"] == "inf"
    assert record["checks"] == [
        {
            "name": "small",
            "statement": "x is small",
            "kind": "upper",
            "bound": 1000.0,
            "attained": 5 / 3,
            "holds": True,
            "must_hold": True,
            "verdict": "",
            "interval": None,
            "place": "",
            "claim": "",
            "p_value": None,
        }
    ]
    assert record["versions"].keys() == {"python", "numpy", "scipy", "numba", "matplotlib"}
    assert record["git"].keys() == {"commit", "dirty"}
    assert record["seconds"].keys() == {"compute", "draw"}


@pytest.mark.slow
def test_csv_has_full_precision(cli: Cli) -> None:
    run(cli)
    rows = (cli.out / "a.csv").read_text().splitlines()
    assert rows[0] == "x,word,yes,k"
    assert rows[2:4] == [f'{1 / 3!r},"b,c",false,1', f'{2 / 3!r},"d""e",true,2']


@pytest.mark.slow
def test_a_second_run_computes_and_changes_nothing(cli: Cli) -> None:
    cli.add("b")
    assert run(cli) == 0
    assert cli.log() == ["compute a", "compute b", "draw a", "draw b"]
    before = cli.files()
    assert run(cli) == 0
    assert cli.log() == []
    assert cli.files() == before


@pytest.mark.slow
def test_a_colour_only_redraws(cli: Cli) -> None:
    run(cli)
    cli.log()
    table, picture = (cli.out / "a.csv").read_bytes(), (cli.out / "a.png").read_bytes()
    cli.change("a", 'COLOUR = "black"', 'COLOUR = "red"')
    assert run(cli) == 0
    assert cli.log() == ["draw a"]
    assert (cli.out / "a.csv").read_bytes() == table
    assert (cli.out / "a.png").read_bytes() != picture


@pytest.mark.slow
def test_the_mathematics_recomputes(cli: Cli) -> None:
    run(cli)
    cli.log()
    cli.change("a", "/ 3.0", "/ 4.0")
    assert run(cli) == 0
    assert cli.log() == ["compute a", "draw a"]
    assert (cli.out / "a.csv").read_text().splitlines()[2].startswith("0.25,")


@pytest.mark.slow
def test_a_comment_changes_nothing(cli: Cli) -> None:
    run(cli)
    cli.log()
    cli.change("a", "# of the line", "# of the curve")
    run(cli)
    assert cli.log() == []


@pytest.mark.slow
def test_parameters_recompute_and_the_old_data_are_kept(cli: Cli) -> None:
    run(cli)
    cli.log()
    assert run(cli, "--seed", "1") == 0
    assert cli.log() == ["compute a", "draw a"]
    assert run(cli) == 0
    assert cli.log() == ["draw a"]
    assert strict(cli.out / "a.json")["seed"] == 0


@pytest.mark.slow
def test_force_makes_all_anew(cli: Cli) -> None:
    run(cli)
    pdf = (cli.out / "a.pdf").read_bytes()
    cli.log()
    assert run(cli, "--force") == 0
    assert cli.log() == ["compute a", "draw a"]
    assert (cli.out / "a.pdf").read_bytes() == pdf


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_damaged_cache_is_not_trusted(cli: Cli, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(cli)
    table = (cli.out / "a.csv").read_bytes()
    (path,) = (cli.out / cache.FOLDER / "a").glob(f"*/{cache.FILE}")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes({"cut": bytes(content[:-30]), "flipped": bytes(content), "empty": b"", "text": b"no data"}[damage])
    (cli.out / "a.csv").unlink()
    cli.log()
    capsys.readouterr()
    assert run(cli) == 0
    assert cli.log() == ["compute a", "draw a"]
    assert (cli.out / "a.csv").read_bytes() == table
    assert "damaged" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["pdf", "png", "csv", "json"])
def test_a_changed_file_is_made_again_from_the_cache(cli: Cli, suffix: str) -> None:
    run(cli)
    cli.log()
    path = cli.out / f"a.{suffix}"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert run(cli) == 0
    assert cli.log() == ["draw a"]
    if suffix != "json":
        assert path.read_bytes() == content
    strict(cli.out / "a.json")


@pytest.mark.slow
def test_a_failing_check_is_status_1(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli.add("bad", bound=0.5)
    assert run(cli) == 1
    assert "DOES NOT HOLD: x is small: 1.0 <= 0.5" in capsys.readouterr().out
    assert (cli.out / "bad.json").exists()
    assert run(cli, "a") == 0
    assert run(cli, "bad") == 1  # also from the cache
    assert strict(cli.out / "manifest.json")["artefacts"]["bad"]["checks"] == {
        "total": 1,
        "hold": 0,
        "broken": ["small"],
        "empirical": {"seen": 0, "mixed": 0, "not seen": 0},
        "survive": 0,
    }


@pytest.mark.slow
def test_a_check_that_need_not_hold(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli.add("bad", bound=0.5)
    cli.change("bad", "float(x.max()))", "float(x.max()), must_hold=False)")
    assert run(cli) == 0
    assert "does not hold (and need not)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["aa"], "unknown name 'aa' (did you mean a?); valid names: a"),
        (["--seeds", "0"], "seeds: must be at least 1, got 0"),
        (["--sft", "mine.jsonl"], "sft: is an option of --scale real, got mine.jsonl with --scale embedded"),
    ],
)
def test_wrong_requests(cli: Cli, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("paper_repro: ")
    assert words in line
    assert not cli.out.exists()


@pytest.mark.parametrize("verify", [[], ["--verify"]])
def test_out_that_is_a_file(cli: Cli, verify: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    cli.out.write_text("mine")
    assert run(cli, *verify) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("is not a folder")
    assert cli.out.read_text() == "mine"


def test_out_that_cannot_be_written(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    (cli.folder / "file").write_text("")
    cli.out = cli.folder / "file" / "out"
    assert run(cli) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written" in line


@pytest.mark.slow
def test_a_folder_in_use(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli.out.mkdir()
    with lock(cli.out / ".lock"):
        for arguments in ([], ["--verify"]):
            assert run(cli, *arguments) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert "another run is using" in line
    assert run(cli) == 0


@pytest.mark.slow
def test_what_a_killed_run_left_is_swept(cli: Cli) -> None:
    cli.out.mkdir()
    left = cli.out / f".a.csv.abc{UNFINISHED}"
    left.mkdir()
    (left / "a.csv").write_text("half")
    run(cli)
    assert not left.exists()


def test_list(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli.registry["broken"] = "no_such_module"
    assert run(cli, "--list") == 0
    said = capsys.readouterr().out
    assert "Figure 99" in said
    assert "instant" in said
    assert "cannot be loaded" in said
    assert not cli.out.exists()


def test_help_is_status_0(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        run(cli, "--help")
    assert error.value.code == 0
    assert "--verify" in capsys.readouterr().out


@pytest.mark.slow
def test_the_data_come_back_from_the_cache_as_they_were(cli: Cli) -> None:
    run(cli)
    record = strict(cli.out / "a.json")
    computed = cache.read(cli.out, "a", record["key"])
    assert computed is not None
    data = computed.data
    assert list(data.table) == ["x", "word", "yes", "k"]
    assert data.table["x"].tolist() == [0.0, 1 / 3, 2 / 3, 1.0]
    assert data.table["word"].tolist() == ["a", "b,c", 'd"e', "f"]
    grid = data.extra["grid"]
    assert math.isnan(grid[0, 0])
    assert grid[0, 1] == math.inf
    assert math.copysign(1.0, grid[1, 1]) == -1.0
    assert data.facts == {"big": math.inf, "mean": 0.5, "count": 4, "word": "nan"}
    assert cache.read(cli.out, "a", "0" * 64) is None


@pytest.mark.slow
def test_progress_in_plain_lines(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    run(cli)
    said = lines(capsys.readouterr().out)
    assert [line.split()[:2] for line in said[:3]] == [["a", "computing"], ["a", "drawing"], ["a", "done"]]
    assert any("index.html" in line for line in said)
    assert not any("\x1b" in line for line in said)


def test_an_artefact_whose_runs_nobody_recorded_is_made_only_if_it_is_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_runs, "RESULTS", tmp_path / "results")
    cli.add("chat")
    assert run(cli) == 0
    assert not (cli.out / "chat.json").exists()
    assert run(cli, "--scale", "real") == 0
    assert (cli.out / "chat.json").exists()
    (cli.out / "chat.json").unlink()
    assert run(cli, "chat") == 0
    assert (cli.out / "chat.json").exists()
    (cli.out / "chat.json").unlink()
    (tmp_path / "results" / "chat").mkdir(parents=True)
    for name in (recorded_runs.TABLE, recorded_runs.ABOUT):
        (tmp_path / "results" / "chat" / name).touch()
    assert run(cli) == 0
    assert (cli.out / "chat.json").exists()
