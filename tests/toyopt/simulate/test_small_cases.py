"""Single steps, tiny values, sampled data and defaults of `simulate`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from toyopt import dpo, sft, simulate
from toyopt.algorithms import Alright, Constant, LinearDecay, Maxright, Mix, Sequential
from toyopt.examples import table2
from toyopt.problem import Problem
from toyopt.simulate import Merit

# One datum with two answers and one with three, in two dimensions.
THREE = Problem(
    (
        dpo([[1.0, 0.0]], [[0.0, 0.0]], beta=1.0, theta_ref=[0.0, 0.0]),
        sft([[[0.0, 0.0], [0.0, -1.0], [0.0, -2.0]]], [0]),
    )
)


def test_the_loop_keeps_the_relative_accuracy_of_tiny_values() -> None:
    """log(1 + s) with s = e^-60: with any other shift than the margins' own it would be 0 or rounding."""
    for theta in ([-60.0, 60.0], [60.0, -60.0], [60.0, 60.0]):
        sim = simulate(THREE, Mix(0.5), Constant(1e-300), theta0=theta, steps=1, record=[0])
        np.testing.assert_allclose(sim.path().values[0], THREE.values(theta), rtol=1e-14)


@pytest.mark.parametrize("kind", ["mix", "worst"])
def test_the_best_iterate_is_found_among_tiny_merits(kind: Any) -> None:
    """Near e^-60 nothing may be added to the merit, or all iterates would be equally good."""
    sim = simulate(THREE, Mix(0.5), Constant(1e24), theta0=[60.0, 60.0], steps=3, merit=Merit(kind, 0.5), record=1)
    path = sim.path()
    assert sim.best_step is not None
    assert sim.best is not None
    merits = {"mix": path.values.mean(axis=1), "worst": path.values.max(axis=1)}[kind]
    assert len(set(merits.tolist())) > 1
    assert sim.best_step[0] == np.argmin(merits)
    np.testing.assert_array_equal(sim.best[0], path.theta[np.argmin(merits)])


def test_a_run_that_diverges_at_once_is_written_down_once() -> None:
    far = simulate(THREE, Mix(0.5), Constant(1e308), theta0=[1.0, 0.0], steps=5, record=1, weight_decay=1e10)
    assert far.diverged.tolist() == [True]
    assert far.steps.tolist() == [0]
    assert far.path().step.tolist() == [0]
    np.testing.assert_array_equal(far.last, [[1.0, 0.0]])


def test_a_stage_of_one_step_ends_by_its_threshold_too() -> None:
    rule = Sequential((1, 1), (0, 1), (100.0, -1.0))  # the first stage is over before it began
    sim = simulate(THREE, rule, Constant(0.1), theta0=[0.0, 0.0], choices=True)
    assert sim.choices is not None
    assert sim.choices[0].tolist() == [1, -1]
    assert sim.steps.tolist() == [1]
    assert sim.stage_ends.tolist() == [[0, 1]]


def test_sampled_gaps_are_the_values_of_the_drawn_data() -> None:
    """One datum an objective: whatever is drawn, the choice is by the exact gaps."""
    more: dict[str, Any] = {"theta0": [0.3, -0.4], "steps": 60, "choices": True, "stochastic": True}
    rule = Maxright(0.4, (0.1, 0.2))
    exact = simulate(THREE, rule, Constant(0.5), gaps="exact", **more)
    drawn = simulate(THREE, rule, Constant(0.5), gaps="sampled", **more)
    assert exact.choices is not None
    assert drawn.choices is not None
    np.testing.assert_array_equal(exact.choices, drawn.choices)
    np.testing.assert_array_equal(exact.last, drawn.last)
    assert 0 < exact.counts[0, 0] < 60


def test_every_datum_is_drawn_about_equally_often() -> None:
    """Five data with gradients along five axes, near zero slopes: the last iterate counts the draws.

    By Hoeffding each count leaves 800 ± 150 with probability at most 2 exp(-11.25) < 3e-5; the seed is fixed, so
    what held once holds always.
    """
    eye = np.eye(5)
    p = Problem((dpo(eye, 0 * eye, beta=1.0, theta_ref=np.zeros(5)), sft(np.stack([0 * eye[:2]]), [0])))
    sim = simulate(p, Alright(1.0), Constant(1e-9), theta0=np.zeros(5), steps=4000, seeds=[7], stochastic=True)
    counts = sim.last[0] / 0.5e-9
    assert abs(counts.sum() - 4000) < 1e-2
    assert (abs(counts - 800) < 150).all()


def test_recorded_steps_end_with_the_last() -> None:
    for record, steps in ((1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (3, [0, 3, 4]), ([4], [0, 4]), ([2, 9], [0, 2, 4])):
        sim = simulate(THREE, Mix(0.5), Constant(0.1), theta0=[0.0, 0.0], steps=4, record=record)
        assert sim.path().step.tolist() == steps


def test_the_default_seed_is_zero() -> None:
    more: dict[str, Any] = {"theta0": [0.0, 0.0], "steps": 40, "choices": True}
    default = simulate(THREE, Alright(0.5), Constant(0.1), **more).choices
    assert default is not None
    for seed, same in ((0, True), (1, False)):
        chosen = simulate(THREE, Alright(0.5), Constant(0.1), seeds=seed, **more).choices
        assert chosen is not None
        assert np.array_equal(default, chosen) is same


def test_two_unequal_steps_are_both_taken() -> None:
    """A constant step is passed as one number, so that two of them are the least that may differ."""
    problem, schedule = table2(), LinearDecay(D=2.0, C=0.5, T=3)
    run = simulate(problem, Mix(0.3), schedule, theta0=[1.5], steps=2)
    theta = np.array([1.5])
    for t in (1, 2):
        theta = theta - schedule.at(t) * problem.grad_mix(theta, 0.3)
    assert schedule.at(1) > 1.5 * schedule.at(2)
    np.testing.assert_allclose(run.last[0], theta, rtol=1e-14)
