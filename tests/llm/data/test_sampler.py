"""Streams: epochs, windows, places; shares of processes; micro-batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.sampler import BatchSampler, micro_batch_count, shard, split

lengths = st.lists(st.integers(1, 30), min_size=1, max_size=40)
LENGTHS = np.array([(7 * i) % 23 + 1 for i in range(50)])


def epoch(stream: BatchSampler) -> list[list[int]]:
    """The batches of the present epoch, from the present place."""
    now, found = stream.epoch, []
    while stream.epoch == now:
        found.append(stream.peek().tolist())
        stream.advance()
    return found


@pytest.mark.slow
@given(lengths, st.integers(1, 9), st.integers(0, 3), st.sampled_from([0, 1, 2, 50]))
def test_an_epoch_has_every_row_once_but_for_the_rest(sizes: list[int], batch: int, seed: int, window: int) -> None:
    batch = min(batch, len(sizes))
    stream = BatchSampler("sft", np.array(sizes), batch, seed, window)
    for _ in range(3):
        batches = epoch(stream)
        rows = [row for b in batches for row in b]
        assert len(batches) == stream.batches == len(sizes) // batch
        assert {len(b) for b in batches} == {batch}
        assert len(set(rows)) == len(rows)
        assert set(rows) <= set(range(len(sizes)))


@pytest.mark.parametrize("window", [0, 3])
def test_what_is_left_over_differs_from_epoch_to_epoch(window: int) -> None:
    stream = BatchSampler("sft", LENGTHS, 8, 0, window)
    left = [frozenset(range(50)) - {r for b in epoch(stream) for r in b} for _ in range(20)]
    assert {len(x) for x in left} == {2}
    assert len(set(left)) > 10


def test_a_window_of_all_batches_sorts_all_rows_and_shuffles_the_batches() -> None:
    stream = BatchSampler("sft", LENGTHS[:48], 8, 0, bucket=50)
    batches = [sorted(LENGTHS[b].tolist()) for b in epoch(stream)]
    assert sorted(batches) == [sorted(LENGTHS[:48].tolist())[i : i + 8] for i in range(0, 48, 8)]
    assert batches != sorted(batches)


def test_windows_are_cut_from_the_plain_order() -> None:
    """With the same seed, a window's rows are those of as many batches without sorting."""
    plain, sorted_ = BatchSampler("sft", LENGTHS, 8, 3, 0), BatchSampler("sft", LENGTHS, 8, 3, 2)
    a, b = epoch(plain), epoch(sorted_)
    for i in range(0, 6, 2):
        rows = a[i] + a[i + 1]
        assert sorted(rows) == sorted(b[i] + b[i + 1])
        assert sorted(LENGTHS[rows].tolist()) in (
            sorted(LENGTHS[x].tolist()) + sorted(LENGTHS[y].tolist()) for x, y in ((b[i], b[i + 1]), (b[i + 1], b[i]))
        )
    assert a != b


def test_the_order_is_of_seed_name_and_epoch_and_nothing_else() -> None:
    def first(name: str, seed: int, epochs: int = 0) -> list[list[int]]:
        stream = BatchSampler(name, LENGTHS, 8, seed, 0)
        for _ in range(epochs):
            epoch(stream)
        return epoch(stream)

    assert first("sft", 1) == first("sft", 1)
    different = [first("sft", 1), first("dpo", 1), first("sft", 2), first("sft", 1, 1), first("sft", 1, 2)]
    assert len({str(x) for x in different}) == 5


@given(st.integers(0, 30), st.integers(0, 20), st.sampled_from([0, 2]))
def test_a_state_is_enough_to_go_on(steps: int, more: int, window: int) -> None:
    stream = BatchSampler("dpo", LENGTHS[:30], 7, 5, window)
    for _ in range(steps):
        stream.advance()
    assert stream.state() == {"epoch": steps // 4, "position": steps % 4}
    assert stream.epochs == steps / 4
    other = BatchSampler("dpo", LENGTHS[:30], 7, 5, window)
    other.restore(stream.state())
    for _ in range(more):
        assert other.peek().tolist() == stream.peek().tolist()
        other.advance()
        stream.advance()
    assert other.state() == stream.state()


def test_peeking_does_not_move() -> None:
    stream = BatchSampler("dpo", LENGTHS, 7, 5)
    assert stream.peek().tolist() == stream.peek().tolist()
    assert stream.state() == {"epoch": 0, "position": 0}
    assert stream.bucket == 50


@pytest.mark.parametrize("batch", [0, 51])
def test_wrong_batches(batch: int) -> None:
    with pytest.raises(ValueError, match=f"^batch of dpo: must be between 1 and its number of rows, 50, got {batch}$"):
        BatchSampler("dpo", LENGTHS, batch, 0)
    BatchSampler("dpo", LENGTHS, 1, 0)
    BatchSampler("dpo", LENGTHS, 50, 0)


@pytest.mark.parametrize(("epoch_", "position"), [(-1, 0), (0, -1), (0, 7), (2, 50)])
def test_wrong_states(epoch_: int, position: int) -> None:
    stream = BatchSampler("dpo", LENGTHS, 7, 0)
    with pytest.raises(ValueError, match=f"^state of dpo: no such place, epoch {epoch_}, batch {position} of 7$"):
        stream.restore({"epoch": epoch_, "position": position})


@given(lengths, st.integers(1, 4))
def test_shares_are_a_partition_and_alike(sizes: list[int], world: int) -> None:
    sizes += sizes[:1] * (-len(sizes) % world)
    of = np.array(sizes)
    rows = np.arange(len(sizes))[::-1]
    shares = [shard(rows, of, rank=r, world=world) for r in range(world)]
    assert sorted(np.concatenate(shares).tolist()) == sorted(rows.tolist())
    assert {len(s) for s in shares} == {len(sizes) // world}
    for s in shares:
        assert (np.diff(of[s]) >= 0).all()
    for j in range(len(sizes) // world):  # the j-th rows of all processes are neighbours in length
        highest = max(of[s[j]] for s in shares)
        assert all(of[s[j + 1]] >= highest for s in shares if j + 1 < len(s))


def test_a_batch_that_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match=r"^batch: 5 rows cannot be shared evenly by 2 processes$"):
        shard(np.arange(5), np.ones(5), rank=0, world=2)


def padded(of: np.ndarray, parts: list[np.ndarray]) -> int:
    return max(int(of[p].max()) * len(p) for p in parts)


@given(lengths, st.integers(1, 3), st.integers(1, 200))
def test_micro_batches_are_the_fewest_that_fit(sizes: list[int], world: int, most: int) -> None:
    sizes += sizes[:1] * (-len(sizes) % world)
    of, rows = np.array(sizes), np.arange(len(sizes))
    shares = [shard(rows, of, rank=r, world=world) for r in range(world)]
    each = len(shares[0])
    found = micro_batch_count(rows, of, world=world, max_tokens=most)
    fits = [n for n in range(1, each + 1) if all(padded(of, split(s, n)) <= most for s in shares)]
    assert found == (fits[0] if fits else each)
    if max(sizes) <= most:
        assert fits


@given(st.integers(1, 40), st.data())
def test_cuts_are_in_order_and_nearly_equal(n: int, data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, n))
    pieces = split(np.arange(n), parts)
    assert len(pieces) == parts
    assert np.concatenate(pieces).tolist() == list(range(n))
    assert {len(p) for p in pieces} <= {math.floor(n / parts), math.ceil(n / parts)}
