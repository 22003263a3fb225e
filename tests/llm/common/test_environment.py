"""Versions and the state of the source tree, as they are recorded beside results."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm.common import environment
from llm.common.environment import LIBRARIES, git_state, versions


def test_versions_are_those_of_python_and_of_installed_packages() -> None:
    assert versions(["numpy", "no-such-package"]) == {"python": platform.python_version(), "numpy": np.__version__}
    assert set(versions()) <= {"python", *LIBRARIES}


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.process
def test_the_commit_and_whether_python_sources_differ_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path.resolve())
    unknown: dict[str, Any] = {"commit": None, "dirty": None}
    assert git_state() == unknown
    git(tmp_path, "init", "-q")
    assert git_state() == unknown  # no commit yet
    (tmp_path / "a.py").write_text("x = 1\n", encoding="utf-8")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state() == {"commit": commit, "dirty": False}
    (tmp_path / "notes.txt").write_text("no source\n", encoding="utf-8")
    assert git_state() == {"commit": commit, "dirty": False}
    (tmp_path / "a.py").write_text("x = 2\n", encoding="utf-8")
    assert git_state() == {"commit": commit, "dirty": True}
    inner = tmp_path / "site-packages"
    inner.mkdir()
    monkeypatch.setattr(environment, "ROOT", inner)
    assert git_state() == unknown  # installed in another project's repository


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state() == {"commit": None, "dirty": None}
