"""The paper's toy problems: every property that its prose states of the reconstructed numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toyopt import Constant, Sequential, simulate
from toyopt.examples import (
    TABLE2,
    TABLE3,
    Figure2,
    LowerBound,
    from_rows,
    random_problem,
    reference_problem,
    table2,
)

EPS = np.finfo(float).eps
THETAS = np.linspace(-30, 30, 61)[:, None]


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


@pytest.mark.parametrize(("table", "phi"), [(TABLE2, 1.0), (TABLE3, math.sqrt(2))])
def test_tables_have_two_outputs_an_input_and_different_labels(table: tuple, phi: float) -> None:
    assert [(r.input, r.role) for r in table] == [
        ("x_DPO", "chosen"),
        ("x_DPO", "rejected"),
        ("x_SFT", "target"),
        ("x_SFT", "not trained on"),
    ]
    assert [r.label for r in table] == [1, 0, 0, 1]  # opposite labels are wanted
    p = from_rows(table, theta_ref=[0.0] * p_dim(table))
    assert p.phi == pytest.approx(phi, rel=4 * EPS)


def p_dim(table: tuple) -> int:
    return len(table[0].feature)


def test_table_2_is_the_lower_bounds_pair_of_objectives() -> None:
    """f_DPO = log(1 + e^{-(θ-5)/2}), f_SFT = log(1 + e^{θ/2}): opposite pulls."""
    p = table2()
    np.testing.assert_allclose(p.f_dpo(THETAS), softplus(-(THETAS[:, 0] - 5) / 2), rtol=8 * EPS)
    np.testing.assert_allclose(p.f_sft(THETAS), softplus(THETAS[:, 0] / 2), rtol=8 * EPS)
    assert (p.grad_dpo(THETAS) < 0).all()
    assert (p.grad_sft(THETAS) > 0).all()
    assert (p.C1, p.C2, p.phi, p.dim) == (0.5, 0.5, 1.0, 1)


@pytest.mark.parametrize(("c", "ref"), [(0.5, 5.0), (0.5, -1.0), (1.25, 2.0), (0.3, 0.0)])
def test_the_lower_bounds_family(c: float, ref: float) -> None:
    p = LowerBound(c, ref).problem()
    # softplus(c(θ - ref)) has the rounding of its argument, of size 40 at most.
    np.testing.assert_allclose(p.f_dpo(THETAS), softplus(-c * (THETAS[:, 0] - ref)), rtol=160 * EPS)
    np.testing.assert_allclose(p.f_sft(THETAS), softplus(c * THETAS[:, 0]), rtol=160 * EPS)


def test_figure_5s_reference_objective_falls_for_ever_and_is_small_at_5() -> None:
    p = reference_problem(TABLE2)
    values = p.f_dpo(THETAS)
    np.testing.assert_allclose(values, softplus(-THETAS[:, 0] / 2), rtol=8 * EPS)  # eq. (34)
    assert (np.diff(values) < 0).all()
    assert p.f_dpo([5.0]) == pytest.approx(0.0789, abs=5e-5)


def test_table_3s_pulls_conflict_at_135_degrees() -> None:
    p = from_rows(TABLE3, theta_ref=[0.0, 0.0])
    a, b = -p.grad_dpo([0.3, -0.7]), -p.grad_sft([0.3, -0.7])
    angle = math.degrees(math.acos(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))))
    assert angle == pytest.approx(135, abs=1e-10)
    # Yet a region is good for both: far to the upper left both fall below any value.
    assert (p.values([-200.0, 400.0]) < 1e-20).all()


@pytest.mark.slow
def test_figure_2s_reference_is_the_start_trained_for_a_thousand_epochs() -> None:
    settings = Figure2()
    theta = np.array(settings.start)
    p = reference_problem(TABLE3)
    for _ in range(settings.reference_steps):
        theta = theta - settings.alpha * (p.grad_dpo(theta) + settings.weight_decay * theta)
    # 1000 steps of a nonexpansive map, each of some 10 roundings of numbers up to 16.
    np.testing.assert_allclose(settings.theta_ref(), theta, rtol=0, atol=1000 * 10 * 16 * EPS)
    np.testing.assert_array_equal(settings.problem().objectives[0].origin, settings.theta_ref())
    assert p.f_dpo(settings.theta_ref()) < p.f_dpo(settings.start)


def test_figure_2s_stages() -> None:
    settings = Figure2()
    rule = settings.sequential()
    assert rule == Sequential((10_000, 10_000), (0, 1), (0.05, 0.05))
    sim = simulate(
        settings.problem(), rule, Constant(settings.alpha), theta0=settings.start, weight_decay=settings.weight_decay,
        record=1,
    )  # fmt: skip
    path, (first, second) = sim.path(), sim.stage_ends[0]
    # Each stage ends at the first iterate below the threshold, or at its budget.
    for i, lo, hi in ((0, 0, first), (1, first, second)):
        values = path.values[lo : hi + 1, i]
        assert (values[:-1] >= 0.05).all()
        assert values[-1] < 0.05 or hi - lo == 10_000


def test_random_problems_have_the_stated_shapes_and_follow_their_generator() -> None:
    make = lambda seed, **more: random_problem(np.random.default_rng(seed), **more)  # noqa: E731
    p = make(0, dim=2, n_dpo=6, n_sft=7, outputs=4, beta=0.3)
    assert (p.dim, [o.size for o in p.objectives], set(p.objectives[1].counts)) == (2, [6, 7], {3})
    np.testing.assert_array_equal(make(1).objectives[0].rows, make(1).objectives[0].rows)
    assert (make(1).objectives[0].rows != make(2).objectives[0].rows).all()
    np.testing.assert_allclose(
        make(1, beta=1.4).objectives[0].rows, 2 * make(1, beta=0.7).objectives[0].rows, rtol=2 * EPS
    )
