"""The losses against the equations of their papers in 50 digits."""

from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm import TrainConfig
from llm.losses import (
    PREFERENCE_LOSSES,
    ConservativeDPOLoss,
    DPOLoss,
    HingeLoss,
    IPOLoss,
    KTOLoss,
    ORPOLoss,
    PreferenceLoss,
    RobustDPOLoss,
    RPOLoss,
    SimPOLoss,
    sft_losses,
)

NO_COUNTS = torch.zeros(0)
logp = st.floats(-400, -1 / 64)


@pytest.mark.slow
@given(st.lists(st.tuples(logp, logp, logp, logp), min_size=1, max_size=5), st.sampled_from([0.05, 0.1, 1.0]))
def test_dpo_is_equation_1(pairs: list[tuple[float, float, float, float]], beta: float) -> None:
    """-log σ(β (log π(y_w)/π_ref(y_w) - log π(y_l)/π_ref(y_l))), and its gradient in both log-probabilities."""
    now = torch.tensor([x for w, lost, _, _ in pairs for x in (w, lost)], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([x for _, _, w, lost in pairs for x in (w, lost)], dtype=torch.float64)
    found = DPOLoss(beta)(now, NO_COUNTS, reference)
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


# Losses in DPO's place.

counts = st.integers(1, 300)
pair = st.tuples(logp, logp, counts, counts)


def as_tensors(pairs: list[tuple[float, float, int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities, with a gradient, and numbers of tokens; chosen and rejected in turn."""
    now = torch.tensor([x for w, lost, _, _ in pairs for x in (w, lost)], dtype=torch.float64, requires_grad=True)
    return now, torch.tensor([n for *_, nw, nl in pairs for n in (nw, nl)])


@pytest.mark.slow
@given(st.lists(pair, min_size=1, max_size=5), st.sampled_from([0.1, 2.5]), st.sampled_from([0.0, 0.5, 1.6]))
def test_simpo_is_its_equation_6(pairs: list[tuple[float, float, int, int]], beta: float, gamma: float) -> None:
    """-log σ(β/|y_w| log π(y_w) - β/|y_l| log π(y_l) - γ), and its gradient."""
    now, lengths = as_tensors(pairs)
    found = SimPOLoss(beta, gamma)(now, lengths, None)
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


@pytest.mark.slow
@given(st.lists(pair, min_size=1, max_size=5), st.sampled_from([0.1, 1.0]))
def test_orpo_is_its_equations_6_and_7(pairs: list[tuple[float, float, int, int]], lam: float) -> None:
    """-log p_w - λ log σ(log odds_w - log odds_l), p = π(y)^(1/|y|), and its gradient."""
    now, lengths = as_tensors(pairs)
    found = ORPOLoss(lam)(now, lengths, None)
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


@pytest.mark.slow
@given(st.lists(st.tuples(logp, logp, st.booleans()), min_size=1, max_size=5), st.sampled_from([0.0, 0.3, 40.0]))
def test_kto_is_its_equations_7_and_8(rows: list[tuple[float, float, bool]], kl: float) -> None:
    """λ_y - v with v = λ_D σ(β(r - z)) or λ_U σ(β(z - r)), and its gradient in the log-probability."""
    now = torch.tensor([row[0] for row in rows], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([row[1] for row in rows], dtype=torch.float64)
    found = KTOLoss(0.1, 1.5, 0.7)(now, reference, torch.tensor([row[2] for row in rows]), kl)
    found.losses.sum().backward()
    assert now.grad is not None
    with mp.workdps(50):
        for i, (own, ref, desirable) in enumerate(rows):
            sign, weight = (1, mp.mpf(1.5)) if desirable else (-1, mp.mpf(0.7))
            x = sign * mp.mpf(0.1) * (mp.mpf(own) - ref - mp.mpf(kl))
            value = 1 / (1 + mp.exp(-x))
            # The exponent is at most 44, with float64's 1e-16 of it.
            assert float(found.losses[i].detach()) == pytest.approx(float(weight - weight * value), rel=1e-12)
            slope = -sign * weight * mp.mpf(0.1) * value * (1 - value)
            assert float(now.grad[i]) == pytest.approx(float(slope), rel=1e-12)
            assert float(found.rewards[i].detach()) == pytest.approx(0.1 * (own - ref), rel=1e-12, abs=1e-12)


def test_simpo_and_orpo_by_hand() -> None:
    """Mean log-probabilities -1 and -2, and p = 1/2 against p = 1/4: odds 1 and 1/3."""
    found = SimPOLoss(2.0, 0.5)(torch.tensor([-2.0, -8.0]), torch.tensor([2, 4]), None)
    assert found.losses.tolist() == pytest.approx([math.log1p(math.exp(-1.5))], rel=1e-6)
    assert (found.rewards_chosen.tolist(), found.rewards_rejected.tolist()) == ([-2.0], [-4.0])
    odds = ORPOLoss(0.4)(torch.tensor([3 * math.log(0.5), 2 * math.log(0.25)]), torch.tensor([3, 2]), None)
    assert odds.losses.tolist() == pytest.approx([math.log(2.0) + 0.4 * math.log(4 / 3)], rel=1e-6)  # σ(log 3) = 3/4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", [SimPOLoss(2.0, 0.5), ORPOLoss(0.3)], ids=lambda loss: loss.name)
def test_losses_and_gradients_are_finite_at_the_extremes(loss: PreferenceLoss, dtype: torch.dtype) -> None:
    """From p = 1, which rounding makes of a sure answer, to what no number is for."""
    ends = [0.0, -1e-300 if dtype == torch.float64 else -1e-40, -1e-7, -1e-3, -5.0, -1e4, -1e9, -1e30]
    pairs = [x for w in ends for lost in ends for x in (w, lost)]
    now = torch.tensor(pairs, dtype=dtype, requires_grad=True)
    found = loss(now, torch.full((len(pairs),), 3), None)
    assert found.losses.isfinite().all()
    assert (found.losses >= 0).all()
    found.losses.sum().backward()
    assert now.grad is not None
    assert now.grad.isfinite().all()
    assert (now.grad[0::2] <= 0).all()
    assert (now.grad[1::2] >= 0).all()


def test_every_loss_is_built_from_its_options() -> None:
    config = TrainConfig(
        beta=0.3, simpo_gamma=0.7, orpo_lambda=0.2, rpo_alpha=0.5, label_smoothing=0.1, preference_loss="cdpo"
    )
    weighted = TrainConfig(beta=0.3, desirable_weight=2.0, undesirable_weight=0.5, preference_loss="kto")
    made = {n: loss.from_options(weighted if n == "kto" else config) for n, loss in PREFERENCE_LOSSES.items()}
    assert made == {
        "dpo": DPOLoss(0.3),
        "ipo": IPOLoss(0.3),
        "hinge": HingeLoss(0.3),
        "cdpo": ConservativeDPOLoss(0.3, 0.1),
        "robust": RobustDPOLoss(0.3, 0.1),
        "rpo": RPOLoss(0.3, 0.5),
        "simpo": SimPOLoss(0.3, 0.7),
        "orpo": ORPOLoss(0.2),
        "kto": KTOLoss(0.3, 2.0, 0.5),
    }
    assert SimPOLoss.from_options(TrainConfig(beta=0.3, simpo_beta=2.0)) == SimPOLoss(2.0, 0.5)
    assert {name for name, loss in made.items() if not loss.needs_reference} == {"simpo", "orpo"}
    assert made["simpo"].describe() == "SimPO, β = 0.3, γ = 0.7"
    assert made["robust"].describe() == "robust DPO, β = 0.3, ε = 0.1"
