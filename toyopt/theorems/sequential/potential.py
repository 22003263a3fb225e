"""Lemma P in float64: the potential of the recursion v_{t+1} = v_t + ησ(-v_t), its inverse, and the envelope of v_T.

    Ψ(v) = v + e^v - (η/2) L(v),   L(v) = log(1+e^v),   σ = L',   δ(η) = (e^η - 1 - η - η²/2)/η,   0 < η <= 4:

    -(η²/2) σ(-v_0)²  <=  Ψ(v_T) - Ψ(v_0) - ηT  <=  δ(η)(1+η/4) σ(-v_0),      v_T + e^{v_T}  >=  v_0 + e^{v_0} + ηT.

Beyond the paper: docs/theory.md, part S, Lemma P and corollary (i); proven there, and in balls in `toyopt.certify`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, wrightomega

from toyopt import _check
from toyopt._check import Array

_U = 2.0**-53
_STEPS = 200  # bisection alone would need about 60 + log2 of the interval


def softplus(v: ArrayLike) -> Array:
    """Compute L(v) = log(1+e^v), without overflow and with full relative precision for v -> -∞."""
    v = np.asarray(v, dtype=np.float64)
    return np.asarray(np.maximum(v, 0.0) + np.log1p(np.exp(-np.abs(v))))


def potential(v: ArrayLike, eta: float) -> Array:
    """Compute Ψ(v) = v + e^v - (η/2) L(v), strictly increasing for 0 <= η < 8.

    Source: beyond the paper, docs/theory.md, part S, Lemma P. Arguments: v, any finite numbers; eta in [0, 4].
    Returns: an array like v; inf where e^v is no float. Raises: ValueError or TypeError naming the argument.
    """
    eta, v = step(eta), numbers("v", v)
    with np.errstate(over="ignore"):
        return v + np.exp(v) - eta / 2 * softplus(v)


def inverse_potential(y: ArrayLike, eta: float) -> Array:
    """Compute the v with Ψ(v) = y, to about 4 ulp of max(|v|, |y| for y < 0, 1).

    Statement: Ψ(v) = y is v = φ(v), where φ(v) is the u with u + e^u = y + (η/2) L(v), log ω of that, ω Wright's
        function. φ increases, and left of the root φ' = (η/2) σ(v)σ(-φ(v)) <= η/8 <= 1/2 as φ(v) >= v. So with
        a = log ω(y), the root for η = 0, the root lies in [φ(a), 2φ(a) - a]; there Newton's method finds it, with
        bisection where it would leave.
    Source: beyond the paper, docs/theory.md, part S, Lemma P. Arguments: y, finite, up to 1e300 in size; eta in [0, 4].
    Returns: an array like y. Raises: ValueError or TypeError naming the argument.
    """
    eta, y = step(eta), numbers("y", y)
    first = _log_omega(y)
    low = _log_omega(y + eta / 2 * softplus(first))
    high = 2 * low - first
    return _newton(low, high, lambda v: (v + np.exp(v) - eta / 2 * softplus(v) - y, _slope(v, eta)))


def advance(v: ArrayLike, rise: ArrayLike, eta: float) -> Array:
    """Compute the u with Ψ(u) = Ψ(v) + rise: `inverse_potential(potential(v) + rise)`, also for e^v beyond floats.

    For v > 0 the equation is solved for s = u - v and divided by e^v, with log(1 + σ(v)(e^s - 1)) = L(u) - L(v); there
    rise must be at least 0, and 0 <= s <= log(1 + 2 rise e^{-v}), since Ψ' >= e^v/2 on v > 0 for η <= 4.
    Arguments: v, rise (broadcast), finite; eta in [0, 4]. Returns: an array. Raises: as usual.
    """
    eta = step(eta)
    v, rise = np.broadcast_arrays(numbers("v", v), numbers("rise", rise))
    if (wrong := (v > 0) & (rise < 0)).any():
        raise ValueError(f"rise: must be at least 0 where v > 0, got {rise[wrong][0]!r}")
    inverse, start = inverse_potential(potential(np.minimum(v, 0.0), eta) + rise, eta), np.maximum(v, 0.0)
    rest, share = np.exp(-start), expit(start)
    goal = np.maximum(rise, 0.0) * rest

    def equation(s: Array) -> tuple[Array, Array]:
        grown = np.expm1(s)
        value = rest * s + grown - eta / 2 * rest * np.log1p(share * grown) - goal
        return value, rest + 1 + grown - eta / 2 * rest * expit(start + s)

    s = _newton(np.zeros(v.shape), np.log1p(2 * goal), equation)
    return np.where(v > 0, start + s, inverse)


def envelope(v0: ArrayLike, eta: float, T: ArrayLike) -> tuple[Array, Array]:
    """Compute a lower and an upper bound of v_T, T steps of v_{t+1} = v_t + ησ(-v_t) from v_0.

    Problem: any v_0 of either sign, 0 < η <= 4, T >= 0. Exact at T = 0, and from above at T = 1.
    Statement: Lemma P; from below also corollary (i), which is better at first; from above also v_0 + ηTσ(-v_0), as
        steps decrease.
    Kind: lower and upper, of width O(1/T). Source: beyond the paper, docs/theory.md, part S, Lemma P.
    Arguments: v0, T broadcast; T holds whole numbers >= 0. Both bounds are widened by `envelope_rounding`.
    Returns: two arrays. Raises: ValueError or TypeError naming the argument.
    """
    if (eta := step(eta)) == 0.0:
        raise ValueError(f"eta: must be more than 0, got {eta!r}")
    v0, T = np.broadcast_arrays(numbers("v0", v0), lengths("T", T))
    y, over, under = eta * T, excess(v0, eta), shortfall(v0, eta)
    low = np.maximum(advance(v0, y, 0.0), advance(v0, np.maximum(y - under, 0.0), eta))  # the first is at least v_0
    high = np.minimum(advance(v0, y + over, eta), v0 + y * expit(-v0))
    return low - envelope_rounding(v0, low), high + envelope_rounding(v0, high)


def envelope_of_sum(v0: ArrayLike, eta: float, y: ArrayLike) -> tuple[Array, Array]:
    """Compute a lower and an upper bound of v_T for any steps η_t in (0, η] of sum y, from v_0, whatever T and order.

    Statement: v_T + e^{v_T} >= v_0 + e^{v_0} + y and Ψ(v_T) <= Ψ(v_0) + y + δ(η)(1+η/4) σ(-v_0), Ψ with the largest η.
    Kind: lower and upper, of width O((log y)/y). Source: beyond the paper, docs/theory.md, part S, S8.
    Arguments: v0, y >= 0 broadcast; eta in (0, 4]. Both bounds are widened by `envelope_rounding`, and y by 64 u of
        itself, the rounding of a pairwise sum of up to 2^53 numbers.
    Returns: two arrays. Raises: ValueError or TypeError naming the argument.
    """
    if (eta := step(eta)) == 0.0:
        raise ValueError(f"eta: must be more than 0, got {eta!r}")
    v0, y = np.broadcast_arrays(numbers("v0", v0), numbers("y", y))
    if (y < 0).any():
        raise ValueError(f"y: must be at least 0, got {y[y < 0][0]!r}")
    low = advance(v0, y * (1 - 64 * _U), 0.0)
    more = y * (1 + 64 * _U)
    high = np.minimum(advance(v0, more + excess(v0, eta), eta), v0 + more * expit(-v0))
    return low - envelope_rounding(v0, low), high + envelope_rounding(v0, high)


def excess(v0: ArrayLike, eta: float) -> Array:
    """Compute δ(η)(1+η/4) σ(-v_0), an upper bound of Ψ(v_T) - Ψ(v_0) - ηT."""
    return np.asarray(delta(eta) * (1 + eta / 4) * expit(-numbers("v0", v0)))


def shortfall(v0: ArrayLike, eta: float) -> Array:
    """Compute (η²/2) σ(-v_0)², an upper bound of Ψ(v_0) + ηT - Ψ(v_T)."""
    return np.asarray(step(eta) ** 2 / 2 * expit(-numbers("v0", v0)) ** 2)


def delta(eta: float) -> float:
    """Compute δ(η) = (e^η - 1 - η - η²/2)/η by its series Σ_n η^{n+2}/(n+3)!, which does not cancel; δ(0) = 0."""
    eta = step(eta)
    return math.fsum(eta ** (n + 2) / math.factorial(n + 3) for n in range(40))


def envelope_rounding(v0: ArrayLike, v: ArrayLike) -> Array:
    """Bound the rounding of a bound v on a run from v_0: 32 u (4 + |v_0| + |v|), u = 2^-53.

    Ψ' >= 0.82 for η <= 4, and r = Ψ(v) - Ψ(v_0) <= |v_0| + |v| + e^v where Ψ'(v) >= e^v/2. The equation's right side is
    off by 4 u (|v_0| + 2 + r), its left side, where Newton stops, by 4 u (|v| + e^v (1 + |v|)) for the argument of exp.
    Divided by Ψ' that is at most 4 u (2.5 |v_0| + 4 |v| + 6); the increment's form has the same terms over e^{v_0}. The
    rest, and sums such as v_0 + s, is spare; tests hold it against 128-bit balls.
    """
    return 32 * _U * (4 + np.abs(v0) + np.abs(v))


def step(eta: float) -> float:
    """Return η, checked to lie in [0, 4]."""
    eta = _check.real("eta", eta, low=0.0)
    if eta > 4.0:
        raise ValueError(f"eta: must be at most 4, got {eta!r}")
    return eta


def numbers(name: str, value: ArrayLike) -> Array:
    """Return finite float64 of any shape."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: not an array of real numbers ({error})") from error
    return _check.array(name, array.reshape(-1), 1).reshape(array.shape)


