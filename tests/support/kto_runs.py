"""KTO's rows, options of small runs on them, and the loss by a plain loop over rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from support import tiny_models as tiny

from llm import TrainConfig, train
from llm.data.formats import load
from llm.data.tokenization import tokenize
from llm.training.metrics import read_metrics

BETA, WEIGHTS = 0.3, (1.5, 0.7)


def labelled(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return unpaired rows with different prompts, about a third of them undesirable."""
    return [{**row, "label": i % 3 != 1} for i, row in enumerate(tiny.sft_rows(n, seed=seed))]


ROWS: dict[str, Any] = {"sft": tiny.sft_rows(20), "preference": labelled(24, seed=3)}
HELD: dict[str, Any] = {"sft_held_out": tiny.sft_rows(7, seed=11), "preference_held_out": labelled(9, seed=12)}
CLOCK = {"seconds", "cpu_seconds", "memory_mb"}


def config(base: Path, folder: Path, **changes: Any) -> TrainConfig:
    options: dict[str, Any] = {
        "model": str(base), "out": str(folder / "run"), "cache": str(base.parent / "cache"), "preference_loss": "kto",
        "steps": 6, "lr": 2e-2, "lora_rank": 4, "batch_sft": 4, "batch_preference": 4, "held_out": 0.3,
        "eval_every": 3, "eval_rows": 8, "device": "cpu", "max_length": 64, "beta": BETA,
    }  # fmt: skip
    return TrainConfig(**{**options, **changes})


def run(asked: TrainConfig, **given: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of steps and of evaluations, without clocks."""
    lines = read_metrics(train(asked, quiet=True, **(given or ROWS)).folder)
    lines = [{k: v for k, v in line.items() if k not in CLOCK} for line in lines]
    return [x for x in lines if "objective" in x], [x for x in lines if "evaluation" in x]


def logp(model: Any, prompt: Any, response: Any) -> torch.Tensor:
    """Return log π(response | prompt) of one row alone."""
    ids = torch.from_numpy(np.concatenate([prompt, response])).long()[None]
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return logits.gather(1, ids[0, len(prompt) :, None]).sum()


def plain_kto(model: Any, reference: Any, rows: list[dict[str, Any]]) -> torch.Tensor:
    """Return eq. (7) and (8) of arXiv 2402.01306 by a loop over rows, whose responses are rotated by one for z."""
    found = tokenize(load(rows, kind="unpaired"), tiny.tokenizer(), max_length=64)
    responses = [r[0] for r in found.responses]
    ratios, mismatched = [], []
    for prompt, own, other in zip(found.prompts, responses, [responses[-1], *responses[:-1]], strict=True):
        with torch.no_grad():
            before, mismatch = logp(reference, prompt, own), logp(reference, prompt, other)
            mismatched.append(float(logp(model, prompt, other) - mismatch))
        ratios.append(logp(model, prompt, own) - before)
    z = max(0.0, sum(mismatched) / len(rows))
    losses = [
        WEIGHTS[0] * (1 - torch.sigmoid(BETA * (ratio - z)))
        if row["label"]
        else WEIGHTS[1] * (1 - torch.sigmoid(BETA * (z - ratio)))
        for row, ratio in zip(rows, ratios, strict=True)
    ]
    return torch.stack(losses).mean()
