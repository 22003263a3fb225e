"""Remark 4.2: the horizon from which the bound of Theorem 4.1 is at most ε."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt.examples import table2
from toyopt.theorems import (
    explicit_horizon,
    least_horizon,
    log_bound,
    remark_42,
    total,
)
from toyopt.theorems.alright import remark_42 as module
from toyopt.theorems.alright.remark_42 import _minus_w

SIZES = st.floats(0.05, 20)


D, C, ALPHA0 = 1.3, 0.8, 1.7  # unequal, and none of them 1


@given(st.floats(0, 30), st.floats(0.01, 10), SIZES, st.floats(1e-3, 3))
def test_least_and_explicit_horizon(d: float, c: float, alpha0: float, epsilon: float) -> None:
    T = least_horizon(d, c, alpha0, epsilon)
    assert total(log_bound(d, c, alpha0, T)) <= epsilon
    assert T == 3 or total(log_bound(d, c, alpha0, T - 1)) > epsilon
    explicit = explicit_horizon(d, c, alpha0, epsilon)
    assert T <= explicit <= T * (1 + 1e-8) + 3  # log T for log(T-1) costs next to nothing
    for t in (T + 1, T + 2, 2 * T, 10 * T, 10**6 * T):
        assert total(log_bound(d, c, alpha0, t)) <= epsilon


def test_the_bound_decreases_from_three_on_and_not_from_two() -> None:
    bounds = [total(log_bound(0.0, C, ALPHA0, T)) for T in range(2, 3000)]
    assert bounds[0] < bounds[1]
    assert all(x > y for x, y in itertools.pairwise(bounds[1:]))


@pytest.mark.slow
def test_remark_42_records() -> None:
    for lam in (0.01, 0.3, 0.99):
        at_epsilon, closed, falls = remark_42(table2(), lam=lam, alpha0=1.7, epsilon=0.03, theta_1=[-1.0])
        assert (at_epsilon.verdict, closed.verdict, falls.verdict) == ("holds",) * 3
        T = int(closed.attained)
        assert at_epsilon.terms == pytest.approx(dict(thm_41_terms(lam, T)), rel=1e-9)
        a, c = sum(at_epsilon.terms.values()), 0.25 * 1.7 / 2
        assert falls.attained == pytest.approx(2 * c / (T - 1), rel=1e-14)
        assert falls.terms["c log(T-1)"] == pytest.approx(c * math.log(T - 1), rel=1e-14)
        assert falls.terms["a"] == pytest.approx(at_epsilon.terms["distance"] * math.sqrt(T), rel=1e-9)
        assert a == at_epsilon.bound - at_epsilon.slack or a == pytest.approx(at_epsilon.attained)


def thm_41_terms(lam: float, T: int) -> dict[str, float]:
    from toyopt.examples import LowerBound
    from toyopt.optimum import lower_bound_minimiser

    return log_bound(abs(-1.0 - lower_bound_minimiser(LowerBound(), lam)), 0.5, 1.7, T)


def test_remark_42_far_out() -> None:
    """ε = 1e-100: T is near 1e203, and the closed form still meets it."""
    T = least_horizon(D, C, ALPHA0, 1e-100)
    assert T <= explicit_horizon(D, C, ALPHA0, 1e-100) <= T * (1 + 1e-8)
    with pytest.raises(ValueError, match=r"epsilon: the bound reaches it beyond T = 2\^1000 only, got 1e-200"):
        least_horizon(D, C, ALPHA0, 1e-200)
    assert explicit_horizon(3.0, 0.0, 0.5, 0.1) == math.ceil(8100 * (1 + 1e-9)) + 1  # no noise: (a/ε)²
    assert least_horizon(3.0, 0.0, 0.5, 0.1) in (8100, 8101)


def test_remark_42_at_the_least_horizon() -> None:
    """ε so large that T(ε) = 3: the slope is looked at from T = 4, where 2c/3 <= a + c log 3."""
    at, closed, falls = remark_42(table2(), lam=0.3, alpha0=1.7, epsilon=100.0, theta_1=[-1.0], theta_star=[1.0])
    a, c = 4 / 3.4, 0.25 * 1.7 / 2
    assert (closed.attained, closed.bound, dict(closed.terms)) == (3.0, 3.0, {"closed form": 3.0})
    assert falls.attained == pytest.approx(2 * c / 3, rel=1e-14)
    assert falls.terms == pytest.approx({"a": a, "c log(T-1)": c * math.log(3)}, rel=1e-14)
    assert at.attained == pytest.approx((a + c * (2 + math.log(2))) / math.sqrt(3), rel=1e-14)
    assert at.bound == 100.0


def test_least_horizon_at_its_edges() -> None:
    assert least_horizon(1.0, 1.0, 1.0, 1e3) == 3
    assert [least_horizon(1.3, 0.8, 1.7, total(log_bound(1.3, 0.8, 1.7, T))) for T in (3, 4, 5, 10)] == [3, 4, 5, 10]
    # Without noise T = (a/ε)²; near the largest that is looked for.
    assert math.log2(least_horizon(1.0, 0.0, 0.5, 2.0**-499.6)) == pytest.approx(999.2, abs=1e-9)


def test_explicit_horizon_at_its_edges() -> None:
    assert explicit_horizon(0.0, 1.0, 1.0, 1.0) == 3  # where the argument of W is -1/e
    assert explicit_horizon(0.0, 1.0, 1.0, 2.0) == 3
    assert explicit_horizon(1.0, 0.0, 0.5, 1.0) == 4
    assert explicit_horizon(1.0, 1.0, 1.0, 0.5) == math.ceil(_root(1.0, 1.0, 1.0, 0.5) ** 2 * (1 + 1e-9)) + 1


def _root(D: float, C: float, alpha0: float, epsilon: float) -> float:
    """The larger u with (a + 2c + 2c log u)/u = ε, by bisection."""
    a, c = D**2 / (2 * alpha0), C**2 * alpha0 / 2
    low, high = 2 * c / epsilon, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (a + 2 * c + 2 * c * math.log(middle)) / middle > epsilon else (low, middle)
    return high


@pytest.mark.parametrize("log", [-1.5, -5.0, -699.0, -700.0, -701.0, -750.0, -1e5, -1e300])
def test_minus_w_solves_its_equation(log: float) -> None:
    y = _minus_w(log)
    assert y > 1
    assert y - math.log(y) == pytest.approx(-log, rel=1e-14)


def test_a_bound_that_is_above_epsilon_later_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """From T = 2 to 3 the bound rises: a T(ε) of 2 is one at which it is at most ε, and not from then on."""
    start = {"lam": 0.3, "alpha0": ALPHA0, "theta_1": [1.0], "theta_star": [1.0]}
    two, three = (total(log_bound(0.0, 0.5, ALPHA0, T)) for T in (2, 3))
    assert two < three
    epsilon = (two + three) / 2
    assert [r.verdict for r in remark_42(table2(), epsilon=epsilon, **start)] == ["holds"] * 3  # type: ignore[arg-type]
    monkeypatch.setattr(module, "least_horizon", lambda *_: 2)
    record = remark_42(table2(), epsilon=epsilon, **start)[0]  # type: ignore[arg-type]
    assert (record.verdict, record.attained) == ("fails", pytest.approx(three, rel=1e-14))


def test_without_a_converged_minimiser_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    solve = module.minimise
    monkeypatch.setattr(module, "minimise", lambda *a, **k: dataclasses.replace(solve(*a, **k), converged=False))
    options = {"lam": 0.3, "alpha0": 1.7, "epsilon": 0.03, "theta_1": [-1.0]}
    for record in remark_42(table2(), **options):  # type: ignore[arg-type]
        assert (record.verdict, record.note) == ("open", "the solver of theta* has not converged")
    for record in remark_42(table2(), theta_star=[0.0], **options):  # type: ignore[arg-type]
        assert (record.verdict, record.note) == ("holds", "")
