"""Windows of attention and rotary frequencies: a row's log-probability is that of the row alone, in every layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.families import ROTARY, WINDOWS, W, build, logp

from llm.data.collate import collate
from llm.models.policy import Policy
from llm.models.positions import layer_windows, regimes, rotary_limit, shared_prompt_masks

# Prompt, chosen, rejected: shorter than the window, across it, and much longer.
SHAPES = [(2, 1, 2), (4, 3, 5), (9, 7, 4), (3, 2, 11)]


def rows(seed: int = 0) -> tuple[list[Any], list[Any]]:
    draw = np.random.default_rng(seed)

    def ids(n: int) -> Any:
        return draw.integers(3, 60, size=n).astype(np.int32)

    return [ids(p) for p, _, _ in SHAPES], [(ids(a), ids(b)) for _, a, b in SHAPES]


PROMPTS, PAIRS = rows()
SHORT, LONGEST = slice(0, 1), (PROMPTS[2], PAIRS[2])


def truth(model: Any) -> list[float]:
    return [logp(model, p, r) for p, pair in zip(PROMPTS, PAIRS, strict=True) for r in pair]


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("name", WINDOWS)
def test_a_shared_prompt_keeps_the_windows_of_the_model(name: str) -> None:
    model = build(name, **WINDOWS[name])
    policy = Policy(model)
    notes = policy.select_forward_path(policy, PROMPTS[SHORT], PAIRS[SHORT], share_prompt="auto", longest=LONGEST)
    assert policy.share_prompt
    assert not [note for note in notes if "computed twice" in note]
    with torch.no_grad():
        found = policy(collate(PROMPTS, PAIRS, share_prompt=True)).tolist()
        policy.windows = False  # without the windows the numbers differ: the rows are long enough to tell
        other = policy(collate(PROMPTS, PAIRS, share_prompt=True)).tolist()
    assert found == pytest.approx(truth(model), abs=2e-4)
    assert other != pytest.approx(truth(model), abs=1e-2)


@pytest.mark.slow
@pytest.mark.oracle
def test_local_layers_that_no_mask_reaches_share_only_rows_within_the_window() -> None:
    sizes = {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": W}
    model = build("GPTNeo", **sizes, max_position_embeddings=40)
    policy = Policy(model)
    (note,) = policy.select_forward_path(policy, PROMPTS[SHORT], PAIRS[SHORT], share_prompt="auto", longest=LONGEST)
    assert (
        note == f"a pair's prompt is computed twice: a pair has 20 tokens, and the local or selecting layers read {W}"
    )
    with torch.no_grad():
        assert policy(collate(PROMPTS, PAIRS)).tolist() == pytest.approx(truth(model), abs=2e-4)
    assert policy.select_forward_path(policy, PROMPTS[SHORT], PAIRS[SHORT], share_prompt="auto") == []
    with torch.no_grad():
        found = policy(collate(PROMPTS[SHORT], PAIRS[SHORT], share_prompt=True)).tolist()
    assert found == pytest.approx(truth(model)[:2], abs=2e-4)


@pytest.mark.oracle
def test_a_pair_longer_than_the_positions_of_the_model_is_not_shared() -> None:
    sizes = {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": 64}
    model = build("GPTNeo", **sizes, max_position_embeddings=16)  # each response fits behind the prompt, both do not
    policy = Policy(model)
    (note,) = policy.select_forward_path(policy, PROMPTS[SHORT], PAIRS[SHORT], share_prompt="auto", longest=LONGEST)
    assert note.startswith("a pair's prompt is computed twice: ")


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("kind", ROTARY)
def test_rotary_frequencies_are_those_of_the_row_alone(kind: str) -> None:
    name, values = ROTARY[kind]
    expected = [
        logp(build(name, **values), p, r) for p, pair in zip(PROMPTS, PAIRS, strict=True) for r in pair
    ]  # a new model each: transformers' dynamic frequencies depend on earlier batches
    policy = Policy(build(name, **values))
    for _ in range(2):  # nor do they depend on the batch before
        with torch.no_grad():
            assert policy(collate(PROMPTS, PAIRS)).tolist() == pytest.approx(expected, abs=2e-4)
    (note,) = policy.select_forward_path(policy, PROMPTS[SHORT], PAIRS[SHORT], share_prompt="auto", longest=LONGEST)
    assert note == (
        f"a pair's prompt is computed twice: rows longer than {W} tokens have other rotary frequencies, and one has 16"
    )
    with torch.no_grad():  # the model's own pass over rows of different regimes, to show that there is a difference
        ids = torch.zeros(2, 16, dtype=torch.int64)
        ids[0, :3] = torch.from_numpy(np.concatenate([PROMPTS[0], PAIRS[0][0]]))
        together = build(name, **values)(input_ids=ids).logits[0, :3]
        alone = build(name, **values)(input_ids=ids[:1, :3]).logits[0]
    assert (together - alone).abs().max() > 1e-2


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("kind", ROTARY)
def test_a_path_is_selected_on_rows_of_several_regimes(kind: str) -> None:
    """The plain forward pass, which gives no positions, must not take a batch's padded width for a row's length."""
    name, values = ROTARY[kind]
    policy = Policy(build(name, **values))
    policy.select_forward_path(policy, PROMPTS, PAIRS, share_prompt="auto", longest=LONGEST)
    assert (policy.positions, policy.skip_prompt_logits) == (True, True)
    expected = [logp(build(name, **values), p, r) for p, pair in zip(PROMPTS, PAIRS, strict=True) for r in pair]
    for policy.positions in (True, False):
        with torch.no_grad():
            assert policy(collate(PROMPTS, PAIRS)).tolist() == pytest.approx(expected, abs=2e-4)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("kind", ROTARY)
def test_gradients_over_several_regimes_are_those_of_rows_alone(kind: str) -> None:
    name, values = ROTARY[kind]
    model = build(name, **values)
    Policy(model)(collate(PROMPTS, PAIRS)).sum().backward()
    together = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for prompt, pair in zip(PROMPTS, PAIRS, strict=True):
        for response in pair:
            fresh = build(name, **values)
            line = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
            logits = fresh(input_ids=line).logits[0].log_softmax(-1)
            at = np.arange(len(prompt) - 1, line.shape[1] - 1)
            logits[at, line[0, at + 1]].sum().backward()
            for (_, ours), theirs in zip(model.named_parameters(), fresh.parameters(), strict=True):
                ours.grad = theirs.grad if ours.grad is None else ours.grad + theirs.grad
    for parameter_name, parameter in model.named_parameters():
        torch.testing.assert_close(together[parameter_name], parameter.grad, atol=2e-4, rtol=1e-3)


def test_the_regimes_of_a_batch() -> None:
    lengths = torch.tensor([3, W, W + 1, W + 2, W + 1])
    name, values = ROTARY["longrope"]
    assert regimes(build(name, **values), lengths).tolist() == [0, 0, 1, 1, 1]
    name, values = ROTARY["dynamic"]
    assert regimes(build(name, **values), lengths).tolist() == [0, 0, W + 1, W + 2, W + 1]
    assert (rotary_limit(build(name, **values)), rotary_limit(build("Llama"))) == (W, None)


def test_masks_by_hand() -> None:
    # Prompt of 3 tokens, chosen of 2, rejected of 1.
    batch = collate([np.arange(3, dtype=np.int32)], [(np.arange(2, dtype=np.int32), np.arange(1, dtype=np.int32))])
    assert batch.segments is None
    batch = collate(
        [np.arange(3, dtype=np.int32)],
        [(np.arange(2, dtype=np.int32), np.arange(1, dtype=np.int32))],
        share_prompt=True,
    )
    masks = shared_prompt_masks(
        build("Gemma2", **{**WINDOWS["Gemma2"], "sliding_window": 2}).config, batch, torch.float32
    )
    assert isinstance(masks, dict)
    assert (masks["full_attention"][0, 0] == 0).int().tolist()[5] == [1, 1, 1, 0, 0, 1]
    assert (masks["sliding_attention"][0, 0] == 0).int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 1, 0, 0, 1],  # the rejected response's first token, at position 3: positions 2 and 3
    ]
    chunked = build("Llama4Text", **{**WINDOWS["Llama4Text"], "attention_chunk_size": 2}).config
    masks = shared_prompt_masks(chunked, batch, torch.float32)
    assert isinstance(masks, dict)
    assert (masks["chunked_attention"][0, 0] == 0).int().tolist()[2:] == [
        [0, 0, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 1, 0, 0, 1],
    ]
    assert {k: w and w.size for k, w in layer_windows(build("Mistral", sliding_window=4).config).items()} == {
        "sliding_attention": 4
    }


@pytest.mark.slow
@pytest.mark.oracle
def test_a_family_that_counts_positions_in_its_own_way() -> None:
    model = build("Roberta", is_decoder=True, max_position_embeddings=40, pad_token_id=1, bos_token_id=0)
    policy = Policy(model).eval()
    *_, note = policy.select_forward_path(policy, PROMPTS, PAIRS, share_prompt="auto")
    assert (policy.positions, note.partition(": ")[2]) == (False, "the model counts positions in its own way")
    with torch.no_grad():
        assert policy(collate(PROMPTS, PAIRS)).tolist() == pytest.approx(truth(model), abs=2e-4)


@pytest.mark.slow
def test_a_model_whose_predictions_depend_on_later_tokens() -> None:
    model = build("Bert", is_decoder=False)
    policy = Policy(model)
    with pytest.raises(ValueError, match=r"^model: its prediction of a token depends on later tokens \(by [\d.]+\)"):
        policy.select_forward_path(policy, PROMPTS, PAIRS, share_prompt="auto")
