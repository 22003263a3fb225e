"""What a run writes while it goes on: metrics.jsonl, and files that are there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

UNFINISHED = ".unfinished"  # ends the names of temporary folders


@contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """A temporary sibling to write to; it becomes `path` if the block ends well, and is removed if not.

    A file or a folder; a folder that is there already is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent))
    inside = place / path.name
    try:
        yield inside
        for written in [inside] if inside.is_file() else [p for p in inside.rglob("*") if p.is_file()]:
            with written.open("rb") as file:
                os.fsync(file.fileno())
        if inside.is_dir() and path.is_dir():
            shutil.move(path, place / "old")
        inside.replace(path)
    except SafetensorError as error:  # its writer has no errno of its own
        if f"(os error {errno.ENOSPC})" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder. Nobody else may be writing in it."""
    for place in folder.glob(f".*{UNFINISHED}"):
        shutil.rmtree(place, ignore_errors=True)


def write_json(path: Path, values: Any) -> None:
    """Plain values, readable, atomically."""
    with atomically(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, allow_nan=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """What `write_json` wrote; ValueError in one line if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove it and run again") from error


def ensure_writable(name: str, folder: Path) -> None:
    """Make a folder if it is not there; ValueError, naming the option, if it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        why = "" if os.access(folder, os.W_OK | os.X_OK) else "permission denied"
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        why = str(error.strerror).lower()
    if why:
        raise ValueError(f"{name}: {folder} cannot be written to ({why}); give another folder with --{name}")
