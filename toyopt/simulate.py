"""Run a rule on a problem: the compiled loop, for one trajectory or for thousands of runs at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toyopt import _check
from toyopt._check import Array
from toyopt.algorithms import Alright, Constant, Maxright, Mix, Rule, Schedule, Sequential
from toyopt.problem import Problem

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Merit:
    """What the best iterate is best at: Σ_i w_i (f_i - shift_i), or the largest w_i (f_i - shift_i)."""

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
    """What `simulate` returns, one row a run. Steps count updates, so step t is the paper's theta_{t+1}.

    last, average, best  (runs, d); the average is over all iterates, the start among them; None if not asked for
    best_step            (runs,) the step of the best iterate
    counts               (runs, n) how often each objective was chosen (Mix chooses none)
    steps                (runs,) updates done
    stage_ends           (runs, stages) Sequential: the step at which each stage was over
    diverged             (runs,) theta left the floating-point range; `last` is the last finite iterate
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
        """The recorded trajectory of one run. Raises ValueError if nothing was recorded."""
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
    gaps: Literal["exact", "sampled"] = "exact",
    record: int | Iterable[int] | None = None,
    average: bool = False,
    merit: Merit | None = None,
    choices: bool = False,
    threads: int | None = None,
) -> Simulation:
    """Run `theta <- theta - alpha_t (u_t + weight_decay theta)`, u_t as the rule decides (see `toyopt.algorithms`).

    theta0      (d,) the start of every run, or (runs, d)
    steps       updates; None: as many as a Sequential rule has (other rules need a number)
    seeds       one run for each; run r depends on seeds[r] alone, through numpy.random.default_rng
    stochastic  each step draws its datum uniformly from the chosen objective's own data; otherwise full gradients
    gaps        what MAXRIGHT compares: the objectives themselves, or their values on the drawn data
    record      an int: keep every so many steps; or the steps to keep. The start and the last iterate are kept too
    average     also return the average iterate
    merit       also return the best iterate, by this measure (evaluates every objective at every step)
    choices     also return the index chosen at every step
    threads     at most so many runs at a time; None: one a core

    The same arguments give the same numbers, whatever `threads` is. Raises ValueError or TypeError naming the
    argument and the value; a run that diverges is flagged in the result instead.
    """
    n, dim = len(problem), problem.dim
    rule.check(n)
    if steps is None:
        if not isinstance(rule, Sequential):
            raise ValueError(f"steps: {rule.name} does not say when it ends, give a number of updates")
        steps = sum(rule.steps)
    steps = _check.whole("steps", steps, low=1)
    seed_list = [_check.whole("seeds", s, low=0) for s in ([seeds] if np.ndim(seeds) == 0 else list(seeds))]  # type: ignore[list-item, arg-type]
    if not seed_list:
        raise ValueError("seeds: is empty, one run at least is needed")
    if gaps not in ("exact", "sampled"):
        raise ValueError(f"gaps: 'exact' or 'sampled' is needed, got {gaps!r}")
    if gaps == "sampled" and not stochastic:
        raise ValueError("gaps: 'sampled' needs stochastic=True, got stochastic=False")
    weight_decay = _check.real("weight_decay", weight_decay, low=0.0)
    runs = len(seed_list)
    start = np.array(_check.theta("theta0", theta0, dim))
    if start.ndim > 2 or (start.ndim == 2 and len(start) != runs):
        raise ValueError(f"theta0: shape ({dim},) or ({runs}, {dim}) is needed, got {start.shape}")
    record_at = _record_steps(record, steps)
    out = _Buffers.allocate(runs, n, dim, steps, len(record_at), rule, average, choices)
    out.last[:] = start
    fixed = _fixed_arguments(problem, rule)
    loop = dict(
        alphas=_alphas(schedule, steps),
        weight_decay=weight_decay,
        steps=steps,
        stochastic=bool(stochastic),
        sampled_gaps=gaps == "sampled",
        record_at=record_at,
    )
    loop |= _merit_arguments(merit, n)
    _run_all(fixed, loop, out, seed_list, threads)
    return out.result(average, merit is not None, choices)


