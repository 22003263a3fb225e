"""The compiled simulator against the plain-Python oracle, step by step."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import oracle
from support import strategies as own
from support.depth import DEEP

from toyopt import (
    Alright,
    Constant,
    InverseRootHorizon,
    LinearDecay,
    Maxright,
    Merit,
    Mix,
    Replay,
    Sequential,
    Simulation,
    ZamaniGlineur,
    simulate,
)
from toyopt.algorithms import Rule, Schedule

EPS = np.finfo(float).eps
STEPS = 40
LAM = {2: 0.4, 3: (0.3, 0.45, 0.25)}
WEIGHTS = {2: (0.4, 0.6), 3: (0.3, 0.45, 0.25)}
SHIFT = (0.35, 0.45, 0.3)

RULES: dict[str, Callable[[int, tuple[float, ...]], Rule]] = {
    "mix": lambda n, _: Mix(LAM[n]),
    "alright": lambda n, _: Alright(LAM[n]),
    "maxright": lambda n, f_star: Maxright(LAM[n], f_star),
    "maxright-3": lambda n, f_star: Maxright(LAM[n], f_star, k=3),
    "maxright-10": lambda n, f_star: Maxright(LAM[n], f_star, k=10),
    "sequential": lambda n, _: Sequential(((20, 20), (10, 15, 15))[n - 2], order=tuple(range(n))),
    "sequential-reversed": lambda n, _: Sequential(((13, 22), (13, 9, 11))[n - 2], order=tuple(range(n))[::-1]),
    "sequential-stages": lambda n, _: Sequential((7, 0, 11, 5), order=(0, n - 1, n - 1, 0)),
    "sequential-early": lambda n, _: Sequential((25, 25, 25), (0, 1, n - 1), thresholds=(0.6, 0.55, 0.5)),
    "alright-even": lambda n, _: Alright(LAM[n], alternation="even"),
    "alright-even-4": lambda n, _: Alright(LAM[n], alternation="even", block=4),
    "alright-block": lambda n, _: Alright(LAM[n], block=3),
    "replay": lambda n, _: Replay(((15, 25), (10, 12, 18))[n - 2], order=tuple(range(n)), p=0.4),
    "replay-stages": lambda n, _: Replay((7, 0, 11, 22), order=(0, n - 1, n - 1, 0), p=0.5),
    "replay-all": lambda n, _: Replay((10, 30), order=(n - 1, 0), p=1.0),
    "sequential-long": lambda n, _: Sequential((30, 30), order=(n - 1, 0)),  # cut off by `steps` in its second stage
}
MODES: dict[str, dict[str, Any]] = {
    "full": {},
    "stochastic": {"stochastic": True},
    "sampled": {"stochastic": True, "gaps": "sampled"},
}
SCHEDULES: tuple[Schedule, ...] = (
    Constant(0.5),
    InverseRootHorizon(3.0, STEPS + 1),
    LinearDecay(7.0, 1.5, STEPS + 1),
    ZamaniGlineur(5.0, 1.1, STEPS),
)
# Dimension, weight decay and schedule: each with each other at least once.
SETTINGS = [(1 + (i + j) % 4, decay, SCHEDULES[i]) for i in range(4) for j, decay in enumerate((0.0, 0.05))]
# Each rule takes a third of the settings in each mode, and all of them in the three modes together; `make test-deep`
# takes all in each.
STRIDE = 1 if DEEP else 3


@functools.cache
def even_f_star(specs: oracle.Specs) -> tuple[float, ...]:
    """Estimates of the optima with which all weighted gaps are 0.2 where Mix comes to rest: MAXRIGHT is drawn there and
    then switches between all of them."""
    n = len(specs)
    theta0 = [0.0] * len(specs[0].data[0].outputs[0])
    rest = oracle.simulate(specs, Mix(LAM[n]), Constant(0.5), theta0=theta0, steps=100).values[-1]
    return tuple(f - 0.2 / w for f, w in zip(rest, WEIGHTS[n], strict=True))


def setting(seed: int, n: int, name: str) -> tuple[oracle.Specs, Rule, Schedule, list[float], float]:
    dim, decay, schedule = SETTINGS[seed]
    specs = own.fixed(100 + seed, n, dim, scale=0.6)
    theta0 = np.random.default_rng(200 + seed).uniform(-2, 2, size=dim).tolist()
    return specs, RULES[name](n, even_f_star(specs)), schedule, theta0, decay


def f_merit(kind: str, weights: tuple[float, ...], shift: tuple[float, ...], values: list[float]) -> float:
    parts = [w * (f - s) for w, f, s in zip(weights, values, shift, strict=True)]
    return math.fsum(parts) if kind == "mix" else max(parts)


def assert_same(specs: oracle.Specs, sim: Simulation, run: oracle.Run, merit: Merit, row: int = 0) -> bool:
    """Hold one recorded run (record=1, average, choices, merit) against the oracle's, up to the first decision that
    rounding may turn, if any. Returns whether that was to the end."""
    n = len(specs)
    path, done = sim.path(row), len(run.choices)
    until = done if run.open_at is None else min(run.open_at, done)
    assert sim.choices is not None
    assert sim.choices[row, :until].tolist() == run.choices[:until]
    for t in range(until + 1):
        assert path.step[t] == t
        assert math.dist(path.theta[t], run.thetas[t]) <= run.errors[t], t
        for i, s in enumerate(specs):
            f = run.values[t][i]
            away = 2 * s.beta * s.phi * run.errors[t] + oracle.value_error(s, run.thetas[t], f)
            assert abs(path.values[t, i] - f) <= away, t
    if run.open_at is not None:
        return False
    # From here on what the loop itself makes of its iterates.
    assert sim.steps[row] == done
    assert len(path.step) == done + 1
    assert (sim.choices[row, done:] == -1).all()
    assert sim.counts[row].tolist() == [run.choices.count(i) for i in range(n)]
    assert sim.stage_ends[row].tolist() == run.stage_ends
    assert not sim.diverged[row]
    np.testing.assert_array_equal(sim.last[row], path.theta[-1])
    size = np.abs(path.theta).max() + 1e-300
    assert sim.average is not None
    # A running sum of done + 1 numbers of at most this size, divided by how many they are.
    np.testing.assert_allclose(sim.average[row], path.theta.mean(axis=0), rtol=0, atol=2 * (done + 2) * EPS * size)
    shift = merit.shift or (0.0,) * n
    worth = [f_merit(merit.kind, WEIGHTS[n], shift, list(v)) for v in path.values]
    assert sim.best is not None
    assert sim.best_step is not None
    best = int(sim.best_step[row])
    np.testing.assert_array_equal(sim.best[row], path.theta[best])
    # The loop's own sum of n products of numbers of this size; where nothing else is as low, it must be this one.
    tie = 4 * n * EPS * max(1.0, np.abs(path.values).max())
    assert worth[best] <= min(worth) + tie
    if sum(w <= min(worth) + tie for w in worth) == 1:
        assert best == int(np.argmin(worth))
    return True


def both(
    specs: oracle.Specs,
    rule: Rule,
    schedule: Schedule,
    theta0: list[float],
    seed: int,
    decay: float,
    mode: str,
    loosest: float = 1e-10,
) -> bool:
    n = len(specs)
    kind = ("mix", "worst")[seed % 2]
    merit = Merit(kind, LAM[n], SHIFT[:n] if seed % 3 else None)  # type: ignore[arg-type]
    sim = simulate(
        oracle.problem(specs), rule, schedule, theta0=theta0, steps=STEPS, seeds=seed, weight_decay=decay, record=1,
        average=True, choices=True, merit=merit, **MODES[mode],
    )  # fmt: skip
    run = oracle.simulate(
        specs, rule, schedule, theta0=theta0, steps=STEPS, seed=seed, weight_decay=decay, **MODES[mode]
    )
    assert run.errors[-1] < loosest  # the tolerance is itself so tight
    return assert_same(specs, sim, run, merit)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", RULES)
def test_every_rule_against_the_oracle(name: str, mode: str, n: int) -> None:
    for seed in range(list(MODES).index(mode) % STRIDE, len(SETTINGS), STRIDE):
        specs, rule, schedule, theta0, decay = setting(seed, n, name)
        # No decision of these problems lies within rounding: the comparison runs to the end.
        assert both(specs, rule, schedule, theta0, seed, decay, mode)


@pytest.mark.slow
@given(st.data(), own.problems(), st.sampled_from(sorted(RULES)), st.sampled_from(sorted(MODES)))
def test_random_problems_against_the_oracle(data: st.DataObject, specs: oracle.Specs, name: str, mode: str) -> None:
    theta0 = list(data.draw(own.points(specs, (1.0, 5.0))))
    decay = data.draw(st.sampled_from([0.0, 0.01, 0.3]))
    # Steps of at most 2/L do not amplify rounding, nor do much larger ones on so few steps.
    alpha = 1.5 / (max(oracle.smoothness(s) for s in specs) + decay + 0.01)
    seed = data.draw(st.integers(0, 5))
    f_star = tuple(oracle.value(s, theta0) - 0.2 / w for s, w in zip(specs, WEIGHTS[len(specs)], strict=True))
    both(specs, RULES[name](len(specs), f_star), Constant(min(alpha, 1.0)), theta0, seed, decay, mode, math.inf)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alright", "maxright", "maxright-3", "maxright-10"])
@pytest.mark.parametrize("n", [2, 3])
def test_the_problems_above_make_every_rule_choose_every_objective(name: str, n: int) -> None:
    """So that the comparison is not about runs that never switch: each is chosen in at least half of the settings."""
    seen = np.zeros(n)
    for seed in range(len(SETTINGS)):
        specs, rule, schedule, theta0, decay = setting(seed, n, name)
        run = oracle.simulate(
            specs, rule, schedule, theta0=theta0, steps=STEPS, seed=seed, weight_decay=decay, stochastic=True
        )
        seen += [i in run.choices for i in range(n)]
    assert (seen >= len(SETTINGS) / 2).all()


def wrongly(change: str, right: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the oracle with one thing wrong."""
    specs, rule = right["specs"], right["rule"]
    dpo, f_star = specs[0], rule.f_star
    other: dict[str, dict[str, Any]] = {
        "nothing": {},
        "alpha": {"schedule": Constant(0.5 * (1 + 1e-9))},
        "decay": {"weight_decay": 0.05 + 1e-10},
        "seed": {"seed": right["seed"] + 1},
        "k": {"rule": Maxright(rule.lam, f_star, k=4)},
        "f_star": {"rule": Maxright(rule.lam, (f_star[0] + 0.1, f_star[1]), k=3)},
        "lam": {"rule": Maxright(rule.lam + 0.1, f_star, k=3)},
        "gaps": {"gaps": "exact"},
        "start": {"theta0": [right["theta0"][0] + 1e-9, *right["theta0"][1:]]},
        "beta": {"specs": (dataclasses.replace(dpo, beta=dpo.beta * (1 + 1e-9)), specs[1])},
    }
    return right | other[change]


