"""The worst case of the last iterate is attained, also among the paper's own objectives, and no steps do better."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt.algorithms import LinearDecay
from toyopt.theorems import (
    as_sft,
    exact_bound,
    last_iterate_is_exact,
    linear_decay_bound,
    no_schedule_is_better,
    total,
    worst_case,
    zamani_glineur,
)
from toyopt.theorems.alright.last_iterate import potentials, weights_of_steps
from toyopt.theorems.alright.worst_case import WorstCase, _gap_if_valid, _tolerance, resisting

STEPS = st.lists(st.floats(0.001, 10), min_size=1, max_size=30)


SIZES = st.floats(0.05, 20)


D, C, ALPHA0 = 1.3, 0.8, 1.7  # unequal, and none of them 1


@given(STEPS, SIZES, SIZES)
def test_the_worst_case_is_attained_for_any_steps(steps: list[float], d: float, c: float) -> None:
    record = last_iterate_is_exact(steps, d, c)
    assert record.verdict == "holds", str(record)
    case = worst_case(steps, d, c)
    np.testing.assert_allclose(np.linalg.norm(case.gradients, axis=1), c, rtol=1e-9)
    assert np.linalg.norm(case.start) == d


@given(STEPS, SIZES, SIZES)
def test_no_schedule_beats_linear_decay(steps: list[float], d: float, c: float) -> None:
    record = no_schedule_is_better(steps, d, c)
    assert record.verdict == "holds", str(record)
    assert record.attained == pytest.approx(d * c / math.sqrt(len(steps) + 1), rel=1e-12)
    assert total(exact_bound(steps, d, c)) >= record.bound * (1 - 1e-12)


@pytest.mark.parametrize("T", [2, 3, 8, 200])
def test_linear_decay_is_its_own_exact_worst_case(T: int) -> None:
    steps = LinearDecay(D, C, T).at(np.arange(1, T))
    assert total(exact_bound(steps, D, C)) == pytest.approx(total(linear_decay_bound(D, C, T)), rel=1e-12)
    assert total(linear_decay_bound(D, C, T)) == pytest.approx(1.04 / math.sqrt(T), rel=1e-15)
    record = zamani_glineur(D, C, T)
    assert record.kind == "equal"
    assert record.verdict == "holds", str(record)


def test_a_worst_case_that_is_none_is_open() -> None:
    """If g_i is no subgradient at the i-th iterate, or too long, the record says nothing."""
    from toyopt.theorems.alright.worst_case import _gap_if_valid

    good = worst_case([0.5, 0.4], D, C)
    assert _gap_if_valid(good, good.gap, C) == good.gap
    wrong = WorstCase(good.gradients[[1, 0, 2]], good.start, good.alphas)
    assert math.isnan(_gap_if_valid(wrong, wrong.gap, C))
    assert math.isnan(_gap_if_valid(good, good.gap, 0.9 * C))


def test_the_worst_case_among_the_papers_objectives() -> None:
    """f_SFT with full gradients (ALRIGHT with λ = 0) comes near to the exact bound: no better one holds for the paper's
    own problems, and the logarithm is there."""
    for T in (3, 8, 40):
        case = worst_case(np.full(T - 1, ALPHA0 / math.sqrt(T)), D, C)
        problem, theta, steps = as_sft(case, loss=1e-3)
        start = theta
        for alpha in steps:
            theta = theta - alpha * problem.grad_sft(theta)
        gap = float(problem.f_sft(theta) - problem.f_sft(0 * theta))
        bound = total(exact_bound(steps, float(np.linalg.norm(start)), problem.C2))
        assert (1 - 2e-3) * bound <= gap <= bound
        assert pytest.approx(C, rel=1e-12) == problem.C2


def test_bounds_that_are_a_little_too_small_are_refuted() -> None:
    """Mutants of the exact bound: a step too few or too many, no square, C for C², m_k not restarted."""
    steps = [0.9, 0.1, 0.4, 0.3]
    attained = last_iterate_is_exact(steps, D, C).attained
    assert total(exact_bound(steps[1:], D, C)) != pytest.approx(attained, rel=1e-3)
    assert total(exact_bound([*steps, 0.3], D, C)) != pytest.approx(attained, rel=1e-3)
    terms = exact_bound(steps, D, C)
    assert terms["distance"] / D + terms["noise"] != pytest.approx(attained, rel=1e-3)
    assert terms["distance"] + terms["noise"] / C != pytest.approx(attained, rel=1e-3)
    m = 2 * math.sqrt(0.1) + 0.9 / (2 * math.sqrt(0.1))  # steps 0.9, 0.1, and b = m_2 although √0.9 is more
    unrestarted = D**2 / (2 * m**2) + C**2 / 2 * (m**2 - 2 * 1.0)
    assert unrestarted > 1.05 * last_iterate_is_exact([0.9, 0.1], D, C).attained


U = 2.0**-53


@pytest.mark.parametrize("steps", [[0.3], [0.9, 0.1, 0.4, 0.3], [4.0, 1.0, 9.0, 2.0, 2.0], [0.01, 0.02]])
@pytest.mark.parametrize("share", [0.5, 1.0, 1.01, 3.0, 50.0])
def test_the_roots_solve_their_equations(steps: list[float], share: float) -> None:
    """b_1² = B = max(D/C, m_1²), here on both sides; then b_{k+1} + alpha_k/b_{k+1} = b_k, and the larger root."""
    least = potentials(np.array(steps))[0] ** 2
    b = weights_of_steps(np.array(steps), 0.8 * share * least, 0.8)
    assert b[0] ** 2 == pytest.approx(max(share, 1.0) * least, rel=1e-14)
    assert b[1:] + np.array(steps) / b[1:] == pytest.approx(b[:-1], rel=1e-14)
    assert (b[1:] >= np.sqrt(steps) * (1 - 1e-14)).all()


@pytest.mark.parametrize("steps", [[0.2], [0.6], [2.4], [2.8, 0.7], [5.2, 1.3]])
def test_double_roots_are_not_taken_of_rounding(steps: list[float]) -> None:
    """Where B is the least possible and m_{k+1} = √alpha_k, or the last step: √alpha_k to some ulp, not to √u."""
    m = potentials(np.array(steps))
    assert weights_of_steps(np.array(steps), float(m[0] ** 2), 1.0)[1:] == pytest.approx(np.sqrt(steps), rel=4 * U)


def test_as_many_steps_as_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("toyopt.theorems.alright.worst_case"), "_MAX_ITERATES", 4)
    for function in (worst_case, resisting):
        assert len(function([0.1, 0.2, 0.3], 1.0, 1.0).start) == 4
        with pytest.raises(ValueError, match=r"^alphas: at most 3 step sizes, .*, got 4$"):
            function([0.1, 0.2, 0.3, 0.4], 1.0, 1.0)


@pytest.mark.parametrize(("share", "honest"), [(0.98, True), (1.02, False)])
def test_a_gradient_may_miss_by_its_rounding(share: float, honest: bool) -> None:
    """C = 3, pieces 3 x_k, T = 4, x within 6: at the first iterate the wanted piece is too low by 64 T² u C 6."""
    below = share * 64 * 16 * U * 3 * 6 / 3
    case = WorstCase(3 * np.eye(4), np.array([-below, 0.0, 0.0, 0.0]), np.array([2.0, 2.0, 2.0]))
    assert math.isnan(_gap_if_valid(case, 0.5, 3.0)) != honest
    assert math.isnan(_gap_if_valid(resisting([2.0, 2.0], 1.0, 3.0), 0.5, 3.0 / (1 + share * 1e-9))) != honest


def test_without_a_step_there_is_nothing_to_miss() -> None:
    assert _gap_if_valid(WorstCase(np.eye(1), np.zeros(1), np.zeros(0)), 0.0, 1.0) == 0.0


def test_the_tolerance_of_a_worst_case_by_hand() -> None:
    """64 T u C (D + C Σ alpha): T = 3, C = 4, D = 7, Σ alpha = 0.5."""
    case = resisting([0.3, 0.2], 7.0, 4.0)
    assert _tolerance(case, 7.0, 4.0) == pytest.approx(64 * 3 * U * 4 * (7 + 4 * 0.5), rel=1e-14, abs=0)


def test_the_stretch_of_a_worst_case_by_hand() -> None:
    """S = (tie T + log(T+1))/(loss gap): of steps and start; the margins at the start then fall by `tie` each."""
    case = worst_case([0.5, 0.25], 1.3, 0.8)
    problem, theta, steps = as_sft(case, tie=8.0, loss=0.1)
    S = (8.0 * 3 + math.log(4)) / (0.1 * case.gap)
    assert steps == pytest.approx(S * case.alphas, rel=1e-14)
    assert case.gradients @ (theta - S * case.start) == pytest.approx([0.0, -8.0, -16.0], abs=1e-11)
    assert problem.f_sft(theta) == pytest.approx(math.log1p(np.exp(case.gradients @ theta).sum()), rel=1e-12)


def test_ties_must_widen_with_the_stretch() -> None:
    """A softmax that misses by e^-4 in steps of 10^6 loses the order of the pieces; 3 log S keeps it for any S."""
    case = worst_case(np.full(5, 0.4), 1.3, 0.8)
    with pytest.raises(ValueError, match=r"^tie: at least log\(S T\) = 19.* is needed for this loss, got 4\.0"):
        as_sft(case, tie=4.0, loss=1e-6)

    def ratio(stretch: float, tie: float) -> float:
        """f_SFT's gap over the exact bound, for a start stretched by S with ties of this width."""
        theta = stretch * case.start + tie * np.linalg.solve(case.gradients, -np.arange(6.0))
        for alpha in stretch * case.alphas:
            odds = case.gradients @ theta
            shares = np.exp(odds - odds.max())
            theta = theta - alpha * case.gradients.T @ (shares / (shares.sum() + np.exp(-odds.max())))
        return float(np.logaddexp.reduce(np.append(case.gradients @ theta, 0.0))) / (stretch * case.gap)

    assert ratio(1e6, 4.0) < 0.9
    assert ratio(1e8, 4.0) < 0.9  # no larger stretch helps a fixed tie
    assert ratio(1e6, 3.0 * math.log(1e6)) == pytest.approx(1.0, abs=1e-3)
    assert ratio(1e8, 3.0 * math.log(1e8)) == pytest.approx(1.0, abs=1e-5)
