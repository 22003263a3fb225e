"""Which rows make up the next batch, and which of them a process computes.

Each objective has a data set of its own and a `BatchSampler` of its own, which advances only when the objective is
trained on. A sampler's whole state is two numbers, its epoch and its position; the order of an epoch is drawn from
(seed, name, epoch) and from nothing else, so that a sampler never depends on how often another sampler advanced.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass
class BatchSampler:
    """Endless sequence of batches of row indices.

    name      of the rows; part of the seed, so that two samplers with one seed differ
    lengths   (n,) int64, each row's tokens
    batch     rows in a batch, at most n
    seed      >= 0
    bucket    number of batches whose rows are sorted by length together and then split into batches (little padding);
              the batches of a bucket are shuffled. 0: no sorting
    cycle     number of batches that are repeated for ever, the epoch's first ones; 0: new batches in every epoch
    epoch     epochs that are complete
    position  batches of the present epoch that are complete

    The rows at the end of an epoch that fill no batch are dropped: different rows in every epoch. Raises ValueError
    unless 1 <= batch <= n.
    """

    name: str
    lengths: Indices
    batch: int
    seed: int
    bucket: int = 50
    cycle: int = 0
    epoch: int = 0
    position: int = 0
    _order: Indices = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.lengths = np.asarray(self.lengths, dtype=np.int64)
        if not 1 <= self.batch <= len(self.lengths):
            raise ValueError(
                f"batch of {self.name}: must be between 1 and its number of rows, {len(self.lengths)}, got {self.batch}"
            )
        self._order = self._epoch_order()

    @property
    def batches(self) -> int:
        """Number of batches in an epoch."""
        return len(self.lengths) // self.batch

    def peek(self) -> Indices:
        """Return the next batch's row indices, shape (batch,), without advancing."""
        return self.batch_at(self.position)

    def batch_at(self, position: int) -> Indices:
        """Return the row indices of a batch of the present epoch, shape (batch,)."""
        return self._order[position * self.batch : (position + 1) * self.batch]

    def advance(self) -> None:
        """Advance by one batch."""
        self.position += 1
        if self.cycle and self.position >= min(self.cycle, self.batches):
            self.position = 0
        if self.position >= self.batches:
            self.epoch, self.position = self.epoch + 1, 0
            self._order = self._epoch_order()

    @property
    def epochs(self) -> float:
        """Number of epochs that are complete, with the fraction of the present epoch."""
        return self.epoch + self.position / self.batches

    def state(self) -> dict[str, int]:
        """Return the state that a checkpoint keeps."""
        return {"epoch": self.epoch, "position": self.position}

    def restore(self, state: dict[str, int]) -> None:
        """Continue from a `state`; raises ValueError if these rows have no such batch."""
        epoch, position = int(state["epoch"]), int(state["position"])
        if epoch < 0 or not 0 <= position < self.batches:
            raise ValueError(f"state of {self.name}: no such place, epoch {epoch}, batch {position} of {self.batches}")
        self.epoch, self.position = epoch, position
        self._order = self._epoch_order()

    def _epoch_order(self) -> Indices:
        """Return the present epoch's row indices, shape (batches · batch,), in the order of their batches."""
        rng = np.random.default_rng([self.seed, zlib.crc32(self.name.encode()), self.epoch])
        order = rng.permutation(len(self.lengths)).astype(np.int64)[: self.batches * self.batch]
        if self.bucket == 0:
            return order
        size = self.bucket * self.batch
        buckets = []
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            batches = rows[np.argsort(self.lengths[rows], kind="stable")].reshape(-1, self.batch)
            buckets.append(batches[rng.permutation(len(batches))].reshape(-1))
        return np.concatenate(buckets)


def shard(rows: Indices, lengths: Indices, *, rank: int, world: int) -> Indices:
    """Return the rows of a batch that process `rank` computes: every `world`-th after sorting by length.

    rows     (batch,) row indices; ValueError unless batch is a multiple of `world`
    lengths  (n,) tokens of all rows
    """
    if len(rows) % world:
        raise ValueError(f"batch: {len(rows)} rows cannot be shared evenly by {world} processes")
    return rows[np.argsort(lengths[rows], kind="stable")][rank::world]


def micro_batch_count(rows: Indices, lengths: Indices, *, world: int, max_tokens: int) -> int:
    """Return the least number of parts of each shard such that no part has more than `max_tokens` padded tokens.

    rows     (batch,) row indices of the whole batch, so that every process computes the same number
    lengths  (n,) tokens of all rows

    The number is at most the shard's rows: a row longer than `max_tokens` is a part by itself.
    """
    ordered = lengths[rows][np.argsort(lengths[rows], kind="stable")]
    shard_rows = len(rows) // world
    for parts in range(1, shard_rows + 1):
        if all(_padded_tokens(ordered[rank::world], parts) <= max_tokens for rank in range(world)):
            return parts
    return shard_rows


def split(rows: Indices, parts: int) -> list[Indices]:
    """Return `rows` in `parts` consecutive parts of nearly equal size."""
    pieces = [rows] if parts == 1 else np.array_split(rows, parts)  # which takes as long as a small operation of torch
    return [np.asarray(part, dtype=np.int64) for part in pieces]


def _padded_tokens(lengths: Indices, parts: int) -> int:
    """Return the padded tokens of the largest part of rows with ascending lengths."""
    return max(int(part[-1]) * len(part) for part in np.array_split(lengths, parts))
