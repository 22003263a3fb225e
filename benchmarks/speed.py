"""The benchmarks of the toy world; every function checks that both sides take the same steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.c_loop import FLAGS, NATIVE, CLoop, special_alright
from benchmarks.timing import Row, interleave
from toyopt import Adam, HeavyBall
from toyopt.algorithms import Alright, Constant, Maxright, Mix, Rule, Sequential
from toyopt.examples import Figure2, random_problem
from toyopt.optimizers import Optimizer
from toyopt.problem import Problem
from toyopt.simulate import simulate

C_BAR = 1.3  # a step is at most so many times a step of the C loop
TORCH_BAR = 1 / 1000
ALPHA, WEIGHT_DECAY, SEED = 0.01, 0.001, 5
RUNS = RUN_STEPS = 10_000


def rules(steps: int) -> dict[str, Rule]:
    """Return every rule; Sequential's thresholds are evaluated at every step and never met: no step is saved."""
    return {
        "Sequential, thresholds": Sequential((steps // 2, steps // 2), thresholds=(-1.0, -1.0)),
        "Mix": Mix(0.5),
        "ALRIGHT": Alright(0.5),
        "MAXRIGHT k=1": Maxright(0.5, (0.0, 0.0)),
        "MAXRIGHT k=10": Maxright(0.5, (0.0, 0.0), k=10),
    }


def same(ours: NDArray[np.float64], other: NDArray[np.float64], what: str, tolerance: float = 1e-9) -> None:
    """Raise unless the two last iterates agree.

    On x86-64 the C loops agree to the last bit. Elsewhere libm and the compilers may round differently: 2e5 steps, each
    with errors of a few ulp of theta (below 20 here) that the convex steps do not amplify, stay within
    2e5 x 4 x 2^-53 x 20 = 2e-9 if all add up and about 5e-12 if they are random; 1e-9 relative lies between.
    """
    error = float(np.max(np.abs(ours - other) / (1.0 + np.abs(other))))
    if not error <= tolerance:
        raise AssertionError(f"{what}: the last iterates differ by {error:.1e} (relative): not the same loop")


def ours_and_c(
    problem: Problem,
    rule: Rule,
    theta0: ArrayLike,
    *,
    steps: int,
    stochastic: bool,
    optimizer: Optimizer | None = None,
) -> tuple[Callable[[], NDArray[np.float64]], dict[str, Callable[[], NDArray[np.float64]]]]:
    """Return calls of the same run by the simulator and by the C loop."""

    def simulated() -> NDArray[np.float64]:
        return simulate(
            problem,
            rule,
            Constant(ALPHA),
            theta0=theta0,
            steps=steps,
            seeds=SEED,
            stochastic=stochastic,
            weight_decay=WEIGHT_DECAY,
            optimizer=optimizer,
        ).last[0]

    def with_flags(flags: tuple[str, ...]) -> Callable[[], NDArray[np.float64]]:
        loop = CLoop(problem, rule, optimizer=optimizer, flags=flags)
        return lambda: loop(
            theta0=theta0,
            alpha=ALPHA,
            weight_decay=WEIGHT_DECAY,
            steps=steps,
            stochastic=stochastic,
            seed=SEED,
        )

    return simulated, {"C -O3": with_flags(FLAGS), "C -O3 -march=native": with_flags(NATIVE)}


def _against_c(
    problem: Problem, theta0: ArrayLike, *, title: str, steps: int, repeats: int, stochastic: bool
) -> list[Row]:
    rows = []
    for name, rule in rules(steps).items():
        simulated, c = ours_and_c(problem, rule, theta0, steps=steps, stochastic=stochastic)
        for label, call in c.items():
            same(simulated(), call(), f"{name} against {label}")
        calls: dict[str, Callable[[], object]] = {"toyopt": simulated, **c}
        if name == "ALRIGHT" and problem.dim == 2 and not stochastic:
            special = by_hand(problem, theta0, steps)
            same(simulated(), special(), "ALRIGHT against the loop written by hand")
            calls["C by hand for Table 3"] = special
        rows.append(
            Row(f"{title}: {name}", "step", interleave(calls, repeats, steps, time.process_time), {"C -O3": C_BAR})
        )
    return rows


def by_hand(problem: Problem, theta0: ArrayLike, steps: int) -> Callable[[], NDArray[np.float64]]:
    """Return a call of ALRIGHT by the C loop written for Table 3 alone."""
    return lambda: special_alright(
        problem, 0.5, theta0=theta0, alpha=ALPHA, weight_decay=WEIGHT_DECAY, steps=steps, seed=SEED
    )


def step() -> list[Row]:
    """Time (a) a step on Table 3 for every rule, with full gradients and with drawn data."""
    settings = Figure2()
    return [
        row
        for title, stochastic in (("full gradient", False), ("drawn data", True))
        for row in _against_c(
            settings.problem(), settings.start, title=title, steps=200_000, repeats=21, stochastic=stochastic
        )
    ]


def optimizers() -> list[Row]:
    """Time a full-gradient step of Mix on Table 3 by the optimizers with memory."""
    settings, steps, rows = Figure2(), 200_000, []
    for optimizer in (HeavyBall(), Adam()):
        simulated, c = ours_and_c(
            settings.problem(), Mix(0.5), settings.start, steps=steps, stochastic=False, optimizer=optimizer
        )
        for label, call in c.items():
            same(simulated(), call(), f"{optimizer.name} against {label}")
        times = interleave({"toyopt": simulated, **c}, 21, steps, time.process_time)
        rows.append(Row(f"full gradient, Mix: {optimizer.name}", "step", times, {"C -O3": C_BAR}))
    return rows


def large() -> list[Row]:
    """Time (b) a full-gradient step with d = 16, 64 + 64 data, 4 outputs."""
    problem = random_problem(np.random.default_rng(0), dim=16, n_dpo=64, n_sft=64, outputs=4)
    return _against_c(problem, np.zeros(16), title="d=16, 64+64", steps=4_000, repeats=11, stochastic=False)


def autograd() -> list[Row]:
    """Time (c) a step beside a plain loop in torch, of which fewer steps are timed."""
    from benchmarks import torch_loop

    settings, problem = Figure2(), Figure2().problem()
    losses = torch_loop.table3(settings.theta_ref())
    rows = []
    for name, rule in rules(0).items():
        if name not in ("Mix", "ALRIGHT", "MAXRIGHT k=1"):
            continue

        def user(steps: int = 300, rule: Rule = rule) -> NDArray[np.float64]:
            return torch_loop.run(
                losses,
                rule,
                theta0=settings.start,
                alpha=ALPHA,
                weight_decay=WEIGHT_DECAY,
                steps=steps,
                seed=SEED,
            )

        short, _ = ours_and_c(problem, rule, settings.start, steps=300, stochastic=False)
        same(short(), user(), f"{name} against torch")
        long, _ = ours_and_c(problem, rule, settings.start, steps=200_000, stochastic=False)
        times = interleave({"toyopt": long, "torch autograd": user}, 9, {"toyopt": 200_000, "torch autograd": 300})
        rows.append(Row(f"full gradient: {name}", "step", times, {"torch autograd": TORCH_BAR}))
    return rows


def many() -> list[Row]:
    """Time (d) 10,000 ALRIGHT runs of 10,000 steps, two at a time, here and in C."""
    settings = Figure2()
    problem, rule = settings.problem(), Alright(0.5)
    loop = CLoop(problem, rule)
    rows = []
    for title, stochastic in (("full gradient", False), ("drawn data", True)):

        def simulated(stochastic: bool = stochastic) -> NDArray[np.float64]:
            return simulate(
                problem,
                rule,
                Constant(ALPHA),
                theta0=settings.start,
                steps=RUN_STEPS,
                seeds=range(RUNS),
                stochastic=stochastic,
                weight_decay=WEIGHT_DECAY,
                threads=2,
            ).last

        def in_c(stochastic: bool = stochastic) -> NDArray[np.float64]:
            def one(seed: int) -> NDArray[np.float64]:
                return loop(
                    theta0=settings.start,
                    alpha=ALPHA,
                    weight_decay=WEIGHT_DECAY,
                    steps=RUN_STEPS,
                    stochastic=stochastic,
                    seed=seed,
                )

            with ThreadPoolExecutor(2) as pool:
                return np.array(list(pool.map(one, range(RUNS))))

        same(simulated(), in_c(), f"10,000 runs, {title}")
        times = interleave({"toyopt": simulated, "C -O3, ctypes": in_c}, 3)
        rows.append(Row(f"10,000 runs of 10,000 steps, {title}", "all", times, {"toyopt": 10.0}))
    return rows
