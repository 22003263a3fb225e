"""Optimizers of the simulator against torch.optim, step by step, with gradients of the plain oracle."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from support import oracle
from support import strategies as own

from toyopt import (
    Adam,
    AdamW,
    Alright,
    Constant,
    HeavyBall,
    Maxright,
    Mix,
    Problem,
    Replay,
    Sequential,
    dpo,
    sft,
    simulate,
)
from toyopt.algorithms import Cosine, Rule, Schedule
from toyopt.optimizers import Optimizer

STEPS = 60
OPTIMIZERS: dict[str, Optimizer] = {
    "heavy ball": HeavyBall(0.8),
    "heavy ball, kept": HeavyBall(0.9, stage_reset=False),
    "no memory": HeavyBall(0.0),
    "adam": Adam(),
    "adam, kept": Adam(0.8, 0.95, 1e-3, stage_reset=False),
    "adam, short": Adam(0.0, 0.5, 0.1),
    "adam, no square": Adam(0.9, 0.0, 1e-2),
    "adamw": AdamW(),
    "adamw, kept": AdamW(0.95, 0.9, 1e-6, stage_reset=False),
}
RULES: dict[str, Rule] = {
    "mix": Mix(0.4),
    "alright": Alright(0.4),
    "maxright": Maxright(0.4, (0.1, 0.2), k=3),
    "sequential": Sequential((25, 35)),
    "sequential, empty stage": Sequential((0, 20, 0, 40), order=(1, 0, 1, 1)),
    "replay": Replay((20, 40), order=(1, 0), p=0.3),
}
FAR = math.inf


def torch_optimizer(optimizer: Optimizer, theta: torch.Tensor, decay: float) -> torch.optim.Optimizer:
    """Return torch's optimizer of this kind."""
    if isinstance(optimizer, HeavyBall):
        return torch.optim.SGD([theta], lr=1.0, momentum=optimizer.momentum, weight_decay=decay)
    assert isinstance(optimizer, Adam)
    kind = torch.optim.AdamW if isinstance(optimizer, AdamW) else torch.optim.Adam
    betas = (optimizer.beta1, optimizer.beta2)
    return kind([theta], lr=1.0, betas=betas, eps=optimizer.epsilon, weight_decay=decay)


def by_torch(
    specs: oracle.Specs,
    choices: list[int],
    boundaries: set[int],
    schedule: Schedule,
    optimizer: Optimizer,
    theta0: list[float],
    decay: float,
) -> np.ndarray:
    """Return (steps + 1, d) iterates of torch's optimizer; choice -1 is Mix; at `boundaries` a stage begins."""
    theta = torch.tensor(theta0, dtype=torch.float64)
    stepper, path = torch_optimizer(optimizer, theta, decay), [theta.numpy().copy()]
    for t, choice in enumerate(choices):
        if t in boundaries and optimizer.stage_reset:
            stepper = torch_optimizer(optimizer, theta, decay)
        weights = (0.4, 0.6) if choice < 0 else tuple(float(choice == i) for i in range(2))
        here = theta.tolist()
        parts = [w * np.array(oracle.grad(s, here)) for w, s in zip(weights, specs, strict=True) if w]
        theta.grad = torch.tensor(np.sum(parts, axis=0))
        stepper.param_groups[0]["lr"] = float(schedule.at(t + 1))
        stepper.step()
        path.append(theta.numpy().copy())
    return np.array(path)


def distance(name: str, rule: str, wrong: dict[str, Any], seed: int = 3) -> float:
    """Return the largest difference of any iterate from torch's, which runs with some `wrong` numbers."""
    specs, optimizer = own.fixed(300 + seed, 2, 3, scale=0.6), OPTIMIZERS[name]
    theta0, decay, schedule = [0.7, -1.2, 0.4], 0.05, Cosine(0.2, STEPS)
    sim = simulate(
        oracle.problem(specs), RULES[rule], schedule, theta0=theta0, steps=STEPS, seeds=seed, weight_decay=decay,
        optimizer=optimizer, record=1, choices=True,
    )  # fmt: skip
    assert sim.choices is not None
    ends = {int(end) for end in sim.stage_ends[0][:-1]} - {0} if sim.stage_ends.size else set()
    decay = wrong.pop("decay", decay)
    other = dataclasses.replace(optimizer, **wrong)
    path = by_torch(specs, sim.choices[0].tolist(), ends, schedule, other, theta0, decay)
    return float(np.abs(sim.path().theta - path).max())


