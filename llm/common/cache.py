"""Content-addressed cache on disk: computed once, named by the digest of everything the content depends on.

An entry is a folder ROOT/KIND/KEY. Its `entry.json` holds the key and the SHA-256 of every other file, so that an entry
that is incomplete, changed or moved counts as damaged and is computed again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from llm.common.files import atomic_path, lock, remove_unfinished, write_json

ENTRY = "entry.json"
Value = TypeVar("Value")


class DamagedError(Exception):
    """A cache entry that is not as written."""


def digest(values: Any) -> str:
    """Return 16 hexadecimal digits that name plain values: equal for equal values, on any machine."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


class ContentCache:
    """Cache of one kind of content, in the folder `root`/`kind`.

    root  made when the first entry is written; a cache that can only be read serves its entries
    kind  name of the folder, such as "reference"
    """

    def __init__(self, root: Path, kind: str) -> None:
        self.folder = Path(root) / kind

    def path(self, key: str, name: str = "") -> Path:
        """Return the folder of an entry, or the path of the file `name` in it."""
        return self.folder / key / name

    def read(
        self, key: str, load: Callable[[Path], Value | None], damaged: Callable[[str], None] = lambda _: None
    ) -> Value | None:
        """Return `load(folder)` of an entry; None if the entry is absent or damaged.

        load     reads the entry's folder; ValueError for content of another form, which counts as damaged
        damaged  called with the reason if there is an entry that is damaged
        """
        try:
            if not self._check(key):
                return None
            return load(self.path(key))
        except (DamagedError, OSError, ValueError) as error:
            damaged(str(error))
            return None

    def write(self, key: str, save: Callable[[Path], None]) -> Path:
        """Write an entry atomically by `save(folder)`, where the folder is empty; return the entry's folder.

        Raises OSError if the cache is not writable or the disk is full.
        """
        with atomic_path(self.path(key)) as temporary:
            temporary.mkdir()
            save(temporary)
            files = {file.relative_to(temporary).as_posix(): sha256(file) for file in _files(temporary)}
            write_json(temporary / ENTRY, {"key": key, "files": files})
        return self.path(key)

    def fetch(
        self,
        key: str,
        load: Callable[[Path], Value | None],
        save: Callable[[Path], None],
        waiting: Callable[[], None] | None = None,
    ) -> Value:
        """Return `load(folder)` of an entry, which `save(folder)` computes if it is absent or damaged.

        Processes that fetch the same entry at the same time wait for the first to compute it; `waiting` is called once
        in those. Raises DamagedError if `load` does not accept content that `save` has just written.
        """
        value = self.read(key, load)
        if value is not None:
            return value
        with self.lock(key, waiting):
            value = self.read(key, load)
            if value is None:
                self.write(key, save)
                value = self.read(key, load)
        if value is None:
            raise DamagedError(f"{self.path(key)} cannot be read back; is another program changing the cache?")
        return value

    @contextmanager
    def lock(self, key: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock of an entry; another process that asks for it waits, after calling `waiting` once."""
        with lock(self.folder / f".{key}.lock", wait=True, waiting=waiting):
            remove_unfinished(self.folder, key)
            yield

    def prune(self, keep: int) -> None:
        """Remove all but the `keep` entries written last."""
        entries = sorted(self.folder.glob(f"*/{ENTRY}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for entry in entries[keep:]:
            shutil.rmtree(entry.parent, ignore_errors=True)

    def _check(self, key: str) -> bool:
        """Return whether there is an entry; DamagedError if it is not as written."""
        folder = self.path(key)
        if not folder.is_dir():
            return False
        try:
            entry = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
            written_key, digests = str(entry["key"]), dict(entry["files"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DamagedError(f"{folder / ENTRY} cannot be read ({error})") from error
        if written_key != key:
            raise DamagedError(f"{folder} belongs to another key, {written_key}")
        for name, written in digests.items():
            if not (folder / name).is_file() or sha256(folder / name) != written:
                raise DamagedError(f"{folder / name} was changed or lost")
        return True


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
