"""Presets. The numbers are those of the authors' published scripts, written out once more."""

from __future__ import annotations

from typing import Any

import pytest
from support.wrong import fails

from llm import TrainConfig
from llm.presets import PRESETS

PAPER = {
    "sft": "vicgalle/alpaca-gpt4",
    "preference": "Dahoas/rm-hh-rlhf",
    "sft_rows": 24000,
    "lora_dropout": 0.0,
    "optimizer": "adamw",
    "lr": 5e-5,
    "schedule": "constant",
    "warmup": 0,
    "beta1": 0.9,
    "beta2": 0.95,
    "weight_decay": 0.0,
    "clip": 1.0,
    "beta": 0.1,
    "max_length": 2048,
    "precision": "bf16",
    "k": 10,
    "seed": 42,
    "eval_every": 100,
    "reference": "paper",
    "steps": 6000,
    "template": "User: {prompt}\nAssistant: ",
    "eval_on_train": False,
}
MODELS: dict[str, dict[str, Any]] = {
    "pythia-1b": {
        "model": "EleutherAI/pythia-1b",
        "preference_rows": 8000,
        "batch_sft": 24,
        "batch_preference": 8,
        "lora_rank": 32,
        "lora_alpha": 32,
        "lora_targets": ("query_key_value",),
        "gradient_checkpointing": False,
        "order": "dpo-sft",
    },
    "llama3-8b": {
        "model": "meta-llama/Meta-Llama-3-8B",
        "preference_rows": 6000,
        "batch_sft": 16,
        "batch_preference": 4,
        "lora_rank": 16,
        "lora_alpha": 16,
        "lora_targets": ("q_proj", "v_proj"),
        "gradient_checkpointing": True,
        "order": "sft-dpo",
    },
}
MODELS["opt-1.3b"] = {**MODELS["pythia-1b"], "model": "facebook/opt-1.3b", "lora_targets": ("q_proj", "v_proj")}


@pytest.mark.parametrize("name", MODELS)
def test_the_papers_settings(name: str) -> None:
    made = TrainConfig.preset(name).as_dict()
    wanted = {**PAPER, **MODELS[name]}
    assert {k: made[k] for k in wanted} == {k: list(v) if isinstance(v, tuple) else v for k, v in wanted.items()}
    # 6 epochs of 1000 steps, 4 of 1500: an epoch is once through both sets
    epoch = made["sft_rows"] // made["batch_sft"]
    assert epoch == made["preference_rows"] // made["batch_preference"] == {24: 1000, 16: 1500}[made["batch_sft"]]
    assert made["steps"] % epoch == 0


QUIRKS = {
    "eval_on_train": True,
    "sft_mean": "batch",
    "ignore_input": True,
    "draw_both": True,
    "window": 0,
    "share_prompt": "no",
    "f_star": "given",
}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("pythia-1b", {"reference_prompts": True, "f_dpo_star": 0.0647, "f_sft_star": 1.4980}),
        ("llama3-8b", {"f_dpo_star": 0.04935, "f_sft_star": 1.02426}),
    ],
)
def test_the_authors_manner_differs_in_these_only(name: str, more: dict[str, Any]) -> None:
    plain, theirs = TrainConfig.preset(name).as_dict(), TrainConfig.preset(f"{name}-xright").as_dict()
    assert {k: v for k, v in theirs.items() if v != plain[k]} == {**QUIRKS, **more}


def test_the_names_of_presets() -> None:
    small, paper = ["embedded", "smollm2-135m"], ["pythia-1b", "opt-1.3b", "llama3-8b"]
    assert list(PRESETS) == [*small, *paper, "pythia-1b-xright", "llama3-8b-xright"]
    for name in PRESETS:
        TrainConfig.preset(name)


def test_wrong_presets() -> None:
    fails(lambda: TrainConfig.preset("gpt"), ValueError, "preset: must be one of embedded, smollm2-135m", "gpt")
    fails(lambda: TrainConfig.preset("opt-1.3b", lamm=1), ValueError, "preset: lamm is no option", "did you mean lam?")
    assert TrainConfig.preset("opt-1.3b", lam=0.25).lam == 0.25