@pytest.mark.oracle
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("rule", RULES)
def test_every_step_is_torchs(name: str, rule: str) -> None:
    """60 steps of numbers below 5, each rounded some ten times by 2^-53 and not amplified, stay within 1e-12."""
    assert distance(name, rule, {}) < 1e-12


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("heavy ball", {"momentum": 0.8 + 1e-9}),
        ("heavy ball", {"stage_reset": False}),
        ("heavy ball, kept", {"stage_reset": True}),
        ("heavy ball", {"decay": 0.05 + 1e-9}),
        ("adam", {"beta1": 0.9 + 1e-8}),
        ("adam", {"beta2": 0.999 - 1e-8}),
        ("adam, kept", {"epsilon": 1e-3 + 1e-9}),
        ("adam", {"stage_reset": False}),
        ("adam, kept", {"stage_reset": True}),
        ("adamw", {"decay": 0.05 + 1e-9}),
        ("adamw", {"stage_reset": False}),
    ],
)
def test_a_wrong_number_is_detected(name: str, wrong: dict[str, Any]) -> None:
    assert distance(name, "sequential", dict(wrong)) > 1e-11


@pytest.mark.parametrize("optimizer", [HeavyBall(), Adam(), AdamW()])
def test_draws_are_those_of_sgd(optimizer: Optimizer) -> None:
    """Coins and drawn data alternate in one stream: one draw more or less would change every later coin."""
    problem = oracle.problem(own.fixed(7, 2, 2))
    more: dict[str, Any] = {"theta0": [0.2, 0.1], "steps": 200, "seeds": range(4), "stochastic": True, "choices": True}
    plain = simulate(problem, Alright(0.3), Constant(0.01), **more)
    sim = simulate(problem, Alright(0.3), Constant(0.01), optimizer=optimizer, **more)
    np.testing.assert_array_equal(sim.choices, plain.choices)
    assert np.abs(sim.last - plain.last).max() > 1e-3


def test_runs_do_not_share_memory() -> None:
    """Each of many runs, on two threads, is the run alone."""
    problem = oracle.problem(own.fixed(8, 2, 2))
    more: dict[str, Any] = {"theta0": [0.2, 0.1], "steps": 50, "stochastic": True, "optimizer": Adam()}
    many = simulate(problem, Alright(0.3), Constant(0.1), seeds=range(9), threads=2, **more).last
    alone = [simulate(problem, Alright(0.3), Constant(0.1), seeds=s, **more).last[0] for s in range(9)]
    np.testing.assert_array_equal(many, alone)


def test_momentum_zero_is_sgd() -> None:
    problem = oracle.problem(own.fixed(9, 2, 2))
    more: dict[str, Any] = {"theta0": [0.2, 0.1], "steps": 50, "weight_decay": 0.1}
    ball = simulate(problem, Mix(0.3), Constant(0.1), optimizer=HeavyBall(0.0), **more).last
    np.testing.assert_allclose(ball, simulate(problem, Mix(0.3), Constant(0.1), **more).last, rtol=1e-14)


