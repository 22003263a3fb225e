"""The load-balancing loss of experts: transformers' own loss and gradient, TRL's default weight, in every layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import architectures
from support import tiny_models as tiny
from support.families import build

from llm import TrainConfig, train
from llm.data.collate import collate
from llm.data.splits import load_datasets
from llm.models.policy import Policy
from llm.models.routers import router_coefficient

EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "Mixtral": EXPERTS,
    "Qwen3Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8},
    "GptOss": {**EXPERTS, "head_dim": 8, "sliding_window": 6},
}
PROMPTS = [np.array(ids, dtype=np.int32) for ids in ([9, 14, 22], [7, 8, 50, 3, 12])]
RESPONSES = [(np.array([31, 5, 6], dtype=np.int32),), (np.array([17], dtype=np.int32),)]


def plainly(model: Any, prompts: Any, responses: Any, coefficient: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return transformers' own SFT loss with `coefficient` times its auxiliary loss, and the auxiliary loss."""
    length = max(len(p) + len(r[0]) for p, r in zip(prompts, responses, strict=True))
    ids, labels = torch.zeros(len(prompts), length, dtype=torch.int64), torch.full((len(prompts), length), -100)
    mask = torch.zeros_like(ids)
    for i, (prompt, (response,)) in enumerate(zip(prompts, responses, strict=True)):
        whole = np.concatenate([prompt, response])
        ids[i, : len(whole)], mask[i, : len(whole)] = torch.from_numpy(whole), 1
        labels[i, len(prompt) : len(whole)] = torch.from_numpy(response)
    model.router_aux_loss_coef = coefficient
    output = model(input_ids=ids, attention_mask=mask, labels=labels, output_router_logits=True)
    return output.loss, output.aux_loss


@pytest.mark.oracle
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_loss_and_gradients_are_transformers_own(name: str, direct: bool) -> None:
    model = build(name, **FAMILIES[name])
    loss, aux = plainly(model, PROMPTS, RESPONSES, 0.7)
    loss.backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    policy = Policy(model)
    policy.skip_prompt_logits, policy.router_coefficient = direct, 0.7
    batch = collate(PROMPTS, RESPONSES)
    ours = -policy(batch).sum() / int(batch.counts.sum())
    found = policy.router_loss()
    assert found is not None
    assert found.item() == pytest.approx(aux.item(), abs=1e-6)
    total = ours + 0.7 * found
    assert total.item() == pytest.approx(loss.item(), abs=1e-5)
    total.backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter_name in expected:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, expected[parameter_name], atol=1e-5, rtol=1e-3)
    assert not model.get_output_embeddings()._forward_pre_hooks
    with torch.no_grad():  # an evaluation computes no auxiliary loss
        policy.router_losses = []
        policy(batch)
        assert policy.router_loss() is None


def test_the_weight_is_that_of_the_configuration_unless_given() -> None:
    model = build("Mixtral", **EXPERTS, router_aux_loss_coef=0.02)
    assert (router_coefficient(model, None), router_coefficient(model, 0.5), router_coefficient(model, 0.0)) == (
        0.02,
        0.5,
        0.0,
    )
    assert router_coefficient(tiny.model("llama"), None) == router_coefficient(tiny.model("llama"), 0.0) == 0.0
    with pytest.raises(ValueError, match=r"^router_aux_loss: LlamaForCausalLM returns no auxiliary loss .*, got 0\.5"):
        router_coefficient(tiny.model("llama"), 0.5)


@pytest.mark.parametrize(("name", "mixture"), [("flint", {"mlp_only_layers": []}), ("doge", {"is_moe": True})])
def test_a_dense_model_of_an_architecture_of_mixtures_has_no_such_loss(name: str, mixture: dict[str, Any]) -> None:
    """transformers' own forward pass computes none, whatever the configuration's coefficient."""
    dense = architectures.build(name)
    assert dense.config.router_aux_loss_coef > 0.0
    assert router_coefficient(dense, None) == 0.0
    with pytest.raises(ValueError, match=r"^router_aux_loss: .* returns no auxiliary loss of routers"):
        router_coefficient(dense, 0.5)
    config = type(dense.config)(**(dense.config.to_dict() | mixture))
    assert router_coefficient(type(dense)(config), None) == config.router_aux_loss_coef


def run(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    few: dict[str, Any] = {"steps": 2, "batch_sft": 8, "batch_preference": 4, "lora_rank": 2, "lr": 1e-30}
    place = {"model": "tiny", "out": str(folder / "run"), "cache": str(folder / "cache"), "device": "cpu"}
    config = TrainConfig(**{**few, **place, "method": "mix", "held_out": 0.0, "overwrite": True, **changes})
    rows = {"sft": tiny.sft_rows(8), "preference": tiny.preference_rows(4)}
    train(config, model=build("Mixtral", **EXPERTS), tokenizer=tiny.tokenizer(), quiet=True, **rows)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "objective" in line]


@pytest.mark.slow
@pytest.mark.oracle
def test_a_run_adds_the_loss_and_reports_it(tmp_path: Path) -> None:
    model = build("Mixtral", **EXPERTS)
    config = TrainConfig(model="tiny", held_out=0.0)
    sets = load_datasets(config, tiny.tokenizer(), {"sft": tiny.sft_rows(8), "preference": tiny.preference_rows(4)})
    with torch.no_grad():
        whole = float(plainly(model, sets.train["sft"].prompts, sets.train["sft"].responses, 0.0)[1])
        rows = zip(sets.train["sft"].prompts, sets.train["sft"].responses, strict=True)
        alone = float(np.mean([float(plainly(model, [p], [r], 0.0)[1]) for p, r in rows]))
    default, *_ = run(tmp_path, micro_tokens=100_000)
    assert default["router_loss_sft"] == pytest.approx(whole, abs=1e-5)
    parts, *_ = run(tmp_path, micro_tokens=1)
    assert parts["router_loss_sft"] == pytest.approx(alone, abs=1e-5)
    assert abs(whole - alone) > 1e-3
    off, *_ = run(tmp_path, micro_tokens=100_000, router_aux_loss=0.0)
    large, *_ = run(tmp_path, micro_tokens=100_000, router_aux_loss=50.0, gradient_checkpointing=True)
    assert "router_loss_sft" not in off
    assert (off["f_sft"], off["f_dpo"]) == pytest.approx((large["f_sft"], large["f_dpo"]), abs=1e-5)
    assert large["router_loss_sft"] == pytest.approx(whole, abs=1e-5)
    assert abs(large["grad_norm"] - off["grad_norm"]) > 1e-2
    with pytest.raises(ValueError, match=r"^share_prompt: routers' auxiliary loss counts both prompts"):
        run(tmp_path, share_prompt="yes")
