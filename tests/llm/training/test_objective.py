"""Sums, values and metrics of objectives, by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from llm.data.tokenization import TokenizedDataset
from llm.losses import (
    ConservativeDPOLoss,
    DPOLoss,
    HingeLoss,
    IPOLoss,
    KTOLoss,
    PairLoss,
    RPOLoss,
    SimPOLoss,
)
from llm.training.objective import SUMS, Objective


def ids(n: int) -> Any:
    return np.arange(1, n + 1, dtype=np.int32)


def token_set(kind: str, shape: list[tuple[int, ...]]) -> TokenizedDataset:
    """Rows of these lengths: (prompt, response, ...)."""
    return TokenizedDataset(
        kind, tuple(ids(s[0]) for s in shape), tuple(tuple(ids(n) for n in s[1:]) for s in shape),
        tuple(f"{i:016x}" for i in range(len(shape))), 0, 0, 0,
    )  # fmt: skip


SFT = Objective("sft", token_set("sft", [(3, 2), (1, 4), (2, 1)]))
PAIRS = token_set("preference", [(3, 2, 5), (1, 4, 1)])
REFERENCE = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])


def sums(task: Objective, logps: list[float], rows: list[int], keep: list[bool] | None = None) -> dict[str, float]:
    at = np.array(rows)
    total, found = task.measure(torch.tensor(logps), task.batch(at), at, keep)
    assert found.dtype == torch.float64
    out = dict(zip(SUMS, found.tolist(), strict=True))
    assert out["loss"] == pytest.approx(float(total))
    return out


def test_lengths_are_what_a_row_costs() -> None:
    assert SFT.lengths.tolist() == [5, 5, 3]
    assert Objective("dpo", PAIRS).lengths.tolist() == [2 * 8, 2 * 5]  # two sequences, padded to the longer
    assert Objective("dpo", PAIRS, share_prompt=True).lengths.tolist() == [10, 6]


def test_sft_by_hand() -> None:
    """A mean over tokens: (2·1 + 4·0.5 + 1·3)/7, whatever the micro-batches are."""
    found = sums(SFT, [-2.0, -2.0, -3.0], [0, 1, 2])
    assert found["loss"] == 7.0
    assert found["units"] == 7.0
    assert found["means"] == 1.0
    assert found["parts"] == 1.0
    assert found["tokens"] == 13.0
    assert SFT.value(found) == 1.0
    assert SFT.units(np.array([0, 2])) == 3
    assert SFT.units(np.array([1])) == 4
    assert SFT.metrics(found) == {}


def test_sft_by_part_is_the_mean_of_micro_batches_means() -> None:
    task = Objective("sft", SFT.tokens, mean_by_part=True)
    one, two = sums(task, [-2.0, -2.0], [0, 1]), sums(task, [-3.0], [2])
    added = {k: one[k] + two[k] for k in one}
    assert task.value(added) == pytest.approx((4 / 6 + 3 / 1) / 2)
    assert SFT.value(added) == pytest.approx(7 / 7)


def test_rows_that_fill_up_do_not_count() -> None:
    found = sums(SFT, [-2.0, -99.0, -3.0], [0, 1, 2], [True, False, True])
    assert (found["loss"], found["units"], SFT.value(found)) == (5.0, 3.0, pytest.approx(5 / 3))
    none = sums(SFT, [-2.0], [0], [False])
    assert (none["loss"], none["units"], none["means"], SFT.value(none)) == (0.0, 0.0, 0.0, 0.0)


def test_dpo_by_hand() -> None:
    task = Objective("dpo", PAIRS, DPOLoss(0.5), REFERENCE)
    found = sums(task, [-2.0, -5.0, -3.0, -1.0], [0, 1])  # rewards (-0.5, -1.5), (0, 1.5)
    losses = [math.log1p(math.exp(-1.0)), math.log1p(math.exp(1.5))]
    assert found["loss"] == pytest.approx(sum(losses), rel=1e-6)
    assert task.value(found) == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert task.units(np.array([0, 1])) == 2
    assert found["tokens"] == 3 + 2 + 3 + 5 + 1 + 4 + 1 + 1
    assert task.metrics(found) == {
        "rewards/chosen": -0.25,
        "rewards/rejected": 0.0,
        "rewards/margins": -0.25,
        "rewards/accuracies": 0.5,
        "logps/chosen": -2.5,
        "logps/rejected": -3.0,
    }


def test_dpo_takes_the_references_of_its_rows() -> None:
    task = Objective("dpo", PAIRS, DPOLoss(0.5), REFERENCE)
    assert sums(task, [-3.0, -4.0], [1])["loss"] == pytest.approx(math.log(2.0))
    assert sums(task, [-3.0, -4.0, -1.0, -2.0], [1, 0])["loss"] == pytest.approx(2 * math.log(2.0))
    found = sums(task, [-2.0, -5.0, 9.0, 7.0], [0, 1], [True, False])
    assert found["units"] == 1.0
    assert task.metrics(found)["rewards/chosen"] == -0.5
    assert task.metrics(sums(task, [-2.0, -5.0], [0], [False])) == {}


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (DPOLoss(0.5), math.log(2.0)),
        (IPOLoss(0.5), 1.0),  # (0 - 1/(2·0.5))²
        (HingeLoss(0.5), 1.0),
        (ConservativeDPOLoss(0.5, 0.1), math.log(2.0)),
    ],
)
def test_under_the_reference_all_pairs_have_one_value(loss: PairLoss, value: float) -> None:
    task = Objective("dpo", PAIRS, loss, REFERENCE)
    for rows in ([0], [1], [1, 0]):
        assert task.value_at_reference(np.array(rows)) == pytest.approx(value, rel=1e-6)


def test_under_the_reference_unpaired_rows_have_one_value() -> None:
    """1 - σ(0) for desirable and for undesirable rows, arXiv 2402.01306 eq. (7) and (8) with equal weights."""
    tokens = dataclasses.replace(PAIRS, kind="unpaired", labels=(True, False))
    task = Objective("kto", tokens, KTOLoss(0.5, 1.0, 1.0), REFERENCE)
    assert [task.value_at_reference(np.array([row])) for row in (0, 1)] == pytest.approx([0.5, 0.5])


def test_under_the_reference_rows_differ_where_the_loss_is_no_function_of_rewards() -> None:
    """RPO adds the chosen response's mean negative log-probability: 1/2 and 3/4 by the reference."""
    task = Objective("dpo", PAIRS, RPOLoss(0.5, 1.0), REFERENCE)
    values = [task.value_at_reference(np.array([row])) for row in (0, 1)]
    assert values == pytest.approx([math.log(2.0) + 1.0 / 2.0, math.log(2.0) + 3.0 / 4.0], rel=1e-6)
    assert SFT.value_at_reference(np.array([0])) is None
    assert Objective("dpo", PAIRS, SimPOLoss(2.0, 0.5)).value_at_reference(np.array([0])) is None


