"""LoRA's law: enclosures of plain runs, PEFT's own adapters, the limit, the balanced start, and wrong laws."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from toyopt import minimise
from toyopt.examples import table2
from toyopt.theorems import sequential_low_rank, theorem_s
from toyopt.theorems.sequential.low_rank import Pair, advance, limit_margin, margins


def plain(Q: float, R: float, k: float, h: float, T: int) -> tuple[float, float]:
    """The recursion of both parts itself."""
    for _ in range(T):
        s = 1.0 / (1.0 + math.exp(Q - R - k))
        Q, R = Q * (1.0 + h * s) ** 2, R * (1.0 - h * s) ** 2
    return Q, R


@pytest.mark.slow
@given(
    logs=st.tuples(st.floats(-12.0, 1.5), st.floats(-12.0, 2.5)),
    wide=st.tuples(st.floats(0.0, 0.5), st.floats(0.0, 0.5)),
    k=st.floats(-6.0, 8.0),
    h=st.floats(0.01, 0.99),
    T=st.integers(0, 600),
)
def test_every_run_from_the_interval_is_enclosed(logs: Any, wide: Any, k: float, h: float, T: int) -> None:
    (q, r), (more_q, more_r) = logs, wide
    start = Pair((q - more_q, q + more_q), (r - more_r, r + more_r))
    ends = advance(start, k, h, T, start.product)
    for sign in (-1.0, 1.0):
        Q, R = plain(math.exp(q + 0.999 * sign * more_q), math.exp(r - 0.999 * sign * more_r), k, h, T)
        # The logarithms here, of numbers that 600 products have rounded, are off by less than 1e-12.
        assert ends.Q[0] - 1e-12 <= math.log(Q) <= ends.Q[1] + 1e-12
        assert ends.R[0] - 1e-12 <= math.log(R) <= ends.R[1] + 1e-12
        low, high = margins(ends, k, start.product)
        assert low - 1e-11 <= Q - R - k <= high + 1e-11


def test_a_small_part_grows_by_its_largest_factor_at_first() -> None:
    """(1 + h)² a step, h = 0.9, and no faster: the bound from below is under that of log Q + 2hT."""
    start = Pair((-14.0, -14.0), (-14.0, -14.0))
    for T in (1, 4, 8):
        ends = advance(start, 8.0, 0.9, T, start.product)
        Q, _ = plain(math.exp(-14.0), math.exp(-14.0), 8.0, 0.9, T)
        assert math.log(Q) == pytest.approx(-14.0 + 2 * T * math.log(1.9), abs=0.05)
        assert ends.Q[0] <= math.log(Q) <= ends.Q[1]
        assert ends.Q[0] > -14.0 + 0.8 * T * math.log(1.9)


def test_the_limit_without_running_up_to_1e15() -> None:
    """The margin tends to log y, e^{-k} Ei(k + log y) = 2hT, from any unbalanced start, and the bounds close in."""
    start = Pair((-8.0, -8.0), (-5.0, -5.0))
    for k, h in ((2.5, 0.5), (0.0, 0.1), (4.0, 0.9), (-2.0, 0.3)):
        widths = []
        for T in (10**4, 10**9, 10**15):
            low, high = margins(advance(start, k, h, T, start.product), k, start.product)
            late = 120.0 / (2 * h * T) + 1e-5  # (S.23) has Φ(Q_0), here above -70; Q_0 R_0 = e^-13
            assert low - late <= limit_margin(k, h, T) <= high + late
            widths.append(high - low)
        assert widths[2] < widths[0] < 0.1
        assert widths[2] < 1e-6


def test_the_limit_margin_solves_its_equation_in_128_bits() -> None:
    with ctx.workprec(128):
        for k, h, T in ((2.5, 0.5, 1000), (-3.0, 0.1, 7), (100.0, 0.9, 10**9), (0.0, 0.5, 10**15)):
            Q = arb(k) + arb(limit_margin(k, h, T))
            assert abs(float((-arb(k)).exp() * Q.ei() / (2 * arb(h) * T)) - 1.0) < 1e-11


def adapted_gap(rank: int, scale: float, base: float, alpha: float, lengths: tuple[int, int], lam: float) -> float:
    """Train PEFT's LoRA on a 5 × 4 layer by torch.optim.SGD, DPO's example first, and return the mixed gap."""
    torch.manual_seed(rank)
    layer = torch.nn.Sequential(torch.nn.Linear(4, 5, bias=False)).double()
    q = torch.nn.functional.normalize(torch.randn(4, dtype=torch.float64), dim=0)
    p = torch.nn.functional.normalize(torch.randn(5, dtype=torch.float64), dim=0)
    with torch.no_grad():
        layer[0].weight += (base - p @ layer[0].weight @ q) * torch.outer(p, q)
    config = LoraConfig(r=rank, lora_alpha=scale * rank, target_modules=["0"], bias="none", lora_dropout=0.0)
    model = get_peft_model(layer, config).double()
    a = model.base_model.model[0].lora_A["default"].weight.detach() @ q
    start = (math.sqrt(scale) * a).tolist()
    stepper = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=alpha)
    for steps, sign, origin in ((lengths[0], -1.0, 5.0), (lengths[1], 1.0, 0.0)):
        for _ in range(steps):
            stepper.zero_grad()
            theta = p @ model(q)
            torch.nn.functional.softplus(sign * 0.5 * (theta - origin), threshold=1e9).backward()
            stepper.step()
    end = float(p @ model(q).detach())
    records = sequential_low_rank(
        lam=lam, T_DPO=lengths[0], T_SFT=lengths[1], a=start, b=[0.0] * rank, alpha=scale * alpha, theta_1=base
    )
    assert [r.verdict for r in records] == ["holds"] * 3
    assert records[0].attained == pytest.approx(
        float(table2().f_mix([end], lam)) - minimise(table2(), lam).value, rel=1e-9
    )
    return end


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize(("rank", "scale"), [(1, 1.0), (3, 2.0)])
def test_the_gap_is_that_of_pefts_adapter(rank: int, scale: float) -> None:
    """The entry pᵀ(W_0 + sBA)q of a layer, with PEFT's own start, B = 0; T_DPO = 40, T_SFT = 300."""
    end = adapted_gap(rank, scale, 3.0, 0.4, (40, 300), 0.3)
    assert end < -5.0  # far beyond the base


