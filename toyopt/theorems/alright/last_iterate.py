"""Bounds on the last iterate, as functions of the step sizes alone.

The setting of all of them: f convex, `theta_{t+1} = theta_t - alpha_t u_t` for t = 1 .. T-1, `E[u_t | past]` a
subgradient of f at theta_t, `E‖u_t‖² <= C²`, D = ‖theta_1 - theta*‖ for any comparator theta*. T iterates, T-1 updates;
alpha_1 multiplies the first gradient. Each bounds E f(theta_T) - f(theta*), and returns its terms by name, which sum to
the bound. Proofs: docs/theory.md, part A.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from toyopt import _check
from toyopt._check import Array

Terms = dict[str, float]


def harmonic(n: int) -> float:
    """Compute H_n = 1 + 1/2 + ... + 1/n, H_0 = 0, to a few ulp."""
    return _harmonic(_check.whole("n", n, low=0))


@cache
def _harmonic(n: int) -> float:
    """Compute H_n for a checked n."""
    if n <= 1_000_000:
        return math.fsum(1.0 / k for k in range(n, 0, -1))
    # Euler and Maclaurin; the first term left out is 1/(120 n^4), less than 1e-26 here.
    return math.log(n) + float(np.euler_gamma) + 1 / (2 * n) - 1 / (12 * n**2)


def odd_harmonic(n: int) -> float:
    """Compute O_n = 1 + 1/3 + ... + 1/(2n-1) = H_{2n} - H_n/2, O_0 = 0."""
    n = _check.whole("n", n, low=0)
    return harmonic(2 * n) - harmonic(n) / 2


def log_bound(D: float, C: float, alpha0: float, T: int) -> Terms:
    """Compute the bound of Theorem 4.1 (A.8) for alpha_t = alpha0/√T.

    Problem: see the module. T >= 2.
    Statement: E f(theta_T) - f(theta*) <= D²/(2 alpha0 √T) + (2 + log(T-1)) C² alpha0/(2√T).
    Kind: upper, not tight.
    Source: arXiv 2410.15483v3, Theorem 4.1.
    Arguments: D, C >= 0; alpha0 > 0; T >= 2.
    Returns: {"distance", "noise"}. Raises: ValueError or TypeError naming the argument.
    """
    D, C, alpha0, T = _four(D, C, alpha0, T)
    root = math.sqrt(T)
    return {"distance": D**2 / (2 * alpha0 * root), "noise": (2 + math.log(T - 1)) * C**2 * alpha0 / (2 * root)}


def harmonic_bound(D: float, C: float, alpha0: float, T: int) -> Terms:
    """Compute the bound of Theorem 4.1 (A.8) with H_{T-1} in place of 1 + log(T-1).

    Statement: E f(theta_T) - f(theta*) <= D²/(2 alpha0 √T) + (1 + H_{T-1}) C² alpha0/(2√T).
    Kind: upper, not tight. Source: arXiv 2410.15483v3, Theorem A.8. Else as `log_bound`.
    """
    D, C, alpha0, T = _four(D, C, alpha0, T)
    root = math.sqrt(T)
    return {"distance": D**2 / (2 * alpha0 * root), "noise": (1 + harmonic(T - 1)) * C**2 * alpha0 / (2 * root)}


def half_log_bound(D: float, C: float, alpha0: float, T: int) -> Terms:
    """Compute Theorem 4.1 with both of its terms halved as T grows, for the same step alpha_t = alpha0/√T.

    Statement: E f(theta_T) - f(theta*) <= D²/(2 alpha0 √T (2 - 1/T)) + (1 + O_{T-1}) C² alpha0/(2√T), where
        O_n = 1 + 1/3 + .. + 1/(2n-1), and 1 + O_{T-1} <= 2 + log(2T-3)/2 <= 2 + log(T-1).
    Kind: upper; a closed form that is above `exact_bound`. Source: beyond the paper, docs/theory.md, A4.
    Else as `log_bound`.
    """
    D, C, alpha0, T = _four(D, C, alpha0, T)
    root = math.sqrt(T)
    distance = D**2 / (2 * alpha0 * root * (2 - 1 / T))
    return {"distance": distance, "noise": (1 + odd_harmonic(T - 1)) * C**2 * alpha0 / (2 * root)}


def orabona_bound(alphas: ArrayLike, D: float, C: float) -> Terms:
    """Compute the bound of Theorem A.8 for any non-increasing step sizes, by Lemma A.6, in O(T).

    Statement: E f(theta_T) - f(theta*) <= [ D²/(2T) + (C²/2) ( alpha_T² + Σ_{t<T} alpha_t²/(T-t) ) ] / alpha_T.
    Kind: upper, not tight. Source: arXiv 2410.15483v3, proof of Theorem A.8.
    Arguments: alphas (T,) alpha_1 .. alpha_T, positive and non-increasing; alpha_T is used by no update, and may be
        any number in (0, alpha_{T-1}]. D, C >= 0.
    Returns: {"distance", "noise"}. Raises: ValueError or TypeError naming the argument.
    """
    steps = positive("alphas", alphas)
    D, C = _check.real("D", D, low=0.0), _check.real("C", C, low=0.0)
    rise = np.flatnonzero(np.diff(steps) > 0)
    if len(rise):
        t = int(rise[0]) + 1
        raise ValueError(f"alphas: must not increase, got alpha_{t} = {steps[t - 1]!r} < alpha_{t + 1} = {steps[t]!r}")
    T, last = len(steps), steps[-1]
    to_go = np.arange(T - 1, 0, -1)  # T - t for t = 1 .. T-1
    noise = C**2 / 2 * (last**2 + float((steps[:-1] ** 2 / to_go).sum()))
    return {"distance": float(D**2 / (2 * T * last)), "noise": float(noise / last)}


def defazio_bound(alphas: ArrayLike, D: float, C: float) -> Terms:
    """Compute the bound of Theorem 10 of Defazio et al. for any positive step sizes, in O(T).

    Statement: with W_k = Σ_{t=k..T} alpha_t,
        E f(theta_T) - f(theta*) <= D²/(2W_1) + (C²/2) ( alpha_T + Σ_{t<T} alpha_t²/W_{t+1} ).
    Kind: upper. At most `orabona_bound` for non-increasing steps, equal to it for a constant step.
    Source: arXiv 2310.07831, Theorem 10; docs/theory.md, A3.
    Arguments: alphas (T,) as in `orabona_bound`, but they need not be monotone; alpha_T > 0 is free. D, C >= 0.
    Returns: {"distance", "noise"}. Raises: ValueError or TypeError naming the argument.
    """
    steps = positive("alphas", alphas)
    D, C = _check.real("D", D, low=0.0), _check.real("C", C, low=0.0)
    W = np.cumsum(steps[::-1])[::-1]
    noise = C**2 / 2 * (steps[-1] + float((steps[:-1] ** 2 / W[1:]).sum()))
    return {"distance": float(D**2 / (2 * W[0])), "noise": float(noise)}


def best_free_step(alphas: ArrayLike, D: float, C: float) -> float:
    """Compute the free alpha_T at which `defazio_bound` is least, for given steps of the T-1 updates.

    Statement: the bound is convex in alpha_T, with the derivative C²/2 (1 - D²/(C² W_1²) - Σ_{t<T} alpha_t²/W_{t+1}²):
        at most 0 at alpha_{T-1}, where the last term is 1, and at least 0 at √(D²/C² + Σ alpha_t²), as every W is at
        least alpha_T. So the zero lies between these two.
    Source: docs/theory.md, A3. Arguments: alphas (T-1,) alpha_1 .. alpha_{T-1} > 0; D >= 0, C > 0.
    Returns: alpha_T, to 1e-12 of its size. Raises: ValueError or TypeError naming the argument.
    """
    steps = positive("alphas", alphas)
    D, C = _check.real("D", D, low=0.0), _check.real("C", C, above=0.0)
    rest = np.append(np.cumsum(steps[::-1])[::-1], 0.0)  # W_k - alpha_T for k = 1 .. T

    def slope(last: float) -> float:
        W = rest + last
        return 1.0 - (D / C / float(W[0])) ** 2 - float(((steps / W[1:]) ** 2).sum())

    low = float(steps[-1])
    high = math.sqrt((D / C) ** 2 + float((steps**2).sum())) * (1.0 + 1e-12)  # the sum's rounding is far below that
    return low if slope(low) >= 0.0 else float(brentq(slope, low, high, rtol=1e-12))


def exact_bound(alphas: ArrayLike, D: float, C: float) -> Terms:
    """Compute the last iterate's exact worst case for any positive step sizes, in closed form, in O(T).

    Statement: with m_T = 0, b = max(m_{k+1}, √alpha_k), m_k = b + alpha_k/b for k = T-1 .. 1, and B = max(m_1², D/C),
        E f(theta_T) - f(theta*) <= D²/(2B) + (C²/2) ( B - 2 Σ_{t<T} alpha_t ).
    Kind: upper, and tight: `worst_case` attains it, so no bound in D, C and the step sizes alone can be better.
    Source: beyond the paper, docs/theory.md, A4 and A5. For a constant step and for linear decay the number is
        Zamani and Glineur's (arXiv 2307.11134).
    Arguments: alphas (T-1,) alpha_1 .. alpha_{T-1}, those that the T-1 updates use. D >= 0, C > 0.
    Returns: {"distance", "noise"}: D²/(2B) and the rest. Raises: ValueError or TypeError naming the argument.
    """
    steps = positive("alphas", alphas)
    D, C = _check.real("D", D, low=0.0), _check.real("C", C, above=0.0)
    m = potentials(steps)
    least = float(m[0]) ** 2
    if C * least >= D:
        # B - 2Σ = Σ alpha_t²/b_{t+1}² + (the last b)²: m_k² = b² + 2 alpha_k + alpha_k²/b². Summed without cancelling.
        return {"distance": D**2 / (2 * least), "noise": C**2 / 2 * _excess(steps, m)}
    return {"distance": D * C / 2, "noise": D * C / 2 - C**2 * float(steps.sum())}


def mean_step_bound(alphas: ArrayLike, D: float, C: float, C_mean: float) -> Terms:
    """Compute `exact_bound` with a smaller constant for the imaginary last step: that of the mean gradient.

    Problem: see the module, and besides ‖∇f‖ <= C_mean <= C. For ALRIGHT C² = Σ w_i C_i² and C_mean = Σ w_i C_i.
    Statement: for any b_T > 0 and b_k = b_{k+1} + alpha_k/b_{k+1},
        E f(theta_T) - f(theta*) <= D²/(2 b_1²) + (C²/2) Σ_{k<T} alpha_k²/b_{k+1}² + (C_mean²/2) b_T².
    Kind: upper, at most `exact_bound`, equal to it for C_mean = C. The least over a grid of b_T, refined twice: every
        b_T gives a bound.
    Source: beyond the paper, docs/theory.md, A4. Arguments: as `exact_bound`; C_mean in (0, C].
    Returns: {"distance", "noise"}. Raises: ValueError or TypeError naming the argument.
    """
    steps = positive("alphas", alphas)
    D, C = _check.real("D", D, low=0.0), _check.real("C", C, above=0.0)
    C_mean = _check.real("C_mean", C_mean, above=0.0)
    if C_mean > C:
        raise ValueError(f"C_mean: must be at most C = {C!r}, got {C_mean!r}")
    known = weights_of_steps(steps, D, C)[-1]
    low, high = 1e-3 * float(known), 1e3 * float(known)
    for _ in range(3):
        last = np.append(np.geomspace(low, high, 64), known)
        b, noise = last, C_mean**2 * last**2
        for step in steps[::-1].tolist():
            noise = noise + (C * step / b) ** 2
            b = b + step / b
        sums = D**2 / (2 * b**2) + noise / 2
        best = int(sums.argmin())
        ratio = (high / low) ** (1 / 63)
        low, high = float(last[best]) / ratio, float(last[best]) * ratio
    return {"distance": float(D**2 / (2 * b[best] ** 2)), "noise": float(noise[best] / 2)}


def linear_decay_bound(D: float, C: float, T: int) -> Terms:
    """Compute the bound without a logarithm, for alpha_t = D/(C√T) (1 - t/T).

    Statement: E f(theta_T) - f(theta*) <= D C/√T.
    Kind: upper, tight, and the best that any step sizes can have (`no_schedule_is_better`).
    Source: arXiv 2310.07831 (Defazio et al.); arXiv 2307.11134 (Zamani and Glineur), R = D, B = C, N = T-1;
        docs/theory.md, A6.
    Arguments: D, C > 0; T >= 2. Returns: {"distance", "noise"}. Raises: ValueError or TypeError naming the argument.
    """
    D, C, T = _check.real("D", D, above=0.0), _check.real("C", C, above=0.0), _check.whole("T", T, low=2)
    half = D * C / (2 * math.sqrt(T))
    return {"distance": half, "noise": half}


def total(terms: Terms) -> float:
    """Return the bound, the sum of its terms."""
    return math.fsum(terms.values())


def potentials(steps: Array) -> Array:
    """Compute (T,) m_1 .. m_T of `exact_bound`: m_T = 0, m_k = min { b + alpha_k/b : b >= m_{k+1} }."""
    out = [0.0]
    for step in steps[::-1].tolist():  # floats of Python, since NumPy's cost several times as much one by one
        b = max(out[-1], math.sqrt(step))
        out.append(b + step / b)
    return np.array(out[::-1])


def weights_of_steps(steps: Array, D: float, C: float) -> Array:
    """Compute (T,) the b_1 .. b_T of `exact_bound`: b_1² = B, then b_{k+1} is the larger root of b + alpha_k/b = b_k.

    Where B is the least possible, the larger root is max(m_{k+1}, √alpha_k) until the first k at which √alpha_k is the
    larger; there the root is double, and its square root is not to be taken of rounding.
    """
    m = potentials(steps).tolist()
    tight = C * m[0] ** 2 >= D
    out = [m[0] if tight else math.sqrt(D / C)]
    for step, least in zip(steps.tolist(), m[1:], strict=True):
        if tight:
            out.append(max(least, math.sqrt(step)))
            tight = least >= math.sqrt(step)
        else:
            half = out[-1] / 2
            out.append(half + math.sqrt(max(half**2 - step, 0.0)))
    return np.array(out)


def positive(name: str, alphas: ArrayLike) -> Array:
    """Return step sizes as a float64 array, at least one, all positive."""
    steps = _check.array(name, alphas, 1)
    if not (steps > 0).all():
        t = int(np.argmax(~(steps > 0)))
        raise ValueError(f"{name}: step sizes must be positive, got {steps[t]!r} at update {t + 1}")
    return steps


def _excess(steps: Array, m: Array) -> float:
    """Compute m_1² - 2 Σ alpha, m the `potentials`, as a sum of non-negative terms: b² - m² if b > m, and alpha²/b²."""
    b = np.maximum(m[1:], np.sqrt(steps))
    return float(((b - m[1:]) * (b + m[1:]) + (steps / b) ** 2).sum())


def _four(D: float, C: float, alpha0: float, T: int) -> tuple[float, float, float, int]:
    D, C = _check.real("D", D, low=0.0), _check.real("C", C, low=0.0)
    return D, C, _check.real("alpha0", alpha0, above=0.0), _check.whole("T", T, low=2)
