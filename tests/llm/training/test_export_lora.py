"""Runs with further fields of PEFT's LoraConfig: DPO starts at its reference, and what is saved is the policy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import tiny_models as tiny

from llm import TrainConfig, train
from llm.common.files import read_json
from llm.data.formats import load
from llm.data.tokenization import TokenizedDataset, tokenize
from llm.evaluation.held_out import EvaluateConfig, evaluate
from llm.training import export
from llm.training.metrics import read_metrics
from llm.training.objective import Objective

ROWS: dict[str, Any] = {"sft": tiny.sft_rows(24), "preference": tiny.preference_rows(20)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny saved model, without biases."""
    return tiny.base(tmp_path_factory.mktemp("model") / "base", "llama")


def config(base: Path, folder: Path, *settings: str, **changes: Any) -> TrainConfig:
    own: dict[str, Any] = {
        "model": str(base), "out": str(folder), "cache": str(base.parent / "cache"), "device": "cpu",
        "sft": "rows", "preference": "rows", "method": "mix", "steps": 4, "batch_sft": 4, "batch_preference": 4,
        "lora_rank": 4, "lora_alpha": 8, "lora_targets": ("q_proj", "v_proj", "down_proj"), "lr": 1e-2,
        "max_length": 64, "held_out": 0.2, "eval_every": 2, "eval_rows": 8, "template": "none", "lora": settings,
    }  # fmt: skip
    return TrainConfig(**{**own, **changes})


def pairs() -> TokenizedDataset:
    return tokenize(load(ROWS["preference"][:4], kind="preference"), tiny.tokenizer(), template="none")


def plain_logps(model: Any) -> list[float]:
    """Each response's log-probability under a model of PEFT or transformers: one plain forward pass a row."""
    found = []
    tokens = pairs()
    for prompt, responses in zip(tokens.prompts, tokens.responses, strict=True):
        for response in responses:
            ids = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
            with torch.no_grad():
                logps = model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
            chosen = logps.gather(1, ids[0, 1:, None])[len(prompt) - 1 :]
            found.append(float(chosen.sum()))
    return found


@pytest.fixture
def policies(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """The policy's own log-probabilities at each time an adapter is saved."""
    seen: list[list[float]] = []
    ordinary = export.save_adapter

    def noted(engine: Any, folder: Path, name: str = "default") -> None:
        task = Objective("dpo", pairs(), share_prompt=engine.raw.share_prompt)
        seen.append(engine.logps(task).flatten().tolist())
        ordinary(engine, folder, name)

    monkeypatch.setattr(export, "save_adapter", noted)
    return seen


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize(
    "settings",
    [
        ("use_dora=true",),
        ("use_rslora=true",),
        ("init_lora_weights=orthogonal",),
        ("init_lora_weights=pissa", "use_rslora=true"),
        ("init_lora_weights=olora",),
        ("init_lora_weights=pissa_niter_4", "use_dora=true"),
        ('modules_to_save=["lm_head"]',),
        ("trainable_token_indices=[3, 4, 5]",),
    ],
    ids=" ".join,
)
def test_the_saved_adapter_is_the_policy_and_dpo_starts_at_ln_2(
    settings: tuple[str, ...], base: Path, tmp_path: Path, policies: list[list[float]]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = train(config(base, tmp_path / "run", *settings), quiet=True, **ROWS).folder
    watched = [line for line in read_metrics(folder) if "evaluation" in line]
    assert watched[0]["f_dpo"] == pytest.approx(math.log(2.0), abs=1e-5)
    assert watched[-1]["f_dpo"] != pytest.approx(math.log(2.0), abs=1e-4)
    original = AutoModelForCausalLM.from_pretrained(base).eval()
    before = plain_logps(original)
    saved = PeftModel.from_pretrained(original, str(folder)).eval()
    assert plain_logps(saved) == pytest.approx(policies[-1], rel=1e-5)
    assert max(abs(a - b) for a, b in zip(before, policies[-1], strict=True)) > 0.1
    found = evaluate(EvaluateConfig(run=str(folder)), quiet=True, **ROWS)
    assert found == pytest.approx(read_json(folder / "summary.json")["evaluation"], rel=1e-4, abs=1e-5)
    assert ", ".join(settings) in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.oracle
def test_a_bias_of_the_adapter_is_saved_with_it(tmp_path: Path, policies: list[list[float]]) -> None:
    """On a model whose layers have biases; elsewhere PEFT warns that such an adapter cannot be merged."""
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    base = tiny.base(tmp_path / "base")
    asked = config(base, tmp_path / "run", "lora_bias=true", lora_targets=("query_key_value", "dense"))
    with pytest.warns(UserWarning, match="invalid shape"):  # PEFT 0.21 looks at biases as if they were matrices
        folder = train(asked, quiet=True, **ROWS).folder
    saved = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder)).eval()
    assert plain_logps(saved) == pytest.approx(policies[-1], rel=1e-5)
    weights = load_file(folder / "adapter_model.safetensors")
    assert any(name.endswith("lora_B.bias") and value.any() for name, value in weights.items())


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("way", ["stack", "average"])
def test_stages_with_pissa_are_joined_on_the_original_base(
    way: str, base: Path, tmp_path: Path, policies: list[list[float]]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    settings = ("init_lora_weights=pissa", "use_rslora=true")
    asked = config(base, tmp_path / "run", *settings, method="sequential", lam=0.5, **{way: True})
    folder = train(asked, quiet=True, **ROWS).folder
    joined = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder)).eval()
    if way == "stack":
        assert plain_logps(joined) == pytest.approx(policies[-1], rel=1e-5)
        return
    scale, updates = 8 / math.sqrt(4), []
    for stage in ("stage1", "stage2"):  # each is saved as [A; A0] and [B, -B0], by PEFT's scale
        part = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder / stage))
        layer = part.get_base_model().model.layers[0].self_attn.q_proj
        assert layer.scaling["default"] == pytest.approx(scale)
        updates.append(layer.get_delta_weight("default"))
    layer = joined.get_base_model().model.layers[0].self_attn.q_proj
    torch.testing.assert_close(
        layer.get_delta_weight("default"), 0.5 * updates[0] + 0.5 * updates[1], rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_a_model_in_memory_comes_back_as_it_was(tmp_path: Path) -> None:
    model = tiny.model("llama")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    asked = config(tmp_path / "base", tmp_path / "run", "init_lora_weights=pissa", steps=2)
    train(asked, quiet=True, model=model, tokenizer=tiny.tokenizer(), **ROWS)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.slow
def test_wrong_settings_leave_no_folder(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^lora: user_dora is no field of the installed PEFT's LoraConfig"):
        train(config(base, tmp_path / "run", "user_dora=true"), quiet=True, **ROWS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("described", "shown"),
    [
        ({"target_modules": ["v_proj", "q_proj"]}, "q_proj, v_proj"),
        ({"target_modules": r".*layers\.0\..*_proj"}, r".*layers\.0\..*_proj"),
        ({"target_modules": [], "target_parameters": ["experts.down_proj"]}, "experts.down_proj"),
        ({"target_modules": None}, ""),
    ],
)
def test_the_targets_of_an_adapter_are_names_or_its_pattern(described: dict[str, Any], shown: str) -> None:
    assert export.adapted_layers(described) == shown
