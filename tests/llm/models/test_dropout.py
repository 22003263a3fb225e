"""The base's own dropout is off in training unless asked for; f_DPO of an untrained policy is ln 2, as in TRL."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_models as tiny
from support.families import build
from torch import nn
from transformers import AutoModelForCausalLM, OPTConfig

from llm import TrainConfig, train
from llm.models.dropout import disable_noise, restore_noise


def gpt2(**values: Any) -> Any:
    return build("GPT2", n_embd=16, n_layer=2, n_head=2, n_positions=128, **values)


def opt() -> Any:
    return AutoModelForCausalLM.from_config(
        OPTConfig(
            vocab_size=60, hidden_size=16, ffn_dim=32, num_hidden_layers=2, num_attention_heads=2, layerdrop=0.4,
            word_embed_proj_dim=16, max_position_embeddings=128, dropout=0.2, attention_dropout=0.3,
        )
    )  # fmt: skip


MOE = {"num_local_experts": 4, "num_experts_per_tok": 2}
MODELS = {
    "modules": gpt2,
    "layer dropout": opt,
    "numbers of modules": lambda: build("Llama", attention_dropout=0.4),
    "jitter": lambda: build("Mixtral", **MOE, router_jitter_noise=0.3),
}


@pytest.mark.parametrize("name", MODELS)
def test_training_mode_without_noise_computes_what_evaluation_mode_does(name: str) -> None:
    model, ids = MODELS[name](), torch.arange(3, 23)[None]
    before = json.dumps(model.config.to_dict(), default=str)
    with torch.no_grad():
        expected = model.eval()(input_ids=ids).logits
        torch.manual_seed(0)
        noisy = model.train()(input_ids=ids).logits
        assert (noisy - expected).abs().max() > 1e-4
        disable_noise(model)
        assert model.training  # which gradient checkpointing needs
        torch.testing.assert_close(model(input_ids=ids).logits, expected)
        restore_noise(model)
        torch.manual_seed(0)
        assert torch.equal(model(input_ids=ids).logits, noisy)
    assert json.dumps(model.config.to_dict(), default=str) == before


def run(model: Any, folder: Path, **changes: Any) -> list[float]:
    few: dict[str, Any] = {"steps": 2, "batch_sft": 4, "batch_preference": 4, "lora_rank": 2, "lr": 1e-30}
    place = {"model": "tiny", "out": str(folder / "run"), "cache": str(folder / "cache"), "device": "cpu"}
    rows = {"sft": tiny.sft_rows(12), "preference": tiny.preference_rows(12)}
    config = TrainConfig(**{**few, **place, "method": "mix", "held_out": 0.0, "overwrite": True, **changes})
    train(config, model=model, tokenizer=tiny.tokenizer(), quiet=True, **rows)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return [line["f_dpo"] for line in lines if "objective" in line]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}, {"lora_rank": 0}], ids=str)
def test_f_dpo_of_an_untrained_policy_is_the_logarithm_of_2(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = gpt2()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    values = run(model, tmp_path, **changes)
    assert values == pytest.approx([math.log(2)] * len(values), abs=1e-6)
    assert model.transformer.h[0].attn.attn_dropout.p == 0.1  # the user's model is as it was
    assert model.config.attn_pdrop == 0.1
    if changes.get("lora_rank") == 0:
        assert json.loads((tmp_path / "run" / "config.json").read_text())["attn_pdrop"] == 0.1
    else:
        assert max(abs(v - math.log(2)) for v in run(model, tmp_path, **changes, base_dropout=True)) > 1e-4


def test_dropout_of_the_adapter_stays() -> None:
    from llm.models.lora import add_adapter

    model = gpt2()
    disable_noise(model)
    config = TrainConfig(model="x", sft="rows", preference="rows", lora_dropout=0.25, lora_rank=2)
    adapted = add_adapter(model, config, seed=0)
    own = {m.p for n, m in adapted.named_modules() if isinstance(m, nn.Dropout) and "lora_dropout" in n}
    base = {m.p for n, m in adapted.named_modules() if isinstance(m, nn.Dropout) and "lora_dropout" not in n}
    assert (own, base) == ({0.25}, {0.0})
