"""Wrapping and replacing text for the drawn tables."""

from __future__ import annotations

import pytest

from figures.drawing.text import width_of, wrapped


@pytest.mark.parametrize("width", [0.3, 1.0, 4.0])
def test_wrapped_lines_fit_and_lose_nothing(width: float) -> None:
    text = (
        "As to Uldalen, I can tell you more:   the $ruler$ there is\nWystan_and_a_word_that_is_far_too_long_for_a_line."
    )
    lines = wrapped(text, width, 8.0)
    assert all(width_of(line, 8.0) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert wrapped("", width, 8.0) == [""]


def test_a_letter_that_the_font_lacks_is_replaced() -> None:
    assert wrapped("a \u65e5 b", 1.0, 8.0) == ["a ? b"]
