"""Arguments of the compiled loop behind `toyopt.simulate`: arrays and numbers, in named tuples.

numba takes such tuples as they are. This module is free of numba, so that only a simulation has to load it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toyopt._check import Array

if TYPE_CHECKING:
    from toyopt.problem import Problem

SEQUENTIAL, MIX, ALRIGHT, MAXRIGHT, REPLAY = range(5)
KINDS = {"sequential": SEQUENTIAL, "mix": MIX, "alright": ALRIGHT, "maxright": MAXRIGHT, "replay": REPLAY}
HEAVY_BALL, ADAM, ADAMW = range(3)
NO_MERIT, MERIT_MIX, MERIT_WORST = range(3)
FINISHED, DIVERGED = range(2)
# Places in a run's row of `Out.info`; the last three are the loop's own.
STEPS, STATUS, RECORDS, DIGEST, BEST_STEP, STAGE, DONE, NEXT_RECORD, N_INFO = range(9)

Ints = NDArray[np.int64]


class Data(NamedTuple):
    """P, the problem: all objectives' data, one after the other."""

    rows: Array  # (R, d)
    ptr: Ints  # (N+1,) datum m has the rows ptr[m] .. ptr[m+1]
    data: Ints  # (n+1,) objective i has the data data[i] .. data[i+1]
    origins: Array  # (n, d)

    @classmethod
    def of(cls, problem: Problem) -> Data:
        """Return the problem as arrays for the compiled loop."""
        counts = np.concatenate([o.counts for o in problem.objectives])
        return cls(
            rows=np.concatenate([o.rows for o in problem.objectives]),
            ptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            data=np.concatenate([[0], np.cumsum([o.size for o in problem.objectives])]).astype(np.int64),
            origins=np.stack([o.origin for o in problem.objectives]),
        )


class Rule(NamedTuple):
    """R, the decision rule; unused fields are empty or zero."""

    kind: int
    weights: Array  # (n,)
    f_star: Array  # (n,)
    k: int
    order: Ints  # (stages,)
    budgets: Ints  # (stages,)
    thresholds: Array  # (stages,)
    use_thresholds: bool
    replay: float  # probability of a step on an earlier stage's objective
    even: bool  # an even alternation in place of random draws
    block: int  # steps that share one draw


class Loop(NamedTuple):
    """L, length, step sizes, noise, and records of a run."""

    steps: int
    alphas: Array  # (steps,), or (1,) where the step size is constant
    weight_decay: float
    limit: float  # a run has diverged once the sum of |theta_j| is not below it
    stochastic: bool
    sampled_gaps: bool
    record_at: Ints  # increasing
    merit: int
    merit_weights: Array  # (n,)
    merit_shift: Array  # (n,)


class Optimizer(NamedTuple):
    """M, an optimizer with memory, and the memory of one run; unused fields are zero."""

    kind: int
    first: float  # μ or β1
    second: float  # β2
    epsilon: float
    stage_reset: bool
    mean: Array  # (d,) b or m
    square: Array  # (d,) v
    corrections: Array  # (2,) 1 - β1^n, 1 - β2^n
    updates: Array  # (1,) n, the updates since the memory was reset


class Out(NamedTuple):
    """Results of the runs, one row a run; results that are not asked for have no columns."""

    last: Array  # (runs, d) the start before the run, the last iterate after it
    average: Array  # (runs, d)
    best: Array  # (runs, d)
    counts: Ints  # (runs, n)
    stage_ends: Ints  # (runs, stages)
    choices: NDArray[np.int8]  # (runs, steps)
    step: Ints  # (runs, records)
    theta: Array  # (runs, records, d)
    values: Array  # (runs, records, n)
    info: Ints  # (runs, N_INFO)


class Work(NamedTuple):
    """W, one run's scratch space."""

    z: Array  # (most rows of a datum,)
    g: Array  # (d,) the gradient of a step
    before: Array  # (d,) the iterate before a step
    gaps: Array  # (n,) MAXRIGHT's stored gaps
    drawn: Ints  # (n,) the data on which sampled gaps were evaluated
    merit: Array  # (1,) the best so far
    drawn_u: Array  # (1,) the draw of the present block

    @classmethod
    def of(cls, problem: Data, widest: int) -> Work:
        """Return scratch space for a run on a problem whose data have `widest` rows at most."""
        n, dim = problem.origins.shape
        zeros = np.zeros(n), np.zeros(n, dtype=np.int64)
        return cls(np.empty(widest), np.empty(dim), np.empty(dim), *zeros, np.full(1, np.inf), np.zeros(1))
