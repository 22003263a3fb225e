"""The law of the heavy ball: enclosures of plain runs, torch's own momentum, the limit, and wrong laws."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toyopt import Constant, Sequential, minimise, simulate
from toyopt.examples import table2
from toyopt.theorems import sequential_heavy_ball, theorem_s
from toyopt.theorems.sequential.heavy_ball import enclosure


def plain(v: float, eta: float, momentum: float, T: int) -> list[float]:
    """(T + 1,) the recursion itself."""
    ball, out = 0.0, [v]
    for _ in range(T):
        ball = momentum * ball + eta / (1.0 + math.exp(v))
        v += ball
        out.append(v)
    return out


@pytest.mark.slow
@given(
    v0=st.floats(-20.0, 20.0),
    eta=st.floats(1e-3, 10.0),
    momentum=st.floats(0.0, 0.995),
    T=st.integers(0, 400),
    around=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
)
def test_every_run_from_the_interval_is_enclosed(
    v0: float, eta: float, momentum: float, T: int, around: tuple[float, float]
) -> None:
    low, high = enclosure(v0 - around[0], v0 + around[1], eta, momentum, T)
    assert low <= plain(v0, eta, momentum, T)[-1] <= high


@pytest.mark.slow
@pytest.mark.parametrize(
    ("eta", "momentum", "v0"), [(0.25, 0.9, 0.0), (0.025, 0.9, -9.0), (1.0, 0.5, 3.0), (0.25, 0.0, -2.0)]
)
def test_long_runs_are_enclosed_ever_more_tightly(eta: float, momentum: float, v0: float) -> None:
    """Beyond the steps that are bounded one by one, too, where (S.13) alone is left."""
    run, widths = plain(v0, eta, momentum, 60_000), []
    for T in (5_000, 20_000, 60_000):
        low, high = enclosure(v0, v0, eta, momentum, T)
        assert low <= run[T] <= high
        widths.append(high - low)
    assert widths[0] < 0.02
    assert widths[2] < 0.002


def test_the_limit_without_running_up_to_1e15() -> None:
    """v_T - log(η T/(1-μ)) tends to 0."""
    for eta, momentum in ((0.25, 0.9), (0.001, 0.99), (3.0, 0.3)):
        low, high = enclosure(-1.0, 1.0, eta, momentum, 10**15)
        law = math.log(eta * 1e15 / (1.0 - momentum))
        assert abs(low - law) < 1e-7
        assert abs(high - law) < 1e-7


def test_without_momentum_it_is_theorem_s() -> None:
    """The same gap, and bounds that contain it on both sides."""
    shared: dict[str, Any] = {"lam": 0.3, "T_DPO": 500, "T_SFT": 900, "theta_1": 1.0, "alpha": 0.7}
    ball, plain_steps = sequential_heavy_ball(momentum=0.0, **shared), theorem_s(**shared)
    assert ball[0].attained == pytest.approx(plain_steps[0].attained, rel=1e-11)
    assert ball[2].attained == pytest.approx(plain_steps[2].attained, abs=1e-10)
    assert ball[0].bound <= plain_steps[1].bound
    assert plain_steps[0].bound <= ball[1].bound


@pytest.mark.oracle
def test_the_gap_is_that_of_torchs_momentum() -> None:
    """300 steps on f_DPO and 400 on f_SFT by torch.optim.SGD, a new one for the second phase."""
    theta = torch.tensor([5.0], dtype=torch.float64)
    for steps, sign, origin in ((300, -1.0, 5.0), (400, 1.0, 0.0)):
        stepper = torch.optim.SGD([theta], lr=0.4, momentum=0.85)
        for _ in range(steps):
            slope = sign * 0.5 / (1.0 + math.exp(-sign * 0.5 * (theta.item() - origin)))
            theta.grad = torch.tensor([slope], dtype=torch.float64)
            stepper.step()
    gap = float(table2().f_mix([theta.item()], 0.3)) - minimise(table2(), 0.3).value
    records = sequential_heavy_ball(lam=0.3, T_DPO=300, T_SFT=400, momentum=0.85, alpha=0.4)
    assert records[0].attained == pytest.approx(gap, rel=1e-10)
    assert [r.verdict for r in records] == ["holds"] * 3


@pytest.mark.slow
@given(
    c=st.floats(0.2, 2.0),
    theta_ref=st.floats(-4.0, 6.0),
    theta_1=st.floats(-6.0, 6.0),
    alpha=st.floats(0.01, 5.0),
    momentum=st.floats(0.0, 0.98),
    lam=st.floats(0.02, 0.98),
    lengths=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    order=st.sampled_from(["dpo-first", "sft-first"]),
)
def test_every_record_holds_for_any_run(lengths: Any, **setting: Any) -> None:
    for record in sequential_heavy_ball(T_DPO=lengths[0], T_SFT=lengths[1], **setting):
        assert record.verdict == "holds", record


def test_growth_per_logarithm_is_lambda() -> None:
    """By the runs themselves, and at the offset of the step α/(1-μ) without momentum."""
    gaps = [sequential_heavy_ball(lam=0.5, T_DPO=T, T_SFT=T)[0].attained for T in (10_000, 100_000)]
    assert (gaps[1] - gaps[0]) / math.log(10.0) == pytest.approx(0.5, abs=1e-3)
    longer = theorem_s(lam=0.5, T_DPO=100_000, T_SFT=100_000, alpha=1.0)[0].attained
    assert gaps[1] == pytest.approx(longer, abs=2e-3)


def test_a_ball_that_comes_from_far_coasts() -> None:
    """With steps up to E = 2.5 it goes on for up to mE = 22: far beyond the law."""
    _, _, limit = sequential_heavy_ball(lam=0.5, T_DPO=20_000, T_SFT=20_000, alpha=1.0)
    end = simulate(table2(), Sequential((20_000, 20_000)), Constant(1.0), theta0=[5.0], optimizer=None).last[0]
    assert limit.attained > 3.0
    assert limit.verdict == "holds"
    assert float(table2().f_mix(end, 0.5)) < 6.0


def test_wrong_laws_are_caught() -> None:
    """α alone, α/(1-μ)², and 1-λ in place of λ."""
    lower, _, limit = sequential_heavy_ball(lam=0.3, T_DPO=50_000, T_SFT=50_000)
    optimum = minimise(table2(), 0.3).value
    y = 0.25 * 0.1 * 50_000 / 0.1

    def verdict(value: float) -> str:
        return dataclasses.replace(limit, attained=abs(lower.attained - value)).verdict

    assert verdict(0.3 * math.log(y) + 0.3 * 2.5 - optimum) == "holds"
    for wrong in (0.1 * y, 10.0 * y, 1.03 * y):
        assert verdict(0.3 * math.log(wrong) + 0.3 * 2.5 - optimum) == "fails"
    assert verdict(0.7 * math.log(y) + 0.3 * 2.5 - optimum) == "fails"
    assert limit.bound < 0.005


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"momentum": 1.0}, "momentum: must be at least 0 and less than 1"),
        ({"lam": 0.0}, "lam: "),
        ({"T_DPO": 0}, "T_DPO: "),
        ({"alpha": 0.0}, "alpha: "),
        ({"c": -1.0}, "c: "),
        ({"order": "both"}, "order: "),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        sequential_heavy_ball(**({"lam": 0.5, "T_DPO": 1, "T_SFT": 1} | wrong))


def test_no_step_is_no_move() -> None:
    assert enclosure(-1.0, 2.0, 0.3, 0.9, 0) == pytest.approx((-1.0, 2.0), abs=1e-12)
    assert np.isfinite(enclosure(300.0, 301.0, 0.3, 0.9, 7)).all()
