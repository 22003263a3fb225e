"""Adam's law: enclosures of plain runs, torch's own Adam, both regimes, AdamW's ceiling, and wrong laws."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from toyopt import Adam, Constant, Sequential, minimise, simulate
from toyopt.examples import LowerBound, table2
from toyopt.theorems import sequential_adam, sequential_adamw
from toyopt.theorems.sequential.adam import largest_ratio, lower, speed, upper
from toyopt.theorems.sequential.wave import wave_speed


def plain(v: float, a: float, beta1: float, beta2: float, e: float, T: int) -> list[float]:
    """(T + 1,) the recursion itself, with bias corrections as Algorithm 1 of arXiv 1412.6980 has them."""
    mean = square = 0.0
    out = [v]
    for n in range(1, T + 1):
        s = float(expit(-v))
        mean = beta1 * mean + (1 - beta1) * s
        square = beta2 * square + (1 - beta2) * s * s
        v += a * (mean / (1 - beta1**n)) / (math.sqrt(square / (1 - beta2**n)) + e)
        out.append(v)
    return out


@pytest.mark.slow
@given(
    v0=st.floats(-15.0, 15.0),
    a=st.floats(1e-3, 1.0),
    beta2=st.floats(0.05, 0.9999),
    part=st.floats(0.0, 1.0),
    log_e=st.floats(-25.0, 3.0),
    T=st.integers(0, 250),
)
def test_every_run_is_enclosed(v0: float, a: float, beta2: float, part: float, log_e: float, T: int) -> None:
    beta1, e = part * min(beta2, 0.99 * math.exp(-a)), math.exp(log_e)
    run = plain(v0, a, beta1, beta2, e, T)
    for t in (T, T // 2):
        assert lower(v0, a, beta2, e, t) <= run[t] + 1e-11
        assert run[t] - 1e-11 <= upper(v0, a, beta1, beta2, e, t)


@pytest.mark.slow
@pytest.mark.parametrize("v0", [-12.0, 0.0, 2.0])
@pytest.mark.parametrize(
    ("a", "beta2", "e"), [(0.005, 0.999, 2e-8), (0.05, 0.95, 1e-6), (0.2, 0.99, 0.0), (0.02, 0.9, 0.3)]
)
def test_long_runs_are_enclosed_tightly(v0: float, a: float, beta2: float, e: float) -> None:
    """In both regimes, and a bound for one start is one for all larger, or smaller, ones."""
    run, kappa = plain(v0, a, 0.8, beta2, e, 15_000), 0.2 / (1.0 - 0.8 * math.exp(a))
    for T in (100, 1_000, 15_000):
        if run[T] > 300.0:
            continue
        low, high = lower(v0, a, beta2, e, T), upper(v0, a, 0.8, beta2, e, T)
        assert low <= run[T] <= high
        assert high - low < 4.0 + math.log(kappa) + 0.2 * (run[T] - v0)
        assert lower(v0 - 0.5, a, beta2, e, T) <= run[T] <= upper(v0 + 0.5, a, 0.8, beta2, e, T)


def test_the_speed_is_below_both_limits() -> None:
    for a, beta2 in itertools.product((1e-5, 1e-3, 0.05, 1.0), (0.5, 0.9, 0.999, 1 - 1e-6)):
        rho = speed(a, beta2)
        assert 0.0 < rho <= min(a, -0.5 * math.log(beta2))
        assert rho**2 * (1 - beta2) == pytest.approx(a**2 * (1 - beta2 * math.exp(2 * rho)), rel=1e-5, abs=1e-16)
        assert rho <= wave_speed(a, 0.5, beta2) <= speed(a * 0.5 / (1 - 0.5 * math.exp(min(a, 0.6))), beta2) or a > 0.6
    assert speed(1e-6, 0.9) == pytest.approx(1e-6, rel=1e-4)
    assert speed(1.0, 0.999) == pytest.approx(0.5 * math.log(1 / 0.999), rel=1e-5)
    assert speed(0.3, 0.0) == wave_speed(0.3, 0.0, 0.0) == 0.3


@pytest.mark.oracle
@pytest.mark.slow
def test_the_gap_is_that_of_torchs_adam() -> None:
    """600 steps on f_DPO and 900 on f_SFT by torch.optim.Adam, a new one for the second phase."""
    theta = torch.tensor([5.0], dtype=torch.float64)
    for steps, sign, origin in ((600, -1.0, 5.0), (900, 1.0, 0.0)):
        stepper = torch.optim.Adam([theta], lr=0.1, betas=(0.7, 0.98), eps=1e-3)
        for _ in range(steps):
            slope = sign * 0.5 / (1.0 + math.exp(-sign * 0.5 * (theta.item() - origin)))
            theta.grad = torch.tensor([slope], dtype=torch.float64)
            stepper.step()
    gap = float(table2().f_mix([theta.item()], 0.3)) - minimise(table2(), 0.3).value
    numbers: dict[str, Any] = {"beta1": 0.7, "beta2": 0.98, "epsilon": 1e-3, "alpha": 0.1}
    records = sequential_adam(lam=0.3, T_DPO=600, T_SFT=900, **numbers)
    assert records[0].attained == pytest.approx(gap, rel=1e-9)
    assert [r.verdict for r in records] == ["holds"] * 3


@pytest.mark.slow
@given(
    c=st.floats(0.2, 2.0),
    theta_ref=st.floats(-4.0, 6.0),
    theta_1=st.floats(-6.0, 6.0),
    alpha=st.floats(1e-3, 0.2),
    beta1=st.floats(0.0, 0.6),
    beta2=st.floats(0.6, 0.9999),
    epsilon=st.sampled_from([0.0, 1e-8, 1e-3, 0.3]),
    lam=st.floats(0.02, 0.98),
    lengths=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    order=st.sampled_from(["dpo-first", "sft-first"]),
)
def test_every_record_holds_for_any_run(lengths: Any, **setting: Any) -> None:
    records = sequential_adam(T_DPO=lengths[0], T_SFT=lengths[1], **setting)
    assert len(records) == (2 if setting["epsilon"] == 0.0 else 3)
    for record in records:
        assert record.verdict == "holds", record


def test_the_gap_is_linear_before_epsilon_counts_and_logarithmic_after() -> None:
    """Growth per step, then per factor 10 of T; SGD's gap at the same step size stays far below."""
    linear = [sequential_adam(lam=0.5, T_DPO=1_000, T_SFT=T)[0].attained for T in (12_000, 20_000, 28_000)]
    rho = speed(0.005, 0.999)
    for before, after in itertools.pairwise(linear):
        assert (after - before) / 8_000 == pytest.approx(0.5 * rho, rel=5e-3)
    late = [sequential_adam(lam=0.5, T_DPO=1_000, T_SFT=T)[0].attained for T in (300_000, 3_000_000)]
    assert late[1] - late[0] == pytest.approx(0.5 * math.log(10.0), abs=0.06)


