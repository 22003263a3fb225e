"""Types, threads and limits of `simulate`."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from filelock import FileLock, Timeout
from numba import typeof
from support.rows import of_rows

from toyopt import Alright, Constant, Maxright, Mix, Problem, Sequential, _kernel, _kernel_types, dpo, sft, simulate
from toyopt.examples import table2
from toyopt.simulate import Merit, _alphas, _limit, _record_steps, _rule, _start


class Steps:
    """A schedule of given numbers, from update 1 on; what it was asked for is kept."""

    def __init__(self, *alphas: Any) -> None:
        self.alphas, self.asked = alphas, np.empty(0)

    def at(self, t: Any) -> Any:
        self.asked = t
        return np.array(self.alphas)[::-1][::-1]


def test_types_are_those_that_the_compiled_loop_is_compiled_for() -> None:
    sim = simulate(
        table2(), Sequential((2, 3)), Constant(1), theta0=[0], record=1, average=True, choices=True,
        merit=Merit("mix", 0.5), seeds=range(2),
    )  # fmt: skip
    whole = [sim.counts, sim.steps, sim.stage_ends, sim.best_step, sim.path().step]
    assert {a.dtype for a in whole if a is not None} == {np.dtype(np.int64)}
    assert sim.choices is not None
    assert sim.choices.dtype == np.int8
    assert sim.diverged.dtype == bool
    real = [sim.last, sim.average, sim.best, sim.path().theta, sim.path().values]
    assert {a.dtype for a in real if a is not None} == {np.dtype(np.float64)}
    assert len(sim.path(1).step) == 6
    assert [a.shape for a in (sim.counts, sim.stage_ends, sim.choices)] == [(2, 2), (2, 2), (2, 5)]
    starts = _start(np.asfortranarray(np.ones((2, 3))), 2, 3)
    assert starts.flags.c_contiguous
    assert starts.flags.writeable
    for record in (None, 2, [], [3, 1]):
        assert _record_steps(record, 5).dtype == np.int64
    assert _record_steps(2, 5).tolist() == [0, 2, 4]
    assert _record_steps(6, 5).tolist() == [0]
    for rule in (Mix(0.5), Maxright(0.5, (1, 2)), Sequential((2, 3)), Sequential((2, 3), (1, 0), (0, 1))):
        arrays = _rule(rule, 2)
        assert {arrays.order.dtype, arrays.budgets.dtype} == {np.dtype(np.int64)}
        assert {a.dtype for a in (arrays.weights, arrays.f_star, arrays.thresholds)} == {np.dtype(np.float64)}
        assert len(arrays.f_star) == len(arrays.weights) == 2
        assert (
            len(arrays.order)
            == len(arrays.budgets)
            == len(arrays.thresholds)
            == (2 if arrays.kind == _kernel_types.SEQUENTIAL else 0)
        )
    schedule = Steps(1, 2, 3)
    alphas = _alphas(schedule, 3)
    assert (alphas.dtype, alphas.flags.c_contiguous, alphas.flags.writeable) == (np.dtype(np.float64), True, True)
    assert schedule.asked.tolist() == [1, 2, 3]
    assert _alphas(Constant(2), 3).tolist() == [2.0]
    assert _alphas(Constant(2), 3).dtype == np.float64


def test_bad_steps_are_named_by_their_update() -> None:
    for alphas, message in (
        ((0.5, 0.5, 0.0), r"^schedule: the step size of update 3 must be positive, got .*0\.0"),
        ((-1.0, 0.5, 0.0), r"^schedule: the step size of update 1 must be positive, got .*-1\.0"),
        ((0.5, np.inf, 0.5), r"^schedule: the step size of update 2 must be positive, got .*inf"),
        ((0.5, 0.5), r"^schedule: at\(t\) must give a step size for every t, shape \(3,\), got \(2,\)$"),
    ):
        with pytest.raises(ValueError, match=message):
            simulate(table2(), Mix(0.5), Steps(*alphas), theta0=[0.0], steps=3)


@pytest.mark.parametrize("row", [0.25, 3.0])
def test_nothing_overflows_within_the_limit(row: float) -> None:
    """Four times the longest row, most data, all objectives and all iterates, at the limit: the largest float."""
    p = Problem((of_rows(*[[row]] * 7, name="many"), of_rows([-row / 2], name="one"), of_rows([row / 3], name="other")))
    share = _limit(p, 9) / np.finfo(float).max
    assert share * 4.0 * max(1.0, row) * 7 * 3 * 10 == pytest.approx(1.0, rel=1e-14)
    assert _limit(p, 19) == pytest.approx(_limit(p, 9) / 2, rel=1e-14)


class Loop:
    """In place of the compiled loop: who ran what, and how many at a time."""

    def __init__(self, digest: int = _kernel.SOURCE_DIGEST) -> None:
        self.digest, self.lock = digest, threading.Lock()
        self.runs: list[int] = []
        self.threads: list[threading.Thread] = []
        self.now = self.most = 0

    def __call__(self, *arguments: Any) -> None:
        out, r = arguments[4:6]
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.runs.append(r)
            self.threads.append(threading.current_thread())
        time.sleep(1e-4)
        out.info[r, _kernel_types.DIGEST] = self.digest
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize("threads", [1, 2, 3, None])
@pytest.mark.parametrize("runs", [1, 2, 3, 4, 256, 257, 330])
def test_every_run_is_done_once_by_at_most_so_many_threads(
    runs: int, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop()
    monkeypatch.setattr(_kernel, "run", loop)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    simulate(table2(), Mix(0.5), Constant(0.1), theta0=[0.0], steps=1, seeds=range(runs), threads=threads)
    assert sorted(loop.runs) == list(range(runs))
    assert loop.runs[0] == 0
    assert loop.threads[0] is threading.main_thread()
    assert len(set(loop.threads) - {threading.main_thread()}) <= (threads or 2)
    if threads == 1 or runs < 3:
        assert set(loop.threads) == {threading.main_thread()}
    else:
        assert set(loop.threads[1:]).isdisjoint({threading.main_thread()})
    if runs == 330 and threads == 3:
        assert loop.most in (2, 3)


def test_an_unknown_number_of_cores_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()
    monkeypatch.setattr(_kernel, "run", loop)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    simulate(table2(), Mix(0.5), Constant(0.1), theta0=[0.0], steps=1, seeds=range(5))
    assert set(loop.threads) == {threading.main_thread()}
    assert loop.runs == [0, 1, 2, 3, 4]


def test_a_loop_compiled_from_other_sources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kernel, "run", Loop(_kernel.SOURCE_DIGEST + 1))
    with pytest.raises(RuntimeError, match=r"^the compiled loop is older than its sources: delete toyopt/__pycache__$"):
        simulate(table2(), Mix(0.5), Constant(0.1), theta0=[0.0], steps=1)


def test_what_a_run_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()

    def fails(*args: Any) -> None:
        if args[5] == 3:
            raise ZeroDivisionError("run 3")
        loop(*args)

    monkeypatch.setattr(_kernel, "run", fails)
    for threads in (1, 2):
        with pytest.raises(ZeroDivisionError, match="run 3"):
            simulate(table2(), Mix(0.5), Constant(0.1), theta0=[0.0], steps=1, seeds=range(6), threads=threads)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"merit": Merit("mix", (0.5, 0.25, 0.25))}, ValueError, r"^merit\.lam: "),
        ({"merit": Merit("mix", 0.5, (0.0,) * 3)}, ValueError, r"^merit\.shift: 2 numbers are needed, .*, got 3$"),
        ({"merit": Merit("mix", 0.5, (0.0, np.nan))}, ValueError, r"^merit\.shift: "),
        ({"merit": Merit("most", 0.5)}, ValueError, r"^merit\.kind: 'mix' or 'worst' is needed, got 'most'$"),  # type: ignore[arg-type]
        ({"merit": 0.5}, TypeError, r"^merit: a Merit is needed, got 0\.5$"),
        ({"schedule": 0.5}, TypeError, r"^schedule: an object with a method at\(t\) is needed, got 0\.5$"),
        ({"theta0": [[0.0]] * 3}, ValueError, r"^theta0: shape \(1,\) or \(1, 1\) is needed, got \(3, 1\)$"),
        ({"theta0": [[[0.0]]]}, ValueError, r"^theta0: shape \(1,\) or \(1, 1\) is needed, got \(1, 1, 1\)$"),
        ({"steps": None}, ValueError, r"^steps: Mix has no end of its own"),
        ({"record": 0}, ValueError, r"^record: must be at least 1, got 0$"),
        ({"record": [-2]}, ValueError, r"^record: must be at least 0, got -2$"),
        ({"record": [0.5]}, TypeError, r"^record: "),
        ({"threads": 0}, ValueError, r"^threads: must be at least 1, got 0$"),
        ({"seeds": [1, -1]}, ValueError, r"^seeds: must be at least 0, got -1$"),
        ({"seeds": []}, ValueError, r"^seeds: is empty, one run at least is needed$"),
        ({"steps": 0}, ValueError, r"^steps: must be at least 1, got 0$"),
        ({"weight_decay": -1.0}, ValueError, r"^weight_decay: must be at least 0"),
        ({"gaps": "none"}, ValueError, r"^gaps: 'exact' or 'sampled' is needed, got 'none'$"),
        ({"gaps": "sampled"}, ValueError, r"^gaps: 'sampled' needs stochastic=True, got stochastic=False$"),
        ({"rule": Maxright(0.5, (0.0,))}, ValueError, r"^f_star: "),
    ],
    ids=str,
)  # fmt: skip
def test_messages(more: dict[str, Any], error: type[Exception], message: str) -> None:
    good: dict[str, Any] = {"rule": Mix(0.5), "schedule": Constant(0.1), "theta0": [0.0], "steps": 2}
    with pytest.raises(error, match=message):
        simulate(table2(), **good | more)


def test_one_step_one_seed_and_the_smallest_records_are_enough() -> None:
    good: dict[str, Any] = {"theta0": [[1.0]], "steps": 1, "seeds": [0], "threads": 1, "record": 1}
    sim = simulate(table2(), Alright(0.5), Constant(0.1), **good)
    assert sim.path().step.tolist() == [0, 1]
    assert simulate(table2(), Mix(0.5), Constant(0.1), **good | {"record": [0]}).path().step.tolist() == [0, 1]
    nothing = simulate(table2(), Mix(0.5), Constant(0.1), **good | {"record": None})
    with pytest.raises(ValueError, match=r"^run: no trajectory was recorded; call simulate with record=\.\.\.$"):
        nothing.path()


def test_data_of_several_answers_lie_one_behind_another() -> None:
    """Two objectives of several data with several answers each: full gradients are those of the problem."""
    three = sft([[[1.0], [0.0], [3.0]]] * 5, [0] * 5, name="three")
    p = Problem((three, sft([[[0.0], [1.0]], [[2.0], [0.0], [1.0], [5.0]]], [0, 1], name="two")))
    sim = simulate(p, Mix(0.3), Constant(0.125), theta0=[0.5], steps=1, record=1)
    np.testing.assert_allclose(sim.last[0], [0.5] - 0.125 * p.grad_mix([0.5], 0.3), rtol=1e-15)
    np.testing.assert_allclose(sim.path().values, p.values(sim.path().theta), rtol=1e-14)


def every_output(runs: int = 2) -> list[Any]:
    """All that the loop writes, by rules that end early or late, with two and three answers a datum."""
    three = sft([[[1.0], [0.0], [3.0]], [[0.5], [1.0]]], [0, 1], name="three")
    p = Problem((of_rows([-1.0], [0.5], name="two"), three))
    more: dict[str, Any] = {"average": True, "choices": True, "record": 2, "merit": Merit("worst", 0.4)}
    out: list[Any] = []
    for rule, stochastic in (
        (Sequential((3, 4), (0, 1), (0.0, 0.0)), False),
        (Sequential((9, 4)), False),
        (Alright(0.5), True),
        (Maxright(0.5, (0.2, 0.1), k=2), True),
    ):
        gaps: Any = "sampled" if isinstance(rule, Maxright) else "exact"
        sim = simulate(
            p, rule, Constant(0.3), theta0=[1.5], steps=7, seeds=range(runs), stochastic=stochastic, gaps=gaps, **more
        )
        path = sim.path(runs - 1)
        out += [sim.last, sim.average, sim.best, sim.best_step, sim.counts, sim.steps, sim.stage_ends, sim.choices]
        out += [path.step, path.theta, path.values, sim.diverged]
    return out


def test_the_loop_built_anew_is_the_same_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    once = every_output()
    monkeypatch.setattr(_kernel, "run", _kernel._build(_kernel.SOURCE_DIGEST))
    for one, other in zip(once, every_output(), strict=True):
        np.testing.assert_array_equal(one, other)
    # What a stage left over and an average are, by hand.
    sim = simulate(table2(), Sequential((9, 4)), Constant(0.5), theta0=[1.0], steps=3, record=1, average=True)
    assert sim.stage_ends.tolist() == [[3, 3]]
    assert sim.average is not None
    np.testing.assert_allclose(sim.average[0], sim.path().theta.mean(axis=0), rtol=1e-15)


def test_how_the_loop_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the interpreter's lock and kept on disk; what it calls without reference counts; division as NumPy's.

    Only the loop itself is called from Python, and wrappers for its parts would be half of what is compiled.
    """
    options: list[dict[str, Any]] = []

    def compiler(**given: Any) -> Any:
        options.append(given)
        return lambda function: function

    monkeypatch.setattr(_kernel, "njit", compiler)
    monkeypatch.setattr(_kernel, "_njit", compiler)
    assert callable(_kernel._build(1))
    assert _kernel.inlined(abs)(-3) == 3
    assert _kernel.merged(abs)(-3) == 3
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    assert options == [
        {"nogil": True, "cache": True, "error_model": "numpy", "no_cfunc_wrapper": True},
        {"forceinline": True, "error_model": "numpy", "_nrt": False, **wrappers},
        {"inline": "always"},
    ]


