"""Group gradients against torch.autograd on the model's own forward pass, row by row."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_models as tiny

torch = pytest.importorskip("torch")
from llm import TrainConfig  # noqa: E402
from llm.data.formats import load  # noqa: E402
from llm.data.tokenization import tokenize  # noqa: E402
from llm.evaluation.gradients import group_gradients, inner_products  # noqa: E402
from llm.losses import DPOLoss  # noqa: E402
from llm.models.policy import Policy  # noqa: E402
from llm.training.engine import Engine  # noqa: E402
from llm.training.launch import make_accelerator  # noqa: E402
from llm.training.objective import Objective  # noqa: E402

BETA, N = 0.3, 6


def adapted(family: str, dropout: float = 0.0) -> Any:
    """Return a tiny model with an adapter that is not 0."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(3)
        lora = LoraConfig(r=2, lora_alpha=2, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(tiny.model(family), lora)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    return model


def objective_of(kind: str) -> Objective:
    """Return DPO against a made-up reference, or SFT."""
    if kind == "sft":
        return Objective("sft", tokenize(load(tiny.sft_rows(N), kind="sft"), tiny.tokenizer()))
    tokens = tokenize(load(tiny.preference_rows(N), kind="preference"), tiny.tokenizer())
    logps = -30.0 + torch.arange(2 * N).reshape(N, 2) % 5
    return Objective("dpo", tokens, loss=DPOLoss(BETA), reference=logps.float())


def plain_loss(model: Any, objective: Objective, row: int) -> tuple[Any, int]:
    """Return a row's summed loss with its graph, from transformers' logits, and its number of units."""
    prompt, logps = objective.tokens.prompts[row], []
    for response in objective.tokens.responses[row]:
        ids = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
        logits = model(input_ids=ids).logits[0].double().log_softmax(-1)
        at = torch.arange(len(prompt) - 1, ids.shape[1] - 1)
        logps.append(logits[at, ids[0, at + 1]].sum())
    if objective.reference is None:
        return -logps[0], len(objective.tokens.responses[row][0])
    margin = (logps[0] - objective.reference[row, 0]) - (logps[1] - objective.reference[row, 1])
    return -torch.nn.functional.logsigmoid(BETA * margin), 1


def plain_gradient(model: Any, objective: Objective, rows: Any) -> tuple[np.ndarray, int]:
    """Return the gradient of the summed loss of some rows in the adapter's weights, and the number of units."""
    losses, units = zip(*(plain_loss(model, objective, int(row)) for row in rows), strict=True)
    weights = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(torch.stack(losses).sum(), weights)
    return torch.cat([g.reshape(-1) for g in gradients]).double().numpy(), sum(units)


def engine_of(model: Any, folder: Path) -> Engine:
    """Return an engine of a model, on the CPU."""
    config = TrainConfig(device="cpu", out=str(folder / "run"), cache=str(folder / "cache"))
    return Engine(make_accelerator(config), Policy(model), config, steps=1)


GROUPS = [np.array([4, 0]), np.array([1, 5]), np.array([3, 2])]


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt_neox", "llama"])
def test_gradients_and_products_are_those_of_a_plain_forward_pass(family: str, tmp_path: Path) -> None:
    engine = engine_of(adapted(family, dropout=0.5), tmp_path)  # dropout is off
    model, found, expected = adapted(family).eval(), [], []
    for kind in ("dpo", "sft"):
        objective = objective_of(kind)
        summed, units, value = group_gradients(engine, objective, GROUPS)
        plain, counts = zip(*(plain_gradient(model, objective, rows) for rows in GROUPS), strict=True)
        scale = float(np.abs(plain).max())
        assert scale > 1e-3
        # float32 through two layers: a thousandth of what a wrong factor would do
        np.testing.assert_allclose(summed.numpy(), plain, atol=1e-4 * scale)
        assert list(units) == list(counts)
        losses = [float(plain_loss(model, objective, row)[0].detach()) for row in range(N)]
        assert value == pytest.approx(sum(losses) / sum(counts), rel=1e-5)
        found.append(summed)
        expected.append(np.array(plain))
    products = np.einsum("ikx,jlx->ikjl", expected, expected)
    np.testing.assert_allclose(inner_products(found), products, atol=1e-4 * float(np.abs(products).max()))
    assert all(p.grad is None for p in engine.policy.parameters())


@pytest.mark.slow
def test_a_mean_of_micro_batches_means_counts_rows(tmp_path: Path) -> None:
    engine, objective = engine_of(adapted("llama"), tmp_path), objective_of("sft")
    by_part = dataclasses.replace(objective, mean_by_part=True)
    summed, units, _ = group_gradients(engine, by_part, [np.array([r]) for r in range(N)])
    tokens, counts, _ = group_gradients(engine, objective, [np.array([r]) for r in range(N)])
    assert list(units) == [1.0] * N
    torch.testing.assert_close(summed, tokens / torch.from_numpy(counts).float()[:, None], rtol=1e-4, atol=1e-6)


def test_products_of_many_weights_are_summed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.evaluation.gradients.BLOCK", 7)
    draw = np.random.default_rng(0).standard_normal((2, 3, 40)).astype(np.float32)
    found = inner_products([torch.from_numpy(g) for g in draw])
    np.testing.assert_allclose(found, np.einsum("ikx,jlx->ikjl", draw.astype(float), draw.astype(float)), rtol=1e-12)
