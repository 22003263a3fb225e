"""Run a rule on a problem: the compiled loop, for one trajectory or for thousands of runs at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toyopt import _check, _kernel_types
from toyopt._check import Array
from toyopt._kernel_types import Ints
from toyopt.algorithms import Rule, check_rule
from toyopt.optimizers import Optimizer, check_optimizer
from toyopt.problem import Problem
from toyopt.progress import counted
from toyopt.schedules import Constant, Schedule


@dataclass(frozen=True)
class Merit:
    """The measure of the best iterate: Σ_i w_i (f_i - shift_i), or the largest w_i (f_i - shift_i)."""

    kind: Literal["mix", "worst"]
    lam: float | tuple[float, ...]
    shift: tuple[float, ...] | None = None  # None: zeros


@dataclass(frozen=True, eq=False)
class Path:
    """One run's recorded iterates: the start is step 0, the last iterate is always there."""

    step: Ints  # (m,)
    theta: Array  # (m, d)
    values: Array  # (m, n) every objective


@dataclass(frozen=True, eq=False)
class Simulation:
    """The result of `simulate`, one row a run. Steps count updates, so step t is the paper's theta_{t+1}.

    last, average, best  (runs, d); the average is over all iterates, the start among them; None if not asked for
    best_step            (runs,) the step of the best iterate
    counts               (runs, n) how often each objective was chosen (Mix chooses none)
    steps                (runs,) updates done
    stage_ends           (runs, stages) Sequential: the step at which each stage was over
    diverged             (runs,) theta went where values overflow; `last` is the last iterate before
    choices              (runs, steps) the index chosen at each step, -1 for none; None if not asked for
    """

    last: Array
    average: Array | None
    best: Array | None
    best_step: Ints | None
    counts: Ints
    steps: Ints
    stage_ends: Ints
    diverged: NDArray[np.bool_]
    choices: NDArray[np.int8] | None
    _record: tuple[Ints, Array, Array, Ints] | None = None

    def path(self, run: int = 0) -> Path:
        """Return the recorded trajectory of one run; ValueError if nothing was recorded."""
        if self._record is None:
            raise ValueError("run: no trajectory was recorded; call simulate with record=...")
        step, theta, values, n = self._record
        return Path(step[run, : n[run]], theta[run, : n[run]], values[run, : n[run]])


def simulate(
    problem: Problem,
    rule: Rule,
    schedule: Schedule,
    *,
    theta0: ArrayLike,
    steps: int | None = None,
    seeds: int | Iterable[int] = 0,
    stochastic: bool = False,
    weight_decay: float = 0.0,
    optimizer: Optimizer | None = None,
    gaps: Literal["exact", "sampled"] = "exact",
    record: int | Iterable[int] | None = None,
    average: bool = False,
    merit: Merit | None = None,
    choices: bool = False,
    threads: int | None = None,
) -> Simulation:
    """Run `theta <- theta - alpha_t (u_t + weight_decay theta)`, u_t as the rule decides (see `toyopt.algorithms`).

    An optimizer makes another step of the same u_t, and draws nothing.

    theta0      (d,) the start of every run, or (runs, d)
    steps       updates; None: as many as a Sequential rule has (other rules need a number)
    seeds       one run for each; run r depends on seeds[r] alone, through numpy.random.default_rng
    stochastic  each step draws its datum uniformly from the chosen objective's own data; otherwise full gradients
    optimizer   None: SGD, the step above; or HeavyBall, Adam, AdamW (see `toyopt.optimizers`)
    gaps        the values that MAXRIGHT compares: the objectives themselves, or their values on the drawn data
    record      an int: keep every so many steps; or the steps to keep. The start and the last iterate are kept too
    average     also return the average iterate
    merit       also return the best iterate, by this measure (evaluates every objective at every step)
    choices     also return the index chosen at every step
    threads     at most so many runs at a time; None: one a core

    The same arguments give the same numbers, whatever `threads` is. Raises ValueError or TypeError naming the
    argument and the value; a run that diverges is flagged in the result instead.
    """
    n, dim = len(problem), problem.dim
    checked = check_rule(rule, n)
    steps = _steps(steps, checked)
    seed_list = [_check.whole("seeds", s, low=0) for s in ([seeds] if np.ndim(seeds) == 0 else list(seeds))]  # type: ignore[arg-type]
    if not seed_list:
        raise ValueError("seeds: is empty, one run at least is needed")
    if gaps not in ("exact", "sampled"):
        raise ValueError(f"gaps: 'exact' or 'sampled' is needed, got {gaps!r}")
    if gaps == "sampled" and not stochastic:
        raise ValueError("gaps: 'sampled' needs stochastic=True, got stochastic=False")
    start = _start(theta0, len(seed_list), dim)
    loop = _kernel_types.Loop(
        steps,
        _alphas(schedule, steps),
        _check.real("weight_decay", weight_decay, low=0.0),
        _limit(problem, steps),
        bool(stochastic),
        gaps == "sampled",
        _record_steps(record, steps),
        *_merit(merit, n),
    )
    out = _allocate(start, n, loop, checked, average, choices)
    _run_all(
        _kernel_types.Data.of(problem), _rule(checked, n), loop, out, seed_list, check_optimizer(optimizer), threads
    )
    return _result(out, average, merit is not None, choices)


