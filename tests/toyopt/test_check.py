"""Arrays, bounds of numbers and weights, as arguments are checked."""

from __future__ import annotations

import numpy as np
import pytest

from toyopt import _check


def test_arrays_are_copied_row_by_row_and_cannot_be_written() -> None:
    given = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    out = _check.array("x", given, 2)
    assert out.flags.c_contiguous
    assert not out.flags.writeable
    assert not np.shares_memory(out, given)
    assert _check.array("x", [1, 2], 1).dtype == _check.theta("x", [1, 2], 2).dtype == np.float64


@pytest.mark.parametrize("lam", [0.0, 0.25, 1.0])
def test_a_scalar_weighs_both_objectives_up_to_the_ends(lam: float) -> None:
    assert _check.weights("lam", lam, 2) == (lam, 1.0 - lam)
    assert _check.weights("lam", (lam, 1.0 - lam), 2) == (lam, 1.0 - lam)


def test_bounds_of_numbers_are_included_or_not() -> None:
    assert _check.real("x", 2.0, low=2.0) == 2.0
    assert _check.whole("x", 2, low=2) == 2
    with pytest.raises(ValueError, match=r"^x: must be more than 2, got 2\.0$"):
        _check.real("x", 2.0, above=2.0)
