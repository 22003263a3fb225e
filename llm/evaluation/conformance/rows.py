"""Rows to check a model on: the shortest and longest of given sets, or texts made of the tokenizer's own tokens."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from llm.data.tokenization import TokenizedDataset

# Names of the lengths at which the computation of a sequence changes: windows, chunks, original contexts.
LIMITS = re.compile(
    r".*(window|window_size|sliding_window|chunk_size|chunk_length|block_size|local_attention|local_radius)"
    r"|original_max_position_embeddings|max_position_embeddings"
)
NEW_TOKENS = 8  # positions that are left for answers
LONGEST = 8192  # tokens of the longest row that is made
LENGTH = 160  # tokens that the longest row of a given set has at least, if the set has such rows


def length_limits(config: Any) -> dict[str, int]:
    """Return the numbers of tokens at which a model's computation changes, by their names in the configuration."""
    described = config.get_text_config()
    values = {**described.to_dict(), **(getattr(described, "rope_parameters", None) or {})}
    return {
        name: value
        for name, value in values.items()
        if LIMITS.fullmatch(name) and isinstance(value, int) and not isinstance(value, bool) and value > 1
    }


def longest_length(config: Any, max_length: int) -> int:
    """Return a number of tokens beyond every limit of a configuration that `max_length` and positions let a row reach.

    Limits that no row can reach are left out: rows of `max_length` tokens would be slow, and show no more.
    """
    limits = length_limits(config)
    positions = limits.pop("max_position_embeddings", LONGEST) - NEW_TOKENS
    most = min(max_length, positions, LONGEST)
    return min(most, max([64, *(n + n // 4 + 16 for n in limits.values() if n < most)]))


def made_sets(tokenizer: Any, longest: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return SFT and preference rows of random words of the tokenizer, of up to about 5/6 of `longest` tokens."""
    draw = np.random.default_rng(0)
    special = set(tokenizer.all_special_ids)
    words = [tokenizer.decode([i]).strip() for i in range(len(tokenizer)) if i not in special]
    words = sorted({word for word in words if word.isascii() and word.isalnum()})[:5000] or ["a", "b"]

    sizes = {word: len(tokenizer(f" {word}", add_special_tokens=False).input_ids) for word in words}

    def text(tokens: int) -> str:
        """Return random words of about a number of tokens in all, one word at least."""
        chosen, left = [str(draw.choice(words))], tokens
        while (left := left - sizes[chosen[-1]]) > 0:
            chosen.append(str(draw.choice(words)))
        return " ".join(chosen)

    half, third = longest // 2, longest // 3
    shapes = ((3, 2, 4), (5, 6, 1), (half, third, third // 2), (third, half, half // 2))
    sft = [{"prompt": text(p), "completion": text(c)} for p, c, _ in shapes]
    pairs = [{"prompt": text(p), "chosen": text(c), "rejected": text(r) + " ."} for p, c, r in shapes]
    return sft, pairs


def spread(tokens: TokenizedDataset, count: int, wanted: int) -> TokenizedDataset:
    """Return at most `count` rows of evenly spread ranks of length, from the shortest to one of `wanted` tokens.

    A length is that of the longest sequence, a prompt with one response. If no row has `wanted` tokens, the last one
    is the longest of all.
    """
    return tokens.select(_spread(tokens, range(len(tokens)), count, wanted))


def _spread(tokens: TokenizedDataset, rows: Sequence[int], count: int, wanted: int) -> list[int]:
    """Return the indices of `spread` among some rows, ascending by length."""
    lengths = np.array([len(tokens.prompts[i]) + max(map(len, tokens.responses[i])) for i in rows])
    order = np.argsort(lengths, kind="stable")
    last = min(int(np.searchsorted(lengths[order], wanted)), len(order) - 1)
    ranks = np.linspace(0, last, min(count, last + 1)).round().astype(int)
    return [rows[int(i)] for i in order[ranks]]


def spread_labels(tokens: TokenizedDataset, count: int, wanted: int) -> TokenizedDataset:
    """Return `spread` of a set; of unpaired rows with both labels, of the rows of each label, half as many."""
    groups = [[i for i, label in enumerate(tokens.labels or ()) if label is kind] for kind in (True, False)]
    if not all(groups):
        return spread(tokens, count, wanted)
    order = [i for group in groups for i in _spread(tokens, group, count // 2, wanted)]
    return tokens.select(order)


def clipped(tokens: TokenizedDataset, most: int) -> TokenizedDataset:
    """Return rows with at most `most` tokens of each prompt and response, around the first token that differs.

    The tokens that a row's responses have in common at first become the end of its prompt, so that they still differ.
    """
    prompts, responses = [], []
    for prompt, answers in zip(tokens.prompts, tokens.responses, strict=True):
        shortest = min(map(len, answers))
        same = [len({int(ids[j]) for ids in answers}) == 1 for j in range(shortest)]
        start = min(same.index(False) if False in same else shortest, shortest - 1) if len(answers) > 1 else 0
        prompts.append(np.concatenate([prompt, answers[0][:start]])[-most:])
        responses.append(tuple(ids[start : start + most] for ids in answers))
    return dataclasses.replace(tokens, prompts=tuple(prompts), responses=tuple(responses), trained=None)