def _steps(steps: int | None, rule: Rule) -> int:
    if steps is not None:
        return _check.whole("steps", steps, low=1)
    if not rule.stages:
        raise ValueError(f"steps: {rule.name} has no end of its own; give a number of updates")
    return sum(count for _, count in rule.stages)


def _start(theta0: ArrayLike, runs: int, dim: int) -> Array:
    """Return a copy of the starts, (runs, d)."""
    start = _check.theta("theta0", theta0, dim)
    if start.ndim > 2 or (start.ndim == 2 and len(start) != runs):
        raise ValueError(f"theta0: shape ({dim},) or ({runs}, {dim}) is needed, got {start.shape}")
    return np.array(np.broadcast_to(start, (runs, dim)), order="C")


def _record_steps(record: int | Iterable[int] | None, steps: int) -> Ints:
    if record is None:
        return np.empty(0, dtype=np.int64)
    if not isinstance(record, Iterable):
        return np.arange(0, steps + 1, _check.whole("record", record, low=1))
    wanted = {_check.whole("record", t, low=0) for t in record}
    return np.array(sorted({0} | {t for t in wanted if t <= steps}), dtype=np.int64)


def _alphas(schedule: Schedule, steps: int) -> Array:
    """Return every step size, or one where it is constant. Raises ValueError unless all are finite and positive."""
    if isinstance(schedule, Constant):
        return np.array([float(schedule.alpha)])
    if not hasattr(schedule, "at"):
        raise TypeError(f"schedule: an object with a method at(t) is needed, got {schedule!r}")
    alphas = np.array(schedule.at(np.arange(1, steps + 1)), dtype=np.float64, order="C")
    if alphas.shape != (steps,):
        raise ValueError(f"schedule: at(t) must give a step size for every t, shape ({steps},), got {alphas.shape}")
    bad = ~(np.isfinite(alphas) & (alphas > 0.0))
    if bad.any():
        t = int(np.argmax(bad))
        raise ValueError(f"schedule: the step size of update {t + 1} must be positive, got {alphas[t]!r}")
    return alphas


def _limit(problem: Problem, steps: int) -> float:
    """Return the bound of Σ|theta_j| below which no margin, no value and no sum of them or of iterates overflows."""
    rows = max(1.0, max(float(np.abs(o.rows).max()) for o in problem.objectives))
    data = max(o.size for o in problem.objectives)
    return float(np.finfo(np.float64).max) / (4.0 * rows * data * len(problem) * (steps + 1))


def _rule(rule: Rule, n: int) -> _kernel_types.Rule:
    """Return the rule as arrays and numbers for the compiled loop; fields that it does not use are empty or zero."""
    fields = rule.compiled(n)
    stages = len(rule.stages)
    return _kernel_types.Rule(
        kind=_kernel_types.KINDS[rule.key],
        weights=np.array(fields["weights"], dtype=np.float64),
        f_star=np.array(fields.get("f_star", (0.0,) * n), dtype=np.float64),
        k=fields.get("k", 1),
        order=np.array(fields.get("order", ()), dtype=np.int64),
        budgets=np.array(fields.get("budgets", ()), dtype=np.int64),
        thresholds=np.array(fields.get("thresholds", (-np.inf,) * stages), dtype=np.float64),
        use_thresholds=fields.get("use_thresholds", False),
        replay=fields.get("replay", 0.0),
        even=fields.get("even", False),
        block=fields.get("block", 1),
    )


