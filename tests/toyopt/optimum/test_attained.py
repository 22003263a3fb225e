"""Optima that are attained or not, in other units, with weight decay."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toyopt import dpo, sft
from toyopt.examples import LowerBound, table2
from toyopt.optimum import lower_bound_minimiser, minimise, pareto_front
from toyopt.problem import Problem


@pytest.mark.parametrize("decay", [0.25, 2.0])
def test_weight_decay_is_half_its_square(decay: float) -> None:
    """One straight enough objective: the minimum of log(1+e^{-θ}) + (decay/2)θ² by its stationarity alone."""
    p = Problem((dpo([[1.0]], [[0.0]], beta=1.0, theta_ref=[0.0]), sft([[[0.0], [1.0]]], [0])))
    found = minimise(p, 1.0, weight_decay=decay)
    assert found.theta is not None
    t = float(found.theta[0])
    assert abs(decay * t - 1.0 / (1.0 + math.exp(t))) < 1e-9
    assert found.value == pytest.approx(math.log1p(math.exp(-t)) + decay / 2 * t * t, rel=1e-12)
    assert 0.0 <= found.grad_norm < 1e-9
    assert found.converged


def test_what_is_not_attained_has_no_theta_and_a_unit_direction() -> None:
    p = table2()
    for lam, sign in ((1.0, 1.0), (0.0, -1.0)):
        found = minimise(p, lam)
        assert not found.attained
        assert found.theta is None
        assert found.direction is not None
        np.testing.assert_allclose(found.direction, [sign], rtol=1e-15)
        assert found.grad_norm == 0.0
        assert found.value == 0.0
    three = Problem((dpo([[1.0, 1.0]], [[0.0, 0.0]], beta=1.0, theta_ref=[0.0, 0.0]), sft([np.eye(2) * 3.0], [0])))
    direction = minimise(three, 0.5).direction
    assert direction is not None
    assert np.linalg.norm(direction) == pytest.approx(1.0, rel=1e-14)


def test_the_front_marks_its_attained_points() -> None:
    p = table2()
    front = pareto_front(p, [0, 0.5, 1])
    assert front.lam.dtype == np.float64
    assert front.lam.tolist() == [0.0, 0.5, 1.0]
    assert front.attained.tolist() == [False, True, False]
    assert np.isnan(front.theta[[0, 2]]).all()
    assert front.theta.dtype == np.float64
    assert front.theta[1, 0] == pytest.approx(lower_bound_minimiser(LowerBound(), 0.5), rel=1e-9)
    np.testing.assert_allclose(front.values[1], p.values(front.theta[1]), rtol=1e-14)


def test_the_closed_form_keeps_its_accuracy_on_both_sides_of_a_half() -> None:
    """Against the other root of the same quadratic, exact in rationals: z = K = 1 and λ = m/(1+m) gives z = m."""
    for m in (1e-12, 1e-3, 0.5, 1.0, 2.0, 1e3, 1e12):
        lam = m / (1.0 + m)
        b = (1.0 - 2.0 * lam) / (1.0 - lam)
        got = lower_bound_minimiser(LowerBound(1.0, 0.0), lam)
        # (1-λ)z² + (1-2λ)z - λ = (z + 1)((1-λ)z - λ)
        assert got == pytest.approx(math.log(lam / (1.0 - lam)), rel=1e-12, abs=1e-15), (m, b)
    assert math.isfinite(lower_bound_minimiser(LowerBound(1.0, 700.0), 0.5))
    for bad, message in ((0.0, "lam: must be in"), (1.0, "lam: must be in"), (math.nan, "lam: a finite")):
        with pytest.raises(ValueError, match=f"^{message}"):
            lower_bound_minimiser(LowerBound(), bad)
    with pytest.raises(ValueError, match=r"^family: \|c theta_ref\| must be at most 700"):
        lower_bound_minimiser(LowerBound(1.0, 700.5), 0.5)


def test_a_row_of_zeros_is_no_obstacle() -> None:
    p = Problem(
        (
            dpo([[1.0], [2.0]], [[0.0], [2.0]], beta=1.0, theta_ref=[0.0]),
            dpo([[3.0]], [[3.0]], beta=1.0, theta_ref=[0.0], name="flat"),
        )
    )
    found = minimise(p, 0.5)
    assert not found.attained
    assert found.value == pytest.approx(0.5 * 0.5 * math.log(2.0) + 0.5 * math.log(2.0), rel=1e-14)
    alone = minimise(p, 0.0, near=[2.5])
    assert alone.attained
    assert alone.theta is not None
    assert alone.theta.tolist() == [2.5]
    assert alone.grad_norm == 0.0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_optima_do_not_depend_on_the_unit_of_length(scale: float) -> None:
    """Features s times as long: the same values, at parameters 1/s times as long, and the same direction."""
    rng = np.random.default_rng(3)
    chosen, rejected, features = rng.normal(size=(3, 2)), rng.normal(size=(3, 2)), rng.normal(size=(3, 3, 2))

    def at(s: float) -> Problem:
        ref = np.zeros(2)
        return Problem((dpo(s * chosen, s * rejected, beta=1.0, theta_ref=ref), sft(s * features, [0, 1, 2])))

    one, other = minimise(at(1.0), 0.4), minimise(at(scale), 0.4)
    assert one.attained == other.attained
    np.testing.assert_allclose(other.values, one.values, rtol=1e-6)
    assert other.value == pytest.approx(one.value, rel=1e-9)
