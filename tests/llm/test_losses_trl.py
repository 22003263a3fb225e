"""The losses with a reference against TRL's own DPOTrainer, on the same log-probabilities in float64."""

from __future__ import annotations

import inspect
import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from llm.losses import (
    ConservativeDPOLoss,
    DPOLoss,
    HingeLoss,
    IPOLoss,
    PreferenceLoss,
    RobustDPOLoss,
    RPOLoss,
)

trl = pytest.importorskip("trl")
pytestmark = pytest.mark.oracle
COUNTS = [(3, 7), (12, 2), (5, 5), (1, 9)]  # response tokens of chosen and rejected
PROMPT = 4


class Given:
    """A batch of pairs in TRL's layout (chosen rows first) and its token log-probabilities, which take gradients."""

    def __init__(self, counts: list[tuple[int, int]], seed: int) -> None:
        n, draw = len(counts), torch.Generator().manual_seed(seed)
        lengths = torch.tensor([w for w, _ in counts] + [lost for _, lost in counts])
        columns = torch.arange(PROMPT + int(lengths.max()))
        self.n, self.lengths = n, lengths
        self.mask = (columns >= PROMPT) & (columns < PROMPT + lengths[:, None])
        noise = torch.randn(2 * n, len(columns) - 1, generator=draw, dtype=torch.float64)
        self.logps = (-noise.abs() * self.mask[:, 1:]).requires_grad_()
        more = torch.randn(2 * n, generator=draw, dtype=torch.float64)
        self.reference = self.logps.detach().sum(dim=1) + 2.0 * more

    def trl(self, loss_type: list[str], **settings: Any) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
        """TRL's loss, its gradient in every token's log-probability, and its metrics."""
        zeros = torch.zeros_like(self.logps)
        outputs = SimpleNamespace(
            log_probs=self.logps, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), aux_loss=None
        )
        metrics: dict[str, Any] = {"train": defaultdict(list)}
        trainer = SimpleNamespace(
            model=SimpleNamespace(training=True), ld_alpha=None, aux_loss_enabled=False, precompute_ref_logps=True,
            f_divergence_type="reverse_kl", use_weighting=False, _metrics=metrics, _total_train_tokens=0, _tp_size=1,
            loss_types=loss_type, label_smoothing=0.0, loss_weights=[1.0] * len(loss_type),
            accelerator=SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x),
        )  # fmt: skip
        vars(trainer).update(settings)
        inputs = {
            "input_ids": torch.zeros_like(self.mask, dtype=torch.long), "attention_mask": torch.ones_like(self.mask),
            "completion_mask": self.mask, "ref_chosen_logps": self.reference[: self.n],
            "ref_rejected_logps": self.reference[self.n :],
        }  # fmt: skip
        loss = trl.DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)
        (gradient,) = torch.autograd.grad(loss, self.logps)
        gradient = gradient * self.mask[:, 1:]  # prompts' positions hold zeros, whatever their gradient
        return loss.detach(), gradient, {k: v[0] for k, v in metrics["train"].items() if isinstance(v, list) and v}

    def ours(self, loss: PreferenceLoss) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
        """Our mean loss over pairs, its gradient in every token's log-probability, and our rewards."""
        order = torch.arange(2 * self.n).view(2, -1).T.flatten()  # chosen and rejected in turn
        terms = loss(self.logps.sum(dim=1)[order], self.lengths[order], self.reference[order])
        mean = terms.losses.mean()
        (gradient,) = torch.autograd.grad(mean, self.logps)
        gradient = gradient * self.mask[:, 1:]
        rewards = {"chosen": terms.rewards_chosen, "rejected": terms.rewards_rejected}
        return mean.detach(), gradient, {f"rewards/{k}": float(v.detach().mean()) for k, v in rewards.items()}


