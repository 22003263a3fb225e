"""The compiled loop behind `toyopt.simulate`: imported only when something is simulated, since numba is slow to load.

The rules are not written here: `toyopt.algorithms.choices` is compiled as it stands. numba keys its on-disk cache on
this file and on the loop's closure, so the closure holds a digest of the other sources of the loop, and the loop
returns the digest that it was compiled with.

What makes it as fast as C: numba counts references to an array whenever a function takes, copies or slices one, with
atomic instructions that cost more than a step's arithmetic. Only `run` counts (or the generator would leak); what it
calls is inlined and compiled with `_nrt=False`: no reference counts, so nothing there may make or return an array.

What keeps the compiling short (some 10 s of CPU time, once): no wrapper for a function that Python does not call, no
function of many arguments for a single caller (`merged`), no function compiled twice for a literal, no NumPy function.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock
from numba import njit, typeof, types

from toyopt import _kernel_optimizer, _kernel_types
from toyopt._check import Array
from toyopt._kernel_types import (
    ALRIGHT,
    BEST_STEP,
    DIGEST,
    DIVERGED,
    DONE,
    MAXRIGHT,
    MERIT_MIX,
    MIX,
    NEXT_RECORD,
    NO_MERIT,
    RECORDS,
    REPLAY,
    SEQUENTIAL,
    STAGE,
    STATUS,
    STEPS,
    Data,
    Ints,
    Loop,
    Optimizer,
    Out,
    Rule,
    Work,
)
from toyopt.algorithms import choices

SOURCE_DIGEST = int.from_bytes(
    hashlib.sha256(
        b"".join(Path(str(m.__file__)).read_bytes() for m in (choices, _kernel_types, _kernel_optimizer))
    ).digest()[:7],
    "little",
)

_Function = TypeVar("_Function", bound=Callable[..., Any])
_njit: Any = njit  # numba's own annotation leaves out _nrt


def inlined(function: _Function) -> _Function:
    """Compile a function that counts no references, inlined into its caller by LLVM."""
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # only the loop calls it
    return _njit(forceinline=True, error_model="numpy", _nrt=False, **wrappers)(function)  # type: ignore[no-any-return]


def merged(function: _Function) -> _Function:
    """Make a function part of its only caller before that is compiled, so that their many arguments cost nothing."""
    return _njit(inline="always")(function)  # type: ignore[no-any-return]


_draw: Any = inlined(choices.draw)
_largest_weighted_gap: Any = inlined(choices.largest_weighted_gap)
_even_draw: Any = inlined(choices.even_draw)
_replayed_stage: Any = inlined(choices.replayed_stage)
_is_max_evaluation = inlined(choices.is_max_evaluation)
_stage_over = inlined(choices.stage_over)
_forget = merged(_kernel_optimizer.forget)
_move = merged(_kernel_optimizer.move)


@inlined
def _plain(flag: bool) -> bool:
    """Return a flag that is no literal: numba would compile what takes it once for each literal."""
    return bool(flag)


@inlined
def _margin(P: Data, i: int, r: int, theta: Array) -> float:
    z = 0.0
    for j in range(theta.size):
        z += P.rows[r, j] * (theta[j] - P.origins[i, j])
    return z


@inlined
def _datum(P: Data, i: int, m: int, theta: Array, W: Work, scale: float, want_grad: bool, want_value: bool) -> float:
    """Add scale * gradient of objective i's datum m to W.g; return its value (0 if not wanted)."""
    lo, hi = P.ptr[m], P.ptr[m + 1]
    value = 0.0
    if hi - lo == 1:  # two answers: one exponential
        z = _margin(P, i, lo, theta)
        e = math.exp(-abs(z))
        if want_grad:
            p = scale * (1.0 if z > 0.0 else e) / (1.0 + e)
            for j in range(theta.size):
                W.g[j] += p * P.rows[lo, j]
        if want_value:
            value = max(z, 0.0) + math.log1p(e)
        return value
    top = 0.0
    for r in range(lo, hi):
        W.z[r - lo] = _margin(P, i, r, theta)
        top = max(top, W.z[r - lo])
    s = math.expm1(-top)
    for r in range(lo, hi):
        W.z[r - lo] = math.exp(W.z[r - lo] - top)
        s += W.z[r - lo]
    if want_grad:
        for r in range(lo, hi):
            p = scale * W.z[r - lo] / (1.0 + s)
            for j in range(theta.size):
                W.g[j] += p * P.rows[r, j]
    if want_value:
        value = top + math.log1p(s)
    return value


