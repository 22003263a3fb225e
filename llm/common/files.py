"""Files that are complete or absent: atomic writes, JSON, and locks between processes."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

UNFINISHED = ".unfinished"  # suffix of temporary folders


class BusyError(Exception):
    """A lock that another process holds."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; a file or folder written there replaces `path` when the block ends.

    Readers find the old content or the new content, complete, also after a crash: the content is on disk before the
    rename. If the block raises, `path` is unchanged and the temporary content is removed; if the process is killed, the
    temporary content stays for `remove_unfinished`. Several processes may write the same path, and the last rename
    stays. A folder replaces a folder in two renames, between which `path` is absent.

    Raises OSError if the folder of `path` is not writable or the disk is full, also where a library reports a full disk
    through an exception of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent))
    temporary = folder / path.name
    try:
        with full_disk_as_os_error(path):
            yield temporary
        _sync_content(temporary)
        _replace(temporary, path, folder)
        _sync(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def full_disk_as_os_error(path: Path) -> Iterator[None]:
    """Raise OSError (ENOSPC) in place of an exception of another kind by which a library reports a full disk.

    path  written in the block, for the error

    safetensors raises a SafetensorError, and tokenizers a plain Exception, with the system's number in the message.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and f"(os error {errno.ENOSPC})" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def _sync_content(path: Path) -> None:
    """Write a file, or all files and folders in a folder, through to the disk."""
    if path.is_dir():
        for inner in path.rglob("*"):
            _sync(inner)
    _sync(path)


def _sync(path: Path) -> None:
    """Write a file or a folder's entries through to the disk; file systems that cannot sync folders are left alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def _replace(source: Path, target: Path, aside: Path) -> None:
    """Rename `source` to `target`; a folder that is in the way is moved into the folder `aside` first."""
    for attempt in itertools.count():
        try:
            source.replace(target)
        except OSError as error:
            if not source.is_dir() or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            with suppress(FileNotFoundError):  # another process has moved the folder meanwhile
                target.replace(aside / f"old-{attempt}")
        else:
            return


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove half-written files of killed processes under `name` (a glob) in a folder.

    No other process may be writing these names: call it under the lock that guards them.
    """
    for temporary in folder.glob(f".{name}.*{UNFINISHED}"):
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; see `atomic_path` for guarantees and errors."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically; line ends stay as given."""
    write_bytes(path, text.encode())


def write_json(path: Path, values: Any) -> None:
    """Write plain values as indented JSON, atomically; numbers that are not finite become NaN and Infinity."""
    write_text(path, json.dumps(values, indent=2, allow_nan=True) + "\n")


def read_json(path: Path) -> Any:
    """Return the values of a JSON file; ValueError, in one line, if the file is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove it and run again") from error


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, made if it is absent, and write it through to the disk: as many bytes as the line has.

    Half a line at the end, of a process that was killed, is removed first. Readers find whole lines, and at most half
    of the last one. One process may append at a time: call it under the lock that guards the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made = not path.exists()
    with path.open("a+b") as file:
        file.truncate(_whole_lines(file))
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if made:
        _sync(path.parent)


def _whole_lines(file: BinaryIO) -> int:
    """Return the bytes up to the last line end of a file, which is read from its end, a block at a time."""
    position = file.seek(0, os.SEEK_END)
    while position:
        start = max(0, position - 4096)
        file.seek(start)
        if end := file.read(position - start).rfind(b"\n") + 1:
            return start + end
        position = start
    return 0


def read_json_lines(path: Path) -> list[Any]:
    """Return the values of the whole lines of a file of JSON lines, [] if it is absent.

    Raises ValueError, in one line with the line's number, if a whole line is damaged.
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    values = []
    for number, line in enumerate(lines, start=1):
        try:
            values.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path} is damaged (line {number}: {error}); remove that line and run again") from error
    return values


def ensure_output(out: str, **inputs: str) -> None:
    """Raise ValueError, in one line, if the file `out` is one of a command's inputs, or its folder is not writable.

    inputs  names or files by their options
    """
    for name, value in inputs.items():
        if value and Path(value).expanduser().resolve() == Path(out).expanduser().resolve():
            raise ValueError(f"out: {out} is read by --{name}, and would be overwritten; give another file")
    ensure_writable("out", Path(out).parent)


# Files by which a saved run, adapter, model or tokenizer is known.
_MARKS = ("run.json", "adapter_config.json", "config.json", "tokenizer_config.json")
_OWN = (*_MARKS, "summary.json", "metrics.jsonl", "generation_config.json", "tokenizer.json")


def check_name(out: str, *suffixes: str) -> None:
    """Raise ValueError, in one line, unless the file `out` of a command has one of these endings and is no folder.

    Raises it as well for a file of a saved run, adapter or model, which would be overwritten.
    """
    path = Path(out)
    if not out.endswith(suffixes) or path.is_dir():
        raise ValueError(f"out: must be a {' or '.join(suffixes)} file, got {out}")
    if path.name in _OWN and path.exists() and any((path.parent / name).exists() for name in _MARKS):
        raise ValueError(f"out: {out} belongs to the run or model in its folder; give another file")


def ensure_writable(option: str, folder: Path) -> None:
    """Make a folder if it is absent; ValueError, naming the option, if it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK | os.X_OK) else "permission denied"
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        reason = str(error.strerror).lower()
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        reason = str(error.strerror).lower()
    if reason:
        raise ValueError(f"{option}: {folder} cannot be written to ({reason}); give another folder with --{option}")


@contextmanager
def lock(path: Path, *, wait: bool = False, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path`, made if it is absent, while the block lasts.

    The operating system releases the lock when the process ends, however the process ends; the file stays.

    wait     wait for another holder; False: raise BusyError at once
    waiting  called once if another process holds the lock and `wait` is set

    Raises OSError if the file cannot be made or written.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path)
    try:
        held.acquire(timeout=0)
    except Timeout as error:
        if not wait:
            raise BusyError(f"another process holds {path}") from error
        if waiting is not None:
            waiting()
        held.acquire()
    try:
        yield
    finally:
        held.release()


def is_locked(path: Path) -> bool:
    """Return whether a process, this one included, holds the lock file `path`.

    An absent or unwritable lock file counts as free: a process that cannot write the file cannot hold the lock.
    """
    if not path.is_file():
        return False
    try:
        with lock(path):
            return False
    except BusyError:
        return True
    except OSError:
        return False
