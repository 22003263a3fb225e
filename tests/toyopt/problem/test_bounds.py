"""Propositions A.1 (bounded gradients) and A.2 (convexity), and the constants C1, C2 and `smoothness`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import oracle
from support import strategies as own
from support.oracle import Datum, Spec

from toyopt import Problem

EPS = np.finfo(float).eps
TINY = np.finfo(float).smallest_subnormal


def length_error(dim: int) -> float:
    """Relative: rows, their products, d sums and a root round; twice, for both sides of an inequality."""
    return (2 * dim + 12) * EPS


@pytest.mark.slow
@given(st.data(), own.problems(scales=own.EXTREME))
def test_prop_a1_gradients_are_bounded_pointwise_and_in_mean_square(data: st.DataObject, specs: oracle.Specs) -> None:
    theta = data.draw(own.points(specs, (0.1, 10.0, 1e4)))
    p = oracle.problem(specs)
    slack = 1 + length_error(p.dim)
    used = [d.outputs if d.loser is None else [d.outputs[d.wanted], d.outputs[d.loser]] for s in specs for d in s.data]
    assert p.phi == pytest.approx(max(np.linalg.norm(rows, axis=1).max() for rows in used), rel=slack - 1)
    for s, o in zip(specs, p.objectives, strict=True):
        norms = np.linalg.norm(o.data_grads(theta), axis=-1)
        assert norms.max() <= o.grad_bound * slack
        assert o.grad_bound <= 2 * s.beta * s.phi * slack  # C1 = 2 beta Φ; C2 = 2 Φ with beta = 1
        assert (norms**2).mean() <= o.grad_bound**2 * slack**2  # eq. (20), (21)
        assert np.linalg.norm(o.grad(theta)) <= o.grad_bound * slack
    assert [o.grad_bound for o in p.objectives[:2]] == [p.C1, p.C2]


@pytest.mark.slow
@given(own.problems(exact=True))
def test_prop_a1_is_approached_so_no_smaller_constant_would_do(specs: oracle.Specs) -> None:
    """Far along the longest row its answer has all the probability: a row a with ‖a‖ = max has aᵀa > aᵀb for b != a."""
    for s in specs:
        o = s.objective()
        longest = o.rows[np.argmax((o.rows**2).sum(axis=1))]
        if not longest.any():
            continue
        # Dyadic rows: aᵀa - aᵀb is a multiple of β²/256 >= 2^-10, so at 1e6 the rest is e^-900 or less.
        norms = np.linalg.norm(o.data_grads(o.origin + 1e6 * longest), axis=-1)
        assert norms.max() >= o.grad_bound * (1 - length_error(o.dim))
        assert norms.max() > 0.999 * o.grad_bound  # a constant smaller by a thousandth is caught


def test_prop_a1_with_opposite_features_reaches_the_papers_own_constants() -> None:
    """φ(yw) = -φ(yl), both of length Φ: ‖g_DPO‖ -> 2βΦ and ‖g_SFT‖ -> 2Φ."""
    phi, beta = 1.5, 0.75
    w = np.array([0.9, 1.2])  # length 1.5
    p = Problem.dpo_sft(chosen=[w], rejected=[-w], features=[[w, -w]], targets=[0], theta_ref=[0, 0], beta=beta)
    theta = -100 * w
    for grad, constant, bound in ((p.grad_dpo, 2 * beta * phi, p.C1), (p.grad_sft, 2 * phi, p.C2)):
        assert np.linalg.norm(grad(theta)) == pytest.approx(constant, rel=8 * EPS)
        assert bound == pytest.approx(constant, rel=8 * EPS)
    assert p.phi == pytest.approx(phi, rel=4 * EPS)


@pytest.mark.slow
@given(st.data(), own.problems(scales=own.EXTREME))
def test_prop_a2_hessians_are_positive_semidefinite_as_computed(data: st.DataObject, specs: oracle.Specs) -> None:
    theta = data.draw(own.points(specs, (0.1, 10.0, 1e4)))
    p = oracle.problem(specs)
    lam = data.draw(st.floats(0, 1)) if len(specs) == 2 else (0.25, 0.5, 0.25)
    for h in [*p.hessians(theta), p.hess_mix(theta, lam)]:
        assert np.abs(h - h.T).max() <= 4 * EPS * np.abs(h).max()
        eigenvalues = np.linalg.eigvalsh(h)
        # Every entry of Σ w vvᵀ (w >= 0) is off by at most (pairs + 4) u Σ w‖v‖² and eigvalsh by d u ‖h‖: no more; or,
        # where the products are subnormal, each by half of the smallest of those.
        pairs = max(len(d.outputs) for s in specs for d in s.data) ** 2 * 4
        assert eigenvalues[0] >= -(pairs + 10) * p.dim * (EPS * np.trace(h) + TINY)
        assert (np.diagonal(h) >= 0).all()


@pytest.mark.slow
@given(st.data(), own.problems())
def test_prop_a2_objectives_and_their_mixtures_are_convex_along_chords(
    data: st.DataObject, specs: oracle.Specs
) -> None:
    a, b = (np.array(data.draw(own.points(specs))) for _ in range(2))
    t = data.draw(st.floats(0, 1))
    lam = data.draw(st.floats(0, 1)) if len(specs) == 2 else (0.25, 0.5, 0.25)
    p = oracle.problem(specs)
    # The middle point itself rounds: 3u of its length, times the Lipschitz constant; the rest are the values' errors.
    for f, lipschitz in [
        *((o.value, o.grad_bound) for o in p.objectives),
        (lambda x: p.f_mix(x, lam), max(o.grad_bound for o in p.objectives)),
    ]:
        ends = (1 - t) * f(a) + t * f(b)
        size = np.linalg.norm(a) + np.linalg.norm(b)
        rounding = max(oracle.value_error(s, x, float(f(x))) for s in specs for x in (a, b))
        rounding += 4 * EPS * lipschitz * size
        assert f((1 - t) * a + t * b) <= ends + 3 * rounding
        # A.5, the first-order form.
    g = p.grads(a)
    for i, s in enumerate(specs):
        rounding = sum(oracle.value_error(s, x, float(p.values(x)[i])) for x in (a, b))
        rounding += (oracle.grad_error(s, a) + 8 * EPS * p.objectives[i].grad_bound) * np.linalg.norm(b - a)
        assert p.values(b)[i] >= p.values(a)[i] + g[i] @ (b - a) - rounding


@pytest.mark.slow
@given(st.data(), own.problems(scales=own.EXTREME))
def test_smoothness_bounds_the_hessian(data: st.DataObject, specs: oracle.Specs) -> None:
    theta = data.draw(own.points(specs, (1e-3, 0.1, 10.0)))
    for s in specs:
        o = s.objective()
        assert np.linalg.norm(o.hess(theta), 2) <= o.smoothness * (1 + length_error(o.dim) + 16 * EPS)
        assert o.smoothness <= oracle.smoothness(s) * (1 + 16 * EPS)


@pytest.mark.slow
@given(st.floats(0.1, 10), own.vectors(3, own.numbers(2.0)), own.vectors(3, own.numbers(2.0)))
def test_smoothness_is_attained_where_two_answers_are_even(
    beta: float, a: tuple[float, ...], b: tuple[float, ...]
) -> None:
    """h = 1/2 at theta_ref: the Hessian is (β²/4) ΔΔᵀ, of norm exactly L. For SFT at theta = 0."""
    ref = (0.5, -1.0, 2.0)
    for s, theta in (
        (Spec("dpo", (Datum((a, b), 0, 1),), beta, ref), ref),
        (Spec("sft", (Datum((a, b), 0),)), (0.0, 0.0, 0.0)),
    ):
        o = s.objective()
        assert np.linalg.norm(o.hess(theta), 2) == pytest.approx(o.smoothness, rel=32 * EPS, abs=1e-300)


def test_smoothness_is_the_mean_over_data_of_the_squared_diameters_over_four() -> None:
    """A triangle of diameter 5 (between two answers that are not wanted) and a pair at distance 2: (25 + 4)/8."""
    s = Spec("sft", (Datum(((0.0, 0.0), (3.0, 0.0), (0.0, 4.0)), 0), Datum(((1.0, 1.0), (1.0, 3.0)), 1)))
    assert s.objective().smoothness == (25 + 4) / 8
    assert s.objective().grad_bound == 4.0


def test_a_stated_phi_is_kept_and_must_hold() -> None:
    features = {"chosen": [[3.0, 4.0]], "rejected": [[0.0, 0.0]], "features": [[[0.0, 1.0], [1.0, 0.0]]]}
    assert Problem.dpo_sft(**features, targets=[0], theta_ref=[0, 0]).phi == 5.0
    assert Problem.dpo_sft(**features, targets=[0], theta_ref=[0, 0], phi=5.0).phi == 5.0
    assert Problem.dpo_sft(**features, targets=[0], theta_ref=[0, 0], phi=9).phi == 9.0
    with pytest.raises(ValueError, match=r"phi: .* norm 5\.0.* 4\.999"):
        Problem.dpo_sft(**features, targets=[0], theta_ref=[0, 0], phi=4.999)
