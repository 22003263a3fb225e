"""Two data sets of unequal length, each with its own place: a stream moves only when its objective is chosen.

A stream's whole state is two numbers, its epoch and its place in it; the order of an epoch is drawn from (seed, name,
epoch) and from nothing else, so that a stream never depends on how often the other one was asked.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass
class BatchSampler:
    """Batches of row numbers, without end.

    name      what is streamed; part of the seed, so that two streams of one seed differ
    lengths   (n,) the rows' lengths in tokens
    batch     rows a batch, at most n
    seed      >= 0
    window    batches that are sorted by length together before they are cut into batches (little padding); the
              batches of a window are then shuffled. 0: no sorting, plain shuffling

    What is left of an epoch when no full batch can be cut is dropped: other rows in every epoch.
    """

    name: str
    lengths: Indices
    batch: int
    seed: int
    window: int = 50
    epoch: int = 0
    place: int = 0
    _order: Indices = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.lengths = np.asarray(self.lengths, dtype=np.int64)
        if not 1 <= self.batch <= len(self.lengths):
            raise ValueError(
                f"batch of {self.name}: must be between 1 and its number of rows, {len(self.lengths)}, got {self.batch}"
            )
        self._order = self._shuffled()

    @property
    def batches(self) -> int:
        """Batches an epoch."""
        return len(self.lengths) // self.batch

    def peek(self) -> Indices:
        """The next batch's rows, without moving on."""
        return self._order[self.place * self.batch : (self.place + 1) * self.batch]

    def advance(self) -> None:
        """Move on by one batch."""
        self.place += 1
        if self.place >= self.batches:
            self.epoch, self.place = self.epoch + 1, 0
            self._order = self._shuffled()

    @property
    def epochs(self) -> float:
        """How often the data have been gone through, with the fraction of the present epoch."""
        return self.epoch + self.place / self.batches

    def state(self) -> dict[str, int]:
        """All that a checkpoint must keep."""
        return {"epoch": self.epoch, "place": self.place}

    def restore(self, state: dict[str, int]) -> None:
        """Go on from what `state` gave."""
        epoch, place = int(state["epoch"]), int(state["place"])
        if epoch < 0 or not 0 <= place < self.batches:
            raise ValueError(f"state of {self.name}: no such place, epoch {epoch}, batch {place} of {self.batches}")
        self.epoch, self.place = epoch, place
        self._order = self._shuffled()

    def _shuffled(self) -> Indices:
        rng = np.random.default_rng([self.seed, zlib.crc32(self.name.encode()), self.epoch])
        order = rng.permutation(len(self.lengths)).astype(np.int64)[: self.batches * self.batch]
        if self.window == 0:
            return order
        size = self.window * self.batch
        pieces = []
        for start in range(0, len(order), size):
            piece = order[start : start + size]
            cut = piece[np.argsort(self.lengths[piece], kind="stable")].reshape(-1, self.batch)
            pieces.append(cut[rng.permutation(len(cut))].reshape(-1))
        return np.concatenate(pieces)


def share(rows: Indices, lengths: Indices, *, rank: int, world: int) -> Indices:
    """The rows of this process: each `world`-th after sorting by length, so that all have equally much to do."""
    if len(rows) % world:
        raise ValueError(f"batch: {len(rows)} rows cannot be shared evenly by {world} processes")
    return rows[np.argsort(lengths[rows], kind="stable")][rank::world]


def micro_batches(rows: Indices, lengths: Indices, *, world: int, most: int) -> int:
    """Into how many parts each process must cut its share so that no part has more than `most` padded tokens.

    Computed from the whole batch, hence the same on every process. At most one part a row: a row longer than `most`
    goes alone.
    """
    ordered = lengths[rows][np.argsort(lengths[rows], kind="stable")]
    each = len(rows) // world
    for parts in range(1, each + 1):
        if all(_padded(ordered[rank::world], parts) <= most for rank in range(world)):
            return parts
    return each


def cut(rows: Indices, parts: int) -> list[Indices]:
    """`rows` in `parts` pieces of nearly equal size, in order."""
    return [np.asarray(piece, dtype=np.int64) for piece in np.array_split(rows, parts)]


def _padded(lengths: Indices, parts: int) -> int:
    return max(int(piece[-1]) * len(piece) for piece in np.array_split(lengths, parts))