@inlined
def _objective(P: Data, i: int, theta: Array, W: Work, scale: float, want_grad: bool, want_value: bool) -> float:
    """Add scale * gradient of objective i, the mean over its data, to W.g; return its value (0 if not wanted)."""
    first, last = P.data[i], P.data[i + 1]
    share = scale / (last - first)
    value = 0.0
    for m in range(first, last):
        value += _datum(P, i, m, theta, W, share, want_grad, want_value)
    return float(value / (last - first))


@inlined
def _value(P: Data, i: int, theta: Array, W: Work) -> float:
    return _objective(P, i, theta, W, 1.0, _plain(False), _plain(True))


@inlined
def _pick(P: Data, i: int, rng: np.random.Generator) -> int:
    """One of objective i's data, uniform but for a bias of their number times 2^-53."""
    first, last = P.data[i], P.data[i + 1]
    return int(first + min(int(rng.random() * (last - first)), last - first - 1))


@merged
def _judge(P: Data, L: Loop, t: int, theta: Array, W: Work, best: Array, info: Ints) -> None:
    """Keep theta_t if its merit is the best so far."""
    total = 0.0
    for i in range(P.origins.shape[0]):
        w = L.merit_weights[i] * (_value(P, i, theta, W) - L.merit_shift[i])
        if L.merit == MERIT_MIX:
            total += w
        elif i == 0 or w > total:
            total = w
    if total < W.merit[0]:
        W.merit[0] = total
        info[BEST_STEP] = t
        for j in range(theta.size):
            best[j] = theta[j]


@inlined
def _record(P: Data, t: int, theta: Array, W: Work, out: Out, r: int) -> None:
    """Write theta_t down, unless that was done already."""
    n = out.info[r, RECORDS]
    if n > 0 and out.step[r, n - 1] == t:
        return
    out.step[r, n] = t
    for j in range(theta.size):
        out.theta[r, n, j] = theta[j]
    for i in range(P.origins.shape[0]):
        out.values[r, n, i] = _value(P, i, theta, W)
    out.info[r, RECORDS] = n + 1


@merged
def _sequential(P: Data, R: Rule, t: int, theta: Array, W: Work, stage_ends: Ints, info: Ints) -> int:
    """Return the objective of the present stage; -1 after the last."""
    while info[STAGE] < R.budgets.size:
        stage = info[STAGE]
        i = int(R.order[stage])
        value = math.inf
        if R.use_thresholds and R.budgets[stage] > 0:
            value = _value(P, i, theta, W)
        if not _stage_over(info[DONE], R.budgets[stage], value, R.thresholds[stage]):
            return i
        stage_ends[stage] = t
        info[STAGE] = stage + 1
        info[DONE] = 0
    return -1


@merged
def _maxright(P: Data, R: Rule, L: Loop, fresh: bool, theta: Array, W: Work, rng: np.random.Generator) -> int:
    """Return the objective with the largest weighted gap; `fresh`: by gaps that are evaluated now."""
    if fresh:
        for i in range(P.origins.shape[0]):
            if L.sampled_gaps:
                W.drawn[i] = _pick(P, i, rng)
                value = _datum(P, i, W.drawn[i], theta, W, 1.0, _plain(False), _plain(True))
            else:
                value = _value(P, i, theta, W)
            W.gaps[i] = value - R.f_star[i]
    return int(_largest_weighted_gap(R.weights, W.gaps))


@merged
def _gradient(
    P: Data, R: Rule, L: Loop, i: int, scale: float, fresh: bool, theta: Array, W: Work, rng: np.random.Generator
) -> None:
    """Add scale * gradient of objective i to W.g; store MAXRIGHT's gap anew unless it is fresh, eq. (19)."""
    stale = R.kind == MAXRIGHT and not fresh
    if not L.stochastic:
        value = _objective(P, i, theta, W, scale, _plain(True), stale)
    else:
        m = W.drawn[i] if fresh and L.sampled_gaps else _pick(P, i, rng)
        value = _datum(P, i, m, theta, W, scale, _plain(True), stale and L.sampled_gaps)
        if stale and not L.sampled_gaps:
            value = _value(P, i, theta, W)
    if stale:
        W.gaps[i] = value - R.f_star[i]