def lengths(name: str, value: ArrayLike) -> Array:
    """Return whole numbers >= 0, of any shape and size, as float64."""
    out = numbers(name, value)
    if (wrong := (out < 0) | (out != np.floor(out))).any():
        raise ValueError(f"{name}: whole numbers >= 0 are needed, got {out[wrong][0]!r}")
    return out


def _log_omega(y: Array) -> Array:
    """Compute the u with u + e^u = y: y - ω(y) for y < 1, where ω may underflow, else log ω(y)."""
    omega = wrightomega(y)
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(y < 1, y - omega, np.log(omega)))


def _slope(v: Array, eta: float) -> Array:
    return np.asarray(1 + np.exp(v) - eta / 2 * expit(v))


def _newton(low: Array, high: Array, equation: Callable[[Array], tuple[Array, Array]]) -> Array:
    """Find the zero in [low, high] of an increasing function (value, slope) by Newton, safeguarded by bisection.

    It stops where a step is below 8 u (1 + |x|), the change of x by the rounding of the value.
    """
    x = high
    for _ in range(_STEPS):
        value, slope = equation(x)
        low, high = np.where(value <= 0, x, low), np.where(value >= 0, x, high)
        new = x - value / slope
        new = np.where((low <= new) & (new <= high), new, (low + high) / 2)
        done = bool((np.abs(new - x) <= 8 * _U * (1 + np.abs(x))).all())
        x = new
        if done:
            break
    return x
