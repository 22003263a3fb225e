"""Log-probabilities of single rows on disk, in pieces: a later run reads the rows it shares and adds the others."""

from __future__ import annotations

import functools
import hashlib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from llm.common.cache import ENTRY, ContentCache
from llm.common.files import is_locked, lock, read_json, write_bytes, write_json

if TYPE_CHECKING:
    from llm.data.sampler import Indices
    from llm.data.tokenization import TokenizedDataset

RowKeys = NDArray[np.bytes_]  # (n,) 32 hexadecimal digits each
Seconds = dict[str, float]  # by metrics.KINDS

_DIGITS = 32
_CLAIM = ".claim-"  # the names of two files of a claim begin with it: the keys, and a lock that its process holds


def row_keys(tokens: TokenizedDataset, rows: Indices) -> RowKeys:
    """Return 32 digits of SHA-256 over each row's token ids, shape (len(rows),): equal for equal rows of any set."""
    return np.array([tokens.row_digest(int(i))[:_DIGITS] for i in rows], dtype=f"S{_DIGITS}")


class RowStore:
    """The log-probabilities (chosen, rejected) of a run's rows under one reference, shared with other runs' rows.

    root     folder of all stores
    key      name of everything but the row that a log-probability depends on
    keys     (n,) of the run's rows
    values   (n, 2) float32 log-probabilities as far as they are known; NaN in absent rows
    seconds  what the known ones took; a piece's seconds are divided evenly among its rows
    """

    def __init__(self, root: Path, key: str, keys: RowKeys) -> None:
        self._cache = ContentCache(root, key)
        self.keys = keys
        self.values = np.full((len(keys), 2), np.nan, dtype=np.float32)
        self.seconds: Seconds = {}
        self._read: set[str] = set()  # the pieces, each of which is read once
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    @property
    def folder(self) -> Path:
        """The folder of the pieces."""
        return self._cache.folder

    @property
    def absent(self) -> Indices:
        """The positions of the rows that are not known, sorted."""
        return np.flatnonzero(np.isnan(self.values[:, 0]))

    @contextmanager
    def claim(self, most: int) -> Iterator[Indices]:
        """Read new pieces, and yield up to `most` positions of absent rows that are this process's to compute.

        No row is yielded to two processes at a time, so that runs share the work; none are yielded if others compute
        all that is absent. A claim ends with the block, or with its process.
        """
        with self._cache.lock("rows"), ExitStack() as held:
            taken = self._claimed()  # before the pieces are read: a claim ends after its rows are written
            self._refresh()
            absent = self.absent
            part = absent[~np.isin(self.keys[absent], taken)][:most]
            if len(part):
                path = self.folder / f"{_CLAIM}{uuid.uuid4().hex}"
                held.callback(path.with_suffix(".lock").unlink, missing_ok=True)
                held.enter_context(lock(path.with_suffix(".lock")))
                held.callback(path.with_suffix(".keys").unlink, missing_ok=True)
                write_bytes(path.with_suffix(".keys"), self.keys[part].tobytes())
            claim = held.pop_all()
        with claim:
            yield part

    def write(self, part: Indices, logps: torch.Tensor, seconds: Mapping[str, float]) -> None:
        """Write a piece, atomically: log-probabilities (len(part), 2) float32 and the seconds that they took."""
        keys = self.keys[part]
        raw = torch.from_numpy(np.frombuffer(keys.tobytes(), dtype=np.uint8).reshape(len(keys), _DIGITS).copy())
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:16]
        self._cache.write(name, functools.partial(_save, raw, logps, dict(seconds)))

    def _refresh(self) -> None:
        """Read the pieces that were written since the last call; a damaged piece counts as absent."""
        for path in sorted(self.folder.glob(f"*/{ENTRY}")):
            if path.parent.name in self._read:
                continue
            piece = self._cache.read(path.parent.name, _load)
            if piece is None:
                continue
            self._read.add(path.parent.name)
            stored, logps, spent = piece
            # The few rows of a piece are sought among the run's. The other way, each piece would cost all rows.
            distinct, first = np.unique(stored, return_index=True)
            begins, ends = (np.searchsorted(self._sorted, distinct, side) for side in ("left", "right"))
            rows = np.concatenate([self._order[begin:end] for begin, end in zip(begins, ends, strict=True)])
            at = np.repeat(first, ends - begins)
            new = np.isnan(self.values[rows, 0])
            self.values[rows[new]] = logps[at[new]]
            for kind, value in spent.items():
                self.seconds[kind] = self.seconds.get(kind, 0.0) + value * float(new.sum()) / len(stored)

    def _claimed(self) -> RowKeys:
        """Return the keys of the rows that other processes compute now, and remove the claims of killed ones."""
        taken = [np.array([], dtype=f"S{_DIGITS}")]
        for path in self.folder.glob(f"{_CLAIM}*.keys"):
            if is_locked(path.with_suffix(".lock")):
                with suppress(FileNotFoundError):  # the claim has ended since
                    taken.append(np.frombuffer(path.read_bytes(), dtype=f"S{_DIGITS}"))
            else:
                path.unlink(missing_ok=True)
                path.with_suffix(".lock").unlink(missing_ok=True)
        return np.concatenate(taken)


def _save(keys: torch.Tensor, logps: torch.Tensor, seconds: Seconds, folder: Path) -> None:
    save_file({"keys": keys, "logps": logps.contiguous()}, folder / "logps.safetensors")
    write_json(folder / "seconds.json", seconds)


def _load(folder: Path) -> tuple[RowKeys, NDArray[np.float32], Seconds]:
    """Return a piece's row keys, log-probabilities and seconds; ValueError for content of another form."""
    content = load_file(folder / "logps.safetensors")
    keys, logps = content["keys"].numpy(), content["logps"].numpy()
    if len(keys) == 0 or keys.shape != (len(keys), _DIGITS) or logps.shape != (len(keys), 2):
        raise ValueError(f"{folder} holds keys of shape {keys.shape} and log-probabilities of shape {logps.shape}")
    return np.ascontiguousarray(keys).view(f"S{_DIGITS}").reshape(-1), logps, read_json(folder / "seconds.json")
