"""Log-probabilities of single rows on disk, in pieces: a later run reads the rows it shares and adds the others."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from llm.common.cache import ENTRY, ContentCache
from llm.common.files import read_json, write_json

if TYPE_CHECKING:
    from llm.data.sampler import Indices
    from llm.data.tokenization import TokenizedDataset

RowKeys = NDArray[np.bytes_]  # (n,) 32 hexadecimal digits each
Seconds = dict[str, float]  # by metrics.KINDS

_DIGITS = 32


def row_keys(tokens: TokenizedDataset, rows: Indices) -> RowKeys:
    """Return 32 digits of SHA-256 over each row's token ids, shape (len(rows),): equal for equal rows of any set."""
    return np.array([tokens.row_digest(int(i))[:_DIGITS] for i in rows], dtype=f"S{_DIGITS}")


class RowStore:
    """The log-probabilities (chosen, rejected) of rows under one reference.

    root  folder of all stores
    key   name of everything but the row that a log-probability depends on
    """

    def __init__(self, root: Path, key: str) -> None:
        self._cache = ContentCache(root, key)

    @property
    def folder(self) -> Path:
        """The folder of the pieces."""
        return self._cache.folder

    def lock(self, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Hold the store's lock, so that no row is computed twice; `waiting` is called once if another holds it."""
        return self._cache.lock("rows", waiting)

    def read(self, keys: RowKeys) -> tuple[torch.Tensor, Seconds]:
        """Return log-probabilities (len(keys), 2) float32, NaN in absent rows, and the seconds that the others took.

        A piece's seconds are divided evenly among its rows. A damaged piece counts as absent.
        """
        values = np.full((len(keys), 2), np.nan, dtype=np.float32)
        seconds: Seconds = {}
        for path in sorted(self.folder.glob(f"*/{ENTRY}")):
            piece = self._cache.read(path.parent.name, _load)
            if piece is None:
                continue
            stored, logps, spent = piece
            order = np.argsort(stored)
            at = np.minimum(np.searchsorted(stored[order], keys), len(stored) - 1)
            hit = (stored[order][at] == keys) & np.isnan(values[:, 0])
            values[hit] = logps[order][at[hit]]
            for kind, value in spent.items():
                seconds[kind] = seconds.get(kind, 0.0) + value * float(hit.sum()) / len(stored)
        return torch.from_numpy(values), seconds

    def write(self, keys: RowKeys, logps: torch.Tensor, seconds: Mapping[str, float]) -> None:
        """Write a piece, atomically: log-probabilities (len(keys), 2) float32 and the seconds that they took."""
        raw = torch.from_numpy(np.frombuffer(keys.tobytes(), dtype=np.uint8).reshape(len(keys), _DIGITS).copy())
        self._cache.write(
            hashlib.sha256(keys.tobytes()).hexdigest()[:16], functools.partial(_save, raw, logps, dict(seconds))
        )


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
