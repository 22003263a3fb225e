"""Versions of libraries and the commit of the source: the conditions under which a result was computed."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("forget-neither", "torch", "transformers", "peft", "accelerate", "datasets", "safetensors", "numpy")


def versions(packages: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Return the versions of Python and of the installed ones of `packages`, by name; nothing is imported."""
    installed = {"python": platform.python_version()}
    for package in packages:
        if number := _installed(package):
            installed[package] = number
    return installed


@cache
def _installed(package: str) -> str:
    """Return the version of a package, whose metadata are parsed once per process; "" if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def git_state() -> dict[str, Any]:
    """Return {"commit": of the source tree, "dirty": whether Python sources differ}; None where there is no commit."""
    unknown: dict[str, Any] = {"commit": None, "dirty": None}
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != ROOT:  # an installed copy may lie in another project's repository
        return unknown
    commit = _git("rev-parse", "--verify", "--quiet", "HEAD")
    changed = _git("status", "--porcelain", "--", "*.py")
    if commit is None or changed is None:
        return unknown
    return {"commit": commit, "dirty": bool(changed)}


def _git(*arguments: str) -> str | None:
    """Return the output of a git command in the source tree; None if it fails or git is absent."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