def test_one_process_at_a_time_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """While it compiles, the lock in the folder of the compiled code is taken; afterwards it is free."""
    asked: list[Any] = []

    def taken() -> bool:
        lock = FileLock(tmp_path / "toyopt._kernel.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    class Compiled:
        signatures: ClassVar[list[Any]] = []
        stats = SimpleNamespace(cache_path=str(tmp_path))

        def compile(self, types: Any) -> None:
            asked.append((types, taken()))
            self.signatures.append(types)

    monkeypatch.setattr(_kernel, "run", Compiled())
    _kernel.prepare(1, 0.5)
    _kernel.prepare(1, 0.5)
    assert asked == [((typeof(1), typeof(0.5)), True)]
    assert not taken()


def test_a_run_that_leaves_the_floats_along_one_axis_is_flagged() -> None:
    """All data lie along the first axis, so the second coordinate stays 0 and small; the sum of both is what counts."""
    p = Problem((dpo([[1.0, 0.0]], [[0.0, 0.0]], beta=1.0, theta_ref=[0.0, 0.0]), sft([[[0.5, 0.0], [0.0, 0.0]]], [0])))
    sim = simulate(p, Mix(0.5), Constant(1.0), theta0=[1.0, 0.0], steps=400, weight_decay=1e10)
    assert sim.diverged.tolist() == [True]
    assert np.isfinite(sim.last).all()
    assert sim.last[0, 1] == 0.0