def test_equal_rewards_are_no_win() -> None:
    task = Objective("dpo", PAIRS, DPOLoss(0.5), REFERENCE)
    assert task.metrics(sums(task, [-1.0, -2.0], [0]))["rewards/accuracies"] == 0.0


def test_a_task_on_another_loss_needs_no_reference() -> None:
    loss = SimPOLoss(2.0, 0.5)
    task = Objective("dpo", PAIRS, loss=loss)
    assert (task.label, Objective("dpo", PAIRS, DPOLoss(0.5), REFERENCE, beside=loss).label, SFT.label) == (
        "simpo",
        "dpo",
        "sft",
    )
    found = sums(task, [-2.0, -10.0, -4.0, -1.0], [0, 1])  # of 2, 5, 4, 1 tokens: means -1, -2, -1, -1
    assert task.value(found) == pytest.approx((math.log1p(math.exp(-1.5)) + math.log1p(math.exp(0.5))) / 2, rel=1e-6)
    assert task.units(np.array([0, 1])) == 2
    metrics = task.metrics(found)
    assert metrics["rewards/margins"] == pytest.approx(1.0)
    assert metrics["logps/chosen"] == -3.0
    assert "f_simpo" not in metrics
    one = sums(task, [-2.0, -10.0, -99.0, -1.0], [0, 1], [True, False])
    assert task.value(one) == pytest.approx(math.log1p(math.exp(-1.5)), rel=1e-6)


