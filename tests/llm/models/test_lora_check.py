"""Settings of LoRA are measured on the model: the right ones pass and leave no trace, the wrong ones are one line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support import architectures
from support import pipeline_runs as door
from support import tiny_models as tiny
from support.wrong import fails

from llm import TrainConfig
from llm.models import lora_check
from llm.models.lora_check import check_adapters, check_lora_on_model
from llm.models.merging import fixed_text_logps


def config(*settings: str, targets: tuple[str, ...] = ("q_proj", "v_proj")) -> TrainConfig:
    return TrainConfig(lora_rank=4, lora_alpha=8, lora_targets=targets, lora=settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        "use_dora=true",
        "use_rslora=true",
        "init_lora_weights=gaussian",
        "init_lora_weights=orthogonal",
        "init_lora_weights=pissa",
        "init_lora_weights=olora",
        'modules_to_save=["lm_head"]',
        "trainable_token_indices=[3, 4]",
        "layers_to_transform=[0]",
        'rank_pattern={"q_proj": 2}',
        'alpha_pattern={"q_proj": 2}',
        "velora_config={}",
    ],
)
def test_settings_that_are_right_pass_and_leave_the_base(setting: str) -> None:
    base = tiny.model("llama").train()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    check_adapters(base, config(setting), "base")
    after = base.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert base.training


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "shows"),
    [
        ("init_lora_weights=false", "an untrained adapter is not the base model"),
        ("init_lora_weights=mica", "a part of the adapter is not trained"),
        ("alora_invocation_tokens=[5, 6]", "a trained adapter has no effect"),
        ("arrow_config={}", "PEFT cannot adapt this model"),
        ("use_bdlora={}", "PEFT cannot adapt this model"),
    ],
)
def test_settings_that_are_wrong_are_one_line(setting: str, shows: str) -> None:
    base = tiny.model("llama")
    fails(lambda: check_adapters(base, config(setting), "base"), ValueError, "lora: ", shows)


def test_a_wrong_save_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """PiSSA saved without the conversion would be another model on the original base."""
    monkeypatch.setattr("llm.models.lora.convert_saved", lambda *_: None)
    base = tiny.model("llama")
    expected = fixed_text_logps(base.eval())
    fails(
        lambda: check_lora_on_model(base, config("init_lora_weights=pissa")),
        ValueError,
        "lora: with init_lora_weights=pissa, the saved adapter is not the trained one",
        "leave it out",
    )
    assert torch.equal(fixed_text_logps(base), expected)


def test_a_base_that_is_not_put_back_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.models.lora.restore_base", lambda _: None)
    fails(
        lambda: check_lora_on_model(tiny.model("llama"), config("init_lora_weights=pissa")),
        ValueError,
        "lora: with init_lora_weights=pissa, the base model is not the same without the adapter",
        "leave it out",
    )


def test_a_run_without_settings_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(lora_check, "check_lora_on_model", never)
    check_adapters(tiny.model("llama"), config(), "base")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), [("laguna", "shared_experts.gate_proj"), ("inkling2_text", "k_sconv")])
def test_layers_whose_adapter_peft_would_lose_are_named_before_the_run(name: str, layer: str) -> None:
    """transformers renames their weights when it loads a checkpoint, and PEFT the adapter's to names of no layer."""
    model = architectures.build(name)
    default = TrainConfig(lora_rank=4, lora_targets=architectures.TARGETS.get(name, ()))
    fails(lambda: check_adapters(model, default, "base"), ValueError, "lora_targets: PEFT does not load", layer)
    check_adapters(model, TrainConfig(lora_rank=4, lora_targets=("q_proj", "o_proj")), "base")


@pytest.mark.slow
def test_options_without_effect_beside_an_adapter_are_named(tmp_path: Path) -> None:
    model = tiny.model("llama")
    adapted = lora_check.add_adapter(model, config(), seed=0)
    lora_check.save_by_peft(adapted, tmp_path, "default")
    lora_check.unload(adapted)
    own = {"adapter": str(tmp_path), "lora_alpha": 8}
    assert lora_check.adapter_note(TrainConfig(**own, lora_rank=4)) == ""
    assert lora_check.adapter_note(TrainConfig(**own, lora_rank=16, lora_dropout=0.5)).endswith(
        "without effect: lora_rank 16 (it has 4), lora_dropout 0.5 (it has 0.0)"
    )


@pytest.mark.slow
def test_an_adapter_of_another_base_is_one_line_and_one_of_its_own_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**door.place(tmp_path), "steps": 1, "eval_every": 0}
    copy, adapter = tmp_path / "copy", tmp_path / "run"
    shutil.copytree(options["model"], copy)
    monkeypatch.chdir(tmp_path)
    assert door.call(capsys, "train", **options).status == 0

    def notes(**changes: Any) -> list[str]:
        given = {**options, "out": str(tmp_path / "next"), "overwrite": True, **changes}
        said = door.call(capsys, "train", **given)
        assert said.status == 0, said.err
        assert "" not in said.err.splitlines(), "an absent note is no line"
        return [line for line in said.err.splitlines() if "was trained on" in line]

    own = f"{adapter} was trained on {options['model']}, and the base here is {copy}; use that model if weights differ"
    assert notes(model=str(copy), adapter=str(adapter)) == [f"adapter: {own}"]
    assert notes(model=str(copy), reference=str(adapter)) == [f"reference: {own}"]
    assert notes(model="base", adapter=str(adapter)) == []  # by another name
