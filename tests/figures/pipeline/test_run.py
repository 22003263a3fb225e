"""The command as a real process that is interrupted, terminated and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from support.commands import Command
from support.pipeline_fakes import ROOT, Cli, InProcess, gone, until

from figures.cli import main
from figures.pipeline import jobs
from figures.pipeline.build import present
from figures.pipeline.paths import read_record

pytestmark = [pytest.mark.process, pytest.mark.slow]

# Says who it is, then waits for leave: no guessing how long anything takes.
SLOW = """
    (HERE / "started.part").write_text(str(os.getpid()))
    (HERE / "started.part").replace(HERE / "started")
    end = time.monotonic() + 60.0
    while not (HERE / "go").exists() and time.monotonic() < end:
        time.sleep(0.01)
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    found = Cli(tmp_path)
    found.add("quick")
    found.add("slow", body=SLOW)
    found.add("later")
    return found


def started(cli: Cli) -> tuple[Command, int]:
    """A run in which `quick` is finished and `slow` at work, and the process that works on it."""
    process = cli.start("--jobs", "1")
    try:
        until(lambda: (cli.folder / "started").exists() or process.poll() is not None, "it computes")
        assert process.poll() is None, process.communicate()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process, int((cli.folder / "started").read_text())


def goes_on(cli: Cli) -> None:
    """The same command, not disturbed: what was finished is kept, and the rest is made."""
    (cli.folder / "go").touch()
    quick = (cli.out / "quick.json").read_bytes()
    said = cli.start("--jobs", "1")
    out, err = said.communicate()
    assert (said.returncode, err) == (0, ""), out
    assert (cli.out / "quick.json").read_bytes() == quick
    assert all(present(cli.out, name) for name in cli.registry)
    assert cli.log().count("compute quick") == 1
    assert not list(cli.out.glob(".*.unfinished"))


@pytest.mark.parametrize("how", ["ctrl-c", "SIGTERM", "SIGTERM to all"])
def test_a_clean_stop(cli: Cli, how: str) -> None:
    process, worker = started(cli)
    if how == "ctrl-c":  # a terminal sends it to every process of the group
        os.killpg(process.pid, signal.SIGINT)
    elif how == "SIGTERM":
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate()
    assert process.returncode == 130
    assert err == "paper_repro: stopped; finished: quick; run the same command to resume\n"
    assert "Traceback" not in out
    assert gone(worker)
    assert present(cli.out, "quick")
    assert not (cli.out / "slow.json").exists()
    assert not (cli.out / "slow.error.txt").exists()
    manifest = read_record(cli.out / "manifest.json")
    assert manifest is not None
    assert list(manifest["artefacts"]) == ["quick"]
    if how == "ctrl-c":  # what the others leave was just seen to be the same
        goes_on(cli)


def test_kill_9(cli: Cli) -> None:
    process, worker = started(cli)
    process.kill()
    process.communicate()
    until(lambda: gone(worker), "the worker follows its parent")
    assert present(cli.out, "quick")
    assert present(cli.out, "slow") is None
    goes_on(cli)


def test_the_real_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The script itself, from another folder: the artefacts that take no time, made, then verified."""
    command = [sys.executable, str(ROOT / "paper_repro.py"), "fig5", "table3", "--out", "made here"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, ""), made.stdout
    out = tmp_path / "made here"
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {
        "index.html",
        "manifest.json",
        *(f"{n}.{s}" for n in ("fig5", "table3") for s in ("pdf", "png", "csv", "json")),
    }
    rows = (out / "fig5.csv").read_text().splitlines()
    assert rows[0] == "theta,f_ref,chosen"
    (chosen,) = [row for row in rows if row.endswith(",true")]
    assert chosen.startswith("5.0,0.078889734292549")
    assert (out / "table3.csv").read_text().splitlines() == [
        "input,output,label,role,feature_1,feature_2",
        "x_DPO,y_w,1,chosen,1.0,1.0",
        "x_DPO,y_l,0,rejected,0.5,0.5",
        "x_SFT,y,0,target,0.5,0.5",
        "x_SFT,y',1,not trained on,1.0,0.5",
    ]
    monkeypatch.setattr(jobs, "fork_server", lambda _: InProcess())  # another process than the one that made them
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # which an artefact's process sets
    assert main(["fig5", "table3", "--out", str(out), "--verify"]) == 0
    assert capsys.readouterr().out.count("same: ") == 2


def test_it_starts_without_anything_heavy() -> None:
    code = (
        "import sys, figures.cli, figures.options, figures.pipeline.run;"
        "print(sorted({'numpy', 'matplotlib', 'numba', 'scipy', 'toyopt'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
