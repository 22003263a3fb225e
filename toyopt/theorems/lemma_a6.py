"""Lemma A.6 (Orabona): from the average of a sequence to its last member."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt.theorems.record import Record

_U = 2.0**-53


def lemma_a6(eta: ArrayLike, q: ArrayLike) -> Record:
    """The last member of a weighted sequence against its average and its tails.

    Problem: η_1 >= η_2 >= ... >= η_T > 0 and q_t >= 0, T >= 1.
    Statement: η_T q_T <= (1/T) Σ_{t=1..T} η_t q_t + Σ_{k=1..T-1} [1/(k(k+1))] Σ_{t=T-k+1..T} η_t (q_t - q_{T-k}).
    Kind: upper; equal for a constant η, and then for any real q.
    Source: arXiv 2410.15483v3, Lemma A.6 (Orabona).
    Arguments: eta, q (T,).
    Returns: a Record; terms "average" and "tails" sum to the bound. O(T).
    Raises: ValueError if eta increases or is not positive, if q is negative somewhere and eta not constant, or on
        lengths that differ; as usual otherwise.
    """
    weights, values = _check.array("eta", eta, 1), _check.array("q", q, 1)
    T = len(weights)
    if len(values) != T:
        raise ValueError(f"q: length {T} is needed, as eta has, got {len(values)}")
    if not (weights > 0).all():
        raise ValueError(f"eta: must be positive, got {weights[~(weights > 0)][0]!r}")
    if (np.diff(weights) > 0).any():
        t = int(np.argmax(np.diff(weights) > 0))
        raise ValueError(f"eta: must not increase, got {weights[t]!r} before {weights[t + 1]!r}")
    constant = bool((weights == weights[0]).all())
    if not constant and (values < 0).any():
        raise ValueError(f"q: must not be negative where eta is not constant, got {values[values < 0][0]!r}")
    average = float((weights * values).sum()) / T
    k = np.arange(1, T)
    # Tails t = T-k+1 .. T for k = 1 .. T-1: the k last members.
    weight_sums = np.cumsum(weights[::-1])[:-1]
    value_sums = np.cumsum((weights * values)[::-1])[:-1]
    before = values[::-1][1:]  # q_{T-k}
    tails = float(((value_sums - before * weight_sums) / (k * (k + 1.0))).sum())
    # Sums of at most T products, twice: each member is in 2 + log T of the averages at most.
    size = float((weights * np.abs(values)).max()) + float(np.abs(values).max()) * float(weights[0])
    return Record(
        claim="A.6",
        statement="η_T q_T against the average of η_t q_t and the tails' differences",
        kind="equal" if constant else "upper",
        bound=average + tails,
        attained=float(weights[-1] * values[-1]),
        source="arXiv 2410.15483v3, Lemma A.6",
        terms={"average": average, "tails": tails},
        tolerance=4 * (T + 4) * _U * size * (2 + float(np.log(T))),
    )
