"""Records, messages and tolerances of Lemmas A.3, A.5, A.6 and A.7."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from support.small_problems import plane

from toyopt.examples import table2
from toyopt.problem import Problem
from toyopt.theorems import (
    Record,
    lemma_a3,
    lemma_a5,
    lemma_a6,
    lemma_a7,
    noise_level,
    prop_a1,
    prop_a2,
)
from toyopt.theorems.lemmas import rounding

U = 2.0**-53


PAPER = "arXiv 2410.15483v3, "


@pytest.mark.parametrize(
    ("make", "claim", "source", "words"),
    [
        (lambda: prop_a1(plane(), [0.0, 1.0])[0], "A.1", PAPER + "eq. (20)", "‖g_DPO‖ <= C1 for every datum"),
        (lambda: prop_a1(plane(), [0.0, 1.0])[2], "A.1", PAPER + "eq. (20)", "mean of each datum's own C1²"),
        (lambda: prop_a1(plane(), [0.0, 1.0])[4], "A.1", PAPER + "eq. (21)", "mean ‖g_SFT‖² <= (C2)²"),
        (lambda: prop_a1(plane(), [0.0, 1.0], beta=0.5)[7], "A.1", PAPER + "eq. (20)", "mean ‖g_DPO‖² <= (2βΦ)²"),
        (lambda: prop_a1(plane(), [0.0, 1.0])[7], "A.1", PAPER + "eq. (21)", "mean ‖g_SFT‖² <= (2Φ)²"),
        (lambda: prop_a2(plane(), [0.0, 1.0], lam=0.3), "A.2", PAPER + "Proposition A.2, eq. (29)-(33)", "∇²f_Mix,λ"),
        (lambda: lemma_a3(1.0, 0.0, alphas=[1.0], c=1.0), "A.3", PAPER + "Lemma A.3", "Π_t (1 - c a_t/4)"),
        (
            lambda: lemma_a5(table2(), [1.0], [0.0], lam=0.3),
            "A.5",
            PAPER + "Lemma A.5, eq. (46)",
            "⟨∇f_Mix(θ_t), θ_t - θ⟩",
        ),
        (lambda: lemma_a6([1.0], [1.0]), "A.6", PAPER + "Lemma A.6", "η_T q_T"),
        (
            lambda: lemma_a7(table2(), [1.0], [0.0], lam=0.3, alpha=1.0),
            "A.7",
            PAPER + "Lemma A.7, eq. (48)",
            "(λC1² + (1-λ)C2²)",
        ),
    ],
)
def test_a_record_names_its_claim(make: Callable[[], Record], claim: str, source: str, words: str) -> None:
    record = make()
    assert (record.claim, record.source) == (claim, source)
    assert words in record.statement
    assert sum(record.terms.values()) == pytest.approx(record.bound) or claim == "A.3"


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: lemma_a3("x", 0.0, alphas=[1.0], c=1.0), TypeError, "theta: "),
        (lambda: lemma_a3(0.0, "x", alphas=[1.0], c=1.0), TypeError, "theta_prime: "),
        (lambda: lemma_a3(0.0, 0.0, alphas=[1.0], c="x"), TypeError, "c: "),
        (lambda: lemma_a3(0.0, 0.0, alphas=[math.nan], c=1.0), ValueError, "alphas: all"),
        (lambda: lemma_a3(0.0, 0.0, alphas=[1.0, 0.0], c=1.0), ValueError, r"alphas: .*, got .*\(0\.0\) at t = 2$"),
        (lambda: lemma_a3(0.0, 0.0, alphas=[1.0, 3.0], c=2.0), ValueError, r"alphas: .*, got .*\(6\.0\) at t = 2$"),
        (lambda: lemma_a5(table2(), ["x"], [0.0], lam=0.3), ValueError, "theta_t: "),
        (lambda: lemma_a5(table2(), [0.0], ["x"], lam=0.3), ValueError, "theta: "),
        (lambda: lemma_a5(table2(), [[0.0]] * 2, [[0.0]] * 3, lam=0.3), ValueError, r"theta: shape \(3, 1\) does not"),
        (lambda: lemma_a5(table2(), np.zeros((0, 1)), [0.0], lam=0.3), ValueError, "theta_t: is empty"),
        (lambda: lemma_a6(["x"], [1.0]), ValueError, "eta: not"),
        (lambda: lemma_a6([1.0], ["x"]), ValueError, "q: not"),
        (lambda: lemma_a6([2.0, 0.5, 0.0], [1.0] * 3), ValueError, r"eta: must be positive, got .*\(0\.0\)$"),
        (
            lambda: lemma_a6([3.0, 3.0, 1.0, 1.5], [1.0] * 4),
            ValueError,
            r"eta: must not increase, got .*\(1\.0\) before .*\(1\.5\)$",
        ),
        (lambda: lemma_a6([2.0, 1.0, 0.5], [0.0, 0.5, -1.0]), ValueError, r"q: must not be .*, got .*\(-1\.0\)$"),
        (lambda: lemma_a7(table2(), ["x"], [0.0], lam=0.3, alpha=1.0), ValueError, "theta_t: "),
        (
            lambda: lemma_a7(table2(), [[0.0]], [0.0], lam=0.3, alpha=1.0),
            ValueError,
            r"theta_t: shape \(1,\) .* \(1, 1\)",
        ),
        (lambda: lemma_a7(table2(), [0.0], ["x"], lam=0.3, alpha=1.0), ValueError, "theta: "),
        (lambda: lemma_a7(table2(), [0.0], [0.0], lam=0.3, alpha="x"), TypeError, "alpha: "),
        (lambda: noise_level(table2(), 2.0), ValueError, "lam: "),
        (lambda: prop_a1(plane(), ["x", "y"]), ValueError, "theta: "),
        (lambda: prop_a1(plane(), np.zeros((0, 2))), ValueError, "theta: is empty"),
        (lambda: prop_a1(plane(), [0.0, 0.0], beta="x"), TypeError, "beta: "),
        (lambda: prop_a1(plane(), [0.0, 0.0], beta=0.0), ValueError, "beta: "),
        (lambda: prop_a2(plane(), ["x", "y"], lam=0.3), ValueError, "theta: "),
        (lambda: prop_a2(plane(), np.zeros((0, 2)), lam=0.3), ValueError, "theta: is empty"),
    ],
)
def test_a_message_names_the_argument(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"^{words}"):
        call()


def test_tolerance_of_a3() -> None:
    """The start's rounding, each step's, twice their sum, and 4 T u of the start's difference for the product."""
    x, y, steps, c = 1.5, -0.25, [1.0, 2.5], 0.5
    error = U * 1.75
    for a in steps:
        x, y = x + a / (1 + math.exp(c * x)), y + a / (1 + math.exp(c * y))
        error += U * (8 * a + (1 + c * a) * (abs(x) + abs(y)))
    record = lemma_a3(1.5, -0.25, alphas=steps, c=c)
    assert record.tolerance == pytest.approx(2 * error + 8 * U * 1.75, rel=1e-12, abs=0)
    # Negative steps with a negative c run the other way.
    mirrored = lemma_a3(0.25, -1.5, alphas=[-1.0, -2.5], c=-0.5)
    assert mirrored.attained == record.attained
    assert mirrored.tolerance == pytest.approx(record.tolerance, rel=1e-12, abs=0)


