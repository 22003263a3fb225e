"""Examples pass on all their arguments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toyopt.examples import TABLE2, LowerBound, from_rows, random_problem, table2


def test_examples_hand_on_all_their_arguments() -> None:
    problem = from_rows(TABLE2, theta_ref=[0.0], beta=2.0)
    assert problem.objectives[0].rows.tolist() == [[-1.0]]
    assert table2(3.0).objectives[0].origin.tolist() == [3.0]
    with pytest.raises(ValueError, match=r"^theta_ref: a finite number"):
        LowerBound(0.5, math.nan)


def test_the_size_of_a_random_problem() -> None:
    p = random_problem(np.random.default_rng(0))
    chosen, demos = p.objectives
    assert (p.dim, chosen.size, demos.size, demos.counts.tolist()) == (3, 4, 5, [2] * 5)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4, 3)) - rng.normal(size=(4, 3))
    np.testing.assert_allclose(chosen.rows, -0.7 * rows, rtol=1e-15)
    small = random_problem(np.random.default_rng(0), dim=1, n_dpo=1, n_sft=1, outputs=2)
    assert [o.rows.shape for o in small.objectives] == [(1, 1), (1, 1)]