def assert_equal(given: Given, ours: PreferenceLoss, loss_type: list[str], **settings: Any) -> None:
    value, gradient, metrics = given.ours(ours)
    wanted, slopes, reported = given.trl(loss_type, **settings)
    torch.testing.assert_close(value, wanted, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(gradient, slopes, rtol=1e-12, atol=1e-14)
    assert float(slopes.abs().max()) > 1e-3
    # TRL sums a batch's rewards in another order.
    assert metrics == pytest.approx({k: reported[k] for k in metrics}, rel=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_losses_and_gradients_are_trls(beta: float, seed: int) -> None:
    given = Given(COUNTS, seed)
    assert_equal(given, DPOLoss(beta), ["sigmoid"], beta=beta)
    assert_equal(given, IPOLoss(beta), ["ipo"], beta=beta)
    assert_equal(given, HingeLoss(beta), ["hinge"], beta=beta)
    assert_equal(given, RobustDPOLoss(beta, 0.2), ["robust"], beta=beta, label_smoothing=0.2)


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_robust_and_conservative_dpo_without_smoothing_are_trls_dpo(beta: float) -> None:
    assert_equal(Given(COUNTS, 2), RobustDPOLoss(beta, 0.0), ["sigmoid"], beta=beta)
    assert_equal(Given(COUNTS, 2), ConservativeDPOLoss(beta, 0.0), ["sigmoid"], beta=beta)


def test_conservative_dpo_is_trls_label_smoothing() -> None:
    """TRL's `aot` of one pair: its sorting does nothing, and what remains is DPO with label smoothing."""
    for pair in COUNTS:
        loss = ConservativeDPOLoss(0.3, 0.15)
        assert_equal(Given([pair], 3), loss, ["aot"], beta=0.3, label_smoothing=0.15)


def test_robust_dpo_of_swapped_labels_is_dpo_of_the_true_ones() -> None:
    """(1-ε) L(kept) + ε L(swapped) is DPO's loss: the theorem that the loss is made for (arXiv 2403.00409)."""
    logps, reference = torch.tensor([-3.0, -9.0, -7.0, -2.0]).double(), torch.tensor([-4.0, -6.0, -5.0, -5.0]).double()
    order, loss, none = [1, 0, 3, 2], RobustDPOLoss(0.4, 0.3), torch.zeros(0)
    kept = loss(logps, none, reference).losses
    swapped = loss(logps[order], none, reference[order]).losses
    true = DPOLoss(0.4)(logps, none, reference).losses
    torch.testing.assert_close(0.7 * kept + 0.3 * swapped, true, rtol=1e-13, atol=0.0)
    assert float((kept - true).abs().max()) > 0.1


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_rpo_is_trls_sigmoid_and_sft(alpha: float) -> None:
    """Equal where chosen responses are equally long, or pairs are one by one; else TRL weighs long ones more."""
    settings = {"beta": 0.3, "loss_weights": [1.0, alpha]}
    equally_long = Given([(6, 2), (6, 9), (6, 6)], 4)
    assert_equal(equally_long, RPOLoss(0.3, alpha), ["sigmoid", "sft"], **settings)
    for pair in COUNTS:
        assert_equal(Given([pair], 5), RPOLoss(0.3, alpha), ["sigmoid", "sft"], **settings)
    mixed = Given(COUNTS, 5)
    assert abs(float(mixed.ours(RPOLoss(0.3, alpha))[0] - mixed.trl(["sigmoid", "sft"], **settings)[0])) > 1e-3


def test_untrained_policies_have_the_losses_that_the_formulas_give() -> None:
    """π_θ = π_ref: h = 0."""
    logps, counts = torch.tensor([-6.0, -8.0]).double(), torch.tensor([3, 4])
    start = {
        IPOLoss(0.5): 1.0, HingeLoss(0.5): 1.0, ConservativeDPOLoss(0.5, 0.3): math.log(2.0),
        RobustDPOLoss(0.5, 0.3): math.log(2.0), RPOLoss(0.5, 0.1): math.log(2.0) + 0.2,
    }  # fmt: skip
    for loss, wanted in start.items():
        assert float(loss(logps, counts, logps).losses) == pytest.approx(wanted, rel=1e-14), loss.name


def test_trls_sigmoid_has_no_label_smoothing() -> None:
    """The reason for a loss of its own, cdpo, and for its oracle above."""
    source = inspect.getsource(trl.DPOTrainer._compute_loss)
    assert "label_smoothing" not in source.partition('loss_type == "sigmoid"')[2].partition("elif")[0]
