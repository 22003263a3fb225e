"""The objectives against the paper's equations in 50 digits, and the sums that a task makes of them."""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.objectives import dpo, sft_losses
from llm.tasks import SUMS, Task
from llm.tokens import TokenSet

logp = st.floats(-400, -1 / 64)


@given(st.lists(st.tuples(logp, logp, logp, logp), min_size=1, max_size=5), st.sampled_from([0.05, 0.1, 1.0]))
def test_dpo_is_equation_1(pairs: list[tuple[float, float, float, float]], beta: float) -> None:
    """-log σ(β (log π(y_w)/π_ref(y_w) - log π(y_l)/π_ref(y_l))), and its gradient in both log-probabilities."""
    now = torch.tensor([x for w, lost, _, _ in pairs for x in (w, lost)], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([x for _, _, w, lost in pairs for x in (w, lost)], dtype=torch.float64)
    found = dpo(now, reference, beta=beta)
    found.losses.sum().backward()
    assert now.grad is not None
    with mp.workdps(50):
        for i, (w, lost, rw, rl) in enumerate(pairs):
            h = mp.mpf(beta) * ((mp.mpf(w) - rw) - (mp.mpf(lost) - rl))
            assert float(found.losses[i].detach()) == pytest.approx(float(mp.log1p(mp.exp(-h))), rel=1e-12, abs=1e-300)
            slope = float(beta / (1 + mp.exp(h)))
            assert now.grad[2 * i : 2 * i + 2].tolist() == pytest.approx([-slope, slope], rel=1e-12, abs=1e-300)
            assert float(found.rewards_chosen[i].detach()) == pytest.approx(beta * (w - rw), abs=1e-12)
            assert float(found.rewards_rejected[i].detach()) == pytest.approx(beta * (lost - rl), abs=1e-12)


def test_sft_is_the_negative_log_probability() -> None:
    assert sft_losses(torch.tensor([-1.5, -0.25])).tolist() == [1.5, 0.25]


# Tasks.


def ids(n: int) -> Any:
    return np.arange(1, n + 1, dtype=np.int32)


def token_set(kind: str, shape: list[tuple[int, ...]]) -> TokenSet:
    """Rows of these lengths: (prompt, response, ...)."""
    return TokenSet(
        kind, tuple(ids(s[0]) for s in shape), tuple(tuple(ids(n) for n in s[1:]) for s in shape),
        tuple(f"{i:016x}" for i in range(len(shape))), 0, 0, 0,
    )  # fmt: skip


SFT = Task("sft", token_set("sft", [(3, 2), (1, 4), (2, 1)]))
PAIRS = token_set("preference", [(3, 2, 5), (1, 4, 1)])
REFERENCE = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])


def sums(task: Task, logps: list[float], rows: list[int], keep: list[bool] | None = None) -> dict[str, float]:
    at = np.array(rows)
    total, found = task.measure(torch.tensor(logps), task.batch(at), at, keep)
    assert found.dtype == torch.float64
    out = dict(zip(SUMS, found.tolist(), strict=True))
    assert out["loss"] == pytest.approx(float(total))
    return out


def test_lengths_are_what_a_row_costs() -> None:
    assert SFT.lengths.tolist() == [5, 5, 3]
    assert Task("dpo", PAIRS).lengths.tolist() == [2 * 8, 2 * 5]  # two sequences, padded to the longer
    assert Task("dpo", PAIRS, shared=True).lengths.tolist() == [10, 6]


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
    task = Task("sft", SFT.tokens, by_part=True)
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
    task = Task("dpo", PAIRS, 0.5, REFERENCE)
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
    task = Task("dpo", PAIRS, 0.5, REFERENCE)
    assert sums(task, [-3.0, -4.0], [1])["loss"] == pytest.approx(math.log(2.0))
    assert sums(task, [-3.0, -4.0, -1.0, -2.0], [1, 0])["loss"] == pytest.approx(2 * math.log(2.0))
    found = sums(task, [-2.0, -5.0, 9.0, 7.0], [0, 1], [True, False])
    assert found["units"] == 1.0
    assert task.metrics(found)["rewards/chosen"] == -0.5
    assert task.metrics(sums(task, [-2.0, -5.0], [0], [False])) == {}


def test_equal_rewards_are_no_win() -> None:
    task = Task("dpo", PAIRS, 0.5, REFERENCE)
    assert task.metrics(sums(task, [-1.0, -2.0], [0]))["rewards/accuracies"] == 0.0
