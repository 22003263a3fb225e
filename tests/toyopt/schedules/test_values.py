"""Step sizes, with D, C, alpha and T unequal and none of them 1, so that no factor can hide."""

from __future__ import annotations

import numpy as np
import pytest

from toyopt.algorithms import Constant, Cosine, InverseRootHorizon, InverseTime, LinearDecay, ZamaniGlineur


def test_constant_and_inverse_root() -> None:
    for t in (1, 2, 7):
        assert Constant(0.3).at(t) == 0.3
        assert InverseRootHorizon(0.6, 9).at(t) == pytest.approx(0.2, rel=2**-51)
    np.testing.assert_array_equal(Constant(0.3).at(np.arange(1, 4)), [0.3] * 3)
    np.testing.assert_array_equal(InverseRootHorizon(0.6, 9).at(np.arange(1, 4)), [0.6 / 3] * 3)


def test_linear_decay() -> None:
    """D = 3, C = 5, T = 4: 3/4, 1/2, 1/4 of D/(C√T) = 0.3. Off by one, they would be 1, 3/4, ... or 4/5, 3/5, ..."""
    s = LinearDecay(3.0, 5.0, 4)
    np.testing.assert_allclose(s.at(np.arange(1, 5)), [0.225, 0.15, 0.075, 0.0], rtol=2**-50)
    assert s.at(4) == 0.0  # alpha_T = 0: T iterates, T-1 updates
    assert s.at(3) == pytest.approx(3 / (5 * 2) / 4, rel=2**-50)  # alpha_{T-1} = D/(C T^{3/2})


def test_zamani_glineur() -> None:
    """R = 3, B = 5, N = 8 updates: R (9-k)/(B 27), from 24/135 at k = 1 down to 3/135 at k = N, which is not yet 0."""
    s = ZamaniGlineur(3.0, 5.0, 8)
    np.testing.assert_allclose(s.at(np.arange(1, 9)), [3 * (9 - k) / 135 for k in range(1, 9)], rtol=2**-50)
    assert s.at(1) == pytest.approx(24 / 135, rel=2**-50)
    assert s.at(8) == pytest.approx(3 / 135, rel=2**-50)


def test_the_two_decaying_schedules_are_one() -> None:
    """Zamani & Glineur's with N updates is Defazio's with T = N + 1 iterates; their off-by-one is between N and T."""
    t = np.arange(1, 13)
    np.testing.assert_allclose(ZamaniGlineur(3.0, 5.0, 12).at(t), LinearDecay(3.0, 5.0, 13).at(t), rtol=2**-49)
    assert abs(ZamaniGlineur(3.0, 5.0, 12).at(1) / LinearDecay(3.0, 5.0, 12).at(1) - 1) > 0.01


def test_cosine_and_inverse_time() -> None:
    """α0 = 0.3, T = 4: halves of 1 + cos of 0, 45, 90 and 135 degrees; and 0.3/t, for any T."""
    half = 0.5**0.5
    np.testing.assert_allclose(
        Cosine(0.3, 4).at(np.arange(1, 5)), [0.3, 0.15 * (1 + half), 0.15, 0.15 * (1 - half)], rtol=1e-15
    )
    assert float(Cosine(0.3, 1000).at(np.arange(1, 1001)).sum()) == pytest.approx(0.15 * 1001, rel=1e-14)
    np.testing.assert_allclose(InverseTime(0.3).at(np.arange(1, 5)), [0.3, 0.15, 0.1, 0.075], rtol=1e-15)
    for wrong in (lambda: Cosine(0.0, 4), lambda: InverseTime(-1.0)):
        with pytest.raises(ValueError, match=r"^alpha0: "):
            wrong()
    with pytest.raises(ValueError, match=r"^T: "):
        Cosine(0.3, 0)
