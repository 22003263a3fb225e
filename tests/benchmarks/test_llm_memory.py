"""Peak memory is the most that was held during a call."""

from __future__ import annotations

import sys

import pytest

torch = pytest.importorskip("torch")

from benchmarks import llm_memory  # noqa: E402


@pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="the resident set of Linux")
def test_peak_memory_is_what_was_held_at_most() -> None:
    def call(size: int = 50 << 20) -> None:
        held = torch.ones(size, dtype=torch.uint8)
        del held
        torch.ones(1 << 20, dtype=torch.uint8)

    assert llm_memory.peak(call) == pytest.approx(50 << 20, rel=0.1)
