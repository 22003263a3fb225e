"""The objectives against the paper's equations in 50 digits, and the sums that a task makes of them."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.data.tokenization import TokenizedDataset
from llm.losses import ReferenceFree, dpo, orpo, sft_losses, simpo
from llm.training.objective import SUMS, Objective

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
    assert Objective("dpo", PAIRS, shared=True).lengths.tolist() == [10, 6]


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
    task = Objective("sft", SFT.tokens, by_part=True)
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
    task = Objective("dpo", PAIRS, 0.5, REFERENCE)
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
    task = Objective("dpo", PAIRS, 0.5, REFERENCE)
    assert sums(task, [-3.0, -4.0], [1])["loss"] == pytest.approx(math.log(2.0))
    assert sums(task, [-3.0, -4.0, -1.0, -2.0], [1, 0])["loss"] == pytest.approx(2 * math.log(2.0))
    found = sums(task, [-2.0, -5.0, 9.0, 7.0], [0, 1], [True, False])
    assert found["units"] == 1.0
    assert task.metrics(found)["rewards/chosen"] == -0.5
    assert task.metrics(sums(task, [-2.0, -5.0], [0], [False])) == {}


def test_equal_rewards_are_no_win() -> None:
    task = Objective("dpo", PAIRS, 0.5, REFERENCE)
    assert task.metrics(sums(task, [-1.0, -2.0], [0]))["rewards/accuracies"] == 0.0


# Losses in DPO's place.

counts = st.integers(1, 300)
pair = st.tuples(logp, logp, counts, counts)


def as_tensors(pairs: list[tuple[float, float, int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities, with a gradient, and numbers of tokens; chosen and rejected in turn."""
    now = torch.tensor([x for w, lost, _, _ in pairs for x in (w, lost)], dtype=torch.float64, requires_grad=True)
    return now, torch.tensor([n for *_, nw, nl in pairs for n in (nw, nl)])


@given(st.lists(pair, min_size=1, max_size=5), st.sampled_from([0.1, 2.5]), st.sampled_from([0.0, 0.5, 1.6]))
def test_simpo_is_its_equation_6(pairs: list[tuple[float, float, int, int]], beta: float, gamma: float) -> None:
    """-log σ(β/|y_w| log π(y_w) - β/|y_l| log π(y_l) - γ), and its gradient."""
    now, lengths = as_tensors(pairs)
    found = simpo(now, lengths, beta=beta, gamma=gamma)
    found.losses.sum().backward()
    assert now.grad is not None
    with mp.workdps(50):
        for i, (w, lost, nw, nl) in enumerate(pairs):
            h = mp.mpf(beta) * w / nw - mp.mpf(beta) * lost / nl - gamma
            assert float(found.losses[i].detach()) == pytest.approx(float(mp.log1p(mp.exp(-h))), rel=1e-12, abs=1e-300)
            slope = mp.mpf(beta) / (1 + mp.exp(h))
            wanted = [-float(slope / nw), float(slope / nl)]
            assert now.grad[2 * i : 2 * i + 2].tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-300)
            assert float(found.rewards_chosen[i].detach()) == pytest.approx(beta * w / nw, rel=1e-14)
            assert float(found.rewards_rejected[i].detach()) == pytest.approx(beta * lost / nl, rel=1e-14)


