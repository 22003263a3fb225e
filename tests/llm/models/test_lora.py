"""Adapters of PEFT: initial weights, trainable weights, saved adapters, and the exact sum of several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import tiny_models as tiny
from support.families import build

from llm import TrainConfig
from llm.common.processes import seeded_torch
from llm.models.lora import add_adapter, join_adapters, load_adapter
from llm.models.lora_check import check_adapters

CONFIG = TrainConfig(lora_rank=3, lora_alpha=6, lora_targets=("query_key_value", "dense"))
IDS = torch.arange(3, 13)[None]


def logits(model: Any) -> torch.Tensor:
    """Return the logits (1, 10, vocabulary) of ten ids."""
    with torch.no_grad():
        return model(input_ids=IDS).logits


def lora_weights(model: Any, name: str) -> dict[str, torch.Tensor]:
    """Return copies of the LoRA weights of one adapter."""
    return {n: p.detach().clone() for n, p in model.named_parameters() if f".{name}." in n}


def randomized(model: Any, name: str, seed: int) -> Any:
    """Return the model with random LoRA weights in one adapter; PEFT's initial B is 0."""
    with seeded_torch(seed), torch.no_grad():
        for n, parameter in model.named_parameters():
            if f".{name}." in n:
                parameter.normal_(std=0.2)
    return model


def test_a_new_adapter_leaves_the_function_and_torchs_generator_unchanged() -> None:
    base = tiny.model()
    expected, state = logits(base), torch.get_rng_state()
    model = add_adapter(base, CONFIG, seed=5).eval()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(logits(model), expected)


def test_the_initial_weights_depend_on_the_seed_alone() -> None:
    first, again, other = (lora_weights(add_adapter(tiny.model(), CONFIG, seed=s), "default") for s in (5, 5, 6))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)


def test_only_the_newest_adapter_is_trainable_and_all_are_active() -> None:
    model = add_adapter(tiny.model(), CONFIG, seed=1)
    trainable = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trainable == set(lora_weights(model, "default"))
    randomized(model, "default", 2).eval()
    before = logits(model)
    model = add_adapter(model, CONFIG, seed=3, name="second").eval()
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(lora_weights(model, "second"))
    assert torch.equal(logits(model), before)  # the first adapter takes part, the second begins as 0


@pytest.mark.slow
def test_a_saved_adapter_gives_the_same_logits_on_a_fresh_base(tmp_path: Path) -> None:
    model = randomized(add_adapter(tiny.model(), CONFIG, seed=1), "default", 2).eval()
    model.save_pretrained(tmp_path)
    loaded = load_adapter(tiny.model(), str(tmp_path), trainable=True).eval()
    assert torch.equal(logits(loaded), logits(model))
    assert not torch.equal(logits(loaded), logits(tiny.model()))
    assert any(p.requires_grad for p in loaded.parameters())
    assert not any(p.requires_grad for p in load_adapter(tiny.model(), str(tmp_path), trainable=False).parameters())


@pytest.mark.slow
def test_a_folder_without_an_adapter_or_with_one_of_another_shape_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^adapter: .* has no adapter_config.json; give a folder"):
        load_adapter(tiny.model(), str(tmp_path), trainable=False)
    add_adapter(tiny.model(hidden=32), CONFIG, seed=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"^adapter: .* does not fit the base model: ") as caught:
        load_adapter(tiny.model(), str(tmp_path), trainable=False)
    assert "\n" not in str(caught.value)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no adapter_model.safetensors"):
        load_adapter(tiny.model(), str(tmp_path), trainable=False)


@pytest.mark.slow
def test_weights_that_the_model_has_no_place_for_are_named(tmp_path: Path) -> None:
    """PEFT loads the rest of such an adapter and says nothing: part of another model's adapter would be trained on."""
    add_adapter(tiny.model(), CONFIG, seed=1).save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    weights = load_file(path)
    load_adapter(tiny.model(), str(tmp_path), trainable=False)
    third = {n.replace("layers.1", "layers.2"): weight.clone() for n, weight in weights.items() if "layers.1" in n}
    save_file(weights | third, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"no place for the weight .*layers\.2\..* and \d+ more$") as caught:
        load_adapter(tiny.model(), str(tmp_path), trainable=False)
    assert str(caught.value).startswith(f"adapter: {tmp_path} does not fit the base model: ")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"modules_to_save": ["embed_in", "embed_out"]}])
