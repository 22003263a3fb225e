"""The compiled loop behind `toyopt.simulate`: imported only when something is simulated, since numba is slow to load.

The rules are not written here: `toyopt.algorithms` is compiled as it stands. numba keys its on-disk cache on this
file and on what the loop closes over, so the loop closes over a digest of that module, and says on return which
one it was compiled from.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from toyopt import algorithms

SEQUENTIAL, MIX, ALRIGHT, MAXRIGHT = range(4)
NO_MERIT, MERIT_MIX, MERIT_WORST = range(3)
FINISHED, DIVERGED = range(2)
# Places in the `info` array that a run returns.
STEPS, STATUS, RECORDS, DIGEST, BEST_STEP, N_INFO = range(6)

RULES_DIGEST = int.from_bytes(
    hashlib.sha256(Path(algorithms.__file__).read_bytes()).digest()[:7], "little", signed=False
)

_draw = njit(inline="always")(algorithms.draw)
_lagging = njit(inline="always")(algorithms.lagging)
_is_max_evaluation = njit(inline="always")(algorithms.is_max_evaluation)
_stage_over = njit(inline="always")(algorithms.stage_over)


@njit(inline="always")
def _margin(row, theta, origin):  # type: ignore[no-untyped-def]
    z = 0.0
    for j in range(theta.size):
        z += row[j] * (theta[j] - origin[j])
    return z


@njit(inline="always")
def _datum(rows, lo, hi, origin, theta, z, scale, g, want_grad, want_value):  # type: ignore[no-untyped-def]
    """Add scale * gradient of one datum (rows lo .. hi) to g; return its value (0 if not wanted)."""
    value = 0.0
    if hi - lo == 1:  # two answers: one exponential
        z0 = _margin(rows[lo], theta, origin)
        e = math.exp(-abs(z0))
        if want_grad:
            p = scale * (1.0 if z0 > 0.0 else e) / (1.0 + e)
            for j in range(theta.size):
                g[j] += p * rows[lo, j]
        if want_value:
            value = max(z0, 0.0) + math.log1p(e)
        return value
    m = 0.0
    for r in range(lo, hi):
        z[r - lo] = _margin(rows[r], theta, origin)
        m = max(m, z[r - lo])
    s = math.expm1(-m)
    for r in range(lo, hi):
        z[r - lo] = math.exp(z[r - lo] - m)
        s += z[r - lo]
    if want_grad:
        for r in range(lo, hi):
            p = scale * z[r - lo] / (1.0 + s)
            for j in range(theta.size):
                g[j] += p * rows[r, j]
    if want_value:
        value = m + math.log1p(s)
    return value


@njit(inline="always")
def _objective(rows, ptr, first, last, origin, theta, z, scale, g, want_grad, want_value):  # type: ignore[no-untyped-def]
    """The same for the mean over the data first .. last."""
    share = scale / (last - first)
    value = 0.0
    for n in range(first, last):
        value += _datum(rows, ptr[n], ptr[n + 1], origin, theta, z, share, g, want_grad, want_value)
    return value / (last - first)


@njit(inline="always")
def _pick(rng, first, last):  # type: ignore[no-untyped-def]
    """A datum, uniform but for a bias of (last - first) 2^-53."""
    return first + min(int(rng.random() * (last - first)), last - first - 1)


def _build(digest: int) -> Callable[..., Any]:
    """Compile the loop; `digest` stands for the source of the rules in numba's cache key."""

    # fmt: off
    def run(rows, ptr, data, origins, rule, weights, f_star, k, order, budgets, thresholds, use_thresholds,
            alphas, weight_decay, theta, steps, stochastic, sampled_gaps, rng, record_at, out_theta, out_values,
            out_step, choices, merit, merit_weights, merit_shift, best, average, counts, stage_ends, info):  # type: ignore[no-untyped-def]
        # fmt: on
        n_obj, dim = origins.shape
        widest = 0
        for n in range(ptr.size - 1):
            widest = max(widest, ptr[n + 1] - ptr[n])
        z = np.empty(widest)
        g = np.empty(dim)
        before = np.empty(dim)
        gaps = np.zeros(n_obj)
        drawn = np.zeros(n_obj, np.int64)
        best_value = math.inf
        stage = 0
        done = 0
        n_records = 0
        next_record = 0
        info[DIGEST] = digest
        info[STATUS] = FINISHED
        t = 0
        while True:
            # What is asked of the iterate theta_t itself.
            if average.size:
                for j in range(dim):
                    average[j] += theta[j]
            if merit != NO_MERIT:
                total = 0.0
                for i in range(n_obj):
                    f = _objective(rows, ptr, data[i], data[i + 1], origins[i], theta, z, 1.0, g, False, True)
                    w = merit_weights[i] * (f - merit_shift[i])
                    if merit == MERIT_MIX:
                        total += w
                    elif i == 0 or w > total:
                        total = w
                if total < best_value:
                    best_value = total
                    info[BEST_STEP] = t
                    for j in range(dim):
                        best[j] = theta[j]
            # The rule decides.
            index = -1
            over = t >= steps
            value = 0.0
            if not over and rule == SEQUENTIAL:
                while stage < budgets.size:
                    value = math.inf
                    i = order[stage]
                    if use_thresholds and budgets[stage] > 0:
                        value = _objective(rows, ptr, data[i], data[i + 1], origins[i], theta, z, 1.0, g, False, True)
                    if not _stage_over(done, budgets[stage], value, thresholds[stage]):
                        index = i
                        break
                    stage_ends[stage] = t
                    stage += 1
                    done = 0
                over = stage >= budgets.size
            if record_at.size:
                due = next_record < record_at.size and record_at[next_record] == t
                if due:
                    next_record += 1
                if due or over:
                    out_step[n_records] = t
                    for j in range(dim):
                        out_theta[n_records, j] = theta[j]
                    for i in range(n_obj):
                        out_values[n_records, i] = _objective(
                            rows, ptr, data[i], data[i + 1], origins[i], theta, z, 1.0, g, False, True)
                    n_records += 1
            if over:
                break
            for j in range(dim):
                g[j] = 0.0
            if rule == ALRIGHT:
                index = _draw(rng.random(), weights)
            elif rule == MAXRIGHT:
                if _is_max_evaluation(t, k):
                    for i in range(n_obj):
                        if sampled_gaps:
                            n = _pick(rng, data[i], data[i + 1])
                            drawn[i] = n
                            f = _datum(rows, ptr[n], ptr[n + 1], origins[i], theta, z, 1.0, g, False, True)
                        else:
                            f = _objective(rows, ptr, data[i], data[i + 1], origins[i], theta, z, 1.0, g, False, True)
                        gaps[i] = f - f_star[i]
                index = _lagging(weights, gaps)
            # Its gradient, or the weighted sum of all.
            for i in range(n_obj):
                if rule == MIX:
                    scale = weights[i]
                elif i == index:
                    scale = 1.0
                else:
                    continue
                want = rule == MAXRIGHT
                if stochastic:
                    if want and sampled_gaps and _is_max_evaluation(t, k):
                        n = drawn[i]
                    else:
                        n = _pick(rng, data[i], data[i + 1])
                    value = _datum(rows, ptr[n], ptr[n + 1], origins[i], theta, z, scale, g, True, want)
                    if want and not sampled_gaps and not _is_max_evaluation(t, k):
                        value = _objective(rows, ptr, data[i], data[i + 1], origins[i], theta, z, 1.0, g, False, True)
                    elif want and not sampled_gaps:
                        value = gaps[i] + f_star[i]
                else:
                    value = _objective(rows, ptr, data[i], data[i + 1], origins[i], theta, z, scale, g, True, want)
            if index >= 0:
                counts[index] += 1
                if rule == MAXRIGHT:
                    gaps[index] = value - f_star[index]
            if choices.size:
                choices[t] = index
            alpha = alphas[t if alphas.size > 1 else 0]
            size = 0.0
            for j in range(dim):
                before[j] = theta[j]
                theta[j] -= alpha * (g[j] + weight_decay * theta[j])
                size += abs(theta[j])
            if not size < math.inf:
                info[STATUS] = DIVERGED
                for j in range(dim):
                    theta[j] = before[j]
                if record_at.size and (n_records == 0 or out_step[n_records - 1] != t):
                    out_step[n_records] = t
                    for j in range(dim):
                        out_theta[n_records, j] = theta[j]
                    for i in range(n_obj):
                        out_values[n_records, i] = _objective(
                            rows, ptr, data[i], data[i + 1], origins[i], theta, z, 1.0, g, False, True)
                    n_records += 1
                break
            t += 1
            done += 1
        for j in range(average.size):
            average[j] /= t + 1
        for s in range(stage, stage_ends.size):
            stage_ends[s] = t
        info[STEPS] = t
        info[RECORDS] = n_records

    return njit(nogil=True, cache=True, error_model="numpy")(run)  # type: ignore[no-any-return]


run = _build(RULES_DIGEST)