def test_the_limit_is_sgds_with_the_step_alpha_over_epsilon() -> None:
    """Without running: the enclosure of w - log(c² α T/ε) closes around 0 as T grows."""
    widths = []
    for T in (10**7, 10**9, 10**12):
        law = math.log(0.25 * 0.01 * T / 1e-8)
        low, high = lower(-20.0, 0.005, 0.999, 2e-8, T), upper(-20.0, 0.005, 0.9, 0.999, 2e-8, T)
        assert low <= law + 0.05
        widths.append(max(abs(low - law), abs(high - law)))
    assert widths[0] < 0.1
    assert widths[1] == pytest.approx(
        math.log(0.1 / (1 - 0.9 * math.exp(0.005))), abs=5e-3
    )  # κ (e^a - 1)/a alone is left
    assert widths[2] == pytest.approx(widths[1], abs=1e-4)


def test_wrong_laws_are_caught() -> None:
    """α in place of α/ε, 1-λ in place of λ, and the limit at the wrong T."""
    low, _, limit = sequential_adam(lam=0.3, T_DPO=400_000, T_SFT=400_000)
    optimum = minimise(table2(), 0.3).value
    y = 0.25 * 0.01 * 400_000 / 1e-8

    def verdict(value: float) -> str:
        return dataclasses.replace(limit, attained=abs(low.attained - value)).verdict

    assert verdict(0.3 * math.log(y) + 0.3 * 2.5 - optimum) == "holds"
    for wrong in (1e-8 * y, 1.5 * y, 0.6 * y):
        assert verdict(0.3 * math.log(wrong) + 0.3 * 2.5 - optimum) == "fails"
    assert verdict(0.7 * math.log(y) + 0.3 * 2.5 - optimum) == "fails"
    # From below with the speed min(cα, ½ log(1/β2)) in place of ρ: the second 10,000 steps are slower.
    run = plain(0.0, 0.001, 0.0, 0.999, 0.0, 20_000)
    assert run[-1] >= 20_000 * speed(0.001, 0.999)
    assert run[-1] - run[10_000] < 0.99 * 10_000 * min(0.001, 0.5 * math.log(1 / 0.999))


