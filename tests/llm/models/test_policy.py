"""The policy's log-probabilities: every way of computing them gives what the model's own logits give, and a way that
does not fit an architecture is not taken."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from support import tiny_models as tiny
from torch import nn

from llm.common.processes import seeded_torch
from llm.data.collate import Batch, collate
from llm.models.architecture import set_threads
from llm.models.policy import MAX_LOGITS, Policy

SHAPES = [(4, 3, 7), (2, 5, 1), (6, 1, 4), (1, 2, 2)]


def rows(seed: int = 0) -> tuple[list[Any], list[Any]]:
    draw = np.random.default_rng(seed)

    def ids(n: int) -> Any:
        return draw.integers(3, 60, size=n).astype(np.int32)

    return [ids(p) for p, _, _ in SHAPES], [(ids(a), ids(b)) for _, a, b in SHAPES]


PROMPTS, PAIRS = rows()


def truth(model: Any, prompt: Any, response: Any) -> float:
    """One row alone, through the model's own forward pass, log-softmax in float64."""
    line = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
    with torch.no_grad():
        logits = model(input_ids=line).logits[0].double().log_softmax(-1)
    at = np.arange(len(prompt) - 1, line.shape[1] - 1)
    return float(logits[at, line[0, at + 1]].sum())


def policy(model: Any, *, direct: bool, most: int = MAX_LOGITS) -> Policy:
    made = Policy(model, max_logits=most)
    made.skip_prompt_logits = direct
    return made


def adapted(family: str) -> Any:
    model = get_peft_model(tiny.model(family), LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM"))
    with seeded_torch(1), torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("direct", [False, True])
def test_every_way_gives_what_the_model_gives(family: str, shared: bool, direct: bool) -> None:
    """Padding, the other rows, the layout and the way through the model do not count."""
    model = adapted(family)
    expected = [truth(model, p, r) for p, pair in zip(PROMPTS, PAIRS, strict=True) for r in pair]
    with torch.no_grad():
        found = policy(model, direct=direct)(collate(PROMPTS, PAIRS, share_prompt=shared))
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(expected, rel=2e-6, abs=2e-5)
    assert len({round(x, 3) for x in expected}) == len(expected)


def grads(model: Any, batches: list[Batch], weights: list[float], **options: Any) -> tuple[list[float], torch.Tensor]:
    """The log-probabilities, and the gradient of their weighted sum in all trained weights, one after the other."""
    model = copy.deepcopy(model)
    made, found = policy(model, **options), []
    for batch in batches:
        logps = made(batch)
        n = len(logps)
        (logps * torch.tensor(weights[len(found) : len(found) + n])).sum().backward()
        found += logps.detach().tolist()
    return found, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


WEIGHTS = [0.5, -1.0, 0.25, 2.0, -0.75, 1.0, 1.5, -0.5]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "opt"])
@pytest.mark.parametrize(
    "way",
    [
        {"direct": True},
        {"direct": True, "most": 1},  # one position at a time through the head, computed again in the backward pass
        {"direct": True, "most": 60 * 5},
        {"direct": False, "shared": True},
        {"direct": True, "shared": True},
        {"direct": True, "shared": True, "most": 60 * 3},
        {"direct": True, "alone": True},
    ],
    ids=str,
)
def test_every_way_has_the_same_gradients(family: str, way: dict[str, Any]) -> None:
    model = adapted(family)
    way = dict(way)
    shared, alone = way.pop("shared", False), way.pop("alone", False)
    plain, expected = grads(model, [collate(PROMPTS, PAIRS)], WEIGHTS, direct=False)
    batches = [collate([p], [r], share_prompt=shared) for p, r in zip(PROMPTS, PAIRS, strict=True)]
    batches = batches if alone else [collate(PROMPTS, PAIRS, share_prompt=shared)]
    found, gradient = grads(model, batches, WEIGHTS, **way)
    assert found == pytest.approx(plain, rel=2e-6, abs=2e-5)
    assert float((gradient - expected).norm() / expected.norm()) < 1e-5


