"""Sequential with heavy-ball momentum μ: its gap is λ log T with the step α/(1-μ), from both sides.

A phase is v_{t+1} = v_t + b_t, b_t = μ b_{t-1} + η σ(-v_t), b_{-1} = 0, η = c² alpha. With m = μ/(1-μ) and E = η/(1-μ)
the sequence z_t = v_t + m b_{t-1} follows z_{t+1} = z_t + E σ(-v_t), and v_t is a mean of z_0 .. z_t. So Lemma P's
argument holds for z, with v a little behind. Beyond the paper: docs/theory.md, S11.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.optimizers import HeavyBall
from toyopt.record import Record
from toyopt.theorems.sequential import memory
from toyopt.theorems.sequential.potential import advance, softplus
from toyopt.theorems.sequential.two_phases import Order

_U = 2.0**-53
_SOURCE = "beyond the paper, docs/theory.md, S11"
_LONGEST = 1024  # steps of which each is bounded by itself


@dataclass(frozen=True)
class _Steps:
    """Bounds, step by step, of all runs whose start is in an interval; index t = 0 .. T."""

    v: Array  # (T + 1,) from below
    above: Array  # (T + 1,) v from above
    z: Array  # (T + 1,) from below
    top: Array  # (T + 1,) z from above
    ball: Array  # (T + 1,) b_{t-1} from above


def enclosure(low: float, high: float, eta: float, momentum: float, T: int) -> tuple[float, float]:
    """Compute a lower and an upper bound of v_T for every start v_0 in [low, high].

    Statement: (S.12) and (S.13) of docs/theory.md from the end of the first steps on, which are bounded one by one.
    Arguments: eta > 0, 0 <= momentum < 1, T >= 0, an int.
    Returns: two floats, rounded outwards by 64 u (4 + |v_0| + |v_T|) and 8 u for each step that is bounded.
    """
    steps = _first_steps(low, high, eta, momentum, min(T, _LONGEST))
    near, E = len(steps.v) - 1, eta / (1.0 - momentum)
    if near == T:
        below, above = float(steps.v[-1]), float(steps.above[-1])
    else:
        lags = min(T, 1 + (0 if momentum == 0.0 else math.ceil(45.0 / -math.log(momentum))))
        t = T - np.arange(lags)
        far = np.asarray(advance(float(steps.z[-1]), E * np.maximum(t - near, 0.0), 0.0))
        behind = np.where(t >= near, far, steps.z[np.minimum(t, near)])
        # The rest of the shares is at least at v_0.
        below = float((1.0 - momentum) * (momentum ** np.arange(lags) @ behind) + momentum**lags * low)
        above = math.inf
    above = min(above, _upper(steps, eta, momentum, T))
    room = 64 * _U * (4 + max(abs(low), abs(high))) + 8 * _U * near * (1 + abs(below))
    return below - room, above + room + 64 * _U * abs(above)


def _first_steps(low: float, high: float, eta: float, momentum: float, T: int) -> _Steps:
    """Compute bounds of T steps: each z from those of v before, from below also by (S.12)."""
    E = eta / (1.0 - momentum)
    potential = np.asarray(advance(low, E * np.arange(T + 1.0), 0.0))
    v, above, z, top, ball = ([start] for start in (low, high, low, high, 0.0))
    for t in range(T):
        most = float(expit(-v[t]))
        ball.append(momentum * ball[t] + eta * most)
        top.append(top[t] + E * most)
        z.append(max(z[t] + E * float(expit(-above[t])), float(potential[t + 1])))
        v.append((1.0 - momentum) * z[t + 1] + momentum * v[t])
        above.append((1.0 - momentum) * top[t + 1] + momentum * above[t])
    return _Steps(*map(np.array, (v, above, z, top, ball)))


def _upper(steps: _Steps, eta: float, momentum: float, T: int) -> float:
    """Compute an upper bound of z_T, at least v_T, by (S.13): the least by several numbers s of first steps."""
    E, m = eta / (1.0 - momentum), momentum / (1.0 - momentum)
    near = len(steps.v) - 1
    best = float(steps.top[-1]) + E * (T - near) * float(expit(-steps.v[-1]))
    for s in {0, near, *(2**k for k in range(10))}:
        if s > near:
            continue
        D = E * float(expit(-steps.v[s]))
        B = max(float(steps.ball[s]), D)
        if m * B > 50.0 or D > 50.0:
            continue
        kappa = math.expm1(m * B) / (m * B) if m * B > 1e-8 else 1.0 + m * B
        curved = 0.5 * math.exp(D)  # (e^D - 1 - D)/D² is at most that
        A = E * (m * kappa + math.exp(m * B) * curved)
        turn, top = _turning(A), float(steps.top[s])
        if steps.z[s] < turn:
            continue
        rise = E * (T - s) + E * m * kappa * B * (1.0 + 1.0 / (1.0 - momentum))
        best = min(best, _largest_root(top, rise, A, max(turn, top)))
    return best


def _turning(A: float) -> float:
    """Compute the z from which z + e^z - A log(1+e^z) increases: -inf for A <= 4."""
    return math.log(((A - 2.0) + math.sqrt((A - 2.0) ** 2 - 4.0)) / 2.0) if A > 4.0 else -math.inf


def _largest_root(z: float, rise: float, A: float, least: float) -> float:
    """Compute the u >= least with Φ(u) = Φ(z) + rise, Φ(u) = u + e^u - A log(1+e^u), increasing from `least` on."""

    def over(u: float) -> float:  # divided by e^z for large z, so that nothing overflows
        top = max(z, 0.0)
        grown = math.exp(min(u - top, 700.0)) - math.exp(z - top)
        return grown + math.exp(-top) * ((u - z) - A * float(softplus(u) - softplus(z)) - rise)

    wide = 1.0
    while over(least + wide) <= 0.0:
        wide *= 2.0
    return float(brentq(over, least, least + wide, xtol=4 * _U, rtol=8 * _U)) if over(least) < 0.0 else least


@reads_numbers
def sequential_heavy_ball(
    *,
    lam: float,
    T_DPO: int,
    T_SFT: int,
    momentum: float = 0.9,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 0.1,
    theta_1: float | None = None,
    order: Order = "dpo-first",
) -> tuple[Record, ...]:
    """Compute both sides of Theorem S for heavy-ball momentum: bounds of Sequential's gap, and λ log(η T/(1-μ)).

    Problem: f_DPO = log(1+e^{-c(theta-theta_ref)}), f_SFT = log(1+e^{c theta}), full gradients, constant alpha, any η =
        c² alpha > 0, any start; `toyopt.HeavyBall`, its memory reset between the phases.
    Statement: min G_Mix,λ <= G_Mix,λ(theta_T) <= max G_Mix,λ over an enclosure of theta_T; and |G_Mix,λ(theta_T) - μ_λ
        log(η T_2/(1-μ)) - (μ_λ c theta_ref - f*_Mix,λ)| <= an explicit error, of the order (log T)/T; μ_λ = λ (DPO
        first) or 1-λ, T_2 the last phase's length.
    Kind: lower, and upper twice. Source: beyond the paper, docs/theory.md, S11.
    Arguments: lam in (0, 1); T_DPO, T_SFT >= 1; 0 <= momentum < 1; c, theta_ref, alpha, theta_1 (None: theta_ref),
        order. Returns: three Records. Raises: ValueError or TypeError naming the argument.
    """
    run, optimizer = memory.family(c, theta_ref, theta_1, order), HeavyBall(momentum)
    eta = c**2 * _check.real("alpha", alpha, above=0.0)
    T_1, T_2 = memory.lengths(T_DPO, T_SFT, order)
    starts = memory.turned(run, *enclosure(run.start, run.start, eta, momentum, T_1))
    low, high = enclosure(*starts, eta, momentum, T_2)
    w, rounding = memory.follow(run, optimizer, alpha, T_1, T_2)
    log_y = math.log(eta * T_2 / (1.0 - momentum))
    last = "T_SFT" if order == "dpo-first" else "T_DPO"
    law, note = f"c²α {last}/(1-μ)", f"μ = {momentum:g}: a step α/(1-μ) = {alpha / (1.0 - momentum):g} without momentum"
    return memory.records("S-ball", _SOURCE, run, lam, low, high, w, rounding, log_y, law, note)
