"""The direction of one step: ALRIGHT's mean, eq. (11), by enumeration of its outcomes, and nothing scaled by λ."""

from __future__ import annotations

from typing import Any

import numpy as np
from support import oracle
from support import strategies as own

from toyopt import Alright, Constant, Maxright, Mix, Problem, simulate
from toyopt.algorithms import Rule

EPS = np.finfo(float).eps
SPECS = own.fixed(7, 2, 2, scale=0.8)
PROBLEM = oracle.problem(SPECS)
START = [1.0, -2.0]


def directions(rule: Rule, problem: Problem, steps_of: int, **more: Any) -> dict[tuple[int, bytes], np.ndarray]:
    """Every direction u_1 that one step of size 1/4 takes, by its choice and its bits. The seeds are but a way to see
    them all: nothing is said of how often they come."""
    sim = simulate(problem, rule, Constant(0.25), theta0=START, steps=1, seeds=range(steps_of), choices=True, **more)
    assert sim.choices is not None
    found: dict[tuple[int, bytes], np.ndarray] = {}
    for index, last in zip(sim.choices[:, 0], sim.last, strict=True):
        found[int(index), last.tobytes()] = (np.array(START) - last) / 0.25
    return found


# theta is at most 4 in size and the difference is divided by 1/4: 4 roundings of 4 u, times 4, and the gradients' own.
DIRECTION = 64 * EPS + sum(oracle.grad_error(s, START) for s in SPECS)


def test_alrights_mean_direction_is_the_mixtures_gradient() -> None:
    """eq. (11): λ u_DPO + (1-λ) u_SFT = ∇f_Mix,λ, from the two outcomes that there are, each by its probability."""
    for lam in (0.3, 0.8):
        found = directions(Alright(lam), PROBLEM, 64)
        assert sorted(i for i, _ in found) == [0, 1]
        mean = sum((lam, 1 - lam)[i] * u for (i, _), u in found.items())
        assert np.linalg.norm(mean - PROBLEM.grad_mix(START, lam)) <= DIRECTION
        for (i, _), u in found.items():
            assert np.linalg.norm(u - PROBLEM.grads(START)[i]) <= DIRECTION  # as it is, not scaled by λ
            assert np.linalg.norm((lam, 1 - lam)[i] * u - PROBLEM.grads(START)[i]) > 1e6 * DIRECTION


def test_the_mean_over_the_drawn_data_is_the_full_gradient() -> None:
    """Stochastic: all data of both objectives, each by 1/N and its objective's weight."""
    found = directions(Alright(0.3), PROBLEM, 512, stochastic=True)
    sizes = [len(s.data) for s in SPECS]
    assert sorted(i for i, _ in found) == [0] * sizes[0] + [1] * sizes[1]
    mean = sum((0.3, 0.7)[i] / sizes[i] * u for (i, _), u in found.items())
    assert np.linalg.norm(mean - PROBLEM.grad_mix(START, 0.3)) <= DIRECTION


def test_maxright_steps_on_the_unscaled_gradient_of_the_larger_weighted_gap() -> None:
    f = PROBLEM.values(START)
    for f_star, i in (((f[0] - 1, f[1] - 0.1), 0), ((f[0] - 0.1, f[1] - 1), 1)):
        ((index, _), u), *others = directions(Maxright(0.3, f_star), PROBLEM, 4).items()
        assert (index, others) == (i, [])
        assert np.linalg.norm(u - PROBLEM.grads(START)[i]) <= DIRECTION


def test_three_objectives_have_a_mean_direction_too() -> None:
    specs = own.fixed(8, 3, 2, scale=0.8)
    p, lam = oracle.problem(specs), (0.2, 0.3, 0.5)
    found = directions(Alright(lam), p, 64)
    assert sorted(i for i, _ in found) == [0, 1, 2]
    mean = sum(lam[i] * u for (i, _), u in found.items())
    error = 64 * EPS + sum(oracle.grad_error(s, START) for s in specs)
    assert np.linalg.norm(mean - p.grad_mix(START, lam)) <= error


def test_weight_decay_pulls_towards_zero_inside_the_step() -> None:
    """theta - alpha (u + weight_decay theta), not theta (1 - weight_decay) - alpha u."""
    plain, decayed = (
        simulate(PROBLEM, Mix(0.5), Constant(0.3), theta0=START, steps=1, weight_decay=w).last[0] for w in (0.0, 0.2)
    )
    np.testing.assert_allclose(decayed, plain - 0.3 * 0.2 * np.array(START), rtol=16 * EPS)
