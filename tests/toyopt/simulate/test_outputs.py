"""What `simulate` keeps, its determinism, its seeds and threads, and divergence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import oracle
from support import strategies as own

from toyopt import (
    Alright,
    Constant,
    Maxright,
    Merit,
    Mix,
    Problem,
    Sequential,
    Simulation,
    dpo,
    sft,
    simulate,
)
from toyopt.algorithms import Rule, draw

EPS = np.finfo(float).eps
SPECS = own.fixed(7, 2, 2, scale=0.8)
PROBLEM = oracle.problem(SPECS)
START = [1.0, -2.0]


def go(rule: Rule = Mix(0.5), steps: int | None = 10, **more: Any) -> Simulation:  # noqa: B008 - frozen
    return simulate(PROBLEM, rule, more.pop("schedule", Constant(0.3)), theta0=START, steps=steps, **more)


# Records.


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        (1, list(range(11))),
        (3, [0, 3, 6, 9, 10]),
        (5, [0, 5, 10]),
        (10, [0, 10]),
        (99, [0, 10]),
        ([], [0, 10]),
        ([4], [0, 4, 10]),
        ([7, 2, 2, 200], [0, 2, 7, 10]),
        ([0, 10], [0, 10]),
        (range(1, 4), [0, 1, 2, 3, 10]),
        (np.array([2, 5]), [0, 2, 5, 10]),
    ],
    ids=str,
)
def test_the_start_and_the_last_iterate_are_always_recorded(record: Any, kept: list[int]) -> None:
    path, every = go(record=record).path(), go(record=1).path()
    assert path.step.tolist() == kept
    np.testing.assert_array_equal(path.theta, every.theta[kept])
    np.testing.assert_array_equal(path.values, every.values[kept])
    np.testing.assert_array_equal(path.theta[0], START)
    np.testing.assert_array_equal(path.theta[-1], go().last[0])


def test_a_run_that_ends_early_keeps_its_own_last_iterate() -> None:
    rule = Sequential((4, 3))
    for steps in (None, 7, 50):
        sim = go(rule, steps, record=5, choices=True, average=True)
        assert sim.path().step.tolist() == [0, 5, 7]
        assert sim.steps.tolist() == [7]
        assert sim.stage_ends.tolist() == [[4, 7]]
        assert sim.choices is not None
        assert sim.choices[0].tolist() == [0] * 4 + [1] * 3 + [-1] * ((steps or 7) - 7)
        assert sim.average is not None
        np.testing.assert_allclose(sim.average[0], go(rule, 7, record=1).path().theta.mean(axis=0), rtol=16 * EPS)
    cut = go(rule, 5, record=2)
    assert (cut.steps.tolist(), cut.stage_ends.tolist(), cut.path().step.tolist()) == ([5], [[4, 5]], [0, 2, 4, 5])


def test_a_run_whose_stages_are_over_at_once_stays_at_its_start() -> None:
    sim = go(Sequential((4, 3), thresholds=(1e3, 1e3)), record=1, average=True, merit=Merit("mix", 0.5))
    assert (sim.steps.tolist(), sim.stage_ends.tolist(), sim.counts.tolist()) == ([0], [[0, 0]], [[0, 0]])
    for array in (sim.last, sim.average, sim.best, sim.path().theta):
        np.testing.assert_array_equal(array, [START])
    assert not sim.diverged[0]


def test_what_is_not_asked_for_is_none() -> None:
    sim = go()
    assert (sim.average, sim.best, sim.best_step, sim.choices) == (None, None, None, None)
    with pytest.raises(ValueError, match="run: no trajectory was recorded"):
        sim.path()


def test_values_are_those_of_the_problem_at_the_recorded_iterates() -> None:
    path = go(record=2).path()
    np.testing.assert_allclose(path.values, PROBLEM.values(path.theta), rtol=64 * EPS)


def test_the_average_counts_the_start_and_the_last_iterate() -> None:
    sim = go(steps=1, record=1, average=True)
    assert sim.average is not None
    np.testing.assert_allclose(sim.average[0], (np.array(START) + sim.last[0]) / 2, rtol=4 * EPS)


def test_the_best_iterate_is_the_first_of_the_least() -> None:
    """A start at the optimum, which the steps leave; and features that all are equal, so that no step leaves the start
    and all iterates are as good."""
    for feature in (0.0, 1.0):
        p = Problem((dpo([[1.0]], [[feature]], beta=1.0, theta_ref=[0.0]), sft([[[feature], [1.0]]], [0])))
        for kind in ("mix", "worst"):
            sim = simulate(p, Alright(0.5), Constant(1.0), theta0=[0.0], steps=50, seeds=3, merit=Merit(kind, 0.5))  # type: ignore[arg-type]
            assert sim.best is not None
            assert sim.best_step is not None
            assert (sim.best.tolist(), sim.best_step.tolist()) == ([[0.0]], [0])


def test_worst_and_mix_merits_differ_and_take_their_weights_and_shifts() -> None:
    path = go(Sequential((20, 20)), None, record=1).path()
    found = set()
    # In the second phase f_SFT falls and f_DPO rises, so with the values of step 25 as shifts the worst is least there.
    shifts = [tuple(path.values[t].tolist()) for t in (25, 31)]
    shifts.append((50.0, 40.0))  # so that even the worst is negative
    cases = [("mix", 0.9, None), ("mix", 0.1, None), *(("worst", 0.5, s) for s in shifts), ("worst", 0.9, None)]
    for kind, lam, shift in cases:
        sim = go(Sequential((20, 20)), None, merit=Merit(kind, lam, shift))  # type: ignore[arg-type]
        weighted = (path.values - np.array(shift or (0.0, 0.0))) * [lam, 1 - lam]
        worth = weighted.sum(axis=1) if kind == "mix" else weighted.max(axis=1)
        assert sim.best_step is not None
        assert sim.best_step[0] == worth.argmin()
        found.add(int(worth.argmin()))
    assert found >= {20, 25, 31, 40}  # so that one for another would have been seen


# Seeds, threads, starts.

RULES: dict[str, Callable[[], Rule]] = {
    "mix": lambda: Mix(0.3),
    "alright": lambda: Alright(0.3),
    "maxright": lambda: Maxright(0.5, (0.3, 0.3), k=3),
    "sequential": lambda: Sequential((20, 20), thresholds=(0.3, 0.3)),
}


def everything(sim: Simulation) -> list[np.ndarray]:
    assert sim.average is not None
    assert sim.best is not None
    assert sim.best_step is not None
    assert sim.choices is not None
    paths = [sim.path(r) for r in range(len(sim.last))]
    arrays = [sim.last, sim.average, sim.best, sim.best_step, sim.counts, sim.steps, sim.stage_ends, sim.choices]
    return [*arrays, *(a for p in paths for a in (p.step, p.theta, p.values))]


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_the_same_arguments_give_the_same_bits_whatever_threads_is(name: str) -> None:
    more: dict[str, Any] = {
        "steps": 40, "seeds": range(300), "stochastic": True, "record": 7, "average": True, "choices": True,
        "merit": Merit("worst", 0.5),
    }  # fmt: skip
    first = everything(go(RULES[name](), threads=1, **more))
    for threads in (1, 2, 3, None):
        for a, b in zip(first, everything(go(RULES[name](), threads=threads, **more)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", RULES)
def test_a_run_depends_on_its_own_seed_alone(name: str) -> None:
    seeds = [5, 0, 9, 5, 2**70]
    more: dict[str, Any] = {"steps": 40, "stochastic": True}
    all_ = go(RULES[name](), seeds=seeds, **more).last
    for r, seed in enumerate(seeds):
        np.testing.assert_array_equal(go(RULES[name](), seeds=seed, **more).last[0], all_[r])
    np.testing.assert_array_equal(all_[0], all_[3])
    assert len({row.tobytes() for row in all_}) == 4  # other seeds, other draws


def test_full_gradients_without_a_coin_need_no_seed() -> None:
    for name in ("mix", "maxright", "sequential"):
        last = go(RULES[name](), 40, seeds=range(5)).last
        assert (last == last[0]).all()
    assert len({row.tobytes() for row in go(Alright(0.3), 40, seeds=range(5)).last}) == 5


def test_every_run_may_have_its_own_start() -> None:
    starts = np.array([[1.0, -2.0], [0.5, 3.0], [0.0, 0.0]])
    kept = starts.copy()
    sim = simulate(PROBLEM, Alright(0.3), Constant(0.3), theta0=starts, steps=20, seeds=[4, 5, 6])
    np.testing.assert_array_equal(starts, kept)
    for r in range(3):
        one = simulate(PROBLEM, Alright(0.3), Constant(0.3), theta0=starts[r], steps=20, seeds=4 + r)
        np.testing.assert_array_equal(one.last[0], sim.last[r])


def test_the_loop_is_compiled_once_however_the_arguments_lie_in_memory() -> None:
    """Column-major or read-only arrays are other types to numba, and each would cost seconds of compiling."""
    from toyopt import _kernel

    class Backwards:
        def at(self, t: np.ndarray) -> np.ndarray:
            out = (0.1 * t)[::-1]
            out.setflags(write=False)
            return out

    signatures = getattr(_kernel.run, "signatures", None)
    if signatures is None:
        pytest.skip("numba is switched off")
    more: dict[str, Any] = {"seeds": range(3), "steps": 3}
    for start in (np.ones((3, 2)), np.asfortranarray(np.ones((3, 2))), np.ones(2)):
        simulate(PROBLEM, Mix(0.5), Constant(0.1), theta0=start, **more)
        simulate(PROBLEM, Mix(0.5), Backwards(), theta0=start, **more)
    columns = [np.asfortranarray(np.ones((3, 2))) * i for i in (1, 2)]
    p = Problem((dpo(*columns, beta=1.0, theta_ref=[0.0, 0.0]), sft([np.asfortranarray(np.eye(2))], [0])))
    simulate(p, Mix(0.5), Constant(0.1), theta0=START, **more)
    assert [str(types[-1]) for types in _kernel.run.signatures].count("none") == 1  # None: no optimizer


def test_counts_and_coins() -> None:
    """The coin is the first thing a full-gradient ALRIGHT step draws, and the only one."""
    sim = go(Alright(0.3), 200, seeds=[8], choices=True)
    coins = np.random.default_rng(8).random(200)
    expected = [draw(float(u), (0.3, 0.7)) for u in coins]
    assert sim.choices is not None
    assert sim.choices[0].tolist() == expected
    assert sim.counts[0].tolist() == [expected.count(0), expected.count(1)]
    assert go(Alright(1.0), 50, seeds=range(9)).counts.tolist() == [[50, 0]] * 9
    assert go(Alright(0.0), 50, seeds=range(9)).counts.tolist() == [[0, 50]] * 9
    assert go(Mix(0.5), 50).counts.tolist() == [[0, 0]]


# Divergence.


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("outputs", [2, 3])
@pytest.mark.parametrize("name", RULES)
def test_a_diverging_run_is_flagged_and_there_is_no_nan_anywhere(name: str, outputs: int, scale: float) -> None:
    """Weight decay x alpha = 5: theta grows fourfold with turning signs until it leaves the floats."""
    rng = np.random.default_rng(3)
    p = Problem(
        (
            dpo(scale * rng.normal(size=(3, 2)), scale * rng.normal(size=(3, 2)), beta=1.0, theta_ref=[0.0, 0.0]),
            sft(scale * rng.normal(size=(3, outputs, 2)), [0, 0, 1]),
        )
    )
    rule = Sequential((2000, 2000)) if name == "sequential" else RULES[name]()
    for stochastic in (False, True):
        sim = simulate(
            p, rule, Constant(1.0), theta0=[1.0, -2.0], steps=4000, seeds=range(3), weight_decay=5.0,
            stochastic=stochastic, record=100, average=True, choices=True, merit=Merit("worst", 0.5),
        )  # fmt: skip
        assert sim.diverged.all()
        assert (sim.steps > 100).all()
        assert (sim.steps < 600).all()  # 4^512 = 2^1024
        for array in everything(sim):
            assert not np.isnan(array).any()
        assert np.isfinite(sim.last).all()
        assert np.isfinite(sim.average).all()  # type: ignore[arg-type]
        for r in range(3):
            path = sim.path(r)
            assert np.isfinite(path.theta).all()
            np.testing.assert_array_equal(path.theta[-1], sim.last[r])
            assert path.step[-1] == sim.steps[r]
            assert (np.diff(path.step) > 0).all()
            assert (np.diff(np.abs(path.theta[:, 0])) > 0).all()


def test_divergence_of_one_run_leaves_the_others_alone() -> None:
    starts = [[1e307, 1e307], START]
    sim = simulate(PROBLEM, Mix(0.5), Constant(1.0), theta0=starts, steps=3, seeds=[0, 1], weight_decay=30.0)
    assert sim.diverged.tolist() == [True, False]
    assert np.isfinite(sim.last).all()
    assert (sim.steps.tolist()) == [0, 3]
    np.testing.assert_array_equal(sim.last[0], starts[0])


def test_the_last_finite_iterate_is_recorded_once() -> None:
    path = go(steps=4000, weight_decay=20.0, record=1).path()
    np.testing.assert_array_equal(path.step, np.arange(len(path.step)))
    assert len(path.step) < 4000


def test_decay_below_the_limit_of_stability_does_not_diverge() -> None:
    assert not go(steps=3000, weight_decay=1.99 / 0.3 - 1).diverged[0]
