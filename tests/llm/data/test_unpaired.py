"""Pairs as single responses with labels, and mismatched responses: TRL is the oracle of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wrong import fails

pytest.importorskip("torch")

from llm.data.rows import Row
from llm.data.tokenization import TokenizedDataset
from llm.data.unpaired import balance_note, unpair, with_mismatches


def tokens(keys: str, labels: list[bool] | None = None) -> TokenizedDataset:
    """Return unpaired rows: the prompt of row i has two tokens of its letter, its response i + 1 tokens with id i."""
    ids = [np.full(2, ord(key), dtype=np.int32) for key in keys]
    responses = tuple((np.full(i + 1, i, dtype=np.int32),) for i in range(len(keys)))
    found = tuple(labels or [True] * len(keys))
    return TokenizedDataset("unpaired", tuple(ids), responses, tuple(keys), 0, 0, 0, labels=found)


def partners(keys: str) -> list[int]:
    """Return the row of each row's mismatched response."""
    return [int(r[1][0]) for r in with_mismatches(tokens(keys), 100).responses]


def test_unpaired_pairs_are_trls() -> None:
    """The same rows; TRL has all chosen responses of a set before the rejected ones."""
    trl = pytest.importorskip("trl.data_utils")
    datasets = pytest.importorskip("datasets")
    pairs = [{"prompt": f"p{i}", "chosen": f"c{i}", "rejected": f"r{i}"} for i in range(5)]
    theirs = list(trl.unpair_preference_dataset(datasets.Dataset.from_list(pairs)))
    ours = unpair([Row(p["prompt"], (p["chosen"], p["rejected"])) for p in pairs])
    as_set = lambda rows: sorted((r["prompt"], r["completion"], r["label"]) for r in rows)  # noqa: E731
    assert as_set({"prompt": r.prompt, "completion": r.responses[0], "label": r.label} for r in ours) == as_set(theirs)
    assert all(len(r.responses) == 1 for r in ours)
    assert unpair(ours) == ours


def test_different_prompts_are_rotated_by_one_as_in_trl() -> None:
    completions = list(range(6))
    assert partners("abcdef") == [completions[-1], *completions[:-1]]


def test_both_rows_of_a_pair_have_partners_of_their_own_label() -> None:
    """Rotated by two, so that the mismatched responses are all responses, once each."""
    assert partners("aabbcc") == [4, 5, 0, 1, 2, 3]


def test_a_partner_always_has_another_prompt() -> None:
    assert partners("aab") == [2, 2, 0]
    assert partners("aba") == [1, 0, 1]
    assert partners("abcab") == [4, 0, 1, 2, 3]
    assert partners("abab") == [3, 0, 1, 2]
    assert partners("abca") == [2, 0, 1, 2]  # the first and the last row have one prompt


@given(st.text("abc", min_size=2, max_size=12).filter(lambda keys: len(set(keys)) > 1))
def test_any_set_has_partners_of_other_prompts(keys: str) -> None:
    assert all(keys[i] != keys[j] for i, j in enumerate(partners(keys)))


def test_mismatched_responses_are_cut_to_the_limit() -> None:
    """As TRL's collator cuts sequences, from the right; one token stays."""
    made = with_mismatches(tokens("abcd"), 4)
    assert [len(r[1]) for r in made.responses] == [2, 1, 2, 2]
    assert [len(r[0]) for r in made.responses] == [1, 2, 3, 4]  # the own response is not touched
    assert [len(r[1]) for r in with_mismatches(tokens("abcd"), 2).responses] == [1, 1, 1, 1]


def test_one_prompt_has_no_mismatch() -> None:
    fails(lambda: with_mismatches(tokens("aaa"), 9), ValueError, "all 3 rows have the same prompt", "--held-out")


def test_labels_are_part_of_the_digest_and_selected_with_their_rows() -> None:
    one, other = tokens("ab", [True, False]), tokens("ab", [False, True])
    assert one.digest != other.digest
    assert one.select([1]).labels == (False,)
    assert one.select([1]).digest == other.select([1]).digest or one.select([1]).labels != other.select([1]).labels
    assert one.row_digest(0) == other.row_digest(0)


@pytest.mark.parametrize(
    ("good", "bad", "weights", "shown"),
    [
        (4, 4, (1.0, 1.0), None),
        (5, 4, (1.0, 1.0), None),
        (4, 5, (1.0, 1.0), "1.25 to 1.67"),
        (8, 2, (1.0, 1.0), "0.25 to 0.333"),
        (2, 8, (4.0, 1.0), None),
        (2, 8, (1.0, 0.25), None),
        (2, 8, (1.0, 2.0), "8 to 10.7"),
        (3, 0, (1.0, 1.0), "all 3 rows are desirable"),
        (0, 3, (1.0, 1.0), "all 3 rows are undesirable"),
    ],
)
def test_weights_are_recommended_as_in_the_paper(good: int, bad: int, weights: Any, shown: str | None) -> None:
    """λ_D n_D / (λ_U n_U) in [1, 4/3], arXiv 2402.01306 eq. (8)."""
    note = balance_note(tokens("a" * (good + bad), [True] * good + [False] * bad), *weights)
    assert (note is None) == (shown is None)
    assert shown is None or shown in str(note)
