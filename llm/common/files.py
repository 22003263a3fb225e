"""What a run writes while it goes on: metrics.jsonl, and files that are there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import sys
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


class Metrics:
    """metrics.jsonl: a line a step and a line an evaluation. On resume, what came after the checkpoint goes.

    `evaluated` are the evaluations that it holds, by step and set.
    """

    def __init__(self, path: Path, *, upto: int, active: bool = True) -> None:
        self.evaluated: set[tuple[int, str]] = set()
        lines = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    values = json.loads(line)
                except json.JSONDecodeError:
                    break  # the process was killed within this line
                if values["step"] > upto:
                    break
                lines.append(line)
                self._note(values)
        self._path = path if active else None
        if active:
            with atomically(path) as temporary:
                temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """One line."""
        self._note(values)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")

    def _note(self, values: dict[str, Any]) -> None:
        if "evaluation" in values:
            self.evaluated.add((values["step"], values["evaluation"]))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All whole lines of a run's metrics.jsonl."""
    lines = []
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def memory_mb() -> float:
    """The most memory used so far, in MB: of the GPU if there is one, else of this process.

    A process that was forked begins with what its parent held at that moment, not with what that had held before.
    """
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(most / (1e6 if sys.platform == "darwin" else 1e3), 1)
