"""The problems on which claims are checked: the paper's examples, and random ones from fixed seeds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from toyopt import theorems as th
from toyopt._check import Array
from toyopt.examples import Figure2, random_problem, table2
from toyopt.problem import Problem

WIDE = ("1/100", "99/100")
LAMS = (0.05, 0.3, 0.5, 0.8)


def problems(n: int = 12) -> list[Problem]:
    """Draw random problems of several sizes, from fixed seeds."""
    return [
        random_problem(
            np.random.default_rng(seed), dim=1 + seed % 4, n_dpo=1 + seed % 5, n_sft=1 + seed % 3, outputs=2 + seed % 3
        )
        for seed in range(n)
    ]


def noisy() -> Problem:
    """Return a problem in one dimension whose data disagree: stochastic gradients are noisy at its minimiser."""
    return Problem.dpo_sft(
        chosen=[[0.6], [0.1], [0.5]],
        rejected=[[0.0], [0.5], [0.1]],
        features=[[[0.0], [0.5], [-0.3]], [[0.4], [0.0], [0.2]]],
        targets=[0, 1],
        theta_ref=[1.0],
    )


def points(problem: Problem, n: int = 40) -> Array:
    """Draw (n, d) parameters, small and large."""
    rng = np.random.default_rng(7)
    return np.asarray(rng.normal(size=(n, problem.dim)) * rng.choice([0.3, 3.0, 30.0, 300.0], size=(n, 1)))


def examples() -> list[Problem]:
    """Return Table 2, Table 3 and the random problems."""
    return [table2(), Figure2().problem(), *problems()]


def settings(T: int) -> Iterator[th.MaxrightSetting]:
    """Yield the settings of MAXRIGHT for T iterates: Table 2 for several λ, and three random problems."""
    for lam in LAMS:
        yield th.maxright_setting(table2(), lam, T=T, alpha0=3.0, theta_1=[-4.0])
    for seed in (1, 2, 5):
        problem = random_problem(np.random.default_rng(seed), dim=2, n_dpo=5, n_sft=6)
        yield th.maxright_setting(problem, 0.3, T=T, alpha0=0.7, theta_1=[2.0, -1.0])
