"""PiSSA and OLoRA: the start is PEFT's, the base is put back to the bit, the saved adapter is for the original base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from support import tiny_models as tiny

from llm import TrainConfig
from llm.common.files import read_json
from llm.common.processes import seeded_torch
from llm.models.lora import add_adapter, join_adapters, load_adapter, save_by_peft, unload

IDS = torch.arange(3, 13)[None]
STARTS = ["pissa", "pissa_niter_4", "olora"]


def config(*settings: str, **changes: Any) -> TrainConfig:
    targets = changes.pop("lora_targets", ("q_proj", "down_proj"))
    return TrainConfig(lora_rank=3, lora_alpha=6, lora_targets=targets, lora=settings, **changes)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def trained(model: Any, name: str = "default", seed: int = 1) -> Any:
    """The model with one adapter's weights changed, as steps of training would."""
    with seeded_torch(seed), torch.no_grad():
        for key, parameter in model.named_parameters():
            if f".{name}." in key:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.oracle
@pytest.mark.parametrize("start", STARTS)
def test_the_start_is_pefts(start: str) -> None:
    ours = add_adapter(tiny.model("llama"), config(f"init_lora_weights={start}"), seed=7)
    lora = LoraConfig(
        r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"], init_lora_weights=start, task_type="CAUSAL_LM"
    )
    with seeded_torch(7):
        theirs = get_peft_model(tiny.model("llama"), lora)
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if "niter" in start and ("lora_" in name or "base_layer" in name):
            continue  # a random start: PEFT draws while it goes through the layers, we afterwards
        torch.testing.assert_close(parameter, expected[name], rtol=0.0, atol=0.0)
    torch.testing.assert_close(logits(ours), logits(tiny.model("llama")), rtol=1e-4, atol=1e-5)
    assert {n for n, p in ours.named_parameters() if p.requires_grad} == {n for n in expected if "lora_" in n}


@pytest.mark.parametrize("start", STARTS)
def test_the_base_is_as_before_when_the_adapter_is_off(start: str) -> None:
    base = tiny.model("llama")
    before = {name: p.detach().clone() for name, p in base.named_parameters()}
    adapted = add_adapter(base, config(f"init_lora_weights={start}"), seed=7)
    weight = "model.layers.0.self_attn.q_proj"
    assert not torch.equal(adapted.get_base_model().get_submodule(weight).base_layer.weight, before[f"{weight}.weight"])
    after = dict(unload(trained(adapted)).named_parameters())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "settings",
    [
        *((f"init_lora_weights={start}",) for start in STARTS),
        ("init_lora_weights=pissa", "use_rslora=true"),
        ("init_lora_weights=pissa", "use_dora=true"),
        ("init_lora_weights=pissa", 'rank_pattern={"q_proj": 2}', 'alpha_pattern={"down_proj": 5}'),
    ],
    ids=" ".join,
)
def test_the_saved_adapter_is_the_trained_model_on_the_original_base(settings: tuple[str, ...], tmp_path: Path) -> None:
    """PEFT alone loads it."""
    adapted = trained(add_adapter(tiny.model("llama"), config(*settings), seed=7))
    expected = logits(adapted)
    save_by_peft(adapted, tmp_path, "default")
    described = read_json(tmp_path / "adapter_config.json")
    assert (described["r"], described["init_lora_weights"]) == (6, True)
    loaded = PeftModel.from_pretrained(tiny.model("llama"), str(tmp_path))
    torch.testing.assert_close(logits(loaded).log_softmax(-1), expected.log_softmax(-1), rtol=1e-5, atol=1e-5)
    assert float((expected - logits(tiny.model("llama"))).abs().max()) > 0.1


@pytest.mark.oracle
def test_transposed_layers_start_as_pefts(tmp_path: Path) -> None:
    """GPT-2 keeps its weights transposed."""
    from support.families import build

    base = build("GPT2")
    expected = logits(base)
    adapted = add_adapter(base, config("init_lora_weights=pissa", lora_targets=("c_attn",)), seed=7)
    torch.testing.assert_close(logits(adapted), expected, rtol=1e-4, atol=1e-5)
    changed = logits(trained(adapted))
    save_by_peft(adapted, tmp_path, "default")
    base = unload(adapted)
    assert torch.equal(logits(base), expected)
    loaded = PeftModel.from_pretrained(base, str(tmp_path))
    torch.testing.assert_close(logits(loaded), changed, rtol=1e-5, atol=1e-5)


def test_embeddings_have_no_such_start() -> None:
    with pytest.raises(ValueError, match=r"^lora: init_lora_weights=pissa is for linear layers, and .*embed_tokens"):
        add_adapter(tiny.model("llama"), config("init_lora_weights=pissa", lora_targets=("embed_tokens",)), seed=7)


@pytest.mark.oracle
@pytest.mark.parametrize("setting", ["use_rslora=true", "init_lora_weights=pissa", "init_lora_weights=orthogonal"])
def test_adapters_in_stages_are_joined_exactly(setting: str, tmp_path: Path) -> None:
    """As `stack` does: the first adapter is loaded frozen below the second one; both are saved, loaded and joined."""
    settings = config(setting, lora_targets=("q_proj", "v_proj"))
    settings = TrainConfig(**{**settings.as_dict(), "lora_rank": 4})
    first = trained(add_adapter(tiny.model("llama"), settings, seed=1, name="stage1"), "stage1", 2)
    save_by_peft(first, tmp_path / "1", "stage1")
    below = load_adapter(unload(first), str(tmp_path / "1"), trainable=False, name="stage1")
    both = trained(add_adapter(below, settings, seed=3, name="stage2"), "stage2", 4)
    assert {n.split(".")[-2] for n, p in both.named_parameters() if p.requires_grad} == {"stage2"}
    expected = logits(both)
    save_by_peft(both, tmp_path / "2", "stage2")
    loaded = load_adapter(unload(both), str(tmp_path / "1"), trainable=False, name="stage1")
    loaded.load_adapter(str(tmp_path / "2"), adapter_name="stage2")
    joined = join_adapters(loaded)
    save_by_peft(joined, tmp_path / "joined", "default")
    alone = PeftModel.from_pretrained(tiny.model("llama"), str(tmp_path / "joined"))
    torch.testing.assert_close(logits(alone), expected, rtol=1e-5, atol=1e-5)
