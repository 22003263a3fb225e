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
