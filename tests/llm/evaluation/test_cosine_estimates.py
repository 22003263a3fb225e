"""Cosines from group gradients: known angles, the bias of few rows, errors, and rows that two objectives share."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from llm.evaluation.cosine_estimates import Cosines, estimate, interval

SIZE, ROWS, GROUPS = 300, 48, 6
ANGLE = math.radians(125.0)


def drawn(rng: np.random.Generator, noise: float, rows: int = ROWS) -> list[np.ndarray]:
    """Return gradients of single rows (rows, SIZE) of two objectives whose expectations are at ANGLE, plus noise.

    noise  its expected squared norm in the mean over all rows, where the expectation has norm 1
    """
    means = np.zeros((2, SIZE))
    means[0, 0], means[1, :2] = 1.0, (math.cos(ANGLE), math.sin(ANGLE))
    scale = math.sqrt(noise * rows / SIZE)
    return [mean + scale * rng.standard_normal((rows, SIZE)) for mean in means]


def of_rows(gradients: list[np.ndarray], groups: int = GROUPS) -> Cosines:
    """Return the estimate of objectives from their rows' gradients, in groups of consecutive rows."""
    parts = [np.array_split(g, groups) for g in gradients]
    sums = np.array([[part.sum(axis=0) for part in own] for own in parts])
    units = np.array([[float(len(part)) for part in own] for own in parts])
    return estimate(np.einsum("ikx,jlx->ikjl", sums, sums), units)


def test_without_noise_a_known_angle_is_exact() -> None:
    found = of_rows(drawn(np.random.default_rng(0), noise=0.0))
    expected = [[1.0, math.cos(ANGLE)], [math.cos(ANGLE), 1.0]]
    for matrix in (found.cosines, found.raw):
        np.testing.assert_allclose(matrix, expected, atol=1e-12)
    np.testing.assert_allclose(found.errors, 0.0, atol=1e-7)
    np.testing.assert_allclose(found.norms, 1.0)
    np.testing.assert_allclose(found.noise, 0.0, atol=1e-12)


def test_products_of_single_rows_are_those_of_every_two_different_rows() -> None:
    gradients = drawn(np.random.default_rng(1), noise=0.5, rows=5)
    found = of_rows(gradients, groups=5)
    inner = np.zeros((2, 2))
    for i, j in itertools.product(range(2), repeat=2):
        pairs = itertools.permutations(range(5), 2)
        inner[i, j] = np.mean([gradients[i][r] @ gradients[j][s] for r, s in pairs])
    expected = inner[0, 1] / math.sqrt(inner[0, 0] * inner[1, 1])
    assert found.cosines[0, 1] == pytest.approx(expected)
    assert found.norms[0] == pytest.approx(math.sqrt(inner[0, 0]))
    means = [g.mean(axis=0) for g in gradients]
    raw = means[0] @ means[1] / (np.linalg.norm(means[0]) * np.linalg.norm(means[1]))
    assert found.raw[0, 1] == pytest.approx(raw)
    assert found.noise[1] == pytest.approx(1.0 - inner[1, 1] / (means[1] @ means[1]))


@pytest.mark.statistical
@pytest.mark.slow
def test_few_rows_bias_the_plain_cosine_and_not_the_estimate() -> None:
    rng = np.random.default_rng(2)
    found = [of_rows(drawn(rng, noise=0.8)) for _ in range(300)]
    cosines, raw, errors = (np.array([getattr(f, n)[0, 1] for f in found]) for n in ("cosines", "raw", "errors"))
    # The estimate is a ratio, which is off by terms of second order: a twentieth, where the raw one loses 45 %.
    assert cosines.mean() == pytest.approx(math.cos(ANGLE), abs=0.03)
    assert raw.mean() == pytest.approx(math.cos(ANGLE) / 1.8, abs=0.02)
    assert np.mean([f.noise for f in found]) == pytest.approx(0.8 / 1.8, abs=0.02)
    # The jackknife's variance is on average at least the true one (Efron and Stein 1981), here by less than a half.
    assert 1.0 < float(np.sqrt(np.mean(errors**2)) / cosines.std()) < 1.5
    ends = np.array([interval(c, e, GROUPS) for c, e in zip(cosines, errors, strict=True)])
    inside = float(((ends[:, 0] <= math.cos(ANGLE)) & (math.cos(ANGLE) <= ends[:, 1])).mean())
    assert 0.9 < inside < 1.0


def test_objectives_on_the_same_rows_have_cosine_1() -> None:
    gradients, _ = drawn(np.random.default_rng(3), noise=0.8)
    found = of_rows([gradients, 2.0 * gradients])
    np.testing.assert_allclose(found.cosines, 1.0)
    np.testing.assert_allclose(found.errors, 0.0, atol=1e-7)
    assert found.norms[1] == pytest.approx(2.0 * found.norms[0])


def test_units_weigh_the_groups() -> None:
    """Two groups of one row twice over are one group of weight 2, as for an SFT set whose rows differ in tokens."""
    rng = np.random.default_rng(4)
    sums = rng.standard_normal((2, 4, SIZE))
    units = np.array([[1.0, 2.0, 5.0, 3.0], [4.0, 1.0, 1.0, 2.0]])
    found = estimate(np.einsum("ikx,jlx->ikjl", sums, sums), units)
    means = sums.sum(axis=1) / units.sum(axis=1)[:, None]
    raw = means[0] @ means[1] / (np.linalg.norm(means[0]) * np.linalg.norm(means[1]))
    assert found.raw[0, 1] == pytest.approx(raw)
    square = sum(sums[0, k] @ sums[0, m] for k, m in itertools.permutations(range(4), 2))
    square /= sum(units[0, k] * units[0, m] for k, m in itertools.permutations(range(4), 2))
    assert found.noise[0] == pytest.approx(1.0 - square / (means[0] @ means[0]))


def test_what_rows_do_not_determine_is_nan() -> None:
    gradients = drawn(np.random.default_rng(5), noise=0.1)
    zero = of_rows([gradients[0], np.zeros_like(gradients[1])])
    assert np.isnan(zero.cosines[0, 1])
    assert np.isnan(zero.noise[1])
    assert zero.cosines[0, 0] == 1.0
    centred = of_rows([gradients[0], gradients[1] - gradients[1].mean(axis=0)])  # all noise: the squared norm is < 0
    assert np.isnan(centred.cosines[0, 1])
    assert np.isnan(centred.norms[1])
    assert centred.noise[1] > 1.0 or np.isnan(centred.noise[1])


def test_two_groups_are_too_few() -> None:
    with pytest.raises(ValueError, match=r"^groups: must be at least 3, got 2$"):
        of_rows(drawn(np.random.default_rng(6), noise=0.1), groups=2)


def test_the_interval_is_students() -> None:
    low, high = interval(-0.5, 0.1, 8)
    assert high + 0.5 == pytest.approx(0.23646, abs=1e-5)  # 2.3646 with 7 degrees of freedom, in any table
    assert low + high == pytest.approx(-1.0)
