"""What the numbers were made with: versions, and the commit of the source."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers and pictures depend on; nothing is imported."""
    found = {"python": platform.python_version()}
    for package in ("numpy", "scipy", "numba", "matplotlib"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def computing_versions() -> dict[str, str]:
    """Those of `versions` that a computed number may depend on; of Python, its minor version."""
    found = {name: number for name, number in versions().items() if name != "matplotlib"}
    found["python"] = ".".join(found["python"].split(".")[:2])
    return found


def git_state() -> dict[str, Any]:
    """`commit` of the source tree and whether Python sources are `dirty`; both None outside its repository."""
    unknown: dict[str, Any] = {"commit": None, "dirty": None}
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != ROOT:  # an installed copy may lie in someone else's repository
        return unknown
    commit = _git("rev-parse", "--verify", "--quiet", "HEAD")
    changed = _git("status", "--porcelain", "--", "*.py")
    if commit is None or changed is None:
        return unknown
    return {"commit": commit, "dirty": bool(changed)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
