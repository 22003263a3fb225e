"""Two samples agree if the interval of their means' difference contains 0 and is narrow enough."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.agreement import ERROR, Agreement

OURS, THEIRS = np.array([1.0, 1.2, 0.9, 1.1, 1.05]), np.array([1.02, 1.3, 0.8, 1.1, 0.95])


def test_the_interval_is_welchs_with_the_error_shared_by_all_quantities() -> None:
    two = Agreement("x", {"a": OURS, "b": OURS}, {"a": THEIRS, "b": THEIRS})
    difference, half = two.interval("a")
    variances = OURS.var(ddof=1) / 5, THEIRS.var(ddof=1) / 5
    freedom = sum(variances) ** 2 / sum(v**2 / 4 for v in variances)  # Welch and Satterthwaite
    assert difference == pytest.approx(OURS.mean() - THEIRS.mean())
    assert half == pytest.approx(stats.t.ppf(1.0 - ERROR / 4.0, freedom) * np.sqrt(sum(variances)))


@pytest.mark.parametrize(("shift", "widest", "agrees"), [(0.0, np.inf, True), (1.0, np.inf, False), (0.0, 0.01, False)])
def test_what_differs_or_is_too_wide_does_not_agree(shift: float, widest: float, agrees: bool) -> None:
    row = Agreement("x", {"a": OURS}, {"a": THEIRS + shift}, {"a": widest})
    assert row.holds() is agrees
    assert row.lines()[0][-1] == ("yes" if agrees else "NO")


def test_equal_numbers_without_spread_agree_and_others_do_not() -> None:
    same = np.full(3, 2.0)
    assert Agreement("x", {"a": same}, {"a": same}).holds()
    assert not Agreement("x", {"a": same}, {"a": same + 1.0}).holds()
