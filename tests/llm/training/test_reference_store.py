"""Rows of a reference store are computed by one process at a time, whatever becomes of the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from llm.training.reference_store import RowStore  # noqa: E402

KEYS = np.array([f"{i:032x}" for i in range(10)], dtype="S32")

OTHER = """
import sys, time
from pathlib import Path
import numpy as np
from llm.training.reference_store import RowStore
keys = np.array([f"{i:032x}" for i in range(10)], dtype="S32")
with RowStore(Path(sys.argv[1]), "key", keys).claim(int(sys.argv[2])) as part:
    print(len(part), flush=True)
    time.sleep(600)
"""


def store(folder: Path, keys: np.ndarray = KEYS) -> RowStore:
    return RowStore(folder, "key", keys)


def values(rows: np.ndarray) -> torch.Tensor:
    """Log-probabilities (n, 2) that name their rows."""
    return torch.stack([-torch.from_numpy(rows).float(), -torch.from_numpy(rows).float() - 0.5], dim=1)


def test_two_runs_share_the_rows_of_both(tmp_path: Path) -> None:
    ours, theirs = store(tmp_path), store(tmp_path, KEYS[::-1])
    with ours.claim(4) as mine:
        assert list(mine) == [0, 1, 2, 3]
        with theirs.claim(4) as others:
            assert list(others) == [0, 1, 2, 3]  # of the reversed order: rows 9, 8, 7, 6
            theirs.write(others, values(9 - others), {"cpu": 8.0})
        with theirs.claim(4) as rest:
            assert list(rest) == [4, 5]  # rows 5 and 4; rows 3 to 0 are claimed
        ours.write(mine, values(mine), {"cpu": 2.0})
    with theirs.claim(10) as last:
        assert list(last) == [4, 5]
        theirs.write(last, values(9 - last), {"cpu": 1.0})
    with ours.claim(10) as none:
        assert not len(none)
    assert not len(ours.absent)
    assert ours.values.tolist() == values(np.arange(10)).tolist()
    assert ours.seconds == {"cpu": 11.0}
    assert not list(tmp_path.rglob(".claim*"))


def test_a_claim_without_a_result_is_free_again(tmp_path: Path) -> None:
    def fails() -> None:
        with store(tmp_path).claim(10) as part:
            assert len(part) == 10
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    with store(tmp_path).claim(10) as part:
        assert len(part) == 10


def test_the_claim_of_a_killed_process_ends_with_it(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", OTHER, str(tmp_path), "7"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "7\n"
        with store(tmp_path).claim(10) as part:
            assert list(part) == [7, 8, 9]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert list(tmp_path.rglob(".claim*.keys"))  # as the killed process left it
    with store(tmp_path).claim(10) as part:
        assert len(part) == 10
        assert len(list(tmp_path.rglob(".claim*.keys"))) == 1  # its own


def test_each_piece_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llm.training import reference_store

    read, ordinary = [], reference_store._load
    monkeypatch.setattr(reference_store, "_load", lambda folder: read.append(folder.name) or ordinary(folder))
    ours = store(tmp_path)
    while True:
        with ours.claim(2) as part:
            if not len(part):
                break
            ours.write(part, values(part), {})
    assert len(read) == len(set(read)) == 5


def test_the_rows_that_are_sought_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """n stored rows are sought twice each; to seek all n rows of a run in each piece of 16 would be n²/16."""
    from llm.training import reference_store

    sought: list[int] = []
    plain = np.searchsorted

    def counted(ordered: np.ndarray, needles: np.ndarray, side: Literal["left", "right"] = "left") -> np.ndarray:
        sought.append(len(needles))
        return plain(ordered, needles, side)

    monkeypatch.setattr(reference_store.np, "searchsorted", counted)
    for n in (64, 256):
        keys = np.array([f"{i * 0x9E3779B97F4A7C15 % 2**128:032x}" for i in range(n)], dtype="S32")
        writer = store(tmp_path / str(n), keys)
        for start in range(0, n, 16):
            part = np.arange(start, start + 16)
            writer.write(part, values(part), {"cpu": 16.0})
        sought.clear()
        repeated = np.concatenate([keys[::-1], keys[:3]])  # a run may have equal rows
        reader = store(tmp_path / str(n), repeated)
        with reader.claim(1) as none:
            assert not len(none)
        wanted = values(np.concatenate([np.arange(n)[::-1], np.arange(3)]))
        assert reader.values.tolist() == wanted.tolist()
        assert reader.seconds == {"cpu": pytest.approx(n + 3)}
        assert sum(sought) == 2 * n
