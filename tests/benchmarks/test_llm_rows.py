"""The rows that all sides train on: their lengths, and the same ids for the same text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import llm_rows  # noqa: E402
from benchmarks.llm_rows import ALPACA_RESPONSE, HH_PROMPT, HH_RESPONSE, TINY  # noqa: E402


def test_lengths_are_as_described() -> None:
    rng = np.random.default_rng(3)
    for lengths, median, most in ((ALPACA_RESPONSE, 120, 500), (HH_PROMPT, 120, 600), (HH_RESPONSE, 45, 250)):
        drawn = lengths.draw(rng, 20_000)
        # The median of n lognormal draws has a deviation of about 1.25 sigma / sqrt(n) of itself, here below 1 %.
        assert np.median(drawn) == pytest.approx(median, rel=0.05)
        assert drawn.max() == most
        assert drawn.min() >= lengths.least


@pytest.mark.parametrize("kind", ["sft", "preference"])
def test_rows_are_the_texts(kind: str) -> None:
    rows = llm_rows.tokens(TINY, kind)
    texts: Any = llm_rows.sft_texts(TINY) if kind == "sft" else llm_rows.preference_texts(TINY)
    total = 0
    for row, prompt, responses in zip(texts, rows.prompts, rows.responses, strict=True):
        prompt_text, *answers = row.values()
        assert [f"w{i}" for i in prompt] == prompt_text.split()
        for ids, answer in zip(responses, answers, strict=True):
            assert [f"w{i}" for i in ids[:-1]] == answer.split()
            assert ids[-1] == 0
            total += len(prompt) + len(ids)
    assert llm_rows.count(rows) == total
