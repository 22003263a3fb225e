"""The conjectures on Adam: open where they agree, refuted where what is proven or measured says so."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from toyopt.theorems import adam_speed, adamw_rest
from toyopt.theorems.sequential.rest import resting_margin
from toyopt.theorems.sequential.wave import wave_speed

SETTINGS = [(0.01, 0.9, 0.95), (0.1, 0.9, 0.95), (0.05, 0.8, 0.9), (0.1, 0.0, 0.95)]


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "beta1", "beta2"), SETTINGS)
def test_the_measured_speed_is_the_waves_and_inside_what_is_proven(alpha: float, beta1: float, beta2: float) -> None:
    record = adam_speed(alpha=alpha, beta1=beta1, beta2=beta2)
    assert record.attained == pytest.approx(record.bound, rel=1e-8)
    assert record.interval is not None
    low, high = record.interval
    assert low * (1 - 1e-9) <= record.attained <= high * (1 + 1e-9)
    assert record.verdict == "open"
    # With β1 = 0 the proven limits are one number.
    assert (high - low < 1e-12) == (beta1 == 0.0)


@pytest.mark.oracle
@pytest.mark.slow
def test_the_measured_speed_is_that_of_torchs_adam() -> None:
    theta, ends = torch.tensor([5.0], dtype=torch.float64), []
    stepper = torch.optim.Adam([theta], lr=0.1, betas=(0.9, 0.95), eps=0.0)
    for _ in range(2):
        for _ in range(1_000):
            theta.grad = torch.tensor([-0.5 / (1.0 + math.exp(0.5 * (theta.item() - 5.0)))], dtype=torch.float64)
            stepper.step()
        ends.append(0.5 * theta.item())
    record = adam_speed(alpha=0.1, T=2_000)
    assert record.attained == pytest.approx((ends[1] - ends[0]) / 1_000, rel=1e-9)


def test_a_wave_falls_by_one_factor_at_each_step() -> None:
    """Put s_t = e^{-ρt} for all t into the two averages: the step is ρ."""
    for a, beta1, beta2 in ((0.05, 0.9, 0.95), (0.3, 0.5, 0.6), (0.005, 0.0, 0.99)):
        rho = wave_speed(a, beta1, beta2)
        n = 6_000
        mean = (1 - beta1) * math.fsum(beta1**j * math.exp(rho * j) for j in range(n) if beta1**j > 1e-300)
        square = (1 - beta2) * math.fsum(math.exp(j * (math.log(beta2) + 2 * rho)) for j in range(n))
        assert a * mean / math.sqrt(square) == pytest.approx(rho, rel=1e-6)
    assert wave_speed(0.3, 0.0, 0.0) == 0.3


@pytest.mark.slow
@pytest.mark.parametrize(("gamma", "T"), [(0.1, 50_000), (0.02, 150_000)])
def test_adamw_comes_to_rest_where_step_and_decay_cancel(gamma: float, T: int) -> None:
    record = adamw_rest(weight_decay=gamma, T=T, lam=0.3, beta2=0.95)
    assert record.attained == pytest.approx(record.bound, rel=1e-10)
    assert record.verdict == "open"
    # A fixed point of torch's AdamW: in a state of constant gradients nothing moves.
    w = resting_margin(0.5, gamma, 1e-8)
    gradient = 0.5 / (1.0 + math.exp(w))
    theta = torch.tensor([-w / 0.5], dtype=torch.float64)
    stepper = torch.optim.AdamW([theta], lr=0.01, betas=(0.9, 0.95), weight_decay=gamma)
    theta.grad = torch.tensor([gradient], dtype=torch.float64)
    stepper.step()
    assert theta.item() == pytest.approx(-w / 0.5, rel=1e-14)


def test_a_conjecture_outside_what_is_proven_is_refuted() -> None:
    speed, rest = adam_speed(T=2_000), adamw_rest(T=2_000)
    assert dataclasses.replace(speed, bound=0.005).verdict == "fails"  # above cα less the proven part
    assert dataclasses.replace(speed, bound=0.0045).verdict == "fails"
    assert rest.interval is not None
    assert dataclasses.replace(rest, bound=1.1 * rest.interval[1]).verdict == "fails"
    assert resting_margin(0.5, 0.1, 0.0) == 5.0


@pytest.mark.parametrize(
    ("function", "wrong", "words"),
    [
        (adam_speed, {"T": 1}, "T: must be at least 2"),
        (adam_speed, {"alpha": 3.0}, "alpha: must keep c alpha <= 1"),
        (adam_speed, {"beta1": 0.99}, r"beta1: must be at most beta2 = 0\.95"),
        (adamw_rest, {"weight_decay": 0.0}, "weight_decay: must be more than 0"),
        (adamw_rest, {"beta1": 0.9999}, r"beta1: must keep beta1² < beta2"),
        (adamw_rest, {"weight_decay": 101.0}, "weight_decay: must keep alpha weight_decay <= 1"),
    ],
)
def test_a_wrong_argument_is_named(function: Any, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        function(**wrong)
