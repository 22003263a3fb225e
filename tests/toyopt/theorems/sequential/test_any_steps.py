"""Theorem S for any step sizes: runs of any schedule, the law and its constant, and the levels that stand for all."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt.certify import Phases
from toyopt.theorems import certified_33, sequential_any_steps, theorem_s, thm_33_any_steps
from toyopt.theorems.sequential.any_steps import SCHEDULES, follow, level_any_steps, schedules, shaped, steps_of_shape
from toyopt.theorems.sequential.two_phases import TwoPhases


def plain(run: TwoPhases, dpo: np.ndarray, sft: np.ndarray) -> float:
    """θ after gradient descent, straight from the two objectives' derivatives."""
    theta = run.theta_ref if run.theta_1 is None else run.theta_1
    c = run.c
    phases = {"dpo": dpo, "sft": sft}
    for name in ("dpo", "sft") if run.order == "dpo-first" else ("sft", "dpo"):
        for alpha in phases[name].tolist():
            if name == "dpo":
                theta += alpha * c / (1.0 + math.exp(c * (theta - run.theta_ref)))
            else:
                theta -= alpha * c / (1.0 + math.exp(-c * theta))
    return theta


@pytest.mark.slow
@given(
    seed=st.integers(0, 10**6),
    c=st.floats(0.2, 2.0),
    theta_ref=st.floats(-4.0, 6.0),
    theta_1=st.floats(-6.0, 6.0),
    lam=st.floats(0.02, 0.98),
    dpo_first=st.booleans(),
)
def test_any_run_is_enclosed_by_the_sums_of_its_steps(
    seed: int, c: float, theta_ref: float, theta_1: float, lam: float, dpo_first: bool
) -> None:
    """Steps over four decades, up to the largest that is allowed, in any order, 1 to 80 a phase."""
    rng = np.random.default_rng(seed)
    dpo, sft = (rng.choice([1e-3, 0.1, 1.0, 3.99], size=rng.integers(1, 80)) / c**2 for _ in range(2))
    order: Any = "dpo-first" if dpo_first else "sft-first"
    run = TwoPhases(c, theta_ref, float(max(dpo.max(), sft.max())), theta_1, order)
    w, rounding = follow(run, dpo, sft)
    theta = plain(run, dpo, sft)
    assert float(run.theta(w)) == pytest.approx(theta, abs=1e-11 * (1.0 + abs(theta)) + rounding)
    lower, upper, limit = sequential_any_steps(
        lam=lam, alphas_DPO=dpo, alphas_SFT=sft, c=c, theta_ref=theta_ref, theta_1=theta_1, order=order
    )
    assert [r.verdict for r in (lower, upper, limit)] == ["holds"] * 3, (lower, upper, limit)
    assert lower.attained == pytest.approx(float(run.gap(lam, w)), rel=1e-12, abs=1e-12)


def test_the_law_for_five_schedules() -> None:
    """10^5 steps each: λ log(c²Σα) + λcθ_ref - f*, in closed form for λ = 1/2: f* = log(1 + e^{x/2})."""
    for name in SCHEDULES:
        steps = steps_of_shape(name, 1.0, 100_000)
        gap = sequential_any_steps(lam=0.5, alphas_DPO=steps, alphas_SFT=steps)[0].attained
        total = 0.25 * float(steps.sum())
        law = 0.5 * math.log(total) + 0.5 * 2.5 - math.log1p(math.exp(1.25))
        assert abs(gap - law) < (0.5 if name == "1/t" else 2.0 * math.log(total) / total), name
    assert gap < 0.1  # 1/t: the total step is 3, and nothing is forgotten


@pytest.mark.slow
def test_known_values() -> None:
    """Two independent programs: 5.61601 for the cosine and 3.194 for 4/√T at T = 10^6."""
    for name, value, law in (("cosine", 5.61601, 5.61611), ("α0/√T", 3.194, 3.202)):
        steps = steps_of_shape(name, 1.0, 10**6)
        lower, _, limit = sequential_any_steps(lam=0.5, alphas_DPO=steps, alphas_SFT=steps)
        assert lower.attained == pytest.approx(value, abs=10.0 ** -(len(str(value)) - 2) * 0.6)
        assert lower.attained + limit.attained == pytest.approx(law, abs=10.0 ** -(len(str(law)) - 2) * 0.6)


