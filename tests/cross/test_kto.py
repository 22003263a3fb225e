"""KTO on unpaired preferences: TRL's KTOTrainer is the oracle of values, gradients, metrics and token ids."""

from __future__ import annotations

import copy
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from support import tiny_models as tiny
from support.kto_runs import BETA, WEIGHTS, labelled

from llm.data.formats import load
from llm.data.sampler import split
from llm.data.templates import PLAIN
from llm.data.tokenization import TokenizedDataset, tokenize
from llm.data.unpaired import with_mismatches
from llm.losses import KTOLoss
from llm.models.policy import Policy
from llm.training.mismatched import begin_sums
from llm.training.objective import SUMS, Objective, as_pairs

trl = pytest.importorskip("trl")
LORA = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")


def prompted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "prompt": PLAIN.replace("{prompt}", row["prompt"])} for row in rows]


SINGLE = prompted(labelled(7))
PAIRS = prompted(tiny.preference_rows(4))


def tokens(rows: list[dict[str, Any]], max_length: int = 1024) -> TokenizedDataset:
    found = tokenize(load(rows, kind="unpaired"), tiny.tokenizer(), template="none", max_length=max_length)
    return with_mismatches(found, max_length)


def stirred(model: Any, seed: int) -> Any:
    """The model with an adapter drawn anew, A and B."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.1, generator=draw)
    return model


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {n.removeprefix("model."): p.grad for n, p in model.named_parameters() if p.requires_grad}
    return {n: g for n, g in found.items() if g is not None}


@functools.cache
def oracle(form: str, seed: int) -> Any:
    """TRL's loss of one batch of all rows, the adapter's gradients, and the metrics."""
    folder = Path(tempfile.gettempdir()) / "trl-unused"
    rows = {"single": SINGLE, "pairs": PAIRS}[form]
    settings = trl.KTOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False,
        max_length=None, per_device_train_batch_size=8, disable_tqdm=True, logging_steps=1, beta=BETA,
        desirable_weight=WEIGHTS[0], undesirable_weight=WEIGHTS[1],
    )  # fmt: skip
    trainer = trl.KTOTrainer(
        model=tiny.model("llama"), peft_config=LORA, args=settings, train_dataset=Dataset.from_list(rows),
        processing_class=tiny.tokenizer(),
    )  # fmt: skip
    stirred(trainer.model, seed).train()
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    metrics = {k: float(np.mean(v)) for k, v in trainer._metrics["train"].items()}
    return batch, float(loss.detach()), gradients(trainer.model), metrics


class One:
    """An accelerator of one process."""

    device = torch.device("cpu")

    def reduce(self, value: torch.Tensor, reduction: str) -> torch.Tensor:  # noqa: ARG002
        return value


def ours(form: str, seed: int, parts: int) -> tuple[float, dict[str, torch.Tensor], dict[str, float]]:
    """The objective's mean over all rows in so many micro-batches, its gradients, and its metrics."""
    policy = Policy(stirred(get_peft_model(tiny.model("llama"), copy.deepcopy(LORA)), seed))
    found = tokens({"single": SINGLE, "pairs": PAIRS}[form])
    rows = np.arange(len(found))
    with torch.no_grad(), policy.model.disable_adapter():  # type: ignore[operator]
        reference = policy(Objective("pairs", as_pairs(found)).batch(rows)).view(-1, 2)
    task = Objective("kto", found, KTOLoss(BETA, *WEIGHTS), reference, by_name=True)
    pieces = [(part, None) for part in split(rows, parts)]
    kl, sums = begin_sums(One(), policy, task, pieces)  # type: ignore[arg-type]
    for part, _ in pieces:
        batch = task.batch(part)
        total, more = task.measure(policy(batch), batch, part, kl=kl)
        (total / task.units(rows)).backward()
        sums = sums + more
    named = dict(zip(SUMS, sums.tolist(), strict=True))
    return task.value(named), gradients(policy), task.metrics(named)


SEEDS = (8, 9)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("form", ["single", "pairs"])
def test_kto_is_trls(form: str, parts: int, seed: int) -> None:
    """TRL rotates the completions of a batch, which is here the whole set: the mismatched rows are the same."""
    _, loss, theirs, reported = oracle(form, seed)
    value, own, metrics = ours(form, seed, parts)
    assert value == pytest.approx(loss, abs=1e-5)
    assert set(own) == set(theirs)
    assert len(own) == 28  # two layers, seven linear maps each, A and B
    for name, gradient in theirs.items():
        assert float(gradient.abs().max()) > 1e-5, name
        torch.testing.assert_close(own[name], gradient, atol=1e-5, rtol=1e-4, msg=name)
    assert set(metrics) == {n for n in reported if n.partition("/")[0] in ("rewards", "logps", "kl")}
    assert metrics == pytest.approx({n: reported[n] for n in metrics}, abs=1e-4)


@pytest.mark.slow
@pytest.mark.oracle
def test_both_signs_of_the_estimate_are_compared() -> None:
    """A negative mean of the mismatched log-ratios counts as 0."""
    for form in ("single", "pairs"):
        values = [oracle(form, seed)[3]["kl"] for seed in SEEDS]
        assert values[0] == 0.0, form
        assert values[1] > 0.1, form


@pytest.mark.slow
@pytest.mark.oracle
def test_ids_are_trls() -> None:
    """Prompts, responses and mismatched responses, row by row."""
    batch, found = oracle("single", SEEDS[0])[0], tokens(SINGLE)
    for i, (prompt, responses) in enumerate(zip(found.prompts, found.responses, strict=True)):
        for start, response in zip(("", "KL_"), responses, strict=True):
            ids = batch[f"{start}input_ids"][i][batch[f"{start}attention_mask"][i] == 1].tolist()
            assert ids == [*prompt, *response]
            assert int(batch[f"{start}completion_mask"][i].sum()) == len(response)
    assert batch["label"].tolist() == list(found.labels or ())