def _merit(merit: Merit | None, n: int) -> tuple[int, Array, Array]:
    """Return kind, weights and shifts; ValueError for a merit that does not fit n objectives."""
    if merit is None:
        return _kernel_types.NO_MERIT, np.zeros(n), np.zeros(n)
    if not isinstance(merit, Merit):
        raise TypeError(f"merit: a Merit is needed, got {merit!r}")
    kinds = {"mix": _kernel_types.MERIT_MIX, "worst": _kernel_types.MERIT_WORST}
    if merit.kind not in kinds:
        raise ValueError(f"merit.kind: 'mix' or 'worst' is needed, got {merit.kind!r}")
    shift = np.zeros(n) if merit.shift is None else _check.array("merit.shift", merit.shift, 1)
    if len(shift) != n:
        raise ValueError(f"merit.shift: {n} numbers are needed, one an objective, got {len(shift)}")
    # `np.array`: the compiled loop is compiled for arrays that can be written, and _check's cannot.
    return kinds[merit.kind], np.array(_check.weights("merit.lam", merit.lam, n)), np.array(shift)


def _allocate(
    start: Array, n: int, loop: _kernel_types.Loop, rule: Rule, average: bool, choices: bool
) -> _kernel_types.Out:
    """Return the arrays that the compiled loop writes: one row a run, so that threads never share a row."""
    runs, dim = start.shape
    stages = len(rule.stages)
    kept = len(loop.record_at) + 1 if len(loop.record_at) else 0  # the last iterate comes on top
    return _kernel_types.Out(
        last=start,
        average=np.zeros((runs, dim if average else 0)),
        best=np.empty((runs, dim)),
        counts=np.zeros((runs, n), dtype=np.int64),
        stage_ends=np.zeros((runs, stages), dtype=np.int64),
        choices=np.full((runs, loop.steps if choices else 0), -1, dtype=np.int8),
        step=np.zeros((runs, kept), dtype=np.int64),
        theta=np.empty((runs, kept, dim)),
        values=np.empty((runs, kept, n)),
        info=np.zeros((runs, _kernel_types.N_INFO), dtype=np.int64),
    )


def _result(out: _kernel_types.Out, average: bool, best: bool, choices: bool) -> Simulation:
    info = out.info
    return Simulation(
        last=out.last,
        average=out.average if average else None,
        best=out.best if best else None,
        best_step=info[:, _kernel_types.BEST_STEP] if best else None,
        counts=out.counts,
        steps=info[:, _kernel_types.STEPS],
        stage_ends=out.stage_ends,
        diverged=info[:, _kernel_types.STATUS] == _kernel_types.DIVERGED,
        choices=out.choices if choices else None,
        _record=(out.step, out.theta, out.values, info[:, _kernel_types.RECORDS]) if out.step.shape[1] else None,
    )


def _run_all(
    data: _kernel_types.Data,
    rule: _kernel_types.Rule,
    loop: _kernel_types.Loop,
    out: _kernel_types.Out,
    seeds: list[int],
    optimizer: Optimizer | None,
    threads: int | None,
) -> None:
    """Carry out all runs, the compiled loop without the interpreter's lock, so that threads are enough."""
    from toyopt import _kernel  # loads numba, which importing this module does not

    widest, dim = int(np.diff(data.ptr).max()), data.origins.shape[1]

    def arguments(r: int) -> tuple[Any, ...]:
        work, rng = _kernel_types.Work.of(data, widest), np.random.default_rng(seeds[r])
        return data, rule, loop, work, out, r, rng, None if optimizer is None else optimizer.memory(dim)

    def one(r: int) -> None:
        # Without numba (NUMBA_DISABLE_JIT=1) a run that diverges would also warn.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            _kernel.run(*arguments(r))

    def some(block: Iterable[int]) -> None:
        for r in block:
            one(r)

    _kernel.prepare(*arguments(0))
    one(0)
    if out.info[0, _kernel_types.DIGEST] != _kernel.SOURCE_DIGEST:
        raise RuntimeError("the compiled loop is older than its sources: delete toyopt/__pycache__")
    workers = _check.whole("threads", threads, low=1) if threads is not None else (os.cpu_count() or 1)
    rest = range(1, len(seeds))
    if workers == 1 or len(rest) < 2:
        some(counted(rest, len(rest), "runs"))
        return
    size = 64 if len(rest) >= 256 else 1
    blocks = [rest[i : i + size] for i in range(0, len(rest), size)]
    with ThreadPoolExecutor(min(workers, len(blocks))) as pool:
        for _ in counted(pool.map(some, blocks), len(blocks), f"blocks of {size} runs"):
            pass  # waits, and raises the exception of a run
