"""Three architectures end to end: trained, saved, and loaded by PEFT alone; adapters on known and unknown ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from support import tiny_models as tiny

from llm import TrainConfig, train
from llm.data.formats import load
from llm.data.tokenization import tokenize
from llm.models.loading import load_base, load_tokenizer
from llm.models.lora import add_adapter, join_adapters, load_adapter, target_modules, train_only
from llm.training.metrics import read_metrics
from llm.training.trainer import Trainer

TARGETS = {"gpt_neox": ["query_key_value"], "llama": ["q_proj", "v_proj"], "opt": ["q_proj", "v_proj"]}
IDS = torch.tensor([[5, 9, 14, 22, 31, 40], [7, 8, 50, 3, 12, 1]])


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"model": "tiny", "sft": "rows", "preference": "rows", "lora_rank": 4, **changes})


def mean_over_tokens(model: Any, tokenizer: Any, rows: int) -> float:
    """f_SFT on the first rows by transformers' own loss, a row at a time."""
    found = tokenize(load(tiny.sft_rows(20)[:rows], kind="sft"), tokenizer, max_length=64)
    total = count = 0.0
    for prompt, (response,) in zip(found.prompts, found.responses, strict=True):
        line = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
        labels = line.clone()
        labels[:, : len(prompt)] = -100
        with torch.no_grad():
            total += float(model(input_ids=line, labels=labels).loss) * len(response)
        count += len(response)
    return total / count


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_run_leaves_an_adapter_that_peft_loads_as_it_is(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, Any] = {}
    own = Trainer.export

    def export(self: Trainer) -> Path:
        policy = self.engine.raw
        kept.update(logits=logits(policy.model), direct=policy.skip_prompt_logits, shared=policy.share_prompt)
        return own(self)

    monkeypatch.setattr(Trainer, "export", export)
    base = tiny.base(tmp_path / "base", family, bos=family != "gpt_neox")
    asked = config(
        model=str(base), out=str(tmp_path / "run"), cache=str(tmp_path / "cache"), steps=24, batch_sft=4, method="mix",
        batch_preference=4, lr=1e-2, held_out=0.8, eval_on_train=True, share_prompt="yes",
        max_length=64, seed=1, device="cpu",
    )  # fmt: skip
    result = train(asked, sft=tiny.sft_rows(20), preference=tiny.preference_rows(16), quiet=True)
    assert (kept["direct"], kept["shared"]) == (True, True)
    saved = json.loads((result.folder / "adapter_config.json").read_text())
    assert sorted(saved["target_modules"]) == TARGETS[family]
    assert (saved["r"], saved["lora_alpha"], saved["base_model_name_or_path"]) == (4, 32, str(base))
    loaded = AutoPeftModelForCausalLM.from_pretrained(result.folder)
    torch.testing.assert_close(logits(loaded), kept["logits"], atol=1e-6, rtol=1e-6)
    before = logits(load_base(str(base), asked))
    assert float((before - kept["logits"]).abs().max()) > 1e-2
    watched = [line for line in read_metrics(result.folder) if "evaluation" in line]
    assert watched[-1]["f_sft"] < watched[0]["f_sft"]
    assert watched[-1]["f_dpo"] < watched[0]["f_dpo"]
    assert mean_over_tokens(loaded, load_tokenizer(str(base), asked), 16) == pytest.approx(
        watched[-1]["f_sft"], abs=1e-5
    )
    assert watched[0]["f_dpo"] == pytest.approx(np.log(2.0), abs=1e-6)  # the reference is the start


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_targets_are_pefts_for_the_architecture(family: str) -> None:
    assert target_modules(tiny.model(family), config()) == TARGETS[family]


def test_an_unknown_architecture_gets_all_linear_layers() -> None:
    model = tiny.model("llama")
    model.config.model_type = "unheard-of"
    assert target_modules(model, config()) == "all-linear"
    adapted = add_adapter(model, config(), seed=0)
    layers = {n.rpartition(".")[2] for n, m in adapted.named_modules() if hasattr(m, "lora_A") and n}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_targets_that_are_asked_for() -> None:
    model = tiny.model("opt")
    assert target_modules(model, config(lora_targets=("fc1", "q_proj"))) == ["fc1", "q_proj"]
    with pytest.raises(
        ValueError, match=r"^lora_targets: query is no layer of this model; it has fc1, fc2, k_proj, "
    ) as e:
        target_modules(model, config(lora_targets=("fc1", "query")))
    assert type(e.value) is ValueError


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if "lora_" in n}