def test_a_loss_beside_changes_nothing_but_that_it_is_told() -> None:
    loss = SimPOLoss(2.0, 0.5)
    plain, both = (
        Objective("dpo", PAIRS, DPOLoss(0.5), REFERENCE),
        Objective("dpo", PAIRS, DPOLoss(0.5), REFERENCE, beside=loss),
    )
    at = [-2.0, -10.0, -4.0, -1.0]
    one, two = sums(plain, at, [0, 1]), sums(both, at, [0, 1])
    assert {**two, "beside": 0.0} == one
    assert plain.value(one) == both.value(two)
    wanted = (math.log1p(math.exp(-1.5)) + math.log1p(math.exp(0.5))) / 2
    assert both.metrics(two) == {"f_simpo": pytest.approx(wanted, rel=1e-6), **plain.metrics(one)}
    half = sums(both, at, [0, 1], [True, False])
    assert both.metrics(half)["f_simpo"] == pytest.approx(math.log1p(math.exp(-1.5)), rel=1e-6)


def test_a_selection_has_the_values_of_its_rows() -> None:
    whole = Objective("dpo", PAIRS, DPOLoss(0.5), REFERENCE)
    second = whole.select(np.array([1]))
    assert len(second) == 1
    assert sums(second, [-3.0, -5.0], [0]) == sums(whole, [-3.0, -5.0], [1])


def test_objectives_that_differ_in_value_are_described_differently() -> None:
    described = [
        SFT.describe(),
        Objective("sft", SFT.tokens, mean_by_part=True).describe(),
        *(Objective("dpo", PAIRS, loss).describe() for loss in (DPOLoss(0.5), DPOLoss(0.6), SimPOLoss(0.5, 0.1))),
    ]
    assert all(a != b for i, a in enumerate(described) for b in described[:i])


@pytest.mark.oracle
def test_turns_that_are_not_trained_are_context_of_those_that_are() -> None:
    """f_SFT of masked rows is transformers' own loss with labels of -100."""
    from support import tiny_models as tiny

    from llm.models.policy import Policy

    draw = np.random.default_rng(3)
    trained = tuple(np.array([True, *(draw.random(n - 1) < 0.5)]) for n in (7, 4))
    prompts = tuple(draw.integers(3, 50, n).astype(np.int32) for n in (3, 5))
    responses = tuple((draw.integers(3, 50, len(mask)).astype(np.int32),) for mask in trained)
    task = Objective("sft", TokenizedDataset("sft", prompts, responses, ("a", "b"), 0, 0, 0, trained=trained))
    model, rows = tiny.model("llama"), np.arange(2)
    with torch.no_grad():
        batch = task.batch(rows)
        _, found = task.measure(Policy(model)(batch), batch, rows)
        total = 0.0
        for prompt, (response,), mask in zip(prompts, responses, trained, strict=True):
            row = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
            labels = row.clone()
            labels[0, : len(prompt)] = -100
            labels[0, len(prompt) :][torch.from_numpy(~mask)] = -100
            total += float(model(input_ids=row, labels=labels).loss) * int(mask.sum())
    units = sum(int(mask.sum()) for mask in trained)
    assert task.units(rows) == units < 11
    assert task.value(dict(zip(SUMS, found.tolist(), strict=True))) == pytest.approx(total / units, rel=1e-5)
