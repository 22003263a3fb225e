"""Relative names in run.json, read from another directory."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door

torch = pytest.importorskip("torch")
from llm.training.relative_names import with_names_from  # noqa: E402


def test_names_of_the_directory_become_absolute_and_others_stay(tmp_path: Path) -> None:
    for name in ("own", "sets", "sft", "embedded", "skill"):
        (tmp_path / name).mkdir()
    (tmp_path / "rows.jsonl").touch()
    values = {
        "model": "own", "adapter": "", "reference": "sft", "sft": "skill", "preference": "sets:en",
        "sft_held_out": str(tmp_path / "rows.jsonl"), "preference_held_out": "org/name", "lr": 0.1,
        "objective": ["a=sft:rows.jsonl", "weight=0.5", "b=sft:embedded:candour", "evaluation=./rows.jsonl"],
    }  # fmt: skip
    made = with_names_from(values, str(tmp_path))
    changed = {name: value for name, value in made.items() if value != values[name]}
    assert changed.pop("preference") == f"{tmp_path}/sets:en"
    assert changed.pop("objective") == [
        f"a=sft:{tmp_path}/rows.jsonl", "weight=0.5", "b=sft:embedded:candour", f"evaluation={tmp_path}/rows.jsonl",
    ]  # fmt: skip
    assert changed == {"model": f"{tmp_path}/own"}


@pytest.mark.slow
def test_a_run_on_relative_names_is_evaluated_from_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    elsewhere.mkdir()
    project.mkdir()
    monkeypatch.chdir(project)
    options: dict[str, Any] = {
        name: os.path.relpath(value) if isinstance(value, str) and value.startswith(str(tmp_path)) else value
        for name, value in door.place(project).items()
    }
    assert options["model"] == "base"
    assert door.call(capsys, "train", **options).status == 0
    here = door.call(capsys, "evaluate", run="run")
    monkeypatch.chdir(elsewhere)
    there = door.call(capsys, "evaluate", run=str(project / "run"))
    assert (here.status, there.status) == (0, 0), there.err
    assert here.out == there.out

    moved = elsewhere / "moved"  # with all that it names: sought where the command is given
    shutil.move(project, moved)
    monkeypatch.chdir(moved)
    assert door.call(capsys, "evaluate", run="run").out == here.out
    assert json.loads((moved / "run" / "run.json").read_text(encoding="utf-8"))["directory"] == str(project)
