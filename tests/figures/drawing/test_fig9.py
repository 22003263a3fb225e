"""Paragraphs of a request to a judge."""

from __future__ import annotations

from figures.drawing.fig9 import paragraphs


def test_headings_and_filled_in_texts_are_separate_paragraphs() -> None:
    text = "Some\nwords.\n\n## Head\nMore\nwords\n{a}\n{b}\n\nEnd."
    assert paragraphs(text) == ["Some words.", "## Head", "More words", "{a}", "{b}", "End."]
