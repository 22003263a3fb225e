"""The conditions of Theorem S for all later T: each decides alone for some run, at the point where it should."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from toyopt.theorems.sequential.two_phases import TwoPhases

mpf = mpmath.mpf


def softplus(v: mpf) -> mpf:
    return mpmath.log(1 + mpmath.exp(v))


def sigma(v: mpf) -> mpf:
    return 1 / (1 + mpmath.exp(-v))


def psi(v: mpf, eta: mpf) -> mpf:
    return v + mpmath.exp(v) - eta / 2 * softplus(v)


def psi_inverse(y: mpf, eta: mpf) -> mpf:
    """By bisection: Ψ(v) >= v + e^v - (η/2)(max(v, 0) + log 2), so that the root is left of max(y, 0) + 4."""
    low, high = min(y, mpf(0)) - 4, max(y, mpf(0)) + 4
    for _ in range(70):
        middle = (low + high) / 2
        low, high = (middle, high) if psi(middle, eta) < y else (low, middle)
    return low


def error_above(v0: mpf, eta: mpf) -> mpf:
    """E of docs/theory.md, S4."""
    return (mpmath.exp(eta) - 1 - eta - eta**2 / 2) / eta * (1 + eta / 4) * sigma(-v0)


def run(x: float, v0: float, eta: float) -> TwoPhases:
    """c = 1: then η = alpha, x = theta_ref, and v_0 = theta_1 - theta_ref."""
    return TwoPhases(1.0, x, eta, x + v0)


def margins(x: float, v0: float, eta: float, T: int) -> dict[str, mpf]:
    """How far conditions 1 to 4 of docs/theory.md, S5, are from failing, as they are written there."""
    h, x, v0 = mpf(eta), mpf(x), mpf(v0)
    y, log2 = h * T, mpmath.log(2)
    start, E = psi(v0, h), error_above(v0, h)
    k = start + E + h / 2 * log2
    omega = -x - psi_inverse(start + y - h**2 / 2 * sigma(-v0) ** 2, h)
    B = x + h**2 / 2 + mpmath.log(y + k) + (1 - h / 2) * mpmath.log(y)
    return {
        "1": min(y + start + E - psi(mpf(0), h), y + k - 1),
        "2": -(omega + mpmath.exp(omega) + error_above(mpf("-inf"), h) + h / 2 * log2),
        "3": y - x - mpmath.log(y + k) - h**2 / 2 - psi(mpf(0), h),
        "4, B large": B - max(1, y / (y + k)) - 1 + h / 2,
        "4, B < y": y - B,
    }


def switch(holds: Callable[[float], bool], yes: float, no: float) -> float:
    """Between `yes`, where it holds, and `no`, where it does not: where that changes."""
    assert holds(yes)
    assert not holds(no)
    for _ in range(60):
        middle = (yes + no) / 2
        yes, no = (middle, no) if holds(middle) else (yes, middle)
    return yes


# (v_0, η, T), then for which x the error is given: an x inside, and what ends the interval to either side.
INTERVALS = [
    (12.0, 0.5, 5, -10.8, "4, B large", "3"),
    (12.0, 0.5, 20, -10.0, "2", "4, B < y"),
    (12.0, 1.0, 3, -10.6, "2", "3"),
    (12.0, 2.0, 3, -9.0, "2", "3"),
    (0.3, 0.5, 5, -0.1, "2", "3"),
    (0.3, 1.0, 4, -0.1, "2", "4, B < y"),
    (0.3, 1.5, 6, 0.0, "2", "4, B < y"),
    (-1.0, 2.0, 6, 0.5, "2", "3"),
    (-18.0, 0.5, 40, 10.0, "4, B large", "4, B < y"),
    (-3.0, 1.75, 5, 3.0, "2", "3"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("v0", "eta", "T", "inside", "left", "right"), INTERVALS)
def test_each_condition_of_the_limits_error_decides_alone(
    v0: float, eta: float, T: int, inside: float, left: str, right: str
) -> None:
    def given(x: float) -> bool:
        below, above = run(x, v0, eta).limit_error(0.25, T)
        assert math.isnan(below) == math.isnan(above)
        return not math.isnan(below)

    for name, far in ((left, inside - 15), (right, inside + 60)):
        at = margins(switch(given, inside, far), v0, eta, T)
        assert float(at.pop(name)) == pytest.approx(0.0, abs=1e-12)
        assert min(at.values()) > 0.01, at


def test_the_limits_error_stops_where_eta_exceeds_2() -> None:
    for eta, given in ((2.0, True), (math.nextafter(2.0, 3.0), False), (2.5, False)):
        assert np.isfinite(run(-9.0, 12.0, eta).limit_error(0.25, [3, 10**6])).all() == given


def test_without_a_step_there_is_no_error_and_no_complaint() -> None:
    """At T = 0 not even the first phase's rise is known to be positive."""
    for v0 in (-5.0, 0.0, 5.0):
        for eta in (0.5, 2.0, 4.0):
            assert np.isnan(run(-v0 - 1.0, v0, eta).limit_error(0.25, [0, 0])).all()


