"""Means over seeds, paired differences, and the columns of a table."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from figures.analysis import seeds


def test_the_interval_is_students() -> None:
    values = [0.3, 0.5, 0.9, 0.4]
    mean = seeds.mean(values)
    wanted = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert mean.value == pytest.approx(np.mean(values))
    assert mean.interval == pytest.approx((wanted.low, wanted.high))


def test_a_difference_is_paired_by_seed() -> None:
    ours = pd.DataFrame([{"seed": 1, "x": 1.0}, {"seed": 1, "x": 3.0}, {"seed": 2, "x": 12.0}])
    theirs = pd.DataFrame([{"seed": 2, "x": 11.0}, {"seed": 1, "x": 1.0}])
    mean = seeds.difference(ours, theirs, "x")
    assert (mean.value, mean.low, mean.high) == pytest.approx((1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="seeds must be the same"):
        seeds.difference(ours, theirs[:1], "x")


def test_the_mean_move_uses_the_second_half_of_the_run():
    places = {0: (9.0, 9.0), 4: (5.0, 1.0), 5: (1.0, 1.0), 8: (4.0, 5.0), 10: (4.0, 4.0)}
    path = pd.DataFrame([{"step": t, "f_dpo": x, "f_sft": y} for t, (x, y) in places.items()])
    assert seeds.mean_move(path) == pytest.approx((5.0 + 1.0) / 2)  # from step 5 on
    assert math.isnan(seeds.mean_move(path[:1]))
    assert math.isnan(seeds.mean_move(path[:0]))


def test_a_mean_needs_a_value_and_one_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one is needed"):
        seeds.mean([])
    single = seeds.mean([2.0])
    assert (single.value, single.n) == (2.0, 1)
    assert all(map(math.isnan, single.interval))


def test_groups_are_summarized_over_their_seeds() -> None:
    frame = pd.DataFrame({"method": ["b", "b", "a"], "lam": [math.nan, math.nan, 0.5], "value": [1.0, 3.0, 4.0]})
    table = seeds.summarize(frame, ["method", "lam"])
    assert table["method"].tolist() == ["b", "a"]  # the order of the first rows, also where a key is NaN
    assert table["value"].tolist() == [2.0, 4.0]
    assert table["n"].tolist() == [2, 1]
    assert table["high"][0] - 2.0 == pytest.approx(12.7062047)


def test_columns_are_texts_integers_or_floats_with_nan_for_the_unknown() -> None:
    frame = pd.DataFrame({"text": ["a", None], "count": [1, 2], "k": [10, None], "none": [None, None]})
    table = seeds.columns(frame, ["text", "count", "k", "none", "absent"])
    assert table["text"].tolist() == ["a", ""]
    assert table["count"].dtype == np.int64
    assert table["k"].dtype == table["none"].dtype == table["absent"].dtype == np.float64
    assert table["k"][0] == 10.0
    assert np.isnan([table["k"][1], *table["none"], *table["absent"]]).all()


def test_the_p_value_is_students_and_below_a_twentieth_exactly_if_the_interval_excludes_the_bound() -> None:
    generator = np.random.default_rng(7)
    verdicts = set()
    for n in (2, 3, 5, 30):
        for bound in generator.normal(scale=1.5, size=50):
            values = generator.normal(size=n)
            mean = seeds.mean(values)
            p = mean.p_value(bound)
            # The half width is a difference of the interval's ends, which cancel by at most 3 digits here.
            assert p == pytest.approx(ttest_1samp(values, bound).pvalue, rel=1e-10)
            excluded = not mean.low <= bound <= mean.high
            assert (p < 0.05) == excluded
            verdicts.add(excluded)
    assert verdicts == {True, False}


def test_the_p_value_without_spread_and_of_one_seed() -> None:
    even = seeds.mean([0.5, 0.5, 0.5])
    assert (even.p_value(0.5), even.p_value(0.4)) == (1.0, 0.0)
    assert math.isnan(even.p_value(math.nan))
    assert math.isnan(seeds.mean([2.0]).p_value(0.0))
