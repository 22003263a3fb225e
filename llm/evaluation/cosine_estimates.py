"""Cosines of mean gradients, estimated from gradients summed over disjoint groups of random rows.

A mean over few rows is its expectation plus noise, which is nearly orthogonal to everything in many dimensions: noise
lengthens the mean, adds nothing to inner products, and so draws the plain cosine towards 0. The estimates here take
products of different groups only, whose noises are independent: these products are unbiased, also those of an objective
with itself. It is the correction for attenuation of C. Spearman ("The proof and measurement of association between two
things", 1904) on gradients. Errors are the jackknife's, which leaves out one group of every objective at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CONFIDENCE = 0.95  # of the intervals, by Student's t
FEWEST = 3  # groups: the jackknife leaves one out, and two must remain


@dataclass(frozen=True)
class Cosines:
    """Cosines of n mean gradients; NaN where the rows do not determine a number.

    cosines  (n, n) estimates of the cosines of the expected gradients; an error may carry one beyond 1 or -1
    errors   (n, n) standard errors of `cosines`; 0 on the diagonal
    raw      (n, n) plain cosines of the means over all rows, which noise draws towards 0
    norms    (n,) estimates of the norms of the expected gradients
    noise    (n,) share of the squared norm of the mean over all rows that is noise; 1 or more: all of it
    """

    cosines: Array
    errors: Array
    raw: Array
    norms: Array
    noise: Array


def estimate(products: Array, units: Array) -> Cosines:
    """Return the cosines of n objectives from the inner products of their group gradients.

    products  (n, K, n, K), <gradient of objective i summed over its group k, the same of j and l>
    units     (n, K), number of units of each sum, by which the mean divides: pairs, or response tokens

    Assumes that groups of different numbers share no rows; groups of one number may, as those of two objectives on one
    set. Raises ValueError for fewer than FEWEST groups.
    """
    groups = units.shape[1]
    if groups < FEWEST:
        raise ValueError(f"groups: must be at least {FEWEST}, got {groups}")
    inner, raw_inner = _inner(products, units)
    rest = [np.delete(np.arange(groups), k) for k in range(groups)]
    without = np.array([_cosines(_inner(products[:, r][..., r], units[:, r])[0]) for r in rest])
    errors = np.sqrt((groups - 1) / groups * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    squares, raw_squares = np.diagonal(inner), np.diagonal(raw_inner)
    with np.errstate(invalid="ignore", divide="ignore"):
        norms = np.where(squares > 0.0, np.sqrt(np.maximum(squares, 0.0)), math.nan)
        noise = np.where(raw_squares > 0.0, 1.0 - squares / raw_squares, math.nan)
    return Cosines(_cosines(inner), errors, _cosines(raw_inner), norms, noise)


def _inner(products: Array, units: Array) -> tuple[Array, Array]:
    """Return the inner products (n, n) of the mean gradients: without products within a group, and with all."""
    total, weights = products.sum(axis=(1, 3)), np.outer(units.sum(axis=1), units.sum(axis=1))
    within, weights_within = np.einsum("ikjk->ij", products), units @ units.T
    return (total - within) / (weights - weights_within), total / weights


def _cosines(inner: Array) -> Array:
    """Return inner products (n, n) divided by the norms; NaN where a squared norm is not positive."""
    squares = np.diagonal(inner)
    norms = np.sqrt(np.where(squares > 0.0, squares, math.nan))
    cosines = np.asarray(inner / np.outer(norms, norms))
    np.fill_diagonal(cosines, norms / norms)  # 1 exactly, or NaN
    return cosines


def interval(cosine: float, error: float, groups: int) -> tuple[float, float]:
    """Return the ends of the interval of a cosine at CONFIDENCE, by Student's t with one less than `groups`."""
    from scipy.stats import t

    half = float(t.ppf((1.0 + CONFIDENCE) / 2.0, groups - 1)) * error
    return cosine - half, cosine + half
