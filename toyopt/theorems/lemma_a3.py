"""Lemma A.3: two runs of the scalar recursion keep their order, and how far apart they stay."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from toyopt import _check
from toyopt.theorems.record import Record

_U = 2.0**-53


def lemma_a3(theta: float, theta_prime: float, *, steps: ArrayLike, c: float) -> Record:
    """The product bound on the distance of two runs of theta <- theta + a_t (1 - σ(c theta)).

    Problem: real starts theta >= theta', any steps a_t with 0 < c a_t <= 4 (they may vary and, with c, be negative).
    Statement: theta_T - theta'_T >= (theta_0 - theta'_0) Π_t (1 - c a_t/4) >= 0.
    Kind: lower. Source: arXiv 2410.15483v3, Lemma A.3.
    Arguments: theta, theta_prime the starts; steps (T,) a_1 .. a_T, T >= 1; c.
    Returns: a Record; `terms` has the start's difference and the product, and the bound is their product.
    Raises: ValueError if theta < theta_prime or some c a_t is not in (0, 4]; as usual otherwise.
    """
    x, y = _check.real("theta", theta), _check.real("theta_prime", theta_prime)
    if x < y:
        raise ValueError(f"theta: must be at least theta_prime = {y!r}, got {x!r}")
    c, a = _check.real("c", c), _check.array("steps", steps, 1)
    wrong = ~((c * a > 0) & (c * a <= 4))
    if wrong.any():
        t = int(np.argmax(wrong))
        raise ValueError(f"steps: c a_t must be in (0, 4], got {c * a[t]!r} at t = {t + 1}")
    start, error = x - y, _U * (abs(x) + abs(y))
    for step in a.tolist():
        x, y = x + step * float(expit(-c * x)), y + step * float(expit(-c * y))
        # Each run: 1 - σ to 4 u of itself and to |c theta| u of its argument's, which σ' <= 1/4 makes c theta u/4; then
        # a product and a sum. The exact map brings what came before no further apart.
        error += _U * (8 * abs(step) + (1 + abs(c * step)) * (abs(x) + abs(y)))
    product = float(np.prod(1 - c * a / 4))
    return Record(
        claim="A.3",
        statement="θ_T - θ'_T >= (θ_0 - θ'_0) Π_t (1 - c a_t/4)",
        kind="lower",
        bound=start * product,
        attained=x - y,
        source="arXiv 2410.15483v3, Lemma A.3",
        terms={"difference": start, "product": product},
        tolerance=2 * error + 4 * len(a) * _U * start,
    )
