"""TRL as a numerical oracle: the same rows through its SFTTrainer and DPOTrainer give the same ids, losses,
gradients of the adapter, and metrics."""

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

from llm.data.formats import load
from llm.data.sampler import split
from llm.data.templates import PLAIN
from llm.data.tokenization import TokenizedDataset, tokenize
from llm.losses import DPOLoss
from llm.models.policy import Policy
from llm.training.objective import SUMS, Objective

trl = pytest.importorskip("trl")
BETA = 0.3
LORA = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
SFT = [{**row, "prompt": PLAIN.replace("{prompt}", row["prompt"])} for row in tiny.sft_rows(7)]
PAIRS = [{**row, "prompt": PLAIN.replace("{prompt}", row["prompt"])} for row in tiny.preference_rows(5)]


def tokens(rows: list[dict[str, str]], kind: str) -> TokenizedDataset:
    return tokenize(load(rows, kind=kind), tiny.tokenizer(), template="none")  # type: ignore[arg-type]


@functools.cache
def adapted() -> Any:
    """A model with an adapter that does something: B is not zero, so that the reference is not the policy."""
    return stirred(get_peft_model(tiny.model("llama"), LORA))


def stirred(model: Any) -> Any:
    """The model with an adapter drawn anew, A and B."""
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.1, generator=draw)
    return model


def policy(*, direct: bool) -> Policy:
    made = Policy(copy.deepcopy(adapted()))
    made.skip_prompt_logits = direct
    return made


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {n.removeprefix("model."): p.grad for n, p in model.named_parameters() if p.requires_grad}
    return {n: g for n, g in found.items() if g is not None}


def settings(kind: Any, folder: Path, **more: Any) -> Any:
    return kind(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False,
        max_length=None, per_device_train_batch_size=8, disable_tqdm=True, logging_steps=1, **more,
    )  # fmt: skip


def oracle(trainer: Any) -> tuple[dict[str, torch.Tensor], float, dict[str, torch.Tensor], dict[str, float]]:
    """TRL's batch of all rows, its loss, gradients and metrics."""
    stirred(trainer.model).train()
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    metrics = {k: float(np.mean(v)) for k, v in trainer._metrics["train"].items()}
    return batch, float(loss.detach()), gradients(trainer.model), metrics


@functools.cache
def trl_sft() -> Any:
    trainer = trl.SFTTrainer(
        model=tiny.model("llama"), peft_config=LORA,
        args=settings(trl.SFTConfig, Path(tempfile.gettempdir()) / "trl-unused", completion_only_loss=True),
        train_dataset=Dataset.from_list(SFT), processing_class=tiny.tokenizer(),
    )  # fmt: skip
    return oracle(trainer)


@functools.cache
def trl_dpo() -> Any:
    trainer = trl.DPOTrainer(
        model=tiny.model("llama"), peft_config=LORA,
        args=settings(trl.DPOConfig, Path(tempfile.gettempdir()) / "trl-unused", beta=BETA, loss_type="sigmoid"),
        train_dataset=Dataset.from_list(PAIRS), processing_class=tiny.tokenizer(),
    )  # fmt: skip
    return oracle(trainer)


def run(task: Objective, model: Policy, parts: int) -> tuple[float, dict[str, torch.Tensor], dict[str, float]]:
    """The objective's mean over all rows, its gradients and its sums, in so many micro-batches."""
    rows = np.arange(len(task))
    sums = torch.zeros(len(SUMS), dtype=torch.float64)
    for part in split(rows, parts):
        batch = task.batch(part)
        total, more = task.measure(model(batch), batch, part)
        (total / task.units(rows)).backward()
        sums = sums + more
    found = dict(zip(SUMS, sums.tolist(), strict=True))
    return task.value(found), gradients(model), found


def assert_same_gradients(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert set(ours) == set(theirs)
    assert len(ours) == 28  # two layers, seven linear maps each, A and B
    for name, gradient in theirs.items():
        assert float(gradient.abs().max()) > 1e-5, name
        torch.testing.assert_close(ours[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def of_row(batch: dict[str, torch.Tensor], i: int, what: str) -> list[int]:
    return [int(x) for x in batch[what][i][batch["attention_mask"][i] == 1]]


@pytest.mark.slow
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("parts", [1, 3])
def test_sft_is_trls(direct: bool, parts: int) -> None:
    batch, loss, theirs, metrics = trl_sft()
    task = Objective("sft", tokens(SFT, "sft"))
    value, ours, sums = run(task, policy(direct=direct), parts)
    assert value == pytest.approx(loss, abs=1e-5)
    assert_same_gradients(ours, theirs)
    assert sums["tokens"] == metrics["num_tokens"]
    assert sums["units"] == int((batch["labels"] != -100).sum())


def test_sft_ids_are_trls() -> None:
    batch, found = trl_sft()[0], tokens(SFT, "sft")
    assert len({len(r[0]) for r in found.responses}) > 2
    for i, (prompt, (response,)) in enumerate(zip(found.prompts, found.responses, strict=True)):
        assert of_row(batch, i, "input_ids") == [*prompt, *response]
        assert of_row(batch, i, "labels") == [-100] * len(prompt) + list(response)


def dpo_task(*, shared: bool) -> Objective:
    found = tokens(PAIRS, "preference")
    bare = policy(direct=False)
    with torch.no_grad(), bare.model.disable_adapter():
        reference = bare(Objective("dpo", found).batch(np.arange(len(found)))).view(-1, 2)
    return Objective("dpo", found, DPOLoss(BETA), reference, share_prompt=shared)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("parts", [1, 3])
def test_dpo_is_trls(direct: bool, shared: bool, parts: int) -> None:
    batch, loss, theirs, metrics = trl_dpo()
    task = dpo_task(shared=shared)
    value, ours, sums = run(task, policy(direct=direct), parts)
    assert value == pytest.approx(loss, abs=1e-5)
    assert abs(loss - np.log(2.0)) > 0.01  # the policy is not the reference
    assert_same_gradients(ours, theirs)
    assert sums["tokens"] == int(batch["attention_mask"].sum())
    found = task.metrics(sums)
    assert set(found) == {n for n in metrics if n.partition("/")[0] in ("rewards", "logps")}
    assert found == pytest.approx({n: metrics[n] for n in found}, abs=2e-5)


def test_dpo_ids_are_trls() -> None:
    batch, found = trl_dpo()[0], tokens(PAIRS, "preference")
    for i, (prompt, responses) in enumerate(zip(found.prompts, found.responses, strict=True)):
        for row, response in zip((i, i + len(found)), responses, strict=True):
            assert of_row(batch, row, "input_ids") == [*prompt, *response]
            assert of_row(batch, row, "completion_mask") == [0] * len(prompt) + [1] * len(response)
