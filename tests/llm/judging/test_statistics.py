"""Win rates and their intervals: by hand, against scipy, and how often an interval has the truth in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from llm.judging.statistics import LOSS, TIE, WIN, bootstrap, rate, win_rate

NAN = math.nan


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_case_by_hand() -> None:
    scores = [WIN, WIN, WIN, TIE, TIE, LOSS, NAN, LOSS, LOSS, LOSS, NAN]  # 9 valid: 3 won, 2 tied, 4 lost
    found = win_rate(scores, firsts=[True, True, False, True], rng=chance())
    assert (found.n, found.wins, found.ties, found.losses, found.invalid) == (11, 3, 2, 4, 2)
    assert found.win_rate == pytest.approx(4 / 9)
    assert found.raw == pytest.approx(3 / 9)
    assert (found.first, found.verdicts) == (0.75, 4)
    assert found.low < found.win_rate < found.high
    assert found.raw_low < found.raw < found.raw_high
    assert found.raw_high < found.high  # it is moved down by the ties
    assert win_rate(scores, rng=chance()) == win_rate(scores, rng=chance())
    assert win_rate(scores, rng=chance()).first is None


def test_what_is_no_score_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^scores: not one of 2 instances has a valid verdict"):
        win_rate([NAN, NAN], rng=chance())
    with pytest.raises(ValueError, match=r"^scores: must be 1, 0\.5, 0 or NaN, got \[1\.0, 0\.7\]"):
        win_rate([1.0, 0.7], rng=chance())
    with pytest.raises(ValueError, match="shape"):
        win_rate(np.ones((2, 2)), rng=chance())
    for values in ([], [1.0, NAN], [math.inf]):
        with pytest.raises(ValueError, match=r"^values: finite numbers are needed"):
            bootstrap(values, resamples=100, rng=chance())


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.statistical
def test_the_interval_is_scipys_percentile_bootstrap() -> None:
    values = chance(1).choice([WIN, TIE, LOSS], p=[0.5, 0.2, 0.3], size=120)
    ours = bootstrap(values, resamples=40_000, rng=chance(2))
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="percentile", rng=chance(3), batch=1000
    ).confidence_interval
    # The means are multiples of 1 / 240, and a quantile of 40,000 is at most one of these steps away from the truth.
    assert ours == pytest.approx(tuple(theirs), abs=1.01 / 240)
    continuous = chance(4).normal(size=50)
    ours = bootstrap(continuous, resamples=40_000, rng=chance(5))
    theirs = scipy.stats.bootstrap(
        (continuous,), np.mean, n_resamples=40_000, method="percentile", rng=chance(6), batch=1000
    ).confidence_interval
    # A 2.5 % quantile of m draws has the standard error sqrt(p q / m) / density = 0.0134 sigma; five of the two's.
    sigma = continuous.std() / math.sqrt(50)
    assert ours == pytest.approx(tuple(theirs), abs=5 * math.sqrt(2) * 0.0134 * sigma)


def test_certain_outcomes_have_no_width_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bootstrap([WIN] * 7, resamples=100, rng=chance()) == (1.0, 1.0)
    values = [WIN] * 30 + [TIE] * 5 + [LOSS] * 20
    whole = bootstrap(values, resamples=1000, rng=chance())
    monkeypatch.setattr("llm.judging.statistics._AT_ONCE", 100)
    assert bootstrap(values, resamples=1000, rng=chance()) == whole


@pytest.mark.slow
@pytest.mark.statistical
def test_95_of_100_intervals_have_the_truth_in_them() -> None:
    """1000 sets of 200 verdicts of a known distribution; the number was fixed beforehand.

    The true coverage of a percentile interval is a little below 95 %: some 94.5 % at this size. A count of 1000 is
    within 4 standard errors (2.8 %) of that but for 6 in 100,000 cases.
    """
    draw, inside = chance(7), np.zeros(2)
    truth = 0.6 + 0.15 / 2
    for _ in range(1000):
        scores = draw.choice([WIN, TIE, LOSS], p=[0.6, 0.15, 0.25], size=200)
        found = win_rate(scores, resamples=2000, rng=draw)
        inside += [found.low <= truth <= found.high, found.raw_low <= 0.6 <= found.raw_high]
    assert inside / 1000 == pytest.approx(np.array([0.945, 0.945]), abs=0.028)


def test_rates_have_wilsons_interval() -> None:
    found = rate(3, 10)
    z, p, n = scipy.stats.norm.ppf(0.975), 0.3, 10
    centre, half = (p + z * z / (2 * n)), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert (found.low, found.high) == pytest.approx(
        ((centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n))
    )
    assert (found.rate, found.count, found.n) == (0.3, 3, 10)
    assert rate(0, 5).low == 0.0
    assert rate(0, 5).high > 0.4
    assert math.isnan(rate(0, 0).rate)
    with pytest.raises(ValueError, match="count: must be at most n = 2, got 3"):
        rate(3, 2)