@merged
def _uniform(R: Rule, t: int, W: Work, rng: np.random.Generator) -> float:
    """Return ALRIGHT's number of step t."""
    if R.even:
        return float(_even_draw(t // R.block))
    if R.block == 1:  # a branch: a division in every step would cost more than the draw
        return rng.random()
    if t % R.block == 0:
        W.drawn_u[0] = rng.random()
    return float(W.drawn_u[0])


@merged
def _update(L: Loop, M: Optimizer | None, t: int, theta: Array, W: Work) -> bool:
    """Theta <- theta - alpha_t (g + weight_decay theta), or M's update; whether theta is still within the limit."""
    alpha = L.alphas[t if L.alphas.size > 1 else 0]
    size = 0.0
    if M is None:
        for j in range(theta.size):
            W.before[j] = theta[j]
            theta[j] -= alpha * (W.g[j] + L.weight_decay * theta[j])
            size += abs(theta[j])
    else:
        for j in range(theta.size):
            W.before[j] = theta[j]
        size = _move(M, alpha, L.weight_decay, W.g, theta)
    return bool(size < L.limit)


@merged
def _step(
    P: Data,
    R: Rule,
    L: Loop,
    M: Optimizer | None,
    t: int,
    index: int,
    theta: Array,
    W: Work,
    out: Out,
    r: int,
    rng: np.random.Generator,
) -> bool:
    """Decide (`index` is Sequential's decision), take the gradient, move; whether theta is still within the limit."""
    fresh = R.kind == MAXRIGHT and _is_max_evaluation(t, R.k)
    if R.kind == ALRIGHT:
        index = _draw(_uniform(R, t, W, rng), R.weights)
    elif R.kind == MAXRIGHT:
        index = _maxright(P, R, L, fresh, theta, W, rng)
    for j in range(theta.size):
        W.g[j] = 0.0
    for i in range(P.origins.shape[0]):
        if R.kind == MIX or i == index:  # a branch: the processor guesses it, and would wait for a subscript
            _gradient(P, R, L, i, R.weights[i] if R.kind == MIX else 1.0, fresh, theta, W, rng)
    if R.kind != MIX:
        out.counts[r, index] += 1
    if out.choices.size:
        out.choices[r, t] = index
    return _update(L, M, t, theta, W)


@inlined
def _iterate(
    P: Data,
    R: Rule,
    L: Loop,
    M: Optimizer | None,
    theta: Array,
    W: Work,
    out: Out,
    r: int,
    info: Ints,
    rng: np.random.Generator,
) -> int:
    """From the start, theta, to the end of run r; the number of updates."""
    t = int(np.int64(0))  # and not 0: numba would compile what takes it once for this literal, and once for integers
    while True:
        for j in range(out.average.shape[1]):
            out.average[r, j] += theta[j]
        if L.merit != NO_MERIT:
            _judge(P, L, t, theta, W, out.best[r], info)
        index = int(np.int64(-1))
        over = t >= L.steps
        if (R.kind == SEQUENTIAL or R.kind == REPLAY) and not over:
            stage = info[STAGE]
            index = _sequential(P, R, t, theta, W, out.stage_ends[r], info)
            if M is not None and M.stage_reset and info[STAGE] != stage:
                _forget(M)
            over = index < 0
            if R.replay > 0.0 and not over:
                index = int(R.order[_replayed_stage(rng.random(), R.replay, info[STAGE], R.budgets)])
        if L.record_at.size:
            n = info[NEXT_RECORD]
            due = n < L.record_at.size and L.record_at[n] == t
            info[NEXT_RECORD] = n + due
            if due or over:
                _record(P, t, theta, W, out, r)
        if over:
            return t
        if not _step(P, R, L, M, t, index, theta, W, out, r, rng):
            info[STATUS] = DIVERGED
            for j in range(theta.size):
                theta[j] = W.before[j]
            if L.record_at.size:
                _record(P, t, theta, W, out, r)
            return t
        t += 1
        info[DONE] += 1


def _build(digest: int) -> Callable[..., None]:
    """Compile the loop; `digest` stands for the other sources in numba's cache key."""

    def run(
        P: Data, R: Rule, L: Loop, W: Work, out: Out, r: int, rng: np.random.Generator, M: Optimizer | None
    ) -> None:
        """Run r, from out.last[r]."""
        info = out.info[r]
        t = _iterate(P, R, L, M, out.last[r], W, out, r, info, rng)
        for j in range(out.average.shape[1]):
            out.average[r, j] /= t + 1
        for stage in range(info[STAGE], out.stage_ends.shape[1]):
            out.stage_ends[r, stage] = t
        info[STEPS] = t
        info[DIGEST] = digest

    return _njit(nogil=True, cache=True, error_model="numpy", no_cfunc_wrapper=True)(run)  # type: ignore[no-any-return]


run: Any = _build(SOURCE_DIGEST)


def prepare(*arguments: Any) -> None:
    """Compile the loop for these arguments, or read it from disk; one process at a time, so that only one compiles.

    There are two kinds of arguments: without an optimizer (M, the last, is None), so that nothing of one is compiled,
    and with. Only the kind is looked up: to find the types of all arguments takes as long as thousands of steps.
    """
    known = getattr(run, "signatures", None)
    if known is None:  # numba is switched off
        return
    if not any((kinds[-1] is types.none) == (arguments[-1] is None) for kinds in known):
        with FileLock(Path(run.stats.cache_path) / f"{__name__}.lock"):
            run.compile(tuple(map(typeof, arguments)))
