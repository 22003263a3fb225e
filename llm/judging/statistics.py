"""Win rates and rates with 95 % confidence intervals: pure functions of arrays and a random generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from toyopt import _check

WIN, TIE, LOSS = 1.0, 0.5, 0.0  # score of a valid instance; an instance without a valid verdict is NaN
LEVEL = 0.95  # of every interval here
_AT_ONCE = 4_000_000  # numbers in memory at once


@dataclass(frozen=True)
class WinRate:
    """Win rate of one model against references.

    win_rate   (wins + ties / 2) / (wins + ties + losses), AlpacaEval's; `low`, `high` is its 95 % interval
    raw        wins / (wins + ties + losses): a tie is not a win; `raw_low`, `raw_high` likewise
    n          number of instances, with those without a valid verdict: n = wins + ties + losses + invalid
    first      share of single verdicts for the first position, None without any; 0.5: no position bias
    verdicts   number of these single verdicts
    """

    win_rate: float
    low: float
    high: float
    raw: float
    raw_low: float
    raw_high: float
    n: int
    wins: int
    ties: int
    losses: int
    invalid: int
    first: float | None = None
    verdicts: int = 0


@dataclass(frozen=True)
class Rate:
    """Share `count` of `n`, with Wilson's 95 % interval; all three numbers are NaN if n is 0."""

    rate: float
    low: float
    high: float
    count: int
    n: int


def bootstrap(values: ArrayLike, *, resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean over instances.

    values  shape (n,), finite, n >= 1

    The number of times that each distinct value occurs in a resample is multinomial, so these counts are drawn instead
    of instances: the distribution of `scipy.stats.bootstrap`, at a hundredth of the time for a thousand verdicts.
    Raises ValueError without values, or for a value that is not finite.
    """
    array = _vector(values)
    resamples = _check.whole("resamples", resamples, low=1)
    if not array.size or not np.isfinite(array).all():
        raise ValueError(f"values: finite numbers are needed, one at least, got {array!r}")
    different, counts = np.unique(array, return_counts=True)
    means, shares = np.empty(resamples), counts / array.size
    for start in range(0, resamples, step := max(1, _AT_ONCE // different.size)):
        drawn = rng.multinomial(array.size, shares, size=min(step, resamples - start))
        means[start : start + len(drawn)] = drawn @ different / array.size
    low, high = np.quantile(means, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return float(low), float(high)


def win_rate(
    scores: ArrayLike,
    *,
    firsts: Sequence[bool] = (),
    resamples: int = 10_000,
    rng: np.random.Generator,
) -> WinRate:
    """Return the win rate of instances with these scores, with bootstrap intervals.

    scores  shape (n,): WIN, TIE or LOSS, and NaN for an instance without a valid verdict, which is in no rate
    firsts  for every valid single verdict, whether it was for the first position

    Raises ValueError for any other score, or without a valid instance.
    """
    array = _vector(scores)
    valid = array[~np.isnan(array)]
    if not np.isin(valid, (WIN, TIE, LOSS)).all():
        raise ValueError(f"scores: must be {WIN:g}, {TIE:g}, {LOSS:g} or NaN, got {array.tolist()}")
    if not valid.size:
        raise ValueError(f"scores: not one of {array.size} instances has a valid verdict, so there is no win rate")
    won = (valid == WIN).astype(np.float64)
    low, high = bootstrap(valid, resamples=resamples, rng=rng)
    raw_low, raw_high = bootstrap(won, resamples=resamples, rng=rng)
    return WinRate(
        win_rate=float(valid.mean()), low=low, high=high,
        raw=float(won.mean()), raw_low=raw_low, raw_high=raw_high,
        n=array.size, wins=int(won.sum()), ties=int((valid == TIE).sum()), losses=int((valid == LOSS).sum()),
        invalid=array.size - valid.size,
        first=sum(firsts) / len(firsts) if firsts else None, verdicts=len(firsts),
    )  # fmt: skip


def rate(count: int, n: int) -> Rate:
    """Return `count` of `n` with Wilson's interval; ValueError unless 0 <= count <= n."""
    count, n = _check.whole("count", count, low=0), _check.whole("n", n, low=0)
    if count > n:
        raise ValueError(f"count: must be at most n = {n}, got {count}")
    if n == 0:
        return Rate(math.nan, math.nan, math.nan, 0, 0)
    interval: Any = binomtest(count, n).proportion_ci(confidence_level=LEVEL, method="wilson")
    return Rate(count / n, float(interval.low), float(interval.high), count, n)


def _vector(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values: one number an instance is needed, got an array of shape {array.shape}")
    return array
