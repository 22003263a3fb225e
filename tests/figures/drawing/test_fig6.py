"""Texts shown in Figure 6."""

from __future__ import annotations

import pytest

from figures.drawing import fig6


@pytest.mark.parametrize(
    ("text", "shown"),
    [("", "(nothing)"), ("a\n b", "a b"), ("x" * 45, "x" * 40 + "\n" + "x" * 5), ("é$", "?$")],
)
def test_texts_are_cut_to_a_few_short_lines(text: str, shown: str) -> None:
    assert fig6.cut(text) == shown
    assert fig6.cut("word " * 100).count("\n") == fig6.LINES - 1
    assert fig6.cut("word " * 100).endswith(" ...")
