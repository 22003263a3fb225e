"""Rows that are longer than the limit: the prompt loses its beginning, and the responses their ends."""

from __future__ import annotations

from collections.abc import Sequence

KEEP_PROMPT = 0.25  # share of the limit


def truncate(
    prompt: list[int],
    responses: Sequence[list[int]],
    *,
    max_length: int,
    lead: int,
    tail: int = 0,
    keep_prompt: float = KEEP_PROMPT,
) -> tuple[list[int], list[list[int]]]:
    """Truncate so that prompt + longest response <= max_length: the prompt's beginning, then the responses' ends.

    The prompt keeps `keep_prompt` of max_length at least, or all of a shorter prompt; in any case the first `lead` ids
    (BOS), the last `tail` ones and one more, so max_length must be above lead + tail + 1.
    """
    least = min(len(prompt), max(lead + tail + 1, min(int(keep_prompt * max_length), max_length - 1)))
    room = max(max_length - max(map(len, responses)), least)
    if len(prompt) > room:
        prompt = prompt[:lead] + prompt[len(prompt) - (room - lead) :]
    return prompt, [ids[: max_length - len(prompt)] for ids in responses]
