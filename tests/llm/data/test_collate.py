"""Rows to tensors, in both layouts: what stands where, worked out by hand, and what every batch must hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.data.collate import collate
from llm.models.positions import shared_prompt_mask


def ids(*values: int) -> Any:
    return np.array(values, dtype=np.int32)


PROMPTS = [ids(10, 11, 12), ids(20)]
PAIRS = [(ids(13, 14), ids(15)), (ids(21), ids(22, 23, 24))]

rows = st.lists(
    st.tuples(*(st.lists(st.integers(1, 50), min_size=1, max_size=5) for _ in range(3))), min_size=1, max_size=4
)


def test_separate_rows_by_hand() -> None:
    batch = collate(PROMPTS, PAIRS)
    assert batch.input_ids.tolist() == [
        [10, 11, 12, 13, 14],
        [10, 11, 12, 15, 0],
        [20, 21, 0, 0, 0],
        [20, 22, 23, 24, 0],
    ]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 0], [0, 1, 0, 0, 0], [0, 1, 2, 3, 0]]
    assert batch.segments is None
    assert batch.logit_positions.tolist() == [2, 3, 7, 10, 15, 16, 17]
    assert batch.targets.tolist() == [13, 14, 15, 21, 22, 23, 24]
    assert batch.response_index.tolist() == [0, 0, 1, 2, 3, 3, 3]
    assert batch.counts.tolist() == [2, 1, 1, 3]
    assert batch.tokens == 5 + 4 + 2 + 4


def test_shared_prompts_by_hand() -> None:
    """The rejected response begins at the prompt's next position, and its first token is predicted by the prompt."""
    batch = collate(PROMPTS, PAIRS, share_prompt=True)
    assert batch.input_ids.tolist() == [[10, 11, 12, 13, 14, 15], [20, 21, 22, 23, 24, 0]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 3], [0, 1, 1, 2, 3, 0]]
    assert batch.segments is not None
    assert batch.segments.tolist() == [[0, 0, 0, 1, 1, 2], [0, 1, 2, 2, 2, -1]]
    assert batch.logit_positions.tolist() == [2, 3, 2, 6, 6, 8, 9]
    separate = collate(PROMPTS, PAIRS)
    for name in ("targets", "response_index", "counts"):
        assert getattr(batch, name).tolist() == getattr(separate, name).tolist()
    assert batch.tokens == separate.tokens  # as a reader counts them, not as they are computed


def test_the_mask_by_hand() -> None:
    mask = shared_prompt_mask(torch.tensor([[0, 0, 1, 1, 2, -1]], dtype=torch.int8), torch.float32)
    assert mask.shape == (1, 1, 6, 6)
    assert (mask[0, 0] == 0).int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],  # the prompt and itself, not the first response
        [1, 1, 0, 0, 0, 1],  # padding sees something, or its softmax would not be finite
    ]
    assert set(mask.flatten().tolist()) == {0.0, torch.finfo(torch.float32).min}
    half = shared_prompt_mask(torch.tensor([[0, 1]], dtype=torch.int8), torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert half.min().item() == torch.finfo(torch.bfloat16).min


def test_a_set_of_one_response_a_row_is_never_shared() -> None:
    batch = collate(PROMPTS, [(r[0],) for r in PAIRS], share_prompt=True)
    assert batch.segments is None
    assert batch.input_ids.tolist() == [[10, 11, 12, 13, 14], [20, 21, 0, 0, 0]]
    assert batch.counts.tolist() == [2, 1]


@pytest.mark.slow
@given(rows, st.booleans())
def test_every_target_is_predicted_by_all_before_it_and_by_nothing_else(
    drawn: list[tuple[list[int], list[int], list[int]]], shared: bool
) -> None:
    """Follow the mask from the position that predicts a token: what it sees is the prompt and the response's tokens
    before it, each at its own position."""
    prompts = [ids(*p) for p, _, _ in drawn]
    responses = [(ids(*a), ids(*b)) for _, a, b in drawn]
    batch = collate(prompts, responses, share_prompt=shared)
    width = batch.input_ids.shape[1]
    segments = batch.segments if shared else torch.zeros_like(batch.input_ids)
    assert segments is not None
    sees = shared_prompt_mask(segments, torch.float32)[:, 0] == 0
    flat = [r for pair in responses for r in pair]
    assert batch.counts.tolist() == [len(r) for r in flat]
    assert batch.targets.tolist() == [int(t) for r in flat for t in r]
    done = [0] * len(flat)
    for source, target, owner in zip(
        batch.logit_positions.tolist(), batch.targets.tolist(), batch.response_index.tolist(), strict=True
    ):
        row, column = divmod(source, width)
        seen = sees[row, column]
        context = [*prompts[owner // 2].tolist(), *flat[owner][: done[owner]].tolist()]
        assert batch.input_ids[row][seen].tolist() == context
        assert batch.position_ids[row][seen].tolist() == list(range(len(context)))
        assert target == flat[owner][done[owner]]
        done[owner] += 1
    assert done == [len(r) for r in flat]


def test_dtypes_and_moving() -> None:
    batch = collate(PROMPTS, PAIRS, share_prompt=True)
    for name in ("input_ids", "position_ids", "logit_positions", "targets", "response_index", "counts"):
        assert getattr(batch, name).dtype == torch.int64, name
    moved = batch.to("meta")
    assert moved.segments is not None
    assert {moved.input_ids.device.type, moved.segments.device.type, moved.counts.device.type} == {"meta"}
    assert moved.tokens == batch.tokens
    assert collate(PROMPTS, PAIRS).to("meta").segments is None


def test_wrong_rows() -> None:
    with pytest.raises(ValueError, match=r"^responses: as many a row, for 2 prompts, are needed, got \[1, 2\]$"):
        collate(PROMPTS, [PAIRS[0], (PAIRS[1][0],)])
    with pytest.raises(ValueError, match=r"^responses: as many a row, for 1 prompts, are needed, got \[2\]$"):
        collate(PROMPTS[:1], PAIRS)
    for prompt, pair in ((ids(), PAIRS[0]), (PROMPTS[0], (ids(1), ids()))):
        with pytest.raises(ValueError, match=r"^a prompt and its responses must have one token at least") as caught:
            collate([prompt], [pair])
        assert type(caught.value) is ValueError


def test_tokens_that_are_not_trained_are_context() -> None:
    batch = collate(
        [ids(10, 11), ids(20)],
        [(ids(12, 13, 14),), (ids(21, 22),)],
        trained=[np.array([True, False, True]), np.array([True, True])],
    )
    assert batch.input_ids.tolist() == [[10, 11, 12, 13, 14], [20, 21, 22, 0, 0]]
    assert batch.logit_positions.tolist() == [1, 3, 5, 6]
    assert batch.targets.tolist() == [12, 14, 21, 22]
    assert (batch.counts.tolist(), batch.response_index.tolist()) == ([2, 2], [0, 0, 1, 1])
    assert batch.tokens == 5 + 3
