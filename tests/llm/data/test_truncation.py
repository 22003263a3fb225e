"""Truncation: a stated share of the limit is kept for the prompt."""

from __future__ import annotations

import pytest

from llm.data.truncation import truncate

PROMPT, LONG, SHORT = list(range(100, 150)), list(range(203)), [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("limit", "share", "kept", "longest"),
    [
        (252, 0.1, 49, 203),  # the response fits beside more than the share
        (204, 0.25, 50, 154),  # a prompt that is shorter than the share stays whole
        (160, 0.25, 40, 120),
        (160, 0.0, 1, 159),
        (160, 0.999, 50, 110),
        (4, 0.999, 3, 1),
    ],
)
def test_a_long_response_leaves_the_prompt_its_share(limit: int, share: float, kept: int, longest: int) -> None:
    prompt, responses = truncate(PROMPT, [LONG, SHORT], max_length=limit, lead=0, keep_prompt=share)
    assert prompt == PROMPT[-kept:]
    assert responses == [LONG[:longest], SHORT[:longest]]


def test_a_long_prompt_gives_way_to_a_response_that_fits() -> None:
    prompt, (response,) = truncate([1, *PROMPT], [SHORT], max_length=20, lead=1)
    assert (prompt, response) == ([1, *PROMPT[-14:]], SHORT)
