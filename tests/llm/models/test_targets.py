"""Layers that get LoRA: PEFT's own choice, names, patterns, all linear layers, or experts' parameters."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from support import architectures
from support import tiny_models as tiny
from support.families import IDS, build
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    MambaConfig,
    SwitchTransformersConfig,
    SwitchTransformersForConditionalGeneration,
)

from llm import TrainConfig
from llm.data.collate import collate
from llm.models.lora import add_adapter
from llm.models.lora_check import check_adapters
from llm.models.policy import Policy

EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}


def adapted(model: Any, **changes: Any) -> set[str]:
    """Return the full names of the layers of a model that get LoRA."""
    config = TrainConfig(**{"model": "x", "sft": "rows", "preference": "rows", "lora_rank": 2, **changes})
    made = add_adapter(model, config, seed=0)
    return {
        n.partition(".lora_A")[0].removeprefix("base_model.model.") for n, _ in made.named_parameters() if "lora_A" in n
    }


def by_peft(model: Any, **values: Any) -> set[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = get_peft_model(model, LoraConfig(r=2, task_type="CAUSAL_LM", **values))
    return {
        n.partition(".lora_A")[0].removeprefix("base_model.model.") for n, _ in made.named_parameters() if "lora_A" in n
    }


def gemma3() -> Any:
    """A model for images as well, whose vision tower has layers of the same names."""
    text = {
        "vocab_size": 60, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "head_dim": 8,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    return AutoModelForCausalLM.from_config(Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4))


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({}, {}),
        ({"lora_targets": ("k_proj", "mlp.up_proj")}, {"target_modules": ["k_proj", "mlp.up_proj"]}),
        ({"lora_targets": ("all-linear",)}, {"target_modules": "all-linear"}),
        ({"lora_targets": (r".*layers\.1\..*_proj",)}, {"target_modules": r".*layers\.1\..*_proj"}),
    ],
    ids=["default", "names", "all-linear", "pattern"],
)
def test_targets_are_those_of_peft(changes: dict[str, Any], values: dict[str, Any]) -> None:
    found = adapted(build("Llama"), **changes)
    assert found == by_peft(build("Llama"), **values)
    assert found


def test_a_pattern_of_peft_is_a_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    assert isinstance(KNOWN["gemma4"], str)
    monkeypatch.setitem(KNOWN, "llama", r".*layers\.1\..*q_proj")
    assert adapted(build("Llama")) == {"model.layers.1.self_attn.q_proj"}


@pytest.mark.slow
def test_layers_for_images_are_left_out() -> None:
    names = {name for name, _ in gemma3().named_modules()}
    assert any("vision" in name and name.endswith("q_proj") for name in names)
    for changes in ({}, {"lora_targets": ("all-linear",)}, {"lora_targets": ("q_proj",)}):
        found = adapted(gemma3(), **changes)
        assert found
        assert all("language_model" in name for name in found)


@pytest.mark.slow
@pytest.mark.parametrize("targets", [(), ("all-linear",)])
@pytest.mark.parametrize("name", ["phi4_multimodal", "fuyu"])
def test_layers_for_images_inside_a_language_model_are_left_out(name: str, targets: tuple[str, ...]) -> None:
    """A text passes through every layer that is adapted."""
    model = add_adapter(architectures.build(name), TrainConfig(lora_rank=2, lora_targets=targets), seed=0)
    model(input_ids=torch.arange(3, 9)[None], use_cache=False).logits.square().sum().backward()
    trained = {n: p.grad is not None for n, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all(trained.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Phimoe", EXPERTS),
        (
            "Llama4Text",
            {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 8, "intermediate_size_mlp": 24},
        ),
    ],
)
def test_routers_are_left_out_of_all_linear_layers(name: str, values: dict[str, Any]) -> None:
    found = adapted(model := build(name, **values), lora_targets=("all-linear",))
    assert found
    assert not [n for n in found if n.endswith(("router", "gate"))]
    model(input_ids=torch.arange(3, 9)[None])


@pytest.mark.slow
@pytest.mark.oracle
def test_parameters_of_experts_are_those_of_peft() -> None:
    both = ("experts.gate_up_proj", "experts.down_proj")
    model = build("Mixtral", **EXPERTS)
    found = adapted(model, lora_parameters=both)
    assert found == by_peft(build("Mixtral", **EXPERTS), target_modules=[], target_parameters=list(both))
    assert len(found) == 4
    expected = build("Mixtral", **EXPERTS)(input_ids=torch.arange(3, 9)[None]).logits
    torch.testing.assert_close(model(input_ids=torch.arange(3, 9)[None]).logits, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_targets": ("zzz",)}, r"^lora_targets: zzz is no layer of this model; it has down_proj, "),
        ({"lora_targets": (r".*zzz.*",)}, r"^lora_targets: \.\*zzz\.\* is no layer of this model; it has "),
        ({"lora_targets": ("[q",)}, r"^lora_targets: \[q is no regular expression: "),
        ({"lora_targets": ("q_proj", ".*k")}, r"^lora_targets: a pattern must be the only value, got \.\*k"),
        (
            {"lora_parameters": ("zzz",)},
            r"^lora_parameters: zzz is no parameter of this model; those of its experts are none",
        ),
    ],
)
def test_what_no_layer_matches(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adapted(build("Llama"), **changes)


@pytest.mark.slow
def test_the_reason_of_peft_is_in_the_message() -> None:
    sizes = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 1}
    model = AutoModelForCausalLM.from_config(MambaConfig(**sizes, **IDS))
    config = TrainConfig(model="x", lora_rank=2, lora_targets=("out_proj",))
    with pytest.raises(ValueError, match="'out_proj' is incompatible with Mamba-based models") as caught:
        check_adapters(model, config, "base")
    assert str(caught.value).startswith("lora_targets: out_proj cannot be adapted: ")
    layers = str(caught.value).partition("(the linear layers are ")[2]
    assert layers == "dt_proj, in_proj, lm_head, out_proj, x_proj)"
    moe = build("Mixtral", **EXPERTS)
    dropout = TrainConfig(model="x", lora_rank=2, lora_parameters=("experts.down_proj",), lora_dropout=0.1)
    with pytest.raises(ValueError, match=r"cannot be adapted: .*does not work with lora_dropout"):
        check_adapters(moe, dropout, "base")


@pytest.mark.slow
@pytest.mark.oracle
def test_an_encoder_with_routers() -> None:
    sizes = {
        "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "num_experts": 2, "dropout_rate": 0.0,
        "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1, "decoder_start_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    model = SwitchTransformersForConditionalGeneration(SwitchTransformersConfig(vocab_size=60, **sizes)).eval()
    policy = Policy(model).eval()
    prompts, pairs = tiny_ids()
    policy.select_forward_path(policy, prompts, pairs, share_prompt="auto")
    with torch.no_grad():
        found = policy(collate(prompts, pairs)).tolist()
        expected = [
            -float(model(input_ids=torch.from_numpy(p).long()[None], labels=torch.from_numpy(r).long()[None]).loss)
            * len(r)
            for p, pair in zip(prompts, pairs, strict=True)
            for r in pair
        ]
    assert found == pytest.approx(expected, abs=1e-3)


def tiny_ids() -> Any:
    draw = np.random.default_rng(0)
    prompts = [draw.integers(3, 60, size=n).astype(np.int32) for n in (4, 7)]
    return prompts, [tuple(draw.integers(3, 60, size=n).astype(np.int32) for n in (2, 5)) for _ in prompts]


def test_tiny_models_keep_their_targets() -> None:
    assert adapted(tiny.model("gpt_neox")) == {f"gpt_neox.layers.{i}.attention.query_key_value" for i in range(2)}
