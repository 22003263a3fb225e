"""Pre-training of the base: encoder-decoder batches, memorization, and a step of the largest."""

from __future__ import annotations

import pytest
import torch

from llm.embedded import EmbeddedConfig
from llm.embedded.base import IGNORED, _encoder_inputs, pretrain
from llm.embedded.language import PLAIN, question
from llm.embedded.networks import Shape
from llm.embedded.prepare import FAMILIES
from llm.embedded.sets import Document, documents
from llm.evaluation.generate import answer

TINY: dict[str, int] = {
    "places": 8, "hidden": 16, "layers": 1, "heads": 2, "pretrain_steps": 4,
    "sft_rows": 12, "preference_rows": 12, "held_out_rows": 8, "questions": 9,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_the_largest(family: str) -> None:
    own = EmbeddedConfig.of_size("large", family)
    told = documents(EmbeddedConfig(**TINY).world)[:4]
    made, _, losses = pretrain(told, Shape(own.hidden, own.layers, own.heads, 1, family), 0, lambda _: None)
    assert len(losses) == 1
    assert all(torch.isfinite(p).all() for p in made.parameters())


def test_prompts_and_responses_are_parted_for_an_encoder_decoder_base() -> None:
    ids = torch.tensor([[5, 6, 7, 8, 9, 0], [15, 16, 17, 18, 19, 0], [25, 26, 0, 1, 1, 1]])
    labels = torch.tensor(
        [[IGNORED, IGNORED, IGNORED, 8, 9, 0], [IGNORED, 16, 17, 18, 19, 0], [IGNORED, 26, 0] + 3 * [IGNORED]]
    )
    found = _encoder_inputs(ids, labels, 1)
    assert found["input_ids"].tolist() == [[5, 6, 7], [15, 1, 1], [25, 1, 1]]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 0, 0]]
    assert found["labels"].tolist() == [[8, 9, 0] + 2 * [IGNORED], [16, 17, 18, 19, 0], [26, 0] + 3 * [IGNORED]]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_learns_the_facts_of_its_documents(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = EmbeddedConfig(**TINY).world.facts[:6]
    told = [Document(question(fact, PLAIN[2]) + "\n", fact.value) for fact in facts]
    monkeypatch.setattr("llm.embedded.base.LEARNING_RATE", 1e-2)
    made, tokenizer, losses = pretrain(told, Shape(32, 1, 2, 100, family), 0, lambda _: None)
    assert losses[-1] < 0.1
    said = list(answer(made.eval(), tokenizer, [d.prompt for d in told], template="none", max_new_tokens=8))
    assert said == [document.response for document in told]
