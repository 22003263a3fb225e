"""States of runs, and the commands that carry the runs out one by one."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.study_fakes import BASE, finish, start_or_resume

pytest.importorskip("torch")
yaml = pytest.importorskip("yaml")

from llm.study import Grid, commands, status  # noqa: E402


def test_states_of_runs_that_others_carry_out(tmp_path: Path) -> None:
    from filelock import FileLock

    grid = Grid(BASE, methods=("mix",), lams=(0.1, 0.2, 0.3))
    for run in grid.runs()[:2]:
        start_or_resume(run.folder(tmp_path), steps=3)
        (run.folder(tmp_path) / ".lock").touch()
    with FileLock(grid.runs()[0].folder(tmp_path) / ".lock"):
        found = [(s.state, s.step, s.of) for s in status(grid, tmp_path)]
    assert found == [("running", 3, 4), ("stopped", 3, 4), ("missing", 0, 4)]


@pytest.mark.slow
def test_commands_are_one_line_each_for_any_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "a folder; with $signs"
    here.mkdir()
    monkeypatch.chdir(here)
    grid = Grid(BASE, methods=("mix",), lams=(0.1, 0.2, 0.3))
    finish(grid.runs()[0].folder("my root"), grid.runs()[0].placed("my root").as_dict())
    lines = commands(grid, "my root")
    assert len(lines) == 2
    for line, run in zip(lines, grid.runs()[1:], strict=True):
        assert shlex.split(line)[:3] == ["cd", str(here), "&&"]
        assert shlex.split(line)[3:] == [
            sys.executable, "-m", "llm", "train", "--config", f"my root/configs/{run.name}.yaml",
        ]  # fmt: skip
        assert yaml.safe_load((here / f"my root/configs/{run.name}.yaml").read_text())["out"] == f"my root/{run.name}"
    said = subprocess.run(
        ["sh", "-c", lines[0].replace("-m llm train", "-c 'import os; print(os.getcwd())'")],
        cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == str(here)
