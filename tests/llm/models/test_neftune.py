"""NEFTune's noise: transformers' own hook draws the same; only in training, and only within the block."""

from __future__ import annotations

import math

import pytest
import torch
from support import tiny_models as tiny
from transformers.integrations.neftune import activate_neftune, deactivate_neftune

from llm.models.neftune import noisy_embeddings

IDS = torch.arange(3, 15).view(2, 6)


def logits(model: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(11)
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.oracle
@pytest.mark.parametrize("family", ["gpt_neox", "llama"])
def test_the_noise_is_that_of_transformers(family: str) -> None:
    model = tiny.model(family).train()
    hook = activate_neftune(model, 5.0)
    theirs = logits(model)
    deactivate_neftune(model, hook)
    with noisy_embeddings(model, 5.0):
        ours = logits(model)
    assert torch.equal(ours, theirs)
    assert float((ours - logits(model)).abs().max()) > 0.1


def test_the_noise_is_uniform_within_the_papers_bound() -> None:
    """α/√(L d), and a standard deviation of that over √3."""
    model = tiny.model("llama", hidden=64).train()
    embeddings = model.get_input_embeddings()
    ids = torch.randint(3, 50, (40, 25), generator=torch.Generator().manual_seed(0))
    plain = embeddings(ids)
    with noisy_embeddings(model, 7.0):
        noise = (embeddings(ids) - plain).detach()
    bound = 7.0 / math.sqrt(25 * 64)
    assert float(noise.abs().max()) <= bound + 1e-6
    # 64000 draws: the relative standard error of the standard deviation is below 0.3 %.
    assert float(noise.std()) == pytest.approx(bound / math.sqrt(3.0), rel=0.02)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.02 * bound)


def test_there_is_none_in_evaluation_without_alpha_or_outside_the_block() -> None:
    model = tiny.model("llama")
    expected = logits(model.eval())
    with noisy_embeddings(model, 5.0):
        assert torch.equal(logits(model), expected)
    with noisy_embeddings(model.train(), 0.0):
        assert torch.equal(logits(model), expected)
    with pytest.raises(KeyError), noisy_embeddings(model, 5.0):
        raise KeyError
    assert torch.equal(logits(model), expected)
