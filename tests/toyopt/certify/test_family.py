"""The lower-bound family in balls."""

from __future__ import annotations

import math

import pytest
from flint import arb

from toyopt.certify.family import curvature, softplus


def test_softplus_is_stable_on_both_sides() -> None:
    assert float(softplus(arb(10_000))) == 10_000
    assert float(softplus(arb(-700))) == pytest.approx(math.exp(-700), rel=1e-14)
    assert float(softplus(arb(-10_000)).log()) == pytest.approx(-10_000, rel=1e-14)


def test_curvature_of_the_family() -> None:
    assert float(curvature(arb(0))) == 0.25
    assert float(curvature(arb(2))) == pytest.approx(1 / (2 + math.exp(2) + math.exp(-2)), rel=1e-14)
