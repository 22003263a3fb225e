"""Files that are whole or absent: atomic writes, digests, strict JSON, and the lock on a folder."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TEMPORARY = ".writing-"  # how the name of a file that is not finished begins
NON_FINITE = 'numbers that are not finite are written as the strings "nan", "inf" and "-inf"'


class BusyError(Exception):
    """Another run holds the lock of the folder."""


def sha256(content: bytes) -> str:
    """The SHA-256 of `content`, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that whoever reads it, also after a crash, finds the old or the new, whole.

    Raises OSError if the folder cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())  # mkstemp gives 0600, and results are meant to be read
        os.replace(name, path)  # noqa: PTH105 (the atomic one, by its own name)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; some file systems cannot do this, and then it is left to them."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def sweep(folder: Path) -> None:
    """Remove what a killed run left unfinished. Call it only while holding the folder's lock."""
    for path in folder.glob(TEMPORARY + "*"):
        path.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """`value` as JSON can say it strictly: NumPy scalars unwrapped, numbers not finite as strings.

    Raises TypeError for what JSON has no word for.
    """
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"JSON has no word for a {type(value).__name__}: {value!r}")


def to_json(value: Any) -> bytes:
    """`value` as strict JSON (no NaN literal), indented, with a newline at its end."""
    return (json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def canonical(value: Any) -> bytes:
    """`value` as JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object at `path`, or None if there is none that can be read."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the folder's lock; the kernel lets go of it when the process ends, however it ends.

    `shared` is for readers and makes no file: where nobody ever wrote, there is nothing to wait for.
    Raises BusyError if another run holds it.
    """
    path = folder / ".lock"
    try:
        handle = os.open(path, os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        if not shared:
            raise
        yield
        return
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(str(path)) from None
        except OSError:
            pass  # a file system without locks: atomic replacement still keeps every file whole
        yield
    finally:
        os.close(handle)