def test_the_order_of_rows_does_not_count() -> None:
    made = policy(tiny.model("llama"), direct=True)
    with torch.no_grad():
        one = made(collate(PROMPTS, PAIRS)).view(-1, 2)
        two = made(collate(PROMPTS[::-1], PAIRS[::-1])).view(-1, 2)
    torch.testing.assert_close(two.flip(0), one, atol=2e-5, rtol=2e-6)


def test_the_head_sees_the_positions_that_count_and_no_more_at_once_than_allowed() -> None:
    model = tiny.model("llama")
    seen: list[int] = []
    model.lm_head.register_forward_hook(lambda _, args, __: seen.append(args[0].numel() // args[0].shape[-1]))
    batch = collate(PROMPTS, PAIRS)
    n = len(batch.targets)
    with torch.no_grad():
        policy(model, direct=True)(batch)
        assert seen == [n]
        seen.clear()
        policy(model, direct=True, most=60 * 4 + 59)(batch)
    assert max(seen) == 4
    assert sum(seen) == n
    assert MAX_LOGITS * 4 == 256 * 2**20


def test_log_probabilities_of_a_bf16_model_are_float32() -> None:
    """From the very same bf16 logits, in float64: no more than float32's rounding is added."""
    model = tiny.model("llama").to(torch.bfloat16)
    made, kept = policy(model, direct=True), []
    model.lm_head.register_forward_hook(lambda _, __, out: kept.append(out.detach()))
    batch = collate(PROMPTS, PAIRS)
    with torch.no_grad():
        tokens, found = made.token_logps(batch), made(batch)
    assert kept[0].dtype == torch.bfloat16
    exact = kept[0].double().log_softmax(-1)[torch.arange(len(batch.targets)), batch.targets]
    assert tokens.dtype == found.dtype == torch.float32
    torch.testing.assert_close(tokens.double(), exact, atol=2e-6, rtol=1e-6)
    sums = torch.zeros(8, dtype=torch.float64).index_add(0, batch.response_index, exact)
    torch.testing.assert_close(found.double(), sums, atol=1e-5, rtol=1e-6)
    coarse = kept[0].log_softmax(-1)[torch.arange(len(batch.targets)), batch.targets]
    assert float((coarse.double() - exact).abs().max()) > 1e-3  # what it would be in the model's own dtype


# Which ways are taken.


def settled(model: Any, share: str = "auto") -> tuple[Policy, list[str]]:
    made = Policy(model)
    return made, made.select_forward_path(made, PROMPTS[:2], PAIRS[:2], share_prompt=share)


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ordinary_models_go_the_short_way(family: str, dtype: torch.dtype) -> None:
    made, notes = settled(adapted(family).to(dtype))
    assert (made.skip_prompt_logits, made.share_prompt, notes) == (True, True, [])


def changed(family: str, forward: Any) -> Any:
    """A model of the family whose own forward pass is another."""
    model = tiny.model(family)

    class Other(type(model)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return forward(super().forward, *args, **kwargs)

    model.__class__ = Other
    return model


def scaled(own: Any, *args: Any, **kwargs: Any) -> Any:
    out = own(*args, **kwargs)
    out.logits = out.logits * 0.9
    return out


def softcapped(own: Any, *args: Any, **kwargs: Any) -> Any:
    out = own(*args, **kwargs)
    out.logits = 5.0 * torch.tanh(out.logits / 5.0)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("forward", [scaled, softcapped])
def test_a_model_that_does_something_after_the_head_is_recognised(forward: Any) -> None:
    model = changed("llama", forward)
    made, notes = settled(model)
    assert made.skip_prompt_logits is False
    assert made.share_prompt is True  # through the model's own forward pass
    assert len(notes) == 1
    assert notes[0].startswith("all logits are computed, not only those of responses: the numbers differ by ")
    with torch.no_grad():
        found = made(collate(PROMPTS, PAIRS, share_prompt=True)).tolist()
    expected = [truth(model, p, r) for p, pair in zip(PROMPTS, PAIRS, strict=True) for r in pair]
    assert found == pytest.approx(expected, rel=2e-6, abs=2e-5)


def no_positions(own: Any, *args: Any, **kwargs: Any) -> Any:
    return own(*args, **{k: v for k, v in kwargs.items() if k != "position_ids"})


def no_mask(own: Any, *args: Any, **kwargs: Any) -> Any:
    return own(*args, **{k: v for k, v in kwargs.items() if k != "attention_mask"})


def flat_mask(own: Any, *args: Any, **kwargs: Any) -> Any:
    if kwargs.get("attention_mask") is not None and kwargs["attention_mask"].ndim == 4:
        raise ValueError("only masks of two dimensions\nare understood")
    return own(*args, **kwargs)


def without_decoder(family: str, forward: Any) -> Any:
    """As above, and the decoder cannot be called apart (the model says it has no head)."""
    model = changed(family, forward)
    model.get_output_embeddings = lambda: None
    return model


@pytest.mark.slow
@pytest.mark.parametrize("forward", [no_positions, no_mask, flat_mask])
def test_a_model_that_does_not_heed_positions_or_masks_does_not_share(forward: Any) -> None:
    model = without_decoder("llama", forward)
    made, notes = settled(model)
    assert (made.skip_prompt_logits, made.share_prompt) == (False, False)
    assert notes[0] == "all logits are computed, not only those of responses: the model has no linear head of its own"
    assert notes[1].startswith("a pair's prompt is computed twice: ")
    assert all("\n" not in note for note in notes)
    if forward is flat_mask:
        assert notes[1].endswith("ValueError: only masks of two dimensions")
    with pytest.raises(ValueError, match=r"^share_prompt: not possible with this model and attention: ") as caught:
        settled(without_decoder("llama", forward), "yes")
    assert type(caught.value) is ValueError


@pytest.mark.slow
def test_sharing_can_be_forbidden_or_asked_for() -> None:
    for share, shared in (("no", False), ("yes", True), ("auto", True)):
        made, notes = settled(tiny.model("llama"), share)
        assert (made.skip_prompt_logits, made.share_prompt, notes) == (True, shared, [])


@pytest.mark.slow
def test_settling_leaves_the_mode_and_the_weights() -> None:
    model = tiny.model("llama")
    before = copy.deepcopy(model.state_dict())
    for mode in (True, False):
        made = Policy(model).train(mode)
        made.select_forward_path(made, PROMPTS[:2], PAIRS[:2], share_prompt="auto")
        assert made.training is mode
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_dropout_does_not_mislead() -> None:
    model = get_peft_model(tiny.model(), LoraConfig(r=2, lora_dropout=0.5, target_modules=["query_key_value"]))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.fill_(0.3)
    made = Policy(model).train()
    assert made.select_forward_path(made, PROMPTS[:2], PAIRS[:2], share_prompt="yes") == []
    assert made.skip_prompt_logits


def test_seeded_leaves_torchs_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    with seeded_torch(3):
        one = nn.Linear(2, 2).weight.detach().clone()
    with seeded_torch(3):
        two = nn.Linear(2, 2).weight.detach().clone()
    with seeded_torch(4):
        three = nn.Linear(2, 2).weight.detach().clone()
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_a_small_model_takes_one_thread_and_a_number_is_obeyed() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        set_threads(torch.nn.Linear(3000, 3400))
        assert torch.get_num_threads() == 2
        set_threads(torch.nn.Linear(3000, 3000))
        assert torch.get_num_threads() == 1
        set_threads(torch.nn.Linear(3, 3), 2)
        assert torch.get_num_threads() == 2
        set_threads(torch.nn.Linear(3000, 3400), 1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
