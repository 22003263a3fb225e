"""The file of verdicts: a line a judged request, appended as it comes, so that a second run asks for the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm.common.files import ensure_writable

_BEGIN = b'{"key": "'  # of every line


class Verdicts:
    """Lines by their keys. `opened` is the way in, unless they are to be in memory alone."""

    def __init__(self, lines: dict[str, dict[str, Any]] | None = None, path: Path | None = None) -> None:
        self._lines, self._path = dict(lines or {}), path

    def __contains__(self, key: str) -> bool:
        return key in self._lines

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._lines[key]

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, key: str, line: dict[str, Any]) -> None:
        """Keep a line, on disk before this returns."""
        whole = {"key": key, **line}
        if self._path is not None:
            with self._path.open("ab") as file:  # one write of a whole line, so that no half of it is ever read
                file.write((json.dumps(whole, ensure_ascii=False) + "\n").encode())
        self._lines[key] = whole


def key_of(**inputs: Any) -> str:
    """What a verdict depends on, as a short name."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


@contextmanager
def opened(path: Path) -> Iterator[Verdicts]:
    """The verdicts in a file, which is made if it is not there, this process's own while the block lasts.

    A last line that a kill cut off is taken away. Raises ValueError if it is no file of verdicts, or another process is
    writing it.
    """
    from filelock import FileLock, Timeout

    ensure_writable("out", path.parent)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=0):
            yield Verdicts(_read(path), path)
    except Timeout as error:
        raise ValueError(f"out: another process is writing {path}; wait for it, or give another file") from error


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    found: dict[str, dict[str, Any]] = {}
    end = 0  # of the last whole line
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                values = json.loads(line)
                found[values["key"]] = values
            except (ValueError, LookupError, TypeError) as error:
                raise ValueError(f"out: {path}, line {number} is no verdict; give another file") from error
            end += len(line)
        rest = file.seek(0, 2) - end
        file.seek(end)
        ours = file.read(len(_BEGIN)).startswith(_BEGIN[:rest])
    if rest and not ours:
        raise ValueError(f"out: {path} holds no verdicts; give another file")
    if rest:
        with path.open("r+b") as file:
            file.truncate(end)
    return found