def stir(model: Any, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name and parameter.requires_grad:
                parameter.normal_(std=0.2, generator=draw)


@pytest.mark.slow
def test_a_new_adapter_is_drawn_from_its_seed_and_changes_nothing_yet() -> None:
    before = logits(tiny.model())
    one, two, other = (add_adapter(tiny.model(), config(), seed=s) for s in (1, 1, 2))
    a, b, c = weights(one), weights(two), weights(other)
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert not all(torch.equal(a[n], c[n]) for n in a)
    assert torch.equal(logits(one), before)
    assert {n for n, p in one.named_parameters() if p.requires_grad} == set(a)
    assert one.peft_config["default"].lora_alpha == 32


@pytest.mark.slow
def test_an_adapter_on_top_of_another_trains_alone_and_joins_exactly() -> None:
    model = add_adapter(tiny.model(), config(), seed=1, name="stage1")
    stir(model, 1)
    first = logits(model)
    model = add_adapter(model, config(), seed=2, name="stage2")
    assert torch.equal(logits(model), first)  # the first still acts
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all(".stage2." in n for n in trained)
    before = weights(model)
    stir(model, 2)
    after = weights(model)
    assert all(torch.equal(before[n], after[n]) for n in before if ".stage1." in n)
    both = logits(model)
    assert float((both - first).abs().max()) > 1e-2
    joined = join_adapters(model)
    assert joined.active_adapters == ["default"]
    assert joined.peft_config["default"].r == 8
    torch.testing.assert_close(logits(joined), both, atol=1e-5, rtol=1e-5)
    assert join_adapters(joined.get_base_model() and add_adapter(tiny.model(), config(), seed=1)).active_adapters == [
        "default"
    ]
    train_only(model, "stage1")
    assert all(".stage1." in n for n, p in model.named_parameters() if p.requires_grad)


@pytest.mark.slow
def test_a_saved_adapter_comes_back(tmp_path: Path) -> None:
    model = add_adapter(tiny.model(), config(), seed=1)
    stir(model, 3)
    expected = logits(model)
    model.save_pretrained(tmp_path / "adapter")
    for trainable in (True, False):
        loaded = load_adapter(tiny.model(), str(tmp_path / "adapter"), trainable=trainable)
        assert isinstance(loaded, PeftModel)
        torch.testing.assert_close(logits(loaded), expected)
        assert any(p.requires_grad for p in loaded.parameters()) is trainable


@pytest.mark.slow
def test_folders_without_an_adapter_or_with_anothers(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    with pytest.raises(FileNotFoundError, match=rf"^adapter: {folder} has no adapter_config.json; give a folder"):
        load_adapter(tiny.model(), str(folder), trainable=False)
    add_adapter(tiny.model("llama"), config(), seed=1).save_pretrained(folder)
    with pytest.raises(ValueError, match=rf"^adapter: {folder} does not fit the base model: ") as caught:
        load_adapter(tiny.model("gpt_neox"), str(folder), trainable=False)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=rf"^adapter: {folder} does not fit the base model: "):
        load_adapter(tiny.model("llama", hidden=32), str(folder), trainable=False)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no adapter_model.safetensors, and nothing else is loaded$"):
        load_adapter(tiny.model("llama"), str(folder), trainable=False)


@pytest.mark.slow
def test_bases_and_tokenisers_are_loaded_or_refused_in_one_line(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base", "llama")
    assert torch.equal(logits(load_base(str(base), config())), logits(tiny.model("llama")))
    assert load_base(str(base), config(precision="bf16")).dtype == torch.bfloat16
    assert load_tokenizer(str(base), config()).eos_token == "<eos>"
    (tmp_path / "empty").mkdir()
    cases = [
        (tmp_path / "absent", "there is no folder"),
        (tmp_path / "empty", r"has no (tokenizer_)?config.json; give a folder that save_pretrained wrote"),
    ]
    for path, text in cases:
        for loader in (load_base, load_tokenizer):
            with pytest.raises(FileNotFoundError, match=rf"^model: .*{text}") as caught:
                loader(str(path), config())
            assert str(path) in str(caught.value)
    torch.save(tiny.model("llama").state_dict(), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"^model: .* has no safetensors, and nothing else is loaded; save it"
    ) as e:
        load_base(str(base), config())
    assert "\n" not in str(e.value)
    with pytest.raises(FileNotFoundError, match=r"^model: nobody/nothing is neither a folder nor could it be had") as e:
        load_base("nobody/nothing", dataclasses.replace(config(), model="nobody/nothing"))
    assert "\n" not in str(e.value)