def test_a_constant_step_is_theorem_s() -> None:
    steps = np.full(5_000, 1.0)
    lower, upper, limit = sequential_any_steps(lam=0.3, alphas_DPO=steps, alphas_SFT=steps)
    low, high, _ = theorem_s(lam=0.3, T_DPO=5_000, T_SFT=5_000)
    assert lower.attained == pytest.approx(low.attained, rel=1e-13)
    assert lower.bound <= low.bound + 1e-12  # what knows that the step is constant encloses better
    assert upper.bound >= high.bound - 1e-12
    assert limit.bound < 0.01


def test_another_total_is_caught() -> None:
    """The sum without c², the number of steps times c², half of the sum or a tenth less of it: none is the law's."""
    steps = steps_of_shape("cosine", 1.0, 20_000)
    lower, _, limit = sequential_any_steps(lam=0.5, alphas_DPO=steps, alphas_SFT=steps)
    offset = 0.5 * 2.5 - math.log1p(math.exp(1.25))
    total = 0.25 * float(steps.sum())
    for factor, verdict in ((1.0, "holds"), (4.0, "fails"), (2.0, "fails"), (0.5, "fails"), (0.9, "fails")):
        away = abs(lower.attained - 0.5 * math.log(factor * total) - offset)
        assert dataclasses.replace(limit, attained=away).verdict == verdict, factor
    assert limit.attained == pytest.approx(abs(lower.attained - 0.5 * math.log(total) - offset), abs=1e-12)


def test_a_level_stands_for_every_schedule() -> None:
    """λ = 1/2 and c²Σα >= 18.9: at least 1, for every shape; 74 constant steps of 1, with the sum 18.5, have less."""
    run = TwoPhases()
    assert level_any_steps(run, (0.5, 0.5), 18.9) == pytest.approx(1.00006, abs=1e-5)
    assert math.isnan(level_any_steps(run, (0.01, 0.99), 5.0))
    rng = np.random.default_rng(4)
    for _ in range(20):
        pieces = rng.choice([1.0, 0.3, 0.01], size=rng.integers(200, 400), p=[0.3, 0.4, 0.3])
        steps = np.append(pieces * min(1.0, 75.6 / pieces.sum()), np.full(80, max(75.6 - pieces.sum(), 0.0) / 80))
        w, _ = follow(run, rng.permutation(steps)[:: rng.choice([1, 2, 3])], rng.permutation(steps))
        assert float(run.gap(0.5, w)) >= 1.0
    assert float(run.gap(0.5, follow(run, np.ones(74), np.ones(74))[0])) < 1.0
    record = thm_33_any_steps(lam=(0.5, 0.5), total=18.9)
    assert (record.verdict, 1.0 < record.bound < record.attained < 1.01) == ("holds", True)
    between = (record.bound + record.attained) / 2
    assert thm_33_any_steps(lam=(0.5, 0.5), total=18.9, g=between).verdict == "open"
    assert thm_33_any_steps(lam=(0.5, 0.5), total=18.9, g=1.02).verdict == "fails"
    assert thm_33_any_steps(total=5.0).verdict == "open"
    assert thm_33_any_steps(total=300.0, order="sft-first").verdict == "holds"


def test_a_certificate_for_every_schedule() -> None:
    record = certified_33(lam=("1/2", "1/2"), total="18.9")
    assert (record.verdict, record.bound, record.evidence) == ("holds", 1.0, "certified")
    assert "any steps of at most alpha" in record.statement
    assert certified_33(lam=("1/2", "1/2"), g=1, total="18.8").verdict == "open"
    assert certified_33(total=10).verdict == "open"
    sft_first = certified_33(lam=("1/2", "1/2"), g=1, total="18.7", phases=Phases(order="sft-first"))
    assert sft_first.verdict == "holds"


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_shape_has_the_sum_and_no_step_above_the_largest(name: str) -> None:
    steps = shaped(name, 0.5, 40.0)
    assert float(steps.sum()) == pytest.approx(40.0, rel=1e-12)
    assert steps.min() > 0.0
    assert steps.max() <= 0.5 * (1.0 + 1e-9)
    shape = steps_of_shape(name, 2.0, 30)
    assert (len(shape), shape.max() <= 2.0) == (30, True)
    assert set(schedules(1.0, 4)) == set(SCHEDULES)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"alphas_DPO": []}, "alphas_DPO: "),
        ({"alphas_SFT": [1.0, 0.0]}, "alphas_SFT: one step at least and all of them positive are needed, got 0.0"),
        ({"alphas_SFT": [17.0]}, "alpha: must keep 0 < c² alpha <= 4, got 17.0"),
        ({"lam": 1.0}, "lam: .*1.0"),
        ({"order": "both"}, "order: .*'both'"),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        sequential_any_steps(**({"lam": 0.5, "alphas_DPO": [1.0], "alphas_SFT": [1.0]} | wrong))
