"""Digests of the content of files and folders that a result depends on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

HUB = "hub"  # a word in place of a path: data from the hub
_LARGE = 64_000_000  # bytes


def content_of(path: Path) -> str:
    """Return a digest of the content of a file or folder; "" if there is none, as for names on the hub.

    Different content must give a different run. A large file, such as a base model's weights, counts by its size only:
    reading all of it would take longer than the command.
    """
    if not path.exists():
        return ""
    total = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and p.name != ".lock")
    for file in files:
        size = file.stat().st_size
        small = size <= _LARGE or file.suffix in (".jsonl", ".json", ".gz", ".parquet", ".arrow")
        total.update(f"{'' if file == path else file.relative_to(path)} {size} ".encode())
        if small:
            with file.open("rb") as opened:
                total.update(hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()[:16]


def contents_of(value: Any) -> Any:
    """Return the digest of the file or folder that a text names; other values, "" and the word `hub` unchanged."""
    if not isinstance(value, str) or value in ("", HUB):
        return value
    return content_of(Path(value).expanduser()) or value