@pytest.mark.parametrize("change", ["nothing", "alpha", "decay", "seed", "k", "f_star", "lam", "gaps", "start", "beta"])
def test_the_comparison_detects_planted_faults(change: str) -> None:
    """Each of these, off by as little as a billionth, is told from rounding."""
    specs, rule, _, theta0, _ = setting(4, 2, "maxright-3")
    right = {
        "specs": specs, "rule": rule, "schedule": Constant(0.5), "theta0": theta0, "steps": STEPS, "seed": 4,
        "weight_decay": 0.05, **MODES["sampled"],
    }  # fmt: skip
    merit = Merit("mix", LAM[2])
    sim = simulate(
        oracle.problem(specs), rule, Constant(0.5), theta0=theta0, steps=STEPS, seeds=4, weight_decay=0.05, record=1,
        average=True, choices=True, merit=merit, **MODES["sampled"],
    )  # fmt: skip
    run = oracle.simulate(**wrongly(change, right))
    if change == "nothing":
        assert assert_same(specs, sim, run, merit)
    else:
        with pytest.raises(AssertionError):
            assert_same(specs, sim, run, merit)


def test_exact_ties_go_to_dpo() -> None:
    """f_DPO = log(1 + e^-θ) and f_SFT = log(1 + e^θ) are equal at 0: DPO steps to the right, and SFT lags."""
    pair, mirror = oracle.Datum(((1.0,), (0.0,)), 0, 1), oracle.Datum(((0.0,), (1.0,)), 0)
    specs = (oracle.Spec("dpo", (pair,), 1.0, (0.0,)), oracle.Spec("sft", (mirror,)))
    for k, expected in ((1, [0, 1]), (2, [0, 0])):  # k = 2: the stored gaps, both log 2, tie once more
        rule = Maxright(0.5, (0.0, 0.0), k)
        sim = simulate(oracle.problem(specs), rule, Constant(0.5), theta0=[0.0], steps=2, choices=True)
        assert sim.choices is not None
        assert sim.choices[0].tolist() == expected


def test_among_three_equal_objectives_the_first_of_the_largest_weights_is_chosen() -> None:
    mirror = oracle.Datum(((0.0,), (1.0,)), 0)
    triple = oracle.problem(tuple(oracle.Spec(f"sft{i}", (mirror,)) for i in range(3)))
    for lam, first in (((0.5, 0.25, 0.25), 0), ((0.25, 0.25, 0.5), 2), ((0.2, 0.4, 0.4), 1)):
        sim = simulate(triple, Maxright(lam, (0.0,) * 3, k=3), Constant(0.5), theta0=[0.2], steps=3, choices=True)
        assert sim.choices is not None
        assert sim.choices[0, 0] == first
        assert sim.counts.sum() == 3
