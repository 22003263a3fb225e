"""Holm's correction against published numbers, an exhaustive closed test, and its error rate."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from figures.analysis import seeds
from figures.analysis.multiple import LEVEL, holm, marked, survives, survivors, with_adjusted
from figures.analysis.sweep_summary import claim
from figures.artefact import Check, upper

# p-values and the column "Holm" of R's multtest (mt.rawp2adjp), as in statsmodels' tests of `multipletests`.
MULTTEST = (
    [0.838541367553, 0.642193923795, 0.680845947633, 0.967833824309, 0.71626938238, 0.177096952723, 5.23656777208e-5,
     0.0202732688798, 0.00028140506198, 0.0149877310796],
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 5.23656777208e-4, 0.14191288215860001, 2.5326455578199999e-3, 0.11990184863680001],
)  # fmt: skip
ALL_SMALL = ([0.002, 0.004, 0.006, 0.008, 0.01, 0.012], [0.012, 0.02, 0.024, 0.024, 0.024, 0.024])
HALF_SMALL = (
    [0.001, 0.002, 0.003, 0.004, 0.005, 0.05, 0.06, 0.07, 0.08, 0.09],
    [0.01, 0.018, 0.024, 0.028, 0.03, 0.25, 0.25, 0.25, 0.25, 0.25],
)


@pytest.mark.parametrize(("p_values", "wanted"), [MULTTEST, ALL_SMALL, HALF_SMALL])
def test_adjusted_p_values_are_those_of_r(p_values: list[float], wanted: list[float]) -> None:
    # 12 digits: the p-values above are rounded to that.
    assert holm(p_values) == pytest.approx(wanted, rel=1e-11)
    assert holm(p_values[::-1]) == pytest.approx(wanted[::-1], rel=1e-11)


def closed(p_values: list[float]) -> list[float]:
    """Return the adjusted p-values of the closed test with Bonferroni's test of every intersection."""
    n = range(len(p_values))
    subsets = [subset for size in n for subset in itertools.combinations(n, size + 1)]
    tests = {subset: min(1.0, len(subset) * min(p_values[i] for i in subset)) for subset in subsets}
    return [max(p for subset, p in tests.items() if i in subset) for i in n]


@given(st.lists(st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.01, 0.05, 1.0])), min_size=1, max_size=7))
def test_the_step_down_is_the_closed_test(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(closed(p_values), rel=1e-12)


def test_a_test_that_could_not_be_made_is_no_member_of_the_family() -> None:
    found = holm([0.02, math.nan, 0.03])
    assert (found[0], found[2]) == pytest.approx((0.04, 0.04))
    assert math.isnan(found[1])
    assert holm([]) == []
    with pytest.raises(ValueError, match=r"must be in \[0, 1\] or NaN, got 1.5"):
        holm([0.1, 1.5])


def judged(samples: list[np.ndarray], bound: float = 0.0) -> list[dict[str, Any]]:
    """Return a claim "the mean is at least `bound`" for each sample."""
    return [asdict(claim(f"c{i}", "", "s", seeds.mean(x), bound, "lower")) for i, x in enumerate(samples)]


def test_verdicts_and_marks_of_a_family() -> None:
    """Of three values with mean m and spread 1, t = m √3 with 2 degrees of freedom: p = 1 − t/√(2 + t²)."""
    sample = np.array([-1.0, 0.0, 1.0])
    means = [50.0, 10.0, -4.0, 3.0, 0.5]
    claims = with_adjusted(judged([sample + m for m in means]))
    p_values = [1.0 - (t := abs(m) * math.sqrt(3.0)) / math.sqrt(2.0 + t * t) for m in means]
    # 1e-9: half the interval is the difference of its ends, and 1 − t/√… loses 4 digits at the smallest p of 1e-4.
    assert [c["p_value"] for c in claims] == pytest.approx(p_values, rel=1e-9)
    assert [c["p_holm"] for c in claims] == pytest.approx(
        [5 * p_values[0], 4 * p_values[1], 3 * p_values[2], 2 * p_values[3], p_values[4]], rel=1e-9
    )
    assert [c["verdict"] for c in claims] == ["seen", "seen", "not seen", "seen", "mixed"]
    assert [survives(c) for c in claims] == [True, True, False, False, False]
    assert [marked(c) for c in claims] == ["seen†", "seen†", "not seen", "seen", "mixed"]
    assert survivors(claims) == 2
    assert survivors(claims[2:4]) == 2  # in a smaller family, both survive


def test_a_claim_alone_survives_exactly_if_it_is_not_mixed() -> None:
    generator = np.random.default_rng(3)
    for n in (2, 3, 10):
        for mean in generator.normal(scale=2.0, size=40):
            [found] = with_adjusted(judged([generator.normal(mean, 1.0, n)]))
            assert survives(found) == (found["verdict"] != "mixed")


def test_checks_that_are_no_claims_are_left_as_they_are() -> None:
    theory = asdict(upper("a", "s", 1.0, 0.5))
    one = judged([np.array([1.0, 1.1, 0.9])])[0]
    checks = with_adjusted([theory, one, theory])
    assert checks[0] == checks[2] == theory
    assert checks[1]["p_holm"] == checks[1]["p_value"]


def test_nothing_survives_where_a_p_value_was_not_recorded() -> None:
    old = asdict(Check("c", "s", "upper", 1.0, 0.5, True, False, "seen", (0.4, 0.6)))
    assert old["p_value"] is None
    del old["p_value"]
    new = judged([np.array([1.0, 1.0, 1.1])])[0]
    assert [math.isnan(c["p_holm"]) for c in with_adjusted([old, new])] == [True, True]
    assert survivors([old, new]) == 0
    assert survivors([new]) == 1


@pytest.mark.slow
@pytest.mark.statistical
def test_true_hypotheses_are_rejected_in_at_most_a_twentieth_of_families() -> None:
    """20 true means of 3 normal seeds: single verdicts err in 1 − 0.95²⁰ = 64 % of families, corrected ones in 5 %.

    300 families: the standard error of a share of 5 % is 1.26 %; the bound is 3.5 of these above 5 %.
    """
    samples = np.random.default_rng(11).normal(size=(300, 20, 3))
    single = corrected = 0
    for family in samples:
        claims = judged(list(family))
        single += any(c["verdict"] != "mixed" for c in claims)
        corrected += survivors(claims) > 0
    assert single / 300 == pytest.approx(1.0 - 0.95**20, abs=0.1)  # 3.6 standard errors of 2.8 %
    assert corrected / 300 < LEVEL + 0.044
