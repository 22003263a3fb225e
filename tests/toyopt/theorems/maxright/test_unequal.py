"""Claim M-unequal: its logarithm, the inequality of its proof on runs, programs, and an example that needs αCL."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyopt.claims.guarantees import _steep
from toyopt.pep import rows, setting
from toyopt.theorems import total
from toyopt.theorems.maxright.bounds import average_terms, last_terms
from toyopt.theorems.maxright.unequal import (
    GAINS,
    logarithm,
    maxright_unequal,
    steepness,
    unequal_last_terms,
    unequal_terms,
)


def test_the_logarithm_by_hand() -> None:
    assert [logarithm(kappa) for kappa in (1, 2, 8, 10, 16, 100)] == [0.5, 1.0, 4.0, 4.25, 5.0, 7.5625]
    assert logarithm(GAINS) == GAINS / 2
    assert logarithm(1.001 * GAINS) < 1.001 * GAINS / 2


@given(st.floats(1.0, 1e9))
def test_the_logarithm_is_at_most_half_and_at_most_two_plus_log2(kappa: float) -> None:
    assert logarithm(kappa) <= min(kappa / 2, 2 + math.log2(kappa)) * (1 + 1e-12)
    assert logarithm(kappa) <= logarithm(1.1 * kappa)


@given(st.floats(0.01, 0.99), st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_the_bounds_are_at_most_those_of_m2_and_m4(lam: float, first: float, second: float) -> None:
    numbers: dict[str, Any] = {"distance": 1.3, "alpha0": 0.7, "T": 50}
    C = [first, second]
    _, kappa = steepness(lam, C)
    for own, other in ((unequal_terms, average_terms), (unequal_last_terms, last_terms)):
        new, old = total(own(lam, C, **numbers)), total(other(lam, C, **numbers))
        assert new <= old * (1 + 1e-12)
        if kappa < GAINS:
            assert new == pytest.approx(old, rel=1e-12)


def maxright(
    lam: np.ndarray, pieces: list[np.ndarray], offsets: list[np.ndarray], x: np.ndarray, alpha: float, T: int
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Iterates, F and choices of plain MAXRIGHT on f_i = max of affine pieces, full gradients."""
    points, values, chosen = [], [], []
    for _ in range(T):
        f = [(a @ x + b).max() for a, b in zip(pieces, offsets, strict=True)]
        i = int(np.argmax(lam * f))
        points.append(x)
        values.append(float(lam[i] * f[i]))
        chosen.append(i)
        x = x - alpha * pieces[i][int(np.argmax(pieces[i] @ x + offsets[i]))]
    return np.array(points), np.array(values), chosen


@pytest.mark.slow
def test_the_inequality_of_the_proof_holds_on_runs_and_not_with_half_of_its_right_side() -> None:
    """(M.5): 2 R(h) <= E + Y(h-1) at all h >= 0, on random objectives whose lighter one is the steeper."""
    rng, tightest = np.random.default_rng(12), 0.0
    for _ in range(300):
        d, kappa = int(rng.integers(1, 5)), float(rng.uniform(2, 60))
        lam = np.array([kappa / (kappa + 1), 1 / (kappa + 1)])
        pieces = []
        for size in (1.0, kappa):
            a = rng.normal(size=(int(rng.integers(1, 5)), d))
            pieces.append(a * size / np.linalg.norm(a, axis=1, keepdims=True))
        offsets = [rng.normal(size=len(a)) * 0.3 for a in pieces]
        C = np.array([np.linalg.norm(a, axis=1).max() for a in pieces])
        alpha, T, start = float(rng.uniform(0.01, 1)), 40, rng.normal(size=d)
        points, values, chosen = maxright(lam, pieces, offsets, start, alpha, T)
        star = points[int(np.argmin(values))] if rng.uniform() < 0.5 else start
        level = max(lam[i] * float((pieces[i] @ star + offsets[i]).max()) for i in (0, 1))
        product, ratio = steepness(lam.tolist(), C)
        z = (values - level) / (alpha * product)
        E = lam.max() * float(((start - star) ** 2).sum()) / (alpha**2 * product)
        mu = np.maximum(1.0, lam.max() * C**2 / product)[chosen]
        assert mu.max() <= ratio * (1 + 1e-12)
        for h in np.linspace(0.0, 4.0, 41):
            R, Y = float((mu * np.maximum(z - h, 0)).sum()), float(mu[z > h - 1].sum())
            assert 2 * R <= E + Y + 1e-9
            if E + Y > 0:
                tightest = max(tightest, 2 * R / (E + Y))
        terms = unequal_terms(lam.tolist(), C, distance=float(np.linalg.norm(start - star)), alpha0=alpha * T**0.5, T=T)
        assert values.mean() - level <= total(terms) + 1e-9
        last = unequal_last_terms(
            lam.tolist(), C, distance=float(np.linalg.norm(start - star)), alpha0=alpha * T**0.5, T=T
        )
        assert values[-1] - level <= total(last) + 1e-9
    assert tightest > 0.5


def test_the_mean_comes_near_one() -> None:
    """One light step of length αC_2 and m = √κ heavy ones back: the mean of F is nearly αCL, more than M3's half."""
    for kappa, least in ((4, 0.58), (100, 0.86), (10_000, 0.98)):
        lam, m = np.array([kappa / (kappa + 1), 1 / (kappa + 1)]), int(math.sqrt(kappa))
        # The light f_2 = κ x leads at 0 by a hair; f_1 = -x, both 0 at the minimiser 0.
        pieces, offsets = [np.array([[-1.0]]), np.array([[float(kappa)]])], [np.zeros(1), np.full(1, 1e-12)]
        _, values, chosen = maxright(lam, pieces, offsets, np.zeros(1), 1.0, m + 1)
        assert chosen == [1, *[0] * m]
        product, ratio = steepness(lam.tolist(), [1.0, float(kappa)])
        assert ratio == pytest.approx(kappa)
        assert values.mean() / product == pytest.approx((m - m * (m - 1) / (2 * kappa)) / (m + 1), rel=1e-9)
        assert values.mean() / product > least
        bound = total(unequal_terms(lam.tolist(), [1.0, float(kappa)], distance=0.0, alpha0=(m + 1) ** 0.5, T=m + 1))
        assert values.mean() <= bound


@pytest.mark.slow
def test_no_program_exceeds_the_bounds_and_m2s_are_far_above() -> None:
    for measure in ("average", "last"):
        given = setting("maxright", lam="100/101", bounds="1,100", steps=["1"] * 3, distance="1/10", measure=measure)
        shown = {row.claim: row for row in rows(given)}
        assert shown["M12"].record.verdict == "holds"
        other = "M2" if measure == "average" else "M4, closed form"
        assert shown["M12"].bound < 0.2 * shown[other].bound
        assert shown["M12"].ratio > 5 * shown[other].ratio


def test_the_records_hold() -> None:
    for steep in _steep(10.0, 0.98, 60):
        assert [record.verdict for record in maxright_unequal(steep)] == ["holds", "holds"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: logarithm(0.5), "kappa: must be at least 1"),
        (lambda: steepness(0.5, [0.0, 0.0]), "grad_bounds: must be more than 0"),
        (lambda: unequal_terms(0.5, [1.0, 1.0], distance=-1.0, alpha0=1.0, T=3), "distance: must be at least 0"),
    ],
)
def test_wrong_numbers_are_named(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        call()
