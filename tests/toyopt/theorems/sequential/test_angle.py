"""The law of the angle: runs of the simulator in the plane, the critical angle, and wrong exponents."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt import Constant, Problem, Sequential, simulate
from toyopt.theorems import critical_angle, sequential_angle
from toyopt.theorems.sequential.angle import enclosure, follow, growth, law
from toyopt.theorems.sequential.two_phases import TwoPhases


def plane(psi: float, c: float, theta_ref: float) -> Problem:
    return Problem.dpo_sft(
        chosen=[[c, 0.0]],
        rejected=[[0.0, 0.0]],
        features=[[[0.0, 0.0], [c * math.cos(psi), c * math.sin(psi)]]],
        targets=[0],
        theta_ref=[theta_ref, 0.0],
    )


@pytest.mark.parametrize("degrees", [3.0, 40.0, 90.0, 130.0, 180.0])
def test_the_gap_is_the_simulators(degrees: float) -> None:
    """In two coordinates, from (1, -0.7): f_Mix at the end, and its infimum is 0."""
    psi, c, theta_ref = math.radians(degrees), 0.8, 2.0
    end = simulate(plane(psi, c, theta_ref), Sequential((700, 900)), Constant(1.5), theta0=[1.0, -0.7]).last[0]
    value = float(plane(psi, c, theta_ref).f_mix(end, 0.3))
    records = sequential_angle(
        psi=psi, lam=0.3, T_DPO=700, T_SFT=900, c=c, theta_ref=theta_ref, alpha=1.5, theta_1=1.0, theta_2=-0.7
    )
    assert records[0].attained == pytest.approx(value, rel=1e-10)
    assert [r.verdict for r in records] == ["holds"] * 3


@pytest.mark.slow
@given(
    psi=st.floats(1e-3, math.pi),
    c=st.floats(0.2, 2.0),
    theta_ref=st.floats(-4.0, 6.0),
    theta_1=st.floats(-6.0, 6.0),
    theta_2=st.floats(-5.0, 5.0),
    eta=st.floats(0.01, 4.0),
    lam=st.floats(0.02, 0.98),
    lengths=st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
def test_every_record_holds_for_any_run(
    psi: float, c: float, theta_ref: float, theta_1: float, theta_2: float, eta: float, lam: float, lengths: Any
) -> None:
    setting = {"c": c, "theta_ref": theta_ref, "theta_1": theta_1, "theta_2": theta_2, "alpha": 0.999 * eta / c**2}
    for record in sequential_angle(psi=psi, lam=lam, T_DPO=lengths[0], T_SFT=lengths[1], **setting):
        assert record.verdict == "holds", record


def test_the_critical_angle() -> None:
    """Equal phases: cos² + cos = 1, the golden section. A longer second phase forgets at larger angles."""
    assert math.cos(critical_angle()) == pytest.approx((math.sqrt(5) - 1) / 2, rel=1e-14)
    assert math.degrees(critical_angle()) == pytest.approx(51.83, abs=5e-3)
    for first, second in ((1.0, 0.5), (2.0, 1.0), (1.0, 3.0), (1.0, 1e6)):
        psi = critical_angle(first, second)
        assert second * math.cos(psi) == pytest.approx(first * math.sin(psi) ** 2, rel=1e-6)
    assert critical_angle(2.0, 1.0) < critical_angle() < critical_angle(1.0, 2.0) < math.pi / 2
    assert growth(critical_angle() - 1e-3) > 0.0
    assert growth(critical_angle() + 1e-3) == growth(math.pi) == 0.0


@pytest.mark.slow
def test_growth_of_the_gap_up_to_a_million_steps() -> None:
    """By the runs themselves: below the critical angle it is the law's, above it the gap falls."""
    for degrees, slope in ((5.0, 0.4943), (20.0, 0.4114), (45.0, 0.1018)):
        gaps = [
            sequential_angle(psi=math.radians(degrees), lam=0.5, T_DPO=T, T_SFT=T)[0].attained for T in (10**5, 10**6)
        ]
        tolerance = 5e-4 if degrees < 40 else 5e-3  # at 45 degrees the law's 1 still counts
        assert (gaps[1] - gaps[0]) / math.log(10) == pytest.approx(slope, abs=tolerance)
    for degrees in (60.0, 89.0, 120.0):
        gaps = [
            sequential_angle(psi=math.radians(degrees), lam=0.5, T_DPO=T, T_SFT=T)[0].attained for T in (10**4, 10**5)
        ]
        assert gaps[1] < 0.7 * gaps[0]


def test_the_law_without_running_up_to_1e40() -> None:
    """Lemma P for both phases knows the margin at any T: its distance from the law goes to 0 for every angle <= 90."""
    run = TwoPhases()
    for degrees in (1.0, 30.0, 51.0, 75.0, 90.0):
        psi, widths = math.radians(degrees), []
        for T in (10**4, 10**8, 10**12):
            low, high = enclosure(run, psi, 0.4, T, T)
            limit = law(run, psi, 0.4, T, T)
            widths.append(max(abs(low[0] - limit), abs(high[0] - limit)))
        assert widths[0] < 0.05
        assert widths[1] < 1e-4 * widths[0] * 10
        assert widths[2] < 1e-9


def test_wrong_laws_are_caught() -> None:
    """cos ψ alone, sin ψ in place of its square, K without cos², and one phase's length for the other's."""
    psi, T_1, T_2 = 0.5, 2_000, 60_000
    lower, _, limit = sequential_angle(psi=psi, lam=0.5, T_DPO=T_1, T_SFT=T_2)
    assert limit.verdict == "holds"
    cos, sin, a, b = math.cos(psi), math.sin(psi), math.log(0.25 * T_1), math.log(0.25 * T_2)
    right = 2.5 * cos**2 + cos * b - sin**2 * a
    wrong = (
        right + sin**2 * a,
        right + sin**2 * a - sin * a,
        right + 2.5 * sin**2,
        2.5 * cos**2 + cos * a - sin**2 * b,
    )
    for margin, verdict in ((right, "holds"), *((w, "fails") for w in wrong)):
        away = abs(lower.attained - 0.5 * math.log1p(math.exp(margin)))
        assert dataclasses.replace(limit, attained=away).verdict == verdict
    dpo, sft, rounding = follow(TwoPhases(), psi, 0.0, T_1, T_2)
    assert lower.attained == pytest.approx(0.5 * np.logaddexp(0, dpo) + 0.5 * np.logaddexp(0, sft), rel=1e-14)
    assert rounding < 1e-12


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"psi": 0.0}, "psi: must be more than 0"),
        ({"psi": 3.2}, "psi: must be in"),
        ({"lam": 0.0}, "lam: "),
        ({"T_DPO": 0}, "T_DPO: "),
        ({"alpha": 17.0}, "alpha: "),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        sequential_angle(**({"psi": 1.0, "lam": 0.5, "T_DPO": 1, "T_SFT": 1} | wrong))
    with pytest.raises(ValueError, match=r"^first: "):
        critical_angle(0.0)
