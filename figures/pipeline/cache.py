"""Computed data on disk: `DIR/.cache/NAME-<key>.npz`, whole or not taken at all.

The arrays are stored as they are; names, facts and checks as JSON in one more array of bytes. Nothing is
pickled, neither written nor read. A file that is damaged in any way is reported as such and never used.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from figures.artefact import Check, Data
from figures.pipeline.files import write

FOLDER = ".cache"
DIGEST = hashlib.sha256().digest_size  # bytes at the end of a file
KEPT = 8  # data sets kept for each artefact, so that going back and forth between two scales recomputes nothing


class DamagedError(Exception):
    """There is a cache file, and it is not what was written."""


@dataclass(frozen=True)
class Computed:
    """Data, and how they came about: JSON-able `made` (seconds, time, versions, commit)."""

    data: Data
    made: dict[str, Any]


def path_of(out: Path, name: str, key: str) -> Path:
    """Where the data of `key` lie."""
    return out / FOLDER / f"{name}-{key[:20]}.npz"


def array(column: Any) -> np.ndarray:
    """`column` as an array that can be stored: booleans, integers, floats or strings.

    Raises TypeError for anything else (objects would have to be pickled).
    """
    found = np.asarray(column)
    if found.dtype == object and all(isinstance(item, str) for item in found.flat):
        found = found.astype(str)
    if found.dtype.kind not in "biufU":
        raise TypeError(f"a column must hold booleans, integers, floats or strings, got dtype {found.dtype}")
    return found


def save(out: Path, name: str, key: str, computed: Computed) -> None:
    """Write the data of `key`. Raises OSError if the folder cannot be written, TypeError as `array` does."""
    data = computed.data
    arrays = {f"table{i}": array(column) for i, column in enumerate(data.table.values())}
    arrays |= {f"extra{i}": array(values) for i, values in enumerate(data.extra.values())}
    arrays |= {f"beside{i}": array(values) for i, values in enumerate(data.beside.values())}
    words = {
        "key": key,
        "table": list(data.table),
        "extra": list(data.extra),
        "beside": list(data.beside),
        "facts": [[fact, _number_out(value)] for fact, value in data.facts.items()],
        "checks": [
            {field: _number_out(value) for field, value in asdict(check).items() if value is not None}
            for check in data.checks
        ],
        "made": computed.made,
    }
    text = json.dumps(words, allow_nan=False).encode()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, words=np.frombuffer(text, dtype=np.uint8), **arrays)  # type: ignore[arg-type]
    path = path_of(out, name, key)
    path.parent.mkdir(exist_ok=True)
    content = buffer.getvalue()
    write(path, content + hashlib.sha256(content).digest())  # still an npz: what follows its end is no matter
    _prune(path.parent, name)


def read(out: Path, name: str, key: str) -> Computed | None:
    """The data of `key`, or None if they were never written. Raises DamagedError if they cannot be trusted."""
    try:
        content = path_of(out, name, key).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(str(error)) from error
    try:
        return _decode(content, key)
    except Exception as error:  # whatever a damaged file makes NumPy or JSON raise
        raise DamagedError(f"{type(error).__name__}: {error}") from error


def _decode(stored: bytes, key: str) -> Computed:
    content, digest = stored[:-DIGEST], stored[-DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("its digest is another")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        words = json.loads(arrays["words"].tobytes())
        if words["key"] != key:
            raise ValueError("it belongs to another key")
        data = Data(
            table={column: arrays[f"table{i}"] for i, column in enumerate(words["table"])},
            extra={column: arrays[f"extra{i}"] for i, column in enumerate(words["extra"])},
            beside={column: arrays[f"beside{i}"] for i, column in enumerate(words.get("beside", ()))},
            facts={fact: _number_in(value) for fact, value in words["facts"]},
            checks=tuple(
                Check(**{field: _number_in(value) for field, value in check.items()}) for check in words["checks"]
            ),
        )
        return Computed(data, words["made"])


def _number_out(value: Any) -> Any:
    """A fact as JSON that gives back the very same value: floats in hexadecimal, so NaN and infinity too.

    A tuple of them, or None, are a check's only.
    """
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, tuple):
        return [_number_out(item) for item in value]
    raise TypeError(f"a fact must be a number, a string or a boolean, got {type(value).__name__}")


def _number_in(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_number_in(item) for item in value)
    return float.fromhex(value["float"]) if isinstance(value, dict) else value


def _prune(folder: Path, name: str) -> None:
    """Remove all but the newest of an artefact's data sets."""
    found = [path for path in folder.glob(f"{name}-*.npz") if path.name[len(name) + 1 :].count("-") == 0]
    with suppress(OSError):
        found.sort(key=lambda path: os.stat(path).st_mtime_ns, reverse=True)  # noqa: PTH116
        for path in found[KEPT:]:
            path.unlink(missing_ok=True)
