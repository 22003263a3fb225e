"""Copies of whole modules beside LoRA (modules_to_save) are trained in float32 on a base of 16 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_models as tiny

from llm import TrainConfig
from llm.models.lora import add_adapter, load_adapter, unload

LOW = (torch.bfloat16, torch.float16)
IDS = torch.arange(3, 13)[None]


def config(module: str) -> TrainConfig:
    return TrainConfig(lora_rank=2, lora_targets=("q_proj",), lora=(f'modules_to_save=["{module}"]',))


def logits(model: Any) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model(input_ids=IDS).logits


def step(model: Any) -> dict[str, float]:
    """Take one step of AdamW at a usual rate; return by name the share of each weight's numbers that it changed."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad and "modules_to_save" in name}
    before = {name: p.detach().clone() for name, p in trained.items()}
    logits(model).float().logsumexp(-1).sum().backward()
    torch.optim.AdamW(trained.values(), lr=5e-5, weight_decay=0.0).step()
    seen = {name: p.grad != 0.0 for name, p in trained.items() if p.grad is not None}
    return {name: float((trained[name] != before[name])[where].float().mean()) for name, where in seen.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOW, ids=str)
@pytest.mark.parametrize("module", ["lm_head", "embed_tokens", "norm", "mlp"])
@pytest.mark.parametrize("loaded", [False, True], ids=["new", "loaded"])
def test_a_usual_step_changes_the_numbers_of_a_saved_module(
    module: str, kind: torch.dtype, loaded: bool, tmp_path: Path
) -> None:
    base = tiny.model("llama").to(kind)
    model = add_adapter(base, config(module), seed=0)
    if loaded:
        model.save_pretrained(tmp_path, save_embedding_layers=False)
        model = load_adapter(unload(model), str(tmp_path), trainable=True)
    shares = step(model)
    assert shares
    # Numbers from 0.3 on have a unit of 2^-25 in float32; in bfloat16 steps of 5e-5 leave most of them as they are.
    assert min(shares.values()) > 0.99
    assert {p.dtype for name, p in model.named_parameters() if "lora" not in name and not p.requires_grad} == {kind}


@pytest.mark.slow
@pytest.mark.parametrize("module", ["lm_head", "embed_tokens", "norm"])
def test_an_untrained_copy_is_the_base_and_a_trained_one_is_what_peft_loads(module: str, tmp_path: Path) -> None:
    from peft import PeftModel

    base = tiny.model("llama").to(torch.bfloat16)
    with torch.no_grad():
        before = logits(base)
        model = add_adapter(base, config(module), seed=0)
        assert torch.equal(logits(model), before)
    step(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter.mul_(1.5)
        trained = logits(model)
        model.save_pretrained(tmp_path, save_embedding_layers=False)
        saved = PeftModel.from_pretrained(tiny.model("llama").to(torch.bfloat16), str(tmp_path)).eval()
        difference = float((logits(saved) - trained).abs().max())
    # PEFT rounds the copies ("norm" is five norms), and each module after them once more: some units of 2^-8.
    tolerance = 16 * 2**-8 * float(trained.abs().max())
    assert difference <= tolerance
    assert float((trained - before).abs().max()) > 4 * tolerance


@pytest.mark.slow
@pytest.mark.parametrize("trainable", [False, True])
def test_a_loaded_copy_has_every_digit_that_was_trained(trainable: bool, tmp_path: Path) -> None:
    """An evaluation of the saved adapter, and a training that goes on with it, are of the policy that was trained."""
    model = add_adapter(tiny.model("llama").to(torch.bfloat16), config("norm"), seed=0)
    step(model)
    copies = {name: p.detach().clone() for name, p in model.named_parameters() if "modules_to_save" in name}
    trained = logits(model.eval()).detach()
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    loaded = load_adapter(tiny.model("llama").to(torch.bfloat16), str(tmp_path), trainable=trainable).eval()
    weights = dict(loaded.named_parameters())
    assert all(torch.equal(weights[name], copy) for name, copy in copies.items())
    assert any(not torch.equal(copy, copy.bfloat16().float()) for copy in copies.values())
    assert torch.equal(logits(loaded), trained)