def _record_steps(record: int | Iterable[int] | None, steps: int) -> Ints:
    if record is None:
        return np.empty(0, dtype=np.int64)
    if np.ndim(record) == 0 and not isinstance(record, Iterable):
        return np.arange(0, steps + 1, _check.whole("record", record, low=1))
    wanted = {_check.whole("record", t, low=0) for t in record}  # type: ignore[union-attr]
    return np.array(sorted({0} | {t for t in wanted if t <= steps}), dtype=np.int64)


def _alphas(schedule: Schedule, steps: int) -> Array:
    """Every step size, or just one where it is constant. Raises ValueError unless all are positive and finite."""
    if isinstance(schedule, Constant):
        return np.array([float(schedule.alpha)])
    alphas = np.asarray(schedule.at(np.arange(1, steps + 1)), dtype=np.float64)
    bad = ~(np.isfinite(alphas) & (alphas > 0.0))
    if bad.any():
        t = int(np.argmax(bad))
        raise ValueError(f"schedule: the step size of update {t + 1} must be positive, got {alphas[t]!r}")
    return alphas


def _fixed_arguments(problem: Problem, rule: Rule) -> dict[str, Any]:
    """The problem and the rule as arrays and numbers for the compiled loop."""
    from toyopt import _kernel

    n = len(problem)
    counts = np.concatenate([o.counts for o in problem.objectives])
    out: dict[str, Any] = {
        "rows": np.concatenate([o.rows for o in problem.objectives]),
        "ptr": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "data": np.concatenate([[0], np.cumsum([o.size for o in problem.objectives])]).astype(np.int64),
        "origins": np.stack([o.origin for o in problem.objectives]),
        "weights": np.zeros(n),
        "f_star": np.zeros(n),
        "k": 1,
        "order": np.zeros(0, dtype=np.int64),
        "budgets": np.zeros(0, dtype=np.int64),
        "thresholds": np.zeros(0),
        "use_thresholds": False,
    }
    if isinstance(rule, Sequential):
        out["rule"] = _kernel.SEQUENTIAL
        out["order"] = np.array(rule.order, dtype=np.int64)
        out["budgets"] = np.array(rule.steps, dtype=np.int64)
        out["use_thresholds"] = rule.thresholds is not None
        out["thresholds"] = np.array(rule.thresholds or [-np.inf] * len(rule.steps), dtype=np.float64)
        return out
    codes = {Mix: _kernel.MIX, Alright: _kernel.ALRIGHT, Maxright: _kernel.MAXRIGHT}
    if not isinstance(rule, Mix | Alright | Maxright):
        raise TypeError(f"rule: one of Sequential, Mix, Alright, Maxright is needed, got {rule!r}")
    out["rule"] = codes[type(rule)]
    out["weights"] = np.array(_check.weights("lam", rule.lam, n))
    if isinstance(rule, Maxright):
        out["f_star"] = np.array(rule.f_star, dtype=np.float64)
        out["k"] = int(rule.k)
    return out


def _merit_arguments(merit: Merit | None, n: int) -> dict[str, Any]:
    from toyopt import _kernel

    if merit is None:
        return {"merit": _kernel.NO_MERIT, "merit_weights": np.zeros(n), "merit_shift": np.zeros(n)}
    kinds = {"mix": _kernel.MERIT_MIX, "worst": _kernel.MERIT_WORST}
    if merit.kind not in kinds:
        raise ValueError(f"merit.kind: 'mix' or 'worst' is needed, got {merit.kind!r}")
    shift = _check.array("merit.shift", merit.shift if merit.shift is not None else [0.0] * n, 1)
    if len(shift) != n:
        raise ValueError(f"merit.shift: {n} numbers are needed, one an objective, got {len(shift)}")
    weights = np.array(_check.weights("merit.lam", merit.lam, n))
    return {"merit": kinds[merit.kind], "merit_weights": weights, "merit_shift": np.array(shift)}