@pytest.mark.slow
def test_a_long_run_of_adam_is_torchs() -> None:
    """After 20,000 steps all bias corrections but β2's have become 1, and the run is still torch's."""
    opposite = Problem((dpo([[1.0]], [[0.0]], beta=1.0, theta_ref=[0.0]), sft([[[0.0], [1.0]]], [0])))
    sim = simulate(opposite, Mix(0.4), Constant(0.01), theta0=[3.0], steps=20_000, optimizer=Adam(0.9, 0.998))
    theta = torch.tensor([3.0], dtype=torch.float64)
    stepper = torch.optim.Adam([theta], lr=0.01, betas=(0.9, 0.998))
    for _ in range(20_000):
        x = theta.item()
        theta.grad = torch.tensor([-0.4 / (1 + math.exp(x)) + 0.6 / (1 + math.exp(-x))], dtype=torch.float64)
        stepper.step()
    assert sim.last[0, 0] == pytest.approx(theta.item(), rel=1e-9)
    assert theta.item() == pytest.approx(math.log(0.4 / 0.6), abs=1e-6)  # the minimiser


def test_adam_without_epsilon_divides_by_nothing_where_the_gradient_is_zero() -> None:
    """The second coordinate's gradient is 0: 0/0, so that the run is flagged at its first step, and stays there."""
    flat = Problem(
        (dpo([[1.0, 0.0]], [[0.0, 0.0]], beta=1.0, theta_ref=[0.0, 0.0]), sft([[[0.0, 0.0], [1.0, 0.0]]], [0]))
    )
    more: dict[str, Any] = {"theta0": [1.0, 2.0], "steps": 3}
    sim = simulate(flat, Mix(0.5), Constant(0.1), optimizer=Adam(epsilon=0.0), **more)
    assert (sim.diverged.tolist(), sim.steps.tolist(), sim.last.tolist()) == ([True], [0], [[1.0, 2.0]])
    assert simulate(flat, Mix(0.5), Constant(0.1), optimizer=Adam(), **more).last[0, 1] == 2.0


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: HeavyBall(1.0), ValueError, r"momentum: must be at least 0 and less than 1, got 1\.0"),
        (lambda: HeavyBall(-0.1), ValueError, r"momentum: must be at least 0"),
        (lambda: Adam(beta1=1.0), ValueError, r"beta1: must be at least 0 and less than 1, got 1\.0"),
        (lambda: Adam(beta2=1.5), ValueError, r"beta2: "),
        (lambda: AdamW(epsilon=-1e-8), ValueError, r"epsilon: must be at least 0"),
        (lambda: Adam(beta1=FAR), ValueError, r"beta1: a finite number"),
        (lambda: Adam(beta2="0.9"), TypeError, r"beta2: a real number"),  # type: ignore[arg-type]
        (lambda: HeavyBall(0.9, 1), TypeError, r"stage_reset: True or False is needed, got 1"),  # type: ignore[arg-type]
        (lambda: AdamW(stage_reset=None), TypeError, r"stage_reset: "),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_number_is_named(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"^{words}"):
        make()


@pytest.mark.parametrize("wrong", ["adam", Adam, 0.9, True])
def test_another_object_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^optimizer: HeavyBall, Adam, AdamW or None \(SGD\) is needed, got "):
        simulate(
            oracle.problem(own.fixed(9, 2, 2)), Mix(0.3), Constant(0.1), theta0=[0.0, 0.0], steps=1, optimizer=wrong
        )


def test_sgd_alone_compiles_nothing_of_optimizers() -> None:
    """Without an optimizer the loop is compiled for None, whose fields no code can read; all three share the other."""
    from toyopt import _kernel

    if getattr(_kernel.run, "signatures", None) is None:
        pytest.skip("numba is switched off")
    problem = oracle.problem(own.fixed(9, 2, 2))
    simulate(problem, Mix(0.3), Constant(0.1), theta0=[0.0, 0.0], steps=1)
    simulate(problem, Mix(0.3), Constant(0.1), theta0=[0.0, 0.0], steps=1, optimizer=HeavyBall())
    simulate(problem, Mix(0.3), Constant(0.1), theta0=[0.0, 0.0], steps=1, optimizer=AdamW())
    kinds = sorted(str(signature[-1]).partition("(")[0] for signature in _kernel.run.signatures)
    assert kinds == ["Optimizer", "none"]
