"""Steps with NEFTune: SFT's gradients are those of transformers' hook; no evaluation and no other pass has noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support import tiny_models as tiny
from transformers.integrations.neftune import activate_neftune, deactivate_neftune

from llm import TrainConfig, train
from llm.models.policy import Policy
from llm.training import engine as engines
from llm.training.engine import Engine
from llm.training.launch import make_accelerator
from llm.training.metrics import read_metrics
from llm.training.objective import Objective

ROWS: dict[str, Any] = {"sft": tiny.sft_rows(24), "preference": tiny.preference_rows(24)}
GIVEN: dict[str, Any] = {"model": tiny.model(), "tokenizer": tiny.tokenizer(), **ROWS}


def config(folder: Path, **changes: Any) -> TrainConfig:
    own: dict[str, Any] = {
        "model": "tiny", "sft": "rows", "preference": "rows", "out": str(folder / "run"),
        "cache": str(folder / "cache"), "steps": 6, "lr": 1e-2, "lora_rank": 2, "batch_sft": 4, "batch_preference": 4,
        "held_out": 0.2, "eval_every": 3, "device": "cpu", "max_length": 64, "neftune_alpha": 5.0, "k": 2,
    }  # fmt: skip
    return TrainConfig(**{**own, **changes})


@pytest.mark.oracle
def test_gradients_of_an_sft_step_are_those_under_transformers_hook(tmp_path: Path) -> None:
    from llm.data.formats import load
    from llm.data.tokenization import tokenize

    asked = config(tmp_path, lora_rank=0)
    model = tiny.model("llama")
    engine = Engine(make_accelerator(asked), Policy(model), asked, steps=1)
    engine.policy.train()
    objective = Objective("sft", tokenize(load(ROWS["sft"][:4], kind="sft"), tiny.tokenizer(), template="none"))
    rows = np.arange(4)
    torch.manual_seed(3)
    noisy = engine.backward(objective, rows, 1.0, noise=True)
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    hook = activate_neftune(model, 5.0)
    (part,) = engine.parts(objective, rows)
    batch = objective.batch(part)
    labels = torch.full_like(batch.input_ids, -100).flatten()
    labels[batch.logit_positions + 1] = batch.targets
    torch.manual_seed(3)
    output = model(input_ids=batch.input_ids, position_ids=batch.position_ids, labels=labels.view_as(batch.input_ids))
    output.loss.backward()
    deactivate_neftune(model, hook)
    assert noisy.value == pytest.approx(float(output.loss.detach()), rel=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-3, atol=1e-5, msg=name)
    assert abs(noisy.value - engine.forward(objective, rows, graph=False).value) > 1e-3


@pytest.fixture
def noises(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each forward pass of a run had noise."""
    seen: list[bool] = []
    ordinary = engines.noisy_embeddings

    @contextmanager
    def noted(model: Any, alpha: float) -> Iterator[None]:
        seen.append(alpha > 0.0)
        with ordinary(model, alpha):
            yield

    monkeypatch.setattr(engines, "noisy_embeddings", noted)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"method": "alright", "lam": 0.5},
        {"method": "mix", "mix_one_graph": True},
        {"method": "mix"},
        {"method": "maxright", "lam": 0.3},
        {"method": "maxright", "lam": 0.3, "f_star": "lowest"},
        {"method": "maxright", "f_star": "given", "f_dpo_star": 0.6, "f_sft_star": 3.0, "gap_rows": 2},
    ],
    ids=str,
)
def test_only_training_passes_on_sft_have_noise(changes: dict[str, Any], tmp_path: Path, noises: list[bool]) -> None:
    lines = read_metrics(train(config(tmp_path, **changes), quiet=True, **GIVEN).folder)
    steps = [line for line in lines if "objective" in line]
    on_sft = sum("sft" in line["objective"] for line in steps)
    assert sum(noises) == on_sft > 0
    assert len(noises) > on_sft


@pytest.mark.slow
def test_evaluations_are_without_noise(tmp_path: Path) -> None:
    """The untrained policy's are the base's, to the last digit."""
    noisy, plain = (
        read_metrics(train(config(tmp_path / str(a), neftune_alpha=a), quiet=True, **GIVEN).folder) for a in (5.0, 0.0)
    )
    assert noisy[0] == plain[0]
    assert "evaluation" in noisy[0]
    first = [next(x["f_sft"] for x in lines if x.get("objective") == "sft") for lines in (noisy, plain)]
    assert abs(first[0] - first[1]) > 1e-3


@pytest.mark.slow
def test_the_gaps_that_a_rule_stores_are_without_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What MAXRIGHT stores of a step is the loss without the noise; the step reports the loss with it."""
    from llm.training import trainer

    stored: list[tuple[float, float]] = []
    ordinary = trainer.without_noise

    def noted(engine: Any, trained: Any, evaluated: Any, wanted: Any) -> Any:
        clean = ordinary(engine, trained, evaluated, wanted)
        for i, result in clean.items():
            stored.append((result.value, engine.forward(result.objective, result.rows, graph=False).value))
            assert abs(result.value - trained[i].value) > 1e-4
        return clean

    monkeypatch.setattr(trainer, "without_noise", noted)
    asked = config(
        tmp_path, method="maxright", f_star="given", f_dpo_star=0.6, f_sft_star=3.0, k=3, neftune_alpha=100.0
    )
    lines = [x for x in read_metrics(train(asked, quiet=True, **GIVEN).folder) if x.get("objective") == "sft"]
    assert len(stored) == len(lines) >= 3
    assert all(a == pytest.approx(b, rel=1e-6) for a, b in stored)
    for line, (value, _) in zip(lines, stored, strict=True):
        assert line["gap_sft"] + 3.0 == pytest.approx(value, rel=1e-6)
        assert abs(line["f_sft"] - value) > 1e-4


@pytest.mark.slow
def test_the_noise_depends_on_the_seed_alone(tmp_path: Path) -> None:
    def weights(name: str, **changes: Any) -> dict[str, torch.Tensor]:
        folder = train(config(tmp_path / name, lam=0.0, method="mix", **changes), quiet=True, **GIVEN).folder
        return load_file(folder / "adapter_model.safetensors")

    first, again, plain = weights("a"), weights("b"), weights("c", neftune_alpha=0.0)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], plain[name]) for name in first)