@given(st.lists(pair, min_size=1, max_size=5), st.sampled_from([0.1, 1.0]))
def test_orpo_is_its_equations_6_and_7(pairs: list[tuple[float, float, int, int]], lam: float) -> None:
    """-log p_w - λ log σ(log odds_w - log odds_l), p = π(y)^(1/|y|), and its gradient."""
    now, lengths = as_tensors(pairs)
    found = orpo(now, lengths, lam=lam)
    found.losses.sum().backward()
    assert now.grad is not None
    with mp.workdps(400):  # 1 - p needs more digits than p
        for i, (w, lost, nw, nl) in enumerate(pairs):
            a, b = mp.mpf(w) / nw, mp.mpf(lost) / nl
            h = (a - mp.log(1 - mp.exp(a))) - (b - mp.log(1 - mp.exp(b)))
            # float64 has h to 1e-16 of its size, which is up to 400, and h stands in an exponent.
            assert float(found.losses[i].detach()) == pytest.approx(float(-a + lam * mp.log1p(mp.exp(-h))), rel=1e-12)
            rest = 1 / (1 + mp.exp(h))
            slope_w = -(1 + lam * rest / (1 - mp.exp(a))) / nw
            slope_l = lam * rest / (1 - mp.exp(b)) / nl
            wanted = [float(slope_w), float(slope_l)]
            assert now.grad[2 * i : 2 * i + 2].tolist() == pytest.approx(wanted, rel=1e-11, abs=1e-300)
            assert float(found.rewards_chosen[i].detach()) == pytest.approx(lam * w / nw, rel=1e-14)
            assert float(found.rewards_rejected[i].detach()) == pytest.approx(lam * lost / nl, rel=1e-14)


def test_simpo_and_orpo_by_hand() -> None:
    """Mean log-probabilities -1 and -2, and p = 1/2 against p = 1/4: odds 1 and 1/3."""
    found = simpo(torch.tensor([-2.0, -8.0]), torch.tensor([2, 4]), beta=2.0, gamma=0.5)
    assert found.losses.tolist() == pytest.approx([math.log1p(math.exp(-1.5))], rel=1e-6)
    assert (found.rewards_chosen.tolist(), found.rewards_rejected.tolist()) == ([-2.0], [-4.0])
    odds = orpo(torch.tensor([3 * math.log(0.5), 2 * math.log(0.25)]), torch.tensor([3, 2]), lam=0.4)
    assert odds.losses.tolist() == pytest.approx([math.log(2.0) + 0.4 * math.log(4 / 3)], rel=1e-6)  # σ(log 3) = 3/4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("of", [simpo, orpo], ids=lambda f: f.__name__)
def test_losses_and_gradients_are_finite_at_the_extremes(of: Any, dtype: torch.dtype) -> None:
    """From p = 1, which rounding makes of a sure answer, to what no number is for."""
    ends = [0.0, -1e-300 if dtype == torch.float64 else -1e-40, -1e-7, -1e-3, -5.0, -1e4, -1e9, -1e30]
    pairs = [x for w in ends for lost in ends for x in (w, lost)]
    now = torch.tensor(pairs, dtype=dtype, requires_grad=True)
    numbers = {"beta": 2.0, "gamma": 0.5} if of is simpo else {"lam": 0.3}
    found = of(now, torch.full((len(pairs),), 3), **numbers)
    assert found.losses.isfinite().all()
    assert (found.losses >= 0).all()
    found.losses.sum().backward()
    assert now.grad is not None
    assert now.grad.isfinite().all()
    assert (now.grad[0::2] <= 0).all()
    assert (now.grad[1::2] >= 0).all()


def test_a_task_on_another_loss_needs_no_reference() -> None:
    loss = ReferenceFree("simpo", partial(simpo, beta=2.0, gamma=0.5))
    task = Objective("dpo", PAIRS, loss=loss)
    assert (task.label, Objective("dpo", PAIRS, 0.5, REFERENCE, beside=loss).label, SFT.label) == (
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
    loss = ReferenceFree("simpo", partial(simpo, beta=2.0, gamma=0.5))
    plain, both = Objective("dpo", PAIRS, 0.5, REFERENCE), Objective("dpo", PAIRS, 0.5, REFERENCE, beside=loss)
    at = [-2.0, -10.0, -4.0, -1.0]
    one, two = sums(plain, at, [0, 1]), sums(both, at, [0, 1])
    assert {**two, "beside": 0.0} == one
    assert plain.value(one) == both.value(two)
    wanted = (math.log1p(math.exp(-1.5)) + math.log1p(math.exp(0.5))) / 2
    assert both.metrics(two) == {"f_simpo": pytest.approx(wanted, rel=1e-6), **plain.metrics(one)}
    half = sums(both, at, [0, 1], [True, False])
    assert both.metrics(half)["f_simpo"] == pytest.approx(math.log1p(math.exp(-1.5)), rel=1e-6)
