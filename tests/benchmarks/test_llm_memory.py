"""Peak memory is the most that was held during a call."""

from __future__ import annotations

import sys

import pytest

torch = pytest.importorskip("torch")

from benchmarks import llm_memory  # noqa: E402
from benchmarks.llm_rows import TINY  # noqa: E402


@pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="the resident set of Linux")
def test_peak_memory_is_what_was_held_at_most() -> None:
    def call(size: int = 50 << 20) -> None:
        held = torch.ones(size, dtype=torch.uint8)
        del held
        torch.ones(1 << 20, dtype=torch.uint8)

    assert llm_memory.peak(call) == pytest.approx(50 << 20, rel=0.1)


def test_a_measurement_that_ends_early_is_reported_with_its_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the system kills a process that needs more memory than there is."""
    monkeypatch.setattr(llm_memory.sys, "executable", "/bin/false")
    with pytest.raises(llm_memory.EndedError, match="measures llm sft ended with status 1"):
        llm_memory.measured("llm sft", TINY)
