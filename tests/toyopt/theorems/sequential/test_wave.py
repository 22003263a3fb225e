"""Adam's speed without ε: every later step is in the interval, torch's too; wrong speeds and runs beyond the floats."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from toyopt.theorems import adam_reaches_speed, sequential_adam
from toyopt.theorems.sequential.wave import settled, wave_speed

SETTINGS = [(0.005, 0.9, 0.95), (0.05, 0.9, 0.95), (0.025, 0.8, 0.9), (0.05, 0.0, 0.95), (0.1, 0.9, 0.95)]


def steps_of(a: float, beta1: float, beta2: float, T: int) -> list[tuple[float, float, float, float]]:
    """(v, m, n, step) of each step of the plain recursion from v = 0."""
    v, mean, square, out = 0.0, 0.0, 0.0, []
    for t in range(1, T + 1):
        s = 1.0 / (1.0 + math.exp(v))
        mean, square = beta1 * mean + (1 - beta1) * s, beta2 * square + (1 - beta2) * s * s
        m, n = mean / (1 - beta1**t) / s, square / (1 - beta2**t) / s**2
        out.append((v, m, n, a * m / math.sqrt(n)))
        v += out[-1][3]
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("a", "beta1", "beta2"), SETTINGS)
def test_every_later_step_is_in_the_interval(a: float, beta1: float, beta2: float) -> None:
    """From a third of the run on, up to v = 150, and the earlier steps were not."""
    rho = wave_speed(a, beta1, beta2)
    run = steps_of(a, beta1, beta2, int(150.0 / rho))
    third = len(run) // 3
    ends = settled(run[third][:3], third, a, beta1, beta2)
    assert ends is not None
    assert ends[0] < rho < ends[1]
    assert ends[1] - ends[0] < 1e-3 * rho
    later = [step for *_, step in run[third:]]
    room = 1e-12 * rho  # of the plain loop
    assert ends[0] - room <= min(later) <= max(later) <= ends[1] + room
    assert not ends[0] <= run[3][3] <= ends[1]


def test_a_state_far_from_the_wave_is_in_no_set() -> None:
    assert settled((5.0, 1.0, 1.0), 10, 0.05, 0.9, 0.95) is None
    assert settled((0.0, 1.0, 400.0), 10_000, 0.05, 0.9, 0.95) is None


@pytest.mark.oracle
@pytest.mark.slow
def test_the_mean_step_is_that_of_torchs_adam() -> None:
    theta, ends = torch.tensor([5.0], dtype=torch.float64), []
    stepper = torch.optim.Adam([theta], lr=0.1, betas=(0.9, 0.95), eps=0.0)
    for _ in range(2):
        for _ in range(2_000):
            theta.grad = torch.tensor([-0.5 / (1.0 + math.exp(0.5 * (theta.item() - 5.0)))], dtype=torch.float64)
            stepper.step()
        ends.append(0.5 * theta.item())
    lower, upper = adam_reaches_speed(alpha=0.1, T=4_000)
    speed = (ends[1] - ends[0]) / 2_000
    assert lower.attained == pytest.approx(speed, rel=1e-9)
    assert (lower.verdict, upper.verdict) == ("holds", "holds")
    assert lower.bound <= speed <= upper.bound


@pytest.mark.slow
def test_wrong_speeds_are_caught() -> None:
    """cα, ρ(a) and ρ(κa) of S12, and one part in a million beside the wave's."""
    records, rho = adam_reaches_speed(alpha=0.1), wave_speed(0.05, 0.9, 0.95)
    assert records[1].bound - records[0].bound < 1e-8 * rho
    for wrong in (0.05, 0.0211523, 0.0239765, rho * (1 + 1e-6), rho * (1 - 1e-6)):
        verdicts = {dataclasses.replace(record, attained=wrong).verdict for record in records}
        assert "fails" in verdicts, wrong


def test_a_run_that_leaves_the_floats_is_open_and_not_false() -> None:
    """s² is 0 in floats beyond v = 373: such a run is none of Adam, in this record and in S12's."""
    for T in (20_000, 1_000_000):  # with s² = 0 at the end, and at T/2 already
        for record in adam_reaches_speed(alpha=0.2, T=T):
            assert (record.verdict, "leaves the floats" in record.note) == ("open", True)
    for record in sequential_adam(lam=0.5, T_DPO=20_000, T_SFT=20_000, epsilon=0.0, beta2=0.95, alpha=0.1):
        assert (record.verdict, "leaves the floats" in record.note) == ("open", True)
    # With an ε the square does not count there.
    for record in sequential_adam(lam=0.5, T_DPO=2_000, T_SFT=2_000, epsilon=1e-8, alpha=0.1, theta_1=2_000.0):
        assert record.verdict == "holds"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"T": 1}, "T: must be at least 2"),
        ({"alpha": 3.0}, "alpha: must keep c alpha <= 1"),
        ({"beta1": 0.99}, r"beta1: must be at most beta2 = 0\.95"),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        adam_reaches_speed(**wrong)