def test_an_adapter_on_resized_embeddings_names_the_remedy(settings: dict[str, Any], tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = tiny.model()
    model.resize_token_embeddings(72)
    config = LoraConfig(r=2, target_modules=["query_key_value"], task_type="CAUSAL_LM", **settings)
    get_peft_model(model, config).save_pretrained(tmp_path, save_embedding_layers=True)
    with pytest.raises(ValueError, match=r"embeddings of 72 ids, and the base has 60; resize the base's") as caught:
        load_adapter(tiny.model(), str(tmp_path), trainable=False)
    assert "\n" not in str(caught.value)
    larger = tiny.model()
    larger.resize_token_embeddings(72)
    torch.testing.assert_close(logits(load_adapter(larger, str(tmp_path), trainable=False)), logits(model))


@pytest.mark.slow
@pytest.mark.oracle
def test_an_adapter_of_separate_experts_fits_experts_in_one_tensor(tmp_path: Path) -> None:
    """transformers 4 had a linear layer for each expert; PEFT joins the factors of their adapters.

    An expert's output is linear in its down projection, so that the change by B A is computed by hand.
    """
    from peft import LoraConfig, get_peft_model

    model = build("Mixtral", num_local_experts=2, num_experts_per_tok=2)
    get_peft_model(model, LoraConfig(r=2, lora_alpha=2, target_modules=["q_proj"])).save_pretrained(tmp_path)
    path, draw = tmp_path / "adapter_model.safetensors", torch.Generator().manual_seed(0)
    weights, config = load_file(path), model.config
    fresh = build("Mixtral", num_local_experts=2, num_experts_per_tok=2)
    for i in range(config.num_hidden_layers):
        for j in range(2):
            a = torch.randn(2, config.intermediate_size, generator=draw)
            b = torch.randn(config.hidden_size, 2, generator=draw)
            at = f"base_model.model.model.layers.{i}.block_sparse_moe.experts.{j}.w2"
            weights |= {f"{at}.lora_A.weight": a, f"{at}.lora_B.weight": b}
            with torch.no_grad():
                fresh.model.layers[i].mlp.experts.down_proj[j] += b @ a
    save_file(weights, path, metadata={"format": "pt"})
    described = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(described | {"target_modules": ["q_proj", "w2"]}))
    ids = torch.arange(3, 20)[None]
    base = build("Mixtral", num_local_experts=2, num_experts_per_tok=2)
    with torch.no_grad():
        before, wanted = base.eval()(ids).logits, fresh.eval()(ids).logits
        found = load_adapter(base, str(tmp_path), trainable=False).eval()(ids).logits
    assert float((wanted - before).abs().max()) > 0.1
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("weights", [(), (0.25, 0.75)])
def test_joined_adapters_are_the_weighted_sum_of_their_updates(weights: tuple[float, ...]) -> None:
    """The right value: W + Σ w_i (alpha/r) B_i A_i, added to the weights of a plain model by hand."""
    model = add_adapter(tiny.model(), CONFIG, seed=1, name="first")
    model = add_adapter(model, CONFIG, seed=2, name="second")
    plain = tiny.model()
    for name, weight, seed in zip(("first", "second"), weights or (1.0, 1.0), (3, 4), strict=True):
        randomized(model, name, seed)
        parts = lora_weights(model, name)
        for key in (k for k in parts if "lora_A" in k):
            update = parts[key.replace("lora_A", "lora_B")] @ parts[key] * (CONFIG.lora_alpha / CONFIG.lora_rank)
            layer = plain.get_submodule(key.removeprefix("base_model.model.").partition(".lora_A")[0])
            layer.weight.data += weight * update
    joined = join_adapters(model, weights).eval()
    assert joined.active_adapters == ["default"]
    torch.testing.assert_close(logits(joined), logits(plain), rtol=1e-5, atol=1e-5)


def test_the_check_leaves_no_adapter_on_the_base() -> None:
    base = tiny.model()
    names = [n for n, _ in base.named_parameters()]
    check_adapters(base, CONFIG, "base")
    assert [n for n, _ in base.named_parameters()] == names
    with pytest.raises(ValueError, match=r"^lora_targets: q_proj"):
        check_adapters(base, TrainConfig(lora_targets=("q_proj",)), "base")
    with pytest.raises(FileNotFoundError, match=r"^reference: must be base, chosen, sft, paper, or the folder"):
        check_adapters(base, CONFIG, "no/such/folder")
