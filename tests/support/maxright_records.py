"""A setting of MAXRIGHT's claims, and every record of the claims at a setting."""

from __future__ import annotations

from typing import Any

import numpy as np

from toyopt import Problem, dpo, sft
from toyopt.theorems import (
    maxright_best_and_average,
    maxright_last,
    maxright_optima,
    maxright_scaled,
    maxright_stale,
)
from toyopt.theorems.maxright.setting import MaxrightSetting, maxright_setting


def setting(**changes: Any) -> MaxrightSetting:
    """Two objectives of unequal weight, slope and scale; T = 5, α0 = 2, D = 5, C = (1.5, 0.5), λC = (0.45, 0.35)."""
    problem = Problem(
        (
            dpo([[1.5]], [[0.0]], beta=1.0, theta_ref=[2.0], name="dpo"),
            sft([[[0.0], [0.5]]], [0], name="sft"),
        )
    )
    arguments = {"T": 5, "alpha0": 2.0, "theta_1": [7.0], "theta_star": [2.0], "f_star": [0.25, -0.5]} | changes
    return maxright_setting(problem, arguments.pop("lam", 0.3), **arguments)


def all_records(s: MaxrightSetting) -> dict[str, Any]:
    """By a label "claim section", each record that there is."""
    best, average = maxright_best_and_average(s)
    stale = maxright_stale(s, 3)
    minimiser, run = maxright_optima(s, s.f_star + np.array([0.4, -0.2]))
    return {
        "M 2 best": best,
        "M 2 average": average,
        "M-last 4 exact": maxright_last(s),
        "M-last 4 harmonic": maxright_last(s, "harmonic"),
        "M-last 4 decay": maxright_last(s, "linear decay"),
        "M-stale 6 best": stale[0],
        "M-stale 6 average": stale[1],
        "M-stale 6 last": stale[2],
        "M-opt 7 minimiser": minimiser,
        "M-opt 7 run": run,
        "M-scaled 5 run": maxright_scaled(s),
    }
