"""`llm`'s loop, as it is timed: the same rows for every rule."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from benchmarks import llm_ours, llm_rows  # noqa: E402
from benchmarks.llm_rows import TINY  # noqa: E402
from toyopt.algorithms import DPO, SFT, Mix, Sequential  # noqa: E402


@pytest.mark.slow
def test_sequential_takes_the_same_rows_as_mix() -> None:
    ours = llm_ours.Ours(TINY)
    mixed = ours.run(Mix(0.5), TINY.batches)
    same = ours.run(Sequential((TINY.batches, TINY.batches), (DPO, SFT)), 2 * TINY.batches)
    assert mixed.tokens == same.tokens == sum(llm_rows.count(t) for t in ours.tokens.values())
    assert dict(mixed.chosen) == dict(same.chosen) == {DPO: TINY.batches, SFT: TINY.batches}
    assert ours.paths == (True, True)  # both short ways of computing are taken
    assert not any("lora" in name for name, _ in ours.base.model.named_parameters())
