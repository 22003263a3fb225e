"""Saved, loaded by PEFT, continued, and merged adapters of every kind give the policy's own log-probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file
from support import tiny_models as tiny
from support.families import build
from transformers import AutoModelForCausalLM

from llm import TrainConfig, train
from llm.evaluation.merge import MergeConfig, merge
from llm.models.fingerprints import base_fingerprint
from llm.models.lora import load_adapter, unload

IDS = torch.tensor([[5, 9, 14, 22, 31, 40]])
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
BASES: dict[str, dict[str, Any]] = {
    "plain": {"name": "Llama"},
    "tied": {"name": "Llama", "tie_word_embeddings": True},
    "experts": {"name": "Mixtral", **EXPERTS},
    "conv1d": {"name": "GPT2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128},
}
Q = ["q_proj", "v_proj"]
# Kind of adapter -> the base, and PEFT's options.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("plain", {"target_modules": Q}),
    "all linear": ("plain", {"target_modules": "all-linear"}),
    "head": ("plain", {"target_modules": [*Q, "lm_head"]}),
    "head, tied": ("tied", {"target_modules": [*Q, "lm_head"]}),
    "embeddings, tied": ("tied", {"target_modules": [*Q, "embed_tokens"]}),
    "saved modules": ("plain", {"target_modules": Q, "modules_to_save": ["lm_head", "norm"]}),
    "saved head, tied": ("tied", {"target_modules": Q, "modules_to_save": ["lm_head"]}),
    "tokens": ("plain", {"target_modules": Q, "trainable_token_indices": [5, 9]}),
    "tokens, tied": ("tied", {"target_modules": Q, "trainable_token_indices": [5, 9]}),
    "DoRA": ("plain", {"target_modules": Q, "use_dora": True}),
    "rsLoRA, ranks": ("plain", {"target_modules": Q, "use_rslora": True, "rank_pattern": {"v_proj": 4}}),
    "experts": ("experts", {"target_modules": Q, "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}),
    "conv1d": ("conv1d", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits.log_softmax(-1)  # type: ignore[no-any-return]


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    """Save a base and an adapter of a kind with random weights; return their folders and log-probabilities."""

    def make(kind: str, **more: Any) -> tuple[Path, Path, torch.Tensor]:
        base, options = KINDS.get(kind, ("plain", {"target_modules": Q}))
        build(**BASES[base]).save_pretrained(tmp_path / "base")
        tiny.tokenizer().save_pretrained(tmp_path / "base")
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        model = get_peft_model(model, LoraConfig(r=2, task_type="CAUSAL_LM", **{**options, **more}))
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
        return tmp_path / "base", tmp_path / "adapter", logits(model)

    return make


PEFT_ON_TIES = "ignore:Model (has|with) `tie_word_embeddings=True`"


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.filterwarnings(PEFT_ON_TIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_model_gives_the_log_probabilities_of_the_adapter(kind: str, saved: Any, tmp_path: Path) -> None:
    base, adapter, expected = saved(kind)
    assert (logits(AutoModelForCausalLM.from_pretrained(base)) - expected).abs().max() > 1e-2
    folder = merge(MergeConfig(adapter=str(adapter), out=str(tmp_path / "merged")))
    found = logits(AutoModelForCausalLM.from_pretrained(folder))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.filterwarnings(PEFT_ON_TIES)
@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_from_the_adapter_and_leaves_the_base_as_it_was(kind: str, saved: Any, tmp_path: Path) -> None:
    base, adapter, expected = saved(kind)
    model = AutoModelForCausalLM.from_pretrained(base)
    before = base_fingerprint(model)
    few: dict[str, Any] = {"steps": 1, "batch_sft": 2, "batch_preference": 2, "lr": 1e-12, "held_out": 0.0}
    place = {
        "model": str(base),
        "adapter": str(adapter),
        "out": str(tmp_path / "run"),
        "cache": str(tmp_path / "cache"),
    }
    config = TrainConfig(**few, **place, method="mix", device="cpu")
    rows = {"sft": tiny.sft_rows(4), "preference": tiny.preference_rows(4)}
    train(config, model=model, tokenizer=tiny.tokenizer(), quiet=True, **rows)
    assert base_fingerprint(model) == before
    old, new = (load_file(f / "adapter_model.safetensors") for f in (adapter, tmp_path / "run"))
    assert old.keys() == new.keys()
    found = load_adapter(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "run"), trainable=False)
    torch.testing.assert_close(logits(found), expected, atol=1e-5, rtol=1e-5)
    again = unload(load_adapter(model, str(adapter), trainable=False))
    assert base_fingerprint(again) == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed", "ignore:Adapter .* invalid shape")
def test_an_adapter_that_peft_cannot_merge(saved: Any, tmp_path: Path) -> None:
    _, adapter, _ = saved("", lora_bias=True)
    with pytest.raises(
        ValueError, match=r"^adapter: PEFT cannot merge it: .*lora_bias=True.*base layer has no bias\.$"
    ):
        merge(MergeConfig(adapter=str(adapter), out=str(tmp_path / "merged")))
    assert not (tmp_path / "merged").exists()


@pytest.mark.slow
def test_adapters_that_cannot_be_trained_on(saved: Any, tmp_path: Path) -> None:
    base, adapter, _ = saved("conv1d", bias="lora_only")
    model = AutoModelForCausalLM.from_pretrained(base)
    with pytest.raises(ValueError, match=r"^adapter: .* changes biases of the base model \(bias=lora_only\); merge it"):
        load_adapter(model, str(adapter), trainable=True)
    base, _, _ = saved("plain")
    prefix = PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), prefix).save_pretrained(tmp_path / "prefix")
    with pytest.raises(ValueError, match=r"^adapter: .* is of the kind PREFIX_TUNING; give a LoRA adapter"):
        load_adapter(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "prefix"), trainable=True)
    with pytest.raises(ValueError, match=r"^adapter: one of the kind PREFIX_TUNING has no weights to merge"):
        merge(MergeConfig(adapter=str(tmp_path / "prefix"), out=str(tmp_path / "merged")))


@pytest.mark.slow
def test_damaged_and_foreign_adapters(saved: Any) -> None:
    base, adapter, _ = saved("plain")
    model = AutoModelForCausalLM.from_pretrained(base)
    whole = (adapter / "adapter_model.safetensors").read_bytes()
    (adapter / "adapter_model.safetensors").write_bytes(whole[:-5])
    with pytest.raises(FileNotFoundError, match=r"^adapter: .*adapter_model.safetensors is damaged or cut \("):
        load_adapter(model, str(adapter), trainable=True)
    (adapter / "adapter_model.safetensors").write_bytes(whole)
    text = (adapter / "adapter_config.json").read_text()
    (adapter / "adapter_config.json").write_text(text.replace('"q_proj"', '"k_proj"'))
    with pytest.raises(ValueError, match=r"^adapter: .* does not fit the base model: .*missing adapter keys"):
        load_adapter(model, str(adapter), trainable=True)
    (adapter / "adapter_config.json").write_text(text[:40])
    with pytest.raises(ValueError, match=r"^adapter: .*adapter_config.json is damaged"):
        load_adapter(model, str(adapter), trainable=True)


def test_a_model_of_peft_in_memory() -> None:
    model = get_peft_model(build("Llama"), LoraConfig(r=2, target_modules=Q, task_type="CAUSAL_LM"))
    with pytest.raises(TypeError, match=r"^model: has adapters of PEFT; give its base model"):
        train(TrainConfig(model="x"), model=model, tokenizer=tiny.tokenizer(), sft=[], preference=[], quiet=True)
