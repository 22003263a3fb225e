"""Single responses with a label (TRL's unpaired preferences): made from pairs, and each with a mismatched response.

KTO estimates KL(π_θ ‖ π_ref) from responses to other prompts. The partner of a row is fixed once for a whole set, so
that log-probabilities under the reference are cached as those of pairs are, whatever the batches.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llm.data.rows import Row

if TYPE_CHECKING:
    from llm.data.tokenization import TokenizedDataset

_RATIO = 4 / 3  # largest recommended ratio of the weighted numbers of desirable and undesirable rows


def unpair(rows: Sequence[Row]) -> list[Row]:
    """Return rows with a label as they are, and each pair as its chosen (desirable) and rejected (undesirable) row."""
    return [
        row if row.label is not None else dataclasses.replace(row, responses=(response,), label=label)
        for row in rows
        for label, response in zip((True, False), row.responses, strict=False)
    ]


def with_mismatches(tokens: TokenizedDataset, max_length: int) -> TokenizedDataset:
    """Return unpaired rows with a second response each, which another prompt has, cut to fit `max_length`.

    The second response is that of the row s rows before, cyclically, where s is the length of the longest run of rows
    with one prompt: 1 for different prompts, 2 for pairs that were unpaired. If that row has the same prompt, the
    nearest row before it that has another one is taken. Raises ValueError if all rows have the same prompt.
    """
    keys = tokens.keys
    if len(set(keys)) < 2:
        raise ValueError(
            f"all {len(keys)} rows have the same prompt, and KTO needs responses to other prompts; give more rows, "
            "and if these are held out a larger --held-out, or 0"
        )
    longest = max(sum(1 for _ in run) for _, run in itertools.groupby(keys))
    before = _with_other_prompt(keys)
    responses = []
    for i, (prompt, row) in enumerate(zip(tokens.prompts, tokens.responses, strict=True)):
        partner = (i - longest) % len(keys)
        while keys[partner] == keys[i]:
            partner = before[partner]
        responses.append((row[0], tokens.responses[partner][0][: max(1, max_length - len(prompt))]))
    return dataclasses.replace(tokens, responses=tuple(responses))


def _with_other_prompt(keys: Sequence[str]) -> list[int]:
    """Return for each row the nearest row before it, cyclically, with another prompt; at least two differ."""
    begin = next(i for i in range(len(keys)) if keys[i] != keys[i - 1])
    before = [0] * len(keys)
    for i in itertools.chain(range(begin, len(keys)), range(begin)):
        before[i] = (i - 1) % len(keys) if keys[i] != keys[i - 1] else before[i - 1]
    return before


def balance_note(tokens: TokenizedDataset, desirable_weight: float, undesirable_weight: float) -> str | None:
    """Return a line on weights if the weighted numbers of labels differ by more than the KTO paper recommends.

    Source: arXiv 2402.01306, sec. 4.2: λ_D n_D / (λ_U n_U) from 1 to 4/3.
    """
    labels = tokens.labels or ()
    good, bad = sum(labels), len(labels) - sum(labels)
    if not good or not bad:
        return f"all {len(labels)} rows are {'desirable' if good else 'undesirable'}"
    if not undesirable_weight or 1.0 <= desirable_weight * good / (undesirable_weight * bad) <= _RATIO:
        return None
    least = undesirable_weight * bad / good
    return (
        f"{good} rows are desirable and {bad} undesirable; the KTO paper recommends a desirable_weight of "
        f"{least:.3g} to {_RATIO * least:.3g} for these"
    )