def test_the_rank_does_not_count() -> None:
    """Vectors of the same lengths ‖a ± b‖ have the same run, and rank 1 is one of them."""
    shared: dict[str, Any] = {"lam": 0.4, "T_DPO": 200, "T_SFT": 300}
    one = sequential_low_rank(a=0.5, b=0.1, **shared)
    many = sequential_low_rank(a=[0.3, 0.4, 0.0], b=[0.06, 0.08, 0.0], **shared)
    for left, right in zip(one, many, strict=True):
        assert left.attained == pytest.approx(right.attained, rel=1e-10)
        assert left.bound == pytest.approx(right.bound, rel=1e-10)


@pytest.mark.slow
@given(
    c=st.floats(0.2, 2.0),
    theta_ref=st.floats(-4.0, 6.0),
    theta_1=st.floats(-6.0, 6.0),
    step=st.floats(0.01, 0.99),
    lam=st.floats(0.02, 0.98),
    a=st.lists(st.floats(-1.5, 1.5), min_size=1, max_size=3),
    part=st.floats(-2.0, 2.0),
    lengths=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    order=st.sampled_from(["dpo-first", "sft-first"]),
)
def test_every_record_holds_for_any_run(lengths: Any, step: float, a: list[float], part: float, **setting: Any) -> None:
    if max(map(abs, a)) < 1e-3:
        a = [0.1]
    b = [part * number for number in a]
    for record in sequential_low_rank(
        T_DPO=lengths[0], T_SFT=lengths[1], alpha=step / setting["c"], a=a, b=b, **setting
    ):
        assert record.verdict == "holds", record


