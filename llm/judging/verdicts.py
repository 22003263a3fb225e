"""The file of verdicts: one line per judged request, appended when the reply arrives, so that a second run resumes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm.common.files import BusyError, ensure_writable, lock

_BEGIN = b'{"key": "'  # the first bytes of every line


class Verdicts:
    """Verdicts by key, in memory, and in the file of `open_verdicts`."""

    def __init__(self, lines: dict[str, dict[str, Any]] | None = None, path: Path | None = None) -> None:
        self._lines, self._path = dict(lines or {}), path

    def __contains__(self, key: str) -> bool:
        return key in self._lines

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._lines[key]

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, key: str, line: dict[str, Any]) -> None:
        """Keep a line; the line is in the file when this returns."""
        whole = {"key": key, **line}
        if self._path is not None:
            with self._path.open("ab") as file:  # one write of a complete line
                file.write((json.dumps(whole, ensure_ascii=False) + "\n").encode())
        self._lines[key] = whole


def key_of(**inputs: Any) -> str:
    """Return 32 hexadecimal digits that name a verdict by everything the verdict depends on."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


@contextmanager
def open_verdicts(path: Path) -> Iterator[Verdicts]:
    """Yield the verdicts of a file, which is made if absent; no other process can open the file meanwhile.

    An incomplete last line, left by a killed process, is removed. Raises ValueError if the file holds other content, or
    another process writes it.
    """
    ensure_writable("out", path.parent)
    try:
        with lock(path.with_name(f".{path.name}.lock")):
            yield Verdicts(_read(path), path)
    except BusyError as error:
        raise ValueError(f"out: another process is writing {path}; wait for it, or give another file") from error


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of a file by key, and cut off an incomplete last line."""
    if not path.exists():
        return {}
    lines: dict[str, dict[str, Any]] = {}
    end = 0  # offset behind the last complete line
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                values = json.loads(line)
                lines[values["key"]] = values
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
    return lines