def test_a3_far_out_is_finite() -> None:
    """Margins of either sign that exp cannot take: one run stays, the other moves by whole steps."""
    record = lemma_a3(2000.0, -2000.0, alphas=[1.0, 0.5], c=1.0)
    assert record.attained == 4000.0 - 1.5
    assert record.bound == 4000.0 * 0.75 * 0.875


def test_tolerance_of_a6() -> None:
    """4 (T+4) u (2 + log T) of the largest product and the largest value times η_1."""
    record = lemma_a6([3.0, 2.0], [1.0, 5.0])
    assert record.tolerance == pytest.approx(4 * 6 * U * (10 + 15) * (2 + math.log(2)), rel=1e-12, abs=0)


def by_hand_rounding(theta: list[float]) -> float:
    """4 (R + d + 13) u (1 + log(1+R) + C (‖theta‖ + ‖o‖)), the larger of DPO's and SFT's."""
    size = math.hypot(*theta)
    dpo = 4 * (1 + 2 + 13) * U * (1 + math.log(2) + 2.5 * (size + 10))
    sft = 4 * (3 + 2 + 13) * U * (1 + math.log(4) + math.sqrt(13) * size)
    return max(dpo, sft)


def test_tolerances_of_a5_and_a7() -> None:
    near, far = [0.3, -0.4], [30.0, 40.0]  # DPO's is the larger near 0, SFT's far out
    assert rounding(plane(), np.array([near, far])) == pytest.approx(
        [by_hand_rounding(near), by_hand_rounding(far)], rel=1e-12, abs=0
    )
    both = by_hand_rounding(near) + by_hand_rounding(far)
    assert lemma_a5(plane(), near, far, lam=0.3).tolerance == pytest.approx(both, rel=1e-12, abs=0)
    record = lemma_a7(plane(), near, far, lam=0.3, alpha=0.7)
    noise = 0.245 * (0.3 * 6.25 + 0.7 * 13)
    assert record.terms["noise"] == pytest.approx(noise, rel=1e-14)
    assert record.tolerance == pytest.approx(0.7 * both + 1e-14 * noise, rel=1e-12, abs=0)
    small = lemma_a7(plane(), [0.0, 0.0], [0.0, 0.0], lam=0.3, alpha=1e6)  # here the noise's share counts
    expected = 1e6 * 2 * by_hand_rounding([0.0, 0.0]) + 5e11 * (0.3 * 6.25 + 0.7 * 13) * 1e-14
    assert small.tolerance == pytest.approx(expected, rel=1e-12, abs=0)