def test_adamws_theta_stays_below_its_ceiling_and_adams_does_not() -> None:
    for gamma, steps in ((0.1, 30_000), (0.3, 5_000)):
        record = sequential_adamw(lam=0.4, T_DPO=steps, T_SFT=steps, weight_decay=gamma)
        assert record.verdict == "holds", record
        adam = sequential_adam(lam=0.4, T_DPO=steps, T_SFT=steps, beta2=0.95)[0].attained
        assert dataclasses.replace(record, attained=adam).verdict == "fails"


def test_the_largest_ratio_is_that_of_the_worst_gradients() -> None:
    """Equality in Cauchy and Schwarz for n gradients proportional to p_j/q_j; random ones stay below."""
    rng = np.random.default_rng(4)
    for beta1, beta2 in ((0.9, 0.999), (0.9, 0.95), (0.0, 0.9), (0.5, 0.5)):
        worst = 0.0
        for n in (1, 2, 5, 40, 400, 15_000):
            j = np.arange(n)
            p, q = beta1**j / (beta1**j).sum(), beta2**j / (beta2**j).sum()
            g = np.where(q > 0, p / np.where(q > 0, q, 1.0), 0.0)
            worst = max(worst, float(p @ g / math.sqrt(q @ g**2)))
            for other in rng.normal(size=(20, n)):
                assert abs(p @ other) <= largest_ratio(beta1, beta2) * math.sqrt(q @ other**2) * (1 + 1e-12)
        assert largest_ratio(beta1, beta2) == pytest.approx(worst, rel=1e-6)
    assert largest_ratio(0.9, 0.8) == math.inf


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"beta1": 0.9999}, r"beta1: must be at most beta2 = 0\.999, got 0\.9999"),
        ({"beta2": 1.0}, "beta2: must be at least 0 and less than 1"),
        ({"alpha": 2.5}, r"alpha: must keep c alpha <= 1, got c alpha = 1\.25"),
        ({"alpha": 0.3, "beta1": 0.9}, r"beta1: must keep beta1 e\^\(c alpha\) < 1, got 0\.9 with c alpha = 0\.15"),
        ({"epsilon": -1.0}, "epsilon: "),
        ({"lam": 1.0}, "lam: "),
        ({"T_SFT": 0}, "T_SFT: "),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        sequential_adam(**({"lam": 0.5, "T_DPO": 1, "T_SFT": 1} | wrong))


def test_a_wrong_argument_of_adamw_is_named() -> None:
    good: dict[str, Any] = {"lam": 0.5, "T_DPO": 1, "T_SFT": 1}
    for wrong, words in (
        ({"weight_decay": 0.0}, "weight_decay: must be more than 0"),
        ({"weight_decay": 200.0}, "weight_decay: must keep alpha weight_decay <= 1"),
        ({"beta1": 0.98}, r"beta1: must keep beta1² < beta2 = 0\.95, got 0\.98"),
    ):
        with pytest.raises(ValueError, match=f"^{words}"):
            sequential_adamw(**(good | wrong))


def test_the_margin_is_that_of_any_family() -> None:
    """The factor c of the gradient cancels but for ε: the same margins for (c, ε) and (2c, 2ε) at half the step."""
    ends = []
    for c, alpha, epsilon in ((0.5, 0.02, 1e-4), (1.0, 0.01, 2e-4)):
        family = LowerBound(c, 5.0 * 0.5 / c)
        sim = simulate(
            family.problem(),
            Sequential((700, 900)),
            Constant(alpha),
            theta0=[family.theta_ref],
            optimizer=Adam(epsilon=epsilon),
        )
        ends.append(c * sim.last[0, 0])
    assert ends[0] == pytest.approx(ends[1], rel=1e-10)
