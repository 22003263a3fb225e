"""The recursion v_{t+1} = v_t + ησ(-v_t), compiled, with compensated sums: imported only when a run is followed.

`toyopt.simulate` rounds theta to a float at each step, so that after 10^8 steps up to 10^8 half-ulps have gathered:
more than the width of the envelope that the run is held against. Here the part of each sum that a float cannot hold is
carried on (Knuth's TwoSum), and only the relative error of the increments is left; see `TwoPhases.run_rounding`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(inline="always")
def _step(v, low, eta):  # type: ignore[no-untyped-def]
    """Compute one step of v + low: the new sum and its rounding error."""
    y = eta / (1.0 + math.exp(v)) + low
    new = v + y
    back = new - v
    return new, (v - (new - back)) + (y - back)


@njit(nogil=True, cache=True, error_model="numpy")
def one_run(v, eta, at):  # type: ignore[no-untyped-def]
    """Compute (m,) one run from v, at the steps `at` (not decreasing)."""
    out = np.empty(at.size)
    low, t = 0.0, 0
    for k in range(at.size):
        for _ in range(at[k] - t):
            v, low = _step(v, low, eta)
        t = at[k]
        out[k] = v
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def many_runs(starts, eta, steps):  # type: ignore[no-untyped-def]
    """Compute (m,) the ends of m runs of `steps` (not increasing) steps, interleaved to hide the latency of exp."""
    v, low = starts.copy(), np.zeros(starts.size)
    active, t = starts.size, 0
    while active:
        for _ in range(steps[active - 1] - t):
            for k in range(active):
                v[k], low[k] = _step(v[k], low[k], eta)
        t = steps[active - 1]
        while active and steps[active - 1] == t:
            active -= 1
    return v


@njit(nogil=True, cache=True, error_model="numpy")
def run_of_steps(v, etas):  # type: ignore[no-untyped-def]
    """Compute the end of one run from v with the steps `etas` (m,), in their order."""
    low = 0.0
    for k in range(etas.size):
        v, low = _step(v, low, etas[k])
    return v


@njit(nogil=True, cache=True, error_model="numpy")
def low_rank_run(log_q, log_r, k, h, steps):  # type: ignore[no-untyped-def]
    """Compute log Q and log R after `steps` steps of Q <- Q(1+hs)², R <- R(1-hs)², s = σ(k + R - Q)."""
    for _ in range(steps):
        step = h / (1.0 + math.exp(math.exp(log_q) - math.exp(log_r) - k))
        log_q += 2.0 * math.log1p(step)
        log_r += 2.0 * math.log1p(-step)
    return log_q, log_r


@njit(nogil=True, cache=True, error_model="numpy")
def adamw_run(w, a, e, decay, home, beta1, beta2, steps):  # type: ignore[no-untyped-def]
    """Compute the end of w <- w - decay (w - home) + a m/(sqrt(v) + e), s = σ(-w), and w, m, v of its last step.

    m and v are the bias-corrected averages of s and s², with beta1 and beta2; at least one step is made.
    """
    mean, square, left1, left2, before = 0.0, 0.0, 1.0, 1.0, w
    for _ in range(steps):
        before = w
        s = 1.0 / (1.0 + math.exp(w))
        mean = beta1 * mean + (1.0 - beta1) * s
        square = beta2 * square + (1.0 - beta2) * s * s
        left1 *= beta1
        left2 *= beta2
        w += a * (mean / (1.0 - left1)) / (math.sqrt(square / (1.0 - left2)) + e) - decay * (w - home)
    return w, before, mean / (1.0 - left1), square / (1.0 - left2)