def test_a5_takes_the_least_slack_in_units_of_its_tolerance() -> None:
    """Equal parameters have slack 0; the pair is the worst although others come before it, and axes are kept."""
    here = np.array([[[0.3, -0.4], [3.0, 1.0]], [[1.0, 1.0], [2.0, 0.0]]])
    there = np.array([[[1.3, -0.4], [0.0, 1.0]], [[1.0, 1.0], [0.0, 5.0]]])
    assert lemma_a5(plane(), here, there, lam=0.3).attained == 0.0
    # A small slack near 0 counts more than a smaller one far out, where the tolerance is larger.
    pairs = [([0.1, 0.0], [0.0, 0.0]), ([1e6, 0.0], [1e6 + 1.0, 0.0])]
    slack = [lemma_a5(plane(), a, b, lam=0.3) for a, b in pairs]
    both = lemma_a5(plane(), [a for a, _ in pairs], [b for _, b in pairs], lam=0.3)
    ratios = [r.slack / r.tolerance for r in slack]
    assert (both.bound, both.attained) == (slack[int(np.argmin(ratios))].bound, slack[int(np.argmin(ratios))].attained)


def test_a6_takes_zeros() -> None:
    assert lemma_a6([2.0, 1.0], [0.0, 1.0]).verdict == "holds"


def test_a5_far_out_counts_less() -> None:
    """The second parameter moves nothing but the tolerance: the pair far out is worse although its slack is larger."""
    p = Problem.dpo_sft(
        chosen=[[0.5, 0.0]],
        rejected=[[0.0, 0.0]],
        features=[[[0.0, 0.0], [0.5, 0.0]]],
        targets=[0],
        theta_ref=[5.0, 0.0],
    )
    near, far = lemma_a5(p, [0.9, 0.0], [0.0, 0.0], lam=0.3), lemma_a5(p, [1.0, 1e6], [0.0, 1e6], lam=0.3)
    assert near.slack < far.slack
    both = lemma_a5(p, [[0.9, 0.0], [1.0, 1e6]], [[0.0, 0.0], [0.0, 1e6]], lam=0.3)
    assert both.tolerance == far.tolerance
