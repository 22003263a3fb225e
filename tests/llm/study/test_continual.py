"""Measures of continual learning on matrices worked by hand, and as the papers define them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llm.study.continual import average, backward_transfer, decline, forgetting, forward_transfer

# Three tasks: the first is forgotten a half, recovers a tenth, the second is forgotten two tenths.
R = [[0.9, 0.3, 0.2], [0.4, 0.8, 0.5], [0.5, 0.6, 0.7]]
START = [0.1, 0.2, 0.3]


def test_a_matrix_worked_by_hand() -> None:
    assert average(R) == pytest.approx((0.5 + 0.6 + 0.7) / 3)
    assert backward_transfer(R) == pytest.approx(((0.5 - 0.9) + (0.6 - 0.8)) / 2)  # -0.3
    assert forgetting(R) == pytest.approx(((0.9 - 0.5) + (0.8 - 0.6)) / 2)  # 0.3
    assert forward_transfer(R, START) == pytest.approx(((0.3 - 0.2) + (0.5 - 0.3)) / 2)  # 0.15
    assert decline(R) == pytest.approx(((0.9 - 0.5) + (0.8 - 0.6) + (0.5 - 0.7)) / 3)


def test_forgetting_counts_from_the_best_stage_and_backward_transfer_from_the_task_s_own() -> None:
    """The first task is best after the second stage: 0.6 there, 0.5 after its own, 0.4 at the end."""
    later = [[0.5, 0.1], [0.4, 0.9]]
    assert forgetting(later) == pytest.approx(0.1)
    longer = [[0.5, 0.1, 0.0], [0.6, 0.9, 0.0], [0.4, 0.9, 0.8]]
    assert forgetting(longer) == pytest.approx((0.2 + 0.0) / 2)
    assert backward_transfer(longer) == pytest.approx((-0.1 + 0.0) / 2)


def test_forgetting_also_counts_a_stage_before_the_task_is_trained() -> None:
    """RWalk's maximum is over all l < k: a task that an earlier one taught best has been forgotten by its own."""
    early = [[0.9, 0.8, 0.0], [0.9, 0.6, 0.0], [0.9, 0.6, 0.7]]
    assert forgetting(early) == pytest.approx((0.0 + 0.2) / 2)
    assert backward_transfer(early) == 0.0


def test_what_is_kept_is_not_forgotten() -> None:
    kept = [[0.9, 0.5, 0.5], [0.9, 0.9, 0.5], [0.9, 0.9, 0.9]]
    assert forgetting(kept) == backward_transfer(kept) == forward_transfer(kept, [0.5] * 3) == 0.0
    assert average(kept) == pytest.approx(0.9)
    assert decline(kept) == pytest.approx((0.0 + 0.0 - 0.4) / 3)  # the last task has improved


def test_losses_have_the_signs_of_performances() -> None:
    losses = [[0.1, 0.7], [0.6, 0.2]]
    assert forgetting(losses, lower_is_better=True) == pytest.approx(0.5)
    assert backward_transfer(losses, lower_is_better=True) == pytest.approx(-0.5)
    assert forward_transfer(losses, [0.7, 1.0], lower_is_better=True) == pytest.approx(0.3)
    assert decline(losses, lower_is_better=True) == pytest.approx((0.5 - 0.5) / 2)
    assert average(losses) == pytest.approx(0.4)


matrices = st.integers(2, 6).flatmap(lambda T: arrays(float, (T, T), elements=st.floats(-5.0, 5.0)))


@given(matrices)
def test_the_sums_are_those_of_the_papers(a: np.ndarray) -> None:
    """The sums with indices from 1, as printed in GEM (section 2) and RWalk (equation 3)."""
    T = len(a)

    def at(i: int, j: int) -> float:
        return float(a[i - 1, j - 1])

    bwt = sum(at(T, i) - at(i, i) for i in range(1, T)) / (T - 1)
    fwt = sum(at(i - 1, i) - 0.25 * i for i in range(2, T + 1)) / (T - 1)
    f = [max(at(l, j) for l in range(1, T)) - at(T, j) for j in range(1, T)]  # noqa: E741 (the paper's letter)
    tolerance = {"abs": 1e-13}  # sums of at most ten numbers below 11 in size
    assert backward_transfer(a) == pytest.approx(bwt, **tolerance)
    assert forward_transfer(a, [0.25 * i for i in range(1, T + 1)]) == pytest.approx(fwt, **tolerance)
    assert forgetting(a) == pytest.approx(sum(f) / (T - 1), **tolerance)
    assert average(a) == pytest.approx(sum(at(T, j) for j in range(1, T + 1)) / T, **tolerance)


@given(matrices)
def test_forgetting_is_at_least_the_backward_loss(a: np.ndarray) -> None:
    """The maximum over the stages before the last contains R_jj, so that f_j >= R_jj - R_Tj for each j."""
    assert forgetting(a) >= -backward_transfer(a) - 1e-13
    assert forgetting(a, lower_is_better=True) == pytest.approx(forgetting(-a), abs=1e-13)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1, 0.2], r"^values: must be \(T, T\) of T >= 2 stages and tasks, got an array of shape \(2,\)$"),
        ([[0.5]], r"got an array of shape \(1, 1\)$"),
        ([[0.5, 0.1], [0.2, 0.3], [0.2, 0.3]], r"got an array of shape \(3, 2\)$"),
        ([[0.5, np.nan], [0.2, 0.3]], r"^values: must be finite, .*evaluate every task after every stage$"),
    ],
)
def test_other_arrays_are_refused_in_one_line(values: list, message: str) -> None:
    for measure in (forgetting, backward_transfer):
        with pytest.raises(ValueError, match=message):
            measure(values)
    with pytest.raises(ValueError, match=message):
        forward_transfer(values, START)


def test_a_start_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^start: must be a finite number for each of 3 tasks, got \[0.1, 0.2\]$"):
        forward_transfer(R, START[:2])
    with pytest.raises(ValueError, match=r"\(stages, tasks\) of at least 2 stages, got an array of shape \(1, 2\)$"):
        decline([[0.1, 0.2]])