def test_growth_is_that_of_log_t_log_t() -> None:
    """From 10^4 to 10^5 steps the gap grows by λ log 10 and λ log of the adapters' ratio, Q = log y + k."""
    gaps = [sequential_low_rank(lam=0.5, T_DPO=T, T_SFT=T)[0].attained for T in (10_000, 100_000)]
    margins_ = [limit_margin(2.5, 0.5, T) for T in (10_000, 100_000)]
    # Ei(Q) = e^Q/Q (1 + 1/Q + 2/Q² ..): the margin is log 2hT + log Q - log(1 + 1/Q ..), here up to 0.01
    Q = [margin + 2.5 for margin in margins_]
    assert gaps[1] - gaps[0] == pytest.approx(0.5 * math.log(10.0 * Q[1] / Q[0]), abs=0.015)
    assert gaps[1] - gaps[0] > 0.5 * math.log(10.0) + 0.05
    # All weights: e^w = c²αT, and here 2cαT Q/(1 + 1/Q ..).
    full = theorem_s(lam=0.5, T_DPO=100_000, T_SFT=100_000)[0].attained
    assert gaps[1] - full == pytest.approx(0.5 * math.log(2.0 * Q[1] / 0.5 / (1 + 1 / Q[1])), abs=0.02)


def test_a_balanced_start_returns_to_the_base() -> None:
    """DPO first, a = b: everything that the first phase taught is forgotten, exponentially fast, and no more."""
    lower, upper, law = sequential_low_rank(lam=0.5, T_DPO=500, T_SFT=60, a=1.0, b=1.0, theta_1=5.0)
    base = float(table2().f_mix([4.0], 0.5)) - minimise(table2(), 0.5).value
    assert lower.attained == pytest.approx(base, rel=1e-9)
    assert upper.bound - lower.bound < 1e-8
    assert (law.verdict, "base" in law.note or "balanced" in law.statement) == ("holds", True)
    assert dataclasses.replace(law, attained=law.bound + 1e-6).verdict == "fails"
    # The mirrored start is not held: what SFT grows from is there.
    assert sequential_low_rank(lam=0.5, T_DPO=5, T_SFT=500, a=1.0, b=-1.0)[0].attained > 1.0
    # SFT first the roles are exchanged.
    first = sequential_low_rank(lam=0.5, T_DPO=60, T_SFT=500, a=1.0, b=-1.0, theta_1=0.0, order="sft-first")
    assert first[0].attained == pytest.approx(
        float(table2().f_mix([1.0], 0.5)) - minimise(table2(), 0.5).value, rel=1e-9
    )


def test_wrong_laws_are_caught() -> None:
    """All weights' law, log T alone, half the step, and 1-λ in place of λ."""
    lower, _, law = sequential_low_rank(lam=0.3, T_DPO=50_000, T_SFT=50_000)
    optimum, log_y = minimise(table2(), 0.3).value, limit_margin(2.5, 0.5, 50_000)

    def verdict(weight: float, log: float) -> str:
        return dataclasses.replace(law, attained=abs(lower.attained - weight * log - 0.3 * 2.5 + optimum)).verdict

    assert verdict(0.3, log_y) == "holds"
    for wrong in (math.log(0.25 * 50_000), math.log(2 * 0.5 * 50_000), limit_margin(2.5, 0.25, 50_000)):
        assert verdict(0.3, wrong) == "fails"
    assert verdict(0.7, log_y) == "fails"
    assert law.bound < 0.01


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"alpha": 2.0}, "alpha: must keep c alpha < 1"),
        ({"alpha": 0.0}, "alpha: "),
        ({"a": 0.0}, "a: a and b are 0"),
        ({"a": [1.0, 2.0]}, "b: as many numbers as in a are needed, the rank 2, got 1"),
        ({"a": math.nan}, "a: all entries must be finite"),
        ({"a": 100.0}, "theta_1: "),
        ({"theta_1": 1000.0}, "theta_1: "),
        ({"lam": 1.0}, "lam: "),
        ({"T_SFT": 0}, "T_SFT: "),
        ({"order": "both"}, "order: "),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        sequential_low_rank(**({"lam": 0.5, "T_DPO": 1, "T_SFT": 1} | wrong))


def test_no_step_is_no_move() -> None:
    start = Pair((-1.0, 0.5), (-2.0, 0.0))
    assert advance(start, 1.0, 0.5, 0, start.product) == start
    assert np.isfinite(advance(start, 190.0, 0.5, 9, start.product).Q).all()