@dataclass(eq=False)
class _Buffers:
    """Where the compiled loop writes: one row a run, so that threads never share one."""

    last: Array
    average: Array
    best: Array
    counts: Ints
    stage_ends: Ints
    info: Ints
    choices: NDArray[np.int8]
    step: Ints
    theta: Array
    values: Array

    @classmethod
    def allocate(
        cls, runs: int, n: int, dim: int, steps: int, records: int, rule: Rule, average: bool, choices: bool
    ) -> _Buffers:
        from toyopt import _kernel

        stages = len(rule.steps) if isinstance(rule, Sequential) else 0
        kept = records + 1 if records else 0  # the last iterate comes on top
        return cls(
            last=np.empty((runs, dim)),
            average=np.zeros((runs, dim if average else 0)),
            best=np.empty((runs, dim)),
            counts=np.zeros((runs, n), dtype=np.int64),
            stage_ends=np.zeros((runs, stages), dtype=np.int64),
            info=np.zeros((runs, _kernel.N_INFO), dtype=np.int64),
            choices=np.full((runs, steps if choices else 0), -1, dtype=np.int8),
            step=np.zeros((runs, kept), dtype=np.int64),
            theta=np.empty((runs, kept, dim)),
            values=np.empty((runs, kept, n)),
        )

    def result(self, average: bool, best: bool, choices: bool) -> Simulation:
        from toyopt import _kernel

        recorded = (self.step, self.theta, self.values, self.info[:, _kernel.RECORDS])
        return Simulation(
            last=self.last,
            average=self.average if average else None,
            best=self.best if best else None,
            best_step=self.info[:, _kernel.BEST_STEP] if best else None,
            counts=self.counts,
            steps=self.info[:, _kernel.STEPS],
            stage_ends=self.stage_ends,
            diverged=self.info[:, _kernel.STATUS] == _kernel.DIVERGED,
            choices=self.choices if choices else None,
            _record=recorded if self.step.shape[1] else None,
        )


def _run_all(
    fixed: dict[str, Any], loop: dict[str, Any], out: _Buffers, seeds: list[int], threads: int | None
) -> None:
    """All runs, the compiled loop without the interpreter's lock, so that threads are enough."""
    from toyopt import _kernel

    f, p = fixed, loop

    def one(r: int) -> None:
        # fmt: off
        _kernel.run(
            f["rows"], f["ptr"], f["data"], f["origins"], f["rule"], f["weights"], f["f_star"], f["k"], f["order"],
            f["budgets"], f["thresholds"], f["use_thresholds"], p["alphas"], p["weight_decay"], out.last[r],
            p["steps"], p["stochastic"], p["sampled_gaps"], np.random.default_rng(seeds[r]), p["record_at"],
            out.theta[r], out.values[r], out.step[r], out.choices[r], p["merit"], p["merit_weights"],
            p["merit_shift"], out.best[r], out.average[r], out.counts[r], out.stage_ends[r], out.info[r],
        )
        # fmt: on

    one(0)  # compiles, once, before any thread starts
    if out.info[0, _kernel.DIGEST] != _kernel.RULES_DIGEST:
        raise RuntimeError("the compiled loop is older than toyopt/algorithms.py: delete toyopt/__pycache__")
    workers = _check.whole("threads", threads, low=1) if threads is not None else (os.cpu_count() or 1)
    rest = range(1, len(seeds))
    if workers == 1 or len(rest) < 2:
        for r in rest:
            one(r)
        return
    blocks = [rest[i : i + 64] for i in range(0, len(rest), 64)] if len(rest) >= 256 else [[r] for r in rest]
    with ThreadPoolExecutor(min(workers, len(blocks))) as pool:
        for _ in pool.map(lambda block: [one(r) for r in block], blocks):
            pass