@pytest.mark.parametrize(("v0", "eta", "T", "inside"), [case[:4] for case in INTERVALS])
def test_the_limits_error_by_its_formula(v0: float, eta: float, T: int, inside: float) -> None:
    below, above = run(inside, v0, eta).limit_error(0.25, T)
    y, K = mpf(eta) * T, mpmath.exp(mpf(inside))
    B = y - margins(inside, v0, eta, T)["4, B < y"]
    assert float(below) == pytest.approx(float(mpmath.log(1 - B / y) / 4), rel=1e-12)
    assert float(above) == pytest.approx(float((1 / (4 * K) + mpf(3) / 4) / (y - B)), rel=1e-12)


def ends(x: float, v0: float, eta: float, T0: int) -> tuple[mpf, mpf]:
    """V(T0) and w_0 = -x - V of docs/theory.md, S4."""
    h = mpf(eta)
    V = psi_inverse(psi(mpf(v0), h) + h * T0 + error_above(mpf(v0), h), h)
    return V, -mpf(x) - V


# T0 = 1 with η > 2: there y < η²/2, and Ψ(W) < Ψ(w_0). The first phase's start is moderate or far to either side.
STARTS = [
    (0.3, 0.25, 7),
    (0.3, 1.0, 1),
    (12.0, 3.0, 1),
    (2.0, 4.0, 1),
    (-1.0, 2.5, 2),
    (-30.0, 1.5, 30),
    (5.0, 4.0, 100),
]


@pytest.mark.parametrize(("v0", "eta", "T0"), STARTS)
def test_the_lower_end_is_given_just_where_r_increases(v0: float, eta: float, T0: int) -> None:
    """(S.5) with ρ = 1: its second part decides, and then 1 + e^V > η/2, so that the first holds."""
    x = switch(lambda x: not math.isnan(run(x, v0, eta).lower_end(T0)), 60.0, -60.0)
    h, (V, w0) = mpf(eta), ends(x, v0, eta, T0)
    assert float(mpmath.log(mpmath.exp(V) - h / 2 * sigma(V)) - w0) == pytest.approx(0.0, abs=1e-12)
    assert (1 + mpmath.exp(V)) ** 2 > h / 2


@pytest.mark.parametrize(("v0", "eta", "T0"), STARTS)
def test_the_lower_end_by_its_equation(v0: float, eta: float, T0: int) -> None:
    """Ψ(W) = Ψ(w_0) + ηT0 - η²/2, for w_0 of either sign."""
    first = float(ends(0.0, v0, eta, T0)[0])
    for w0 in (-3.0, min(first / 2, 6.0)):
        x = -w0 - first
        h, W = mpf(eta), run(x, v0, eta).lower_end(T0)
        assert float(psi_inverse(psi(ends(x, v0, eta, T0)[1], h) + h * T0 - h**2 / 2, h)) == pytest.approx(W, abs=1e-12)


def test_no_lower_end_where_the_first_phase_may_still_lie_low() -> None:
    """1 + e^V < η/2: however low w_0 is, R may decrease; nor where e^{w_0-V} is no float."""
    for x in (0.0, 100.0, 700.0, -700.0):
        assert math.isnan(run(x, -60.0, 4.0).lower_end(1))
