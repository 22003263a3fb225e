"""LoRA's layers as one operation: PEFT's numbers and autograd's gradients, and PEFT's own layer everywhere else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from support import tiny_models
from torch import nn

from llm.models.dropout import disable_noise
from llm.models.fused_lora import FusedLinear, fuse_lora

CLOSE = {"rtol": 1e-9, "atol": 1e-11}  # sums of at most some hundred float64 products, in another order
IDS = torch.arange(2, 26).view(2, 12)


def adapted(family: str = "gpt_neox", **settings: Any) -> Any:
    """A tiny model in float64 with a LoRA adapter whose both matrices are random, and no other dropout than LoRA's."""
    torch.manual_seed(3)
    base = tiny_models.model(family).double()
    disable_noise(base)
    values = {"r": 4, "lora_alpha": 6, "task_type": "CAUSAL_LM", "target_modules": "all-linear"} | settings
    model = get_peft_model(base, LoraConfig(**values)).double()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.3)
    return model.train()


def values_and_gradients(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The logits of two rows, and the gradients of a weighted sum of them."""
    model.zero_grad()
    logits = model(input_ids=IDS, use_cache=False).logits
    (logits * torch.linspace(-1.0, 1.0, logits.numel()).view_as(logits)).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return logits.detach(), gradients


@pytest.mark.oracle
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["gpt_neox", "llama", "opt"])
def test_logits_and_gradients_are_those_of_peft(family: str, checkpointing: bool) -> None:
    model = adapted(family)
    if checkpointing:
        model.get_base_model().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    logits, gradients = values_and_gradients(model)
    assert fuse_lora(model) == sum(isinstance(m, FusedLinear) for m in model.modules()) > 3
    ours, own = values_and_gradients(model)
    torch.testing.assert_close(ours, logits, **CLOSE)
    assert own.keys() == gradients.keys()
    assert all(".lora_" in name for name in own)
    for name, gradient in own.items():
        scale = float(gradients[name].abs().max())
        assert scale > 0.01
        assert float((gradient - gradients[name]).abs().max()) < 1e-9 * scale, name
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=IDS, use_cache=False).logits, logits, **CLOSE)


@pytest.mark.parametrize("which", ["x", "a", "b"])
def test_only_needed_gradients_are_computed(which: str) -> None:
    layer = next(m for m in adapted().modules() if hasattr(m, "lora_A"))
    x = torch.randn(3, layer.in_features, dtype=torch.float64, requires_grad=which == "x")
    layer.lora_A["default"].weight.requires_grad_(which == "a")
    layer.lora_B["default"].weight.requires_grad_(which == "b")
    trained = {"x": x, "a": layer.lora_A["default"].weight, "b": layer.lora_B["default"].weight}
    layer(x).square().sum().backward()
    expected = {name: tensor.grad for name, tensor in trained.items()}
    for tensor in trained.values():
        tensor.grad = None
    assert fuse_lora(layer) == 1
    layer(x).square().sum().backward()
    assert [name for name, tensor in trained.items() if tensor.grad is not None] == [which]
    torch.testing.assert_close(trained[which].grad, expected[which], **CLOSE)


def test_it_is_one_operation_of_autograd() -> None:
    layer = next(m for m in adapted().modules() if hasattr(m, "lora_A"))
    fuse_lora(layer)
    output = layer(torch.randn(2, 5, layer.in_features).double())
    assert output.grad_fn is not None
    assert output.grad_fn.name() == "LoraLinearBackward"
    assert output.shape == (2, 5, layer.out_features)


def test_the_output_can_be_changed_in_place_as_llama_4_does() -> None:
    layer = next(m for m in adapted().modules() if hasattr(m, "lora_A"))
    fuse_lora(layer)
    output = layer(torch.randn(2, 5, layer.in_features).double())
    output.add_(1.0)
    output.sum().backward()
    assert layer.lora_A["default"].weight.grad is not None


def test_a_second_derivative_is_an_error_and_never_wrong() -> None:
    layer = next(m for m in adapted().modules() if hasattr(m, "lora_A"))
    fuse_lora(layer)
    weight = layer.lora_A["default"].weight
    with pytest.raises(RuntimeError, match="has no derivative"):
        torch.autograd.grad(layer(torch.randn(2, layer.in_features).double()).square().sum(), weight, create_graph=True)


@pytest.mark.oracle
def test_products_with_the_hessian_are_those_of_peft() -> None:
    model = adapted()
    model.get_base_model().set_attn_implementation("eager")
    weights = [p for p in model.parameters() if p.requires_grad]
    along = [torch.randn(p.shape, generator=torch.Generator().manual_seed(1)).double() for p in weights]

    def product() -> list[torch.Tensor]:
        logits = model(input_ids=IDS, use_cache=False).logits
        value = (logits.log_softmax(-1) * torch.linspace(-1.0, 1.0, logits.numel()).view_as(logits)).mean()
        gradients = torch.autograd.grad(value, weights, create_graph=True)
        return list(torch.autograd.grad(gradients, weights, along))

    expected = product()
    assert fuse_lora(model, twice_differentiable=True) > 3
    ours = product()
    largest = max(float(h.abs().max()) for h in expected)
    assert largest > 0.01
    for mine, theirs in zip(ours, expected, strict=True):
        assert float((mine - theirs).abs().max()) < 1e-9 * largest


def without_fusion(model: Any) -> torch.Tensor:
    """The model's logits with PEFT's layers."""
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if isinstance(module, FusedLinear):
            module.__class__ = FusedLinear.__bases__[0]
    return plain(input_ids=IDS, use_cache=False).logits.detach()  # type: ignore[no-any-return]


def test_merged_disabled_and_several_adapters_compute_as_peft_does() -> None:
    model = adapted().eval()
    base = tiny_models.model().double()(input_ids=IDS, use_cache=False).logits.detach()
    fuse_lora(model)
    expected = without_fusion(model)
    with model.disable_adapter():
        torch.testing.assert_close(model(input_ids=IDS, use_cache=False).logits, base)
    model.merge_adapter()
    torch.testing.assert_close(model(input_ids=IDS, use_cache=False).logits, expected, **CLOSE)
    model.unmerge_adapter()
    settings = LoraConfig(r=2, init_lora_weights=False, target_modules="all-linear", task_type="CAUSAL_LM")
    model.add_adapter("second", settings)
    model.double()
    model.base_model.set_adapter(["default", "second"])
    both = model(input_ids=IDS, use_cache=False).logits
    torch.testing.assert_close(both, without_fusion(model))
    assert float((both - expected).detach().abs().max()) > 0.01


def test_dropout_in_training_is_that_of_peft() -> None:
    model = adapted(lora_dropout=0.5)
    torch.manual_seed(0)
    expected = model(input_ids=IDS, use_cache=False).logits
    fuse_lora(model)
    torch.manual_seed(0)
    torch.testing.assert_close(model(input_ids=IDS, use_cache=False).logits, expected)
    torch.testing.assert_close(model.eval()(input_ids=IDS, use_cache=False).logits, without_fusion(model), **CLOSE)


def test_bfloat16_on_float32_adapters_and_autocast_compute_as_peft_does() -> None:
    model = adapted().float().eval()
    fuse_lora(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(model(input_ids=IDS, use_cache=False).logits, without_fusion(model))
    mixed = tiny_models.model().to(torch.bfloat16)
    mixed = get_peft_model(mixed, LoraConfig(r=2, init_lora_weights=False, target_modules="all-linear")).eval()
    assert next(p for n, p in mixed.named_parameters() if "lora_A" in n).dtype == torch.float32
    assert fuse_lora(mixed) > 0
    torch.testing.assert_close(mixed(input_ids=IDS, use_cache=False).logits, without_fusion(mixed))


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"lora_bias": True}])
def test_other_kinds_of_lora_compute_as_peft_does(settings: dict[str, bool]) -> None:
    model = adapted(**settings).eval()
    expected = model(input_ids=IDS, use_cache=False).logits
    fuse_lora(model)
    torch.testing.assert_close(model(input_ids=IDS, use_cache=False).logits, expected, rtol=0.0, atol=0.0)


def test_layers_with_hooks_or_trained_bases_are_left_as_they_are() -> None:
    model = adapted()
    layers = [m for m in model.modules() if hasattr(m, "lora_A")]
    layers[0].base_layer.weight.requires_grad_(True)
    layers[1].base_layer.register_forward_hook(lambda *_: None)
    layers[2].lora_A["default"].register_forward_pre_hook(lambda *_: None)
    assert fuse_lora(model) == len(layers) - 3
    assert not any(isinstance(layer, FusedLinear) for layer in layers[:3])
    assert fuse_lora(model) == 0  # the others are fused already


def test_a_fused_adapter_is_saved_loaded_and_taken_off_by_peft(tmp_path: Path) -> None:
    model = adapted().eval()
    fuse_lora(model)
    logits = model(input_ids=IDS, use_cache=False).logits.detach()
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny_models.model().double(), str(tmp_path)).double().eval()
    torch.testing.assert_close(loaded(input_ids=IDS, use_cache=False).logits.detach(), logits, **CLOSE)
    base = model.unload()
    assert not any(isinstance(module, FusedLinear) for module in base.modules())
    expected = tiny_models.model().double()(input_ids=IDS, use_cache=False).logits
    torch.testing.assert_close(base(input_ids=IDS, use_cache=False).logits, expected)


def test_a_model_without_adapters_has_nothing_to_fuse() -> None:
    assert fuse_lora(nn.Sequential(nn.Linear(2, 2))) == 0
