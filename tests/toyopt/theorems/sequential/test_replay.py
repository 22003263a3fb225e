"""Sequential with replay: runs of the simulator, the closed form of the limit, and wrong constants."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt import Constant, Mix, Sequential, simulate
from toyopt.examples import LowerBound
from toyopt.optimum import minimise
from toyopt.theorems import sequential_replay
from toyopt.theorems.sequential.replay import enclosure, follow, limit_error, limit_gap, resting_w
from toyopt.theorems.sequential.two_phases import TwoPhases


def simulated(run: TwoPhases, p: float, first: int, second: int) -> float:
    """θ by the simulator: the first objective alone, then the mixture."""
    problem, dpo = LowerBound(run.c, run.theta_ref).problem(), run.order == "dpo-first"
    start = [run.theta_ref if run.theta_1 is None else run.theta_1]
    stage = Sequential((first, 0) if dpo else (0, first))
    middle = simulate(problem, stage, Constant(run.alpha), theta0=start).last[0]
    mixed = Mix(p if dpo else 1.0 - p)
    return float(simulate(problem, mixed, Constant(run.alpha), theta0=middle, steps=second).last[0, 0])


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
@pytest.mark.parametrize("p", [0.002, 0.2, 0.45])
def test_the_run_is_the_simulators(p: float, order: Any) -> None:
    run = TwoPhases(0.7, 3.0, 1.3, 1.0, order)
    w, rounding = follow(run, p, 300, 500)
    assert rounding < 1e-11
    assert float(run.theta(w)) == pytest.approx(simulated(run, p, 300, 500), abs=1e-10)
    low, high = enclosure(run, p, 300, 500)
    assert low - rounding <= w <= high + rounding


@pytest.mark.slow
@given(
    c=st.floats(0.2, 2.0),
    theta_ref=st.floats(-4.0, 6.0),
    theta_1=st.floats(-6.0, 6.0),
    eta=st.floats(0.01, 4.0),
    lam=st.floats(0.02, 0.98),
    p=st.floats(1e-5, 0.49),
    lengths=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    dpo_first=st.booleans(),
)
def test_every_record_holds_for_any_run(
    c: float, theta_ref: float, theta_1: float, eta: float, lam: float, p: float, lengths: Any, dpo_first: bool
) -> None:
    order: Any = "dpo-first" if dpo_first else "sft-first"
    setting = {"c": c, "theta_ref": theta_ref, "theta_1": theta_1, "alpha": 0.999 * eta / c**2, "order": order}
    for record in sequential_replay(lam=lam, p=p, T_DPO=lengths[0], T_SFT=lengths[1], **setting):  # type: ignore[arg-type]
        assert record.verdict == "holds", record


@pytest.mark.slow
def test_the_limit_is_the_mixtures_minimiser() -> None:
    """`minimise` knows no closed form; and two independent programs have 2.0465 against 2.0507 for p = 1 %."""
    problem, run = LowerBound().problem(), TwoPhases()
    for lam, p in ((0.5, 0.01), (0.1, 0.3), (0.9, 1e-4)):
        end = minimise(problem, p)
        gap = float(problem.f_mix(end.theta, lam)) - minimise(problem, lam).value
        assert limit_gap(run, lam, p) == pytest.approx(gap, abs=1e-9)
        reflected = TwoPhases(order="sft-first")
        end = minimise(problem, 1.0 - p)
        gap = float(problem.f_mix(end.theta, lam)) - minimise(problem, lam).value
        assert limit_gap(reflected, lam, p) == pytest.approx(gap, abs=1e-9)
    law = 0.5 * math.log(100.0) + 1.25 - math.log1p(math.exp(1.25))
    assert (limit_gap(run, 0.5, 0.01), law) == (pytest.approx(2.0465, abs=5e-5), pytest.approx(2.0507, abs=5e-5))


def test_the_error_of_the_limit_is_of_the_order_of_p() -> None:
    """Both of its sides are approached: (G - law)/p tends to 1 - 3λ + 2λe^{-x}."""
    run = TwoPhases()
    for lam in (0.1, 0.5, 0.9):
        slope = 1.0 - 3.0 * lam + 2.0 * lam * math.exp(-2.5)
        law = lam * math.log(1e5) + lam * 2.5 - float(run.f_mix(lam, run.turning_w(lam)))
        away = limit_gap(run, lam, 1e-5) - law
        below, above = limit_error(run, lam, 1e-5)
        assert away == pytest.approx(slope * 1e-5, rel=1e-3)
        assert below <= away <= above
    assert limit_error(run, 0.9, 1e-5)[0] == pytest.approx(-(0.9 + 0.8) * 1e-5, rel=1e-3)


def test_wrong_laws_are_caught() -> None:
    """log(1/p) with another weight, without cθ_ref, or with half of p."""
    limit = sequential_replay(lam=0.3, p=0.001, T_DPO=10, T_SFT=10)[2]
    assert limit.verdict == "holds"
    for change in (0.4 * math.log(1000.0), 0.3 * 2.5, 0.3 * math.log(2.0)):
        assert dataclasses.replace(limit, attained=abs(limit.attained - change)).verdict == "fails"
    lower, upper, _ = sequential_replay(lam=0.5, p=0.01, T_DPO=2000, T_SFT=2000)
    without = TwoPhases().last(2000, 2000)
    plain = float(TwoPhases().gap(0.5, without))
    assert plain > upper.bound + 0.5  # no replay at all
    assert 0.5 < lower.bound < lower.attained < upper.bound


def test_replay_is_sequential_stopped_early() -> None:
    """λ log min(ηT, 1/p) + O(1): over six decades of T and p the distance stays within 1."""
    run = TwoPhases()
    for p in (1e-2, 1e-4, 1e-6):
        for T in (10**3, 10**5, 10**7):
            low, high = enclosure(run, p, T, T)
            law = 0.5 * math.log(min(0.25 * T, 1.0 / p)) + 1.25 - math.log1p(math.exp(1.25))
            for w in (low, high):
                assert abs(float(run.gap(0.5, w)) - law) < 1.0, (p, T)
    assert np.diff([resting_w(run, p) for p in (1e-6, 1e-4, 1e-2, 0.4)]).max() < 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"p": 0.5}, r"p: must be in \(0, 1/2\), got 0.5"),
        ({"p": 0.0}, "p: must be more than 0"),
        ({"lam": 1.0}, "lam: "),
        ({"T_SFT": -1}, "T_SFT: "),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        sequential_replay(**({"lam": 0.5, "p": 0.1, "T_DPO": 1, "T_SFT": 1} | wrong))
