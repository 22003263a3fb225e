"""Problems whose constants are known by hand."""

from __future__ import annotations

import numpy as np

from toyopt.problem import Objective, Problem


def hand() -> Problem:
    """d = 1, β = 2: DPO data with βΔ = 4 and 1, SFT data with widths 3 and 1/2: C1 = 4, C2 = 3, Φ = 3."""
    return Problem.dpo_sft(
        chosen=[[3.0], [0.5]],
        rejected=[[1.0], [0.0]],
        features=[[[0.0], [3.0]], [[0.5], [1.0]]],
        targets=[0, 1],
        theta_ref=[1.0],
        beta=2.0,
    )


def plane() -> Problem:
    """d = 2, β = 1/2: a DPO datum with row (-1.5, -2), C1 = 2.5; two SFT data with 2 and 1 rows, C2 = √13.

    Smooth with L = 6.25/4 and (13 + 2)/8.
    """
    return Problem.dpo_sft(
        chosen=[[3.0, 4.0]],
        rejected=[[0.0, 0.0]],
        features=[[[0.0, 0.0], [2.0, 3.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]],
        targets=[0, 1],
        theta_ref=[6.0, 8.0],
        beta=0.5,
    )


def uneven() -> Problem:
    """d = 1: rows 2 and -1 (two data), and 3, 1 (one datum, width 3): slopes 2 and 3."""
    return Problem(
        (
            Objective("first", [[2.0], [-1.0]], np.array([1, 1]), np.array([4.0])),
            Objective("second", [[3.0], [1.0]], np.array([2]), np.array([-5.0])),
        )
    )
