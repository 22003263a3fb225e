"""In bfloat16 a pair's prompt is computed once, as in float32; a model that does it wrong is still recognised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llm.common.processes import seeded_torch
from llm.data.collate import collate
from llm.models.policy import Policy
from llm.models.rounding import change_by_one_rounding

SEEDS = range(4)


def rows(seed: int) -> tuple[list[Any], list[Any]]:
    draw = np.random.default_rng(seed)

    def ids(n: int) -> Any:
        return draw.integers(3, 60, size=n).astype(np.int32)

    return [ids(12), ids(30)], [(ids(20), ids(9)), (ids(5), ids(31))]


def deep_model(seed: int, dtype: torch.dtype = torch.bfloat16) -> Any:
    """Eight layers, whose roundings add up."""
    config = LlamaConfig(
        vocab_size=60, hidden_size=64, num_hidden_layers=8, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=96, max_position_embeddings=128, initializer_range=0.1,
    )  # fmt: skip
    with seeded_torch(seed):
        model: Any = LlamaForCausalLM(config)
    return model.to(dtype).eval()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_bfloat16s_rounding_does_not_forbid_a_shared_prompt(seed: int) -> None:
    made = Policy(deep_model(seed))
    assert made.select_forward_path(made, *rows(seed), share_prompt="auto") == []
    assert made.share_prompt


def forget_mask(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The second response reads the first one."""
    if kwargs["attention_mask"] is None or kwargs["attention_mask"].ndim != 4:
        return kwargs
    size = kwargs["attention_mask"].shape[-1]
    seen = torch.ones(size, size, dtype=torch.bool).tril()[None, None]
    floor = torch.finfo(torch.bfloat16).min
    return kwargs | {"attention_mask": torch.zeros(1, 1, size, size, dtype=torch.bfloat16).masked_fill(~seen, floor)}


def count_on(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Positions of the second response go on from the first one's."""
    positions = kwargs["position_ids"]
    if positions is None:
        return kwargs
    return kwargs | {"position_ids": torch.arange(positions.shape[1])[None].expand_as(positions)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("change", [forget_mask, count_on])
def test_a_wrong_shared_prompt_is_recognised_in_bfloat16(change: Any, seed: int) -> None:
    model = deep_model(seed)

    def changed(_module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, change(kwargs)

    model.model.register_forward_pre_hook(changed, with_kwargs=True)
    made = Policy(model)
    notes = made.select_forward_path(made, *rows(seed), share_prompt="auto")
    assert not made.share_prompt
    assert notes[-1].startswith("a pair's prompt is computed twice: the numbers differ by ")


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_change_is_of_the_size_of_the_rounding_itself(seed: int) -> None:
    """Rounding is the distance from a float32 pass with the very same weights."""
    half = deep_model(seed)
    whole = deep_model(seed)
    whole = whole.float()
    batch = collate(*rows(seed))
    with torch.no_grad():
        values = Policy(half)(batch)
        rounding = float((values - Policy(whole)(batch)).abs().max())
        change = change_by_one_rounding(Policy(half), half, batch, values)
        assert rounding / 4 < change < 8 * rounding
        assert change_by_one_rounding(Policy(half), half, batch, values) == change
        torch.testing.assert_close(Policy(half)(batch), values, atol=0.0, rtol=0.0)  # no hook is left
        assert change_by_one_rounding(Policy(whole), whole, batch, values) == 0.0
