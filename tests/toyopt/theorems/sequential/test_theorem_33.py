"""Theorem 3.3 with plain numbers: the run, the proof, and the run that refutes."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from toyopt.theorems.sequential.theorem_33 import theorem_33


def by_hand(lam: float, T: int, order: str, alpha: float = 1.0) -> tuple[float, float]:
    """The end θ of T + T plain steps from θ = 5, and its gap to the least of f_Mix on a fine grid."""

    def dpo(theta: float) -> float:
        return math.log1p(math.exp(-0.5 * (theta - 5)))

    def sft(theta: float) -> float:
        return math.log1p(math.exp(0.5 * theta))

    def steps_on_dpo(theta: float) -> float:
        for _ in range(T):
            theta += alpha * 0.5 / (1 + math.exp(0.5 * (theta - 5)))
        return theta

    def steps_on_sft(theta: float) -> float:
        for _ in range(T):
            theta -= alpha * 0.5 / (1 + math.exp(-0.5 * theta))
        return theta

    theta = steps_on_sft(steps_on_dpo(5.0)) if order == "dpo-first" else steps_on_dpo(steps_on_sft(5.0))
    least = min(lam * dpo(x) + (1 - lam) * sft(x) for x in (-15 + 0.002 * i for i in range(17_000)))
    return theta, lam * dpo(theta) + (1 - lam) * sft(theta) - least


@pytest.mark.parametrize(
    ("lam", "T", "order"), [(0.5, 100, "dpo-first"), (0.3, 40, "sft-first"), (0.9, 7, "dpo-first")]
)
def test_the_run_is_that_of_plain_steps(lam: float, T: int, order: Any) -> None:
    answer = theorem_33(lam, T, order=order)
    theta, gap = by_hand(lam, T, order)
    assert answer.theta == pytest.approx(theta, rel=1e-12)
    assert answer.gap == pytest.approx(gap, abs=1e-6)  # the grid's best is within f''/2 · 0.001² of the least
    below, above, law = answer.growth
    assert below.bound <= gap + 1e-6
    assert gap - 1e-6 <= above.bound
    assert law.verdict == "holds"


def test_a_level_is_proven_from_75_steps_on_and_refuted_from_74() -> None:
    """docs/theory.md, S6: at λ = 1/2 a gap of 1 needs 75 steps; 74 are not enough."""
    proven, refuted = theorem_33("1/2", 75, g=1), theorem_33("1/2", 74, g=1)
    assert (proven.verdict, proven.T0, proven.refuting) == ("holds", 75, None)
    assert proven.claim.evidence == "certified"
    assert (refuted.verdict, refuted.T0) == ("fails", 75)
    assert refuted.refuting == (74, pytest.approx(by_hand(0.5, 74, "dpo-first")[1], abs=1e-6))
    assert "refuted   from T = 74 on: the run with T' = 74 has the gap 0.997625 < 1" in str(refuted)


def test_the_proven_end_bounds_the_runs_in_theta() -> None:
    for order, sign in (("dpo-first", 1), ("sft-first", -1)):
        answer = theorem_33(0.5, 200, order=order)
        for T in (200, 300, 1000):
            end, gap = by_hand(0.5, T, order)
            assert sign * end <= sign * answer.bound
            assert gap >= float(answer.level)
        assert sign * answer.bound < sign * answer.optimum


def test_without_a_proof_and_without_a_counterexample_the_claim_is_open() -> None:
    """From T = 10 with λ = 1/2 the claim of 0.0002 is refuted by no run: the least gap, 0.000201, is that of T = 10."""
    answer = theorem_33(0.5, 10, g="1/5000")
    assert (answer.verdict, answer.refuting) == ("open", None)
    assert answer.claim.attained == pytest.approx(0.000200968, abs=1e-9)
    assert f"open      for T' from 10 to {answer.T0 - 1}: not proven" in str(answer)


def test_the_largest_level_has_three_decimals_and_no_larger_one_is_proven() -> None:
    answer = theorem_33(0.5, 1000)
    assert answer.verdict == "holds"
    assert answer.level == Fraction(2484, 1000)
    assert theorem_33(0.5, 1000, g=answer.level + Fraction(1, 1000)).verdict != "holds"
    assert answer.T0 <= 1000


def test_numbers_may_be_written_in_any_way() -> None:
    texts = {str(theorem_33(lam, T)) for lam in (0.25, "1/4", "0.25", Fraction(1, 4)) for T in (50, 50.0, "50")}
    assert len(texts) == 1


def test_long_runs_are_not_followed_and_are_proven_all_the_same() -> None:
    answer = theorem_33("9/10", "1e12")
    assert math.isnan(answer.theta)
    assert math.isnan(answer.gap)
    assert answer.verdict == "holds"
    assert "is not followed" in str(answer)
    # λ log T + λ(log η + cθ_ref) - f*: 0.9 (log 1e12 + log 1/4 + 2.5) - f*, f* = 0.9 f_DPO + 0.1 f_SFT at θ* = 9.18.
    f_star = 0.9 * math.log1p(math.exp(-0.5 * 4.18158)) + 0.1 * math.log1p(math.exp(0.5 * 9.18158))
    assert answer.growth[0].bound == pytest.approx(0.9 * (math.log(1e12) + math.log(0.25) + 2.5) - f_star, abs=1e-6)


def test_the_text_names_its_assumptions() -> None:
    shown = repr(theorem_33(0.5, 1000))
    for part in (
        "Theorem 3.3 (arXiv 2410.15483v3) at λ = 1/2: holds, the gap is at least 2.484 from T = 1000 on",
        "1000 steps of DPO, then 1000 of SFT",
        "both sides  2.48475 <= gap <= 2.48484",
        "Table 2, reconstructed",
        "constant step α = 1",
    ):
        assert part in shown, part


def test_the_readme_shows_this_very_answer() -> None:
    page = (Path(__file__).parents[4] / "README.md").read_text(encoding="utf-8")
    assert "\n".join(f"    {line}" for line in str(theorem_33(0.5, 1000)).splitlines()) in page


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"lam": 0}, ValueError, r"lam: must be in \(0, 1\), got 0"),
        ({"lam": 1.0}, ValueError, r"lam: must be in \(0, 1\), got 1\.0"),
        ({"lam": None}, TypeError, "lam: a number"),
        ({"T": 0}, ValueError, "T: a whole number of at least 1"),
        ({"T": "many"}, ValueError, "T: a number"),
        ({"g": 0}, ValueError, "g: must be more than 0, got 0"),
        ({"alpha": 17}, ValueError, "alpha: must keep 0 < c² alpha <= 4"),
        ({"alpha": -1}, ValueError, "alpha: must be more than 0"),
        ({"theta_1": "x"}, ValueError, "theta_1: a number"),
        ({"order": "both"}, ValueError, "order: 'dpo-first' or 'sft-first'"),
    ],
)
def test_a_wrong_argument_is_named(given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"^{words}"):
        theorem_33(**given)
