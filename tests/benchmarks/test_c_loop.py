"""The C loop takes the simulator's own steps, so that the benchmarks compare like with like."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest

from benchmarks import c_loop, speed
from toyopt import Adam, AdamW, HeavyBall, Problem, sft
from toyopt.algorithms import Alright, Maxright, Rule, Sequential
from toyopt.examples import Figure2, random_problem
from toyopt.optimizers import Optimizer

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc on this machine")

STEPS = 2_000
RULES = speed.rules(STEPS) | {
    "thresholds that are met": Sequential((STEPS, STEPS), thresholds=(0.3, 0.9)),
    "uneven weights": Alright(0.2),
    "gaps to optima": Maxright(0.7, (0.05, 0.2), k=3),
}


@pytest.mark.slow
@needs_gcc
@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("world", ["table3", "ragged"])
def test_the_c_loop_takes_the_same_steps(world: str, name: str, stochastic: bool) -> None:
    if world == "table3":
        problem, theta0 = Figure2().problem(), np.array(Figure2().start)
    else:
        rng = np.random.default_rng(2)
        dpo = random_problem(rng, dim=4).objectives[0]
        problem = Problem((dpo, sft([rng.normal(size=(m, 4)) for m in (2, 5, 3)], [1, 0, 2])))
        theta0 = np.ones(4)
    simulated, c = speed.ours_and_c(problem, RULES[name], theta0, steps=STEPS, stochastic=stochastic)
    ours, theirs = simulated(), c["C -O3"]()
    assert np.linalg.norm(ours - theta0) > 0.1
    # A few ulp a step at most, see speed.same; equal to the last bit where libm is the same.
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@needs_gcc
@pytest.mark.parametrize("optimizer", [HeavyBall(), Adam(), AdamW(0.5, 0.9, 1e-3)])
@pytest.mark.parametrize("name", ["Mix", "ALRIGHT", "Sequential, thresholds"])
def test_the_c_loop_takes_the_same_steps_with_memory(name: str, optimizer: Optimizer) -> None:
    problem, theta0 = Figure2().problem(), np.array(Figure2().start)
    more: dict[str, Any] = {"steps": STEPS, "stochastic": False, "optimizer": optimizer}
    simulated, c = speed.ours_and_c(problem, RULES[name], theta0, **more)
    ours, theirs = simulated(), c["C -O3"]()
    assert (
        np.linalg.norm(ours - speed.ours_and_c(problem, RULES[name], theta0, **more | {"optimizer": None})[0]()) > 0.1
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@needs_gcc
def test_the_loop_by_hand_takes_the_same_steps() -> None:
    settings = Figure2()
    simulated, _ = speed.ours_and_c(settings.problem(), Alright(0.5), settings.start, steps=STEPS, stochastic=False)
    np.testing.assert_allclose(speed.by_hand(settings.problem(), settings.start, STEPS)(), simulated(), rtol=1e-9)


@needs_gcc
def test_another_seed_is_another_trajectory(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the agreement above is one of the draws as well."""
    settings = Figure2()
    rule: Rule = Alright(0.5)
    simulated, _ = speed.ours_and_c(settings.problem(), rule, settings.start, steps=STEPS, stochastic=False)
    ours = simulated()
    monkeypatch.setattr(speed, "SEED", speed.SEED + 1)
    _, c = speed.ours_and_c(settings.problem(), rule, settings.start, steps=STEPS, stochastic=False)
    with pytest.raises(AssertionError, match="differ by"):
        speed.same(ours, c["C -O3"](), "another seed")


def test_pcg64_state_is_numpys() -> None:
    low, high, *_ = (int(limb) for limb in c_loop.pcg64(7))
    assert high << 64 | low == np.random.default_rng(7).bit_generator.state["state"]["state"]
