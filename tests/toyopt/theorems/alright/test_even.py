"""The even alternation: counts of every interval, distances by a plain loop, and the coin, which breaks the bound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from toyopt.algorithms import draw
from toyopt.examples import random_problem, table2
from toyopt.problem import Problem, sft
from toyopt.theorems import LocalConstants, alright_even, discrepancy_bound
from toyopt.theorems.alright.even import discrepancies, distance_bound

WEIGHTS = ((0.5, 0.5), (0.05, 0.95), (0.3, 0.2, 0.5), (1 / 3, 1 / 3, 1 / 3), (0.618034, 0.381966))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_every_interval_of_steps_is_near_its_shares(weights: tuple[float, ...]) -> None:
    n = 1500
    counts = discrepancies(weights, n)
    lengths = np.arange(n + 1)
    for i in range(len(weights)):
        apart = np.abs(counts[:, None, i] - counts[None, :, i])
        assert (apart <= discrepancy_bound(np.abs(lengths[:, None] - lengths[None, :])) + 1e-9).all()


def test_counts_are_those_of_the_golden_ratio_in_integers() -> None:
    """Half of the steps: (t + ½)γ mod 1 < ½, with γ = (√5-1)/2 to 40 digits."""
    digits = 6180339887498948482045868343656381177203
    low = [(2 * t + 1) * digits % (2 * 10**40) < 10**40 for t in range(2000)]
    mine = discrepancies((0.5, 0.5), 2000)
    np.testing.assert_allclose(mine[1:, 0], np.cumsum(low) - 0.5 * np.arange(1, 2001), atol=1e-9)


def test_a_coin_breaks_the_bound_of_the_counts() -> None:
    heads = np.random.default_rng(0).random(20_000) < 0.5
    off = np.abs(np.cumsum(heads) - 0.5 * np.arange(1, 20_001))
    assert (off > discrepancy_bound(np.arange(1, 20_001))).any()


def followed(problem: Problem, order: Any, alpha: float, start: Any) -> np.ndarray:
    """The last iterate of plain steps on the objectives in this order."""
    theta = np.array(start, dtype=float)
    for i in order:
        theta = theta - alpha * problem.objectives[i].grad(theta)
    return theta


def three() -> Problem:
    """Random objectives: DPO, SFT and another SFT."""
    rng = np.random.default_rng(11)
    pair = random_problem(rng, dim=2, n_dpo=6, n_sft=6)
    return Problem((*pair.objectives, sft(rng.normal(size=(5, 3, 2)), [0, 1, 2, 0, 1], name="other")))


PROBLEMS: dict[str, tuple[Problem, tuple[float, ...]]] = {
    "table2": (table2(), (0.5, 0.5)),
    "plane": (random_problem(np.random.default_rng(1), dim=2, n_dpo=5, n_sft=6), (0.4, 0.6)),
    "three": (three(), (0.3, 0.2, 0.5)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("alternation", ["coin", "even", "one after the other"])
def test_the_distance_bound_holds_in_any_order(name: str, alternation: str) -> None:
    problem, weights = PROBLEMS[name]
    n, rng = 1200, np.random.default_rng(3)
    local = LocalConstants.of(problem, weights)
    hits = {
        "coin": [draw(float(u), weights) for u in rng.random(n)],
        "even": [draw((t + 0.5) * (math.sqrt(5) - 1) / 2 % 1, weights) for t in range(n)],
        "one after the other": np.repeat(
            np.arange(len(weights)), np.diff(np.rint(np.cumsum((0, *weights)) * n)).astype(int)
        ),
    }[alternation]
    onehot = np.asarray(hits)[:, None] == np.arange(len(weights))
    counts = np.concatenate([np.zeros((1, len(weights))), np.cumsum(onehot - np.array(weights), axis=0)])
    for alpha in (0.003, 0.03):
        end = followed(problem, hits, alpha, np.ones(problem.dim))
        far = float(np.linalg.norm(np.ones(problem.dim) - local.theta_star))
        assert np.linalg.norm(end - local.theta_star) <= distance_bound(local, counts, far, alpha)


def test_a_tenth_of_the_counts_would_not_bound_the_distance() -> None:
    problem, weights = PROBLEMS["table2"]
    local, T = LocalConstants.of(problem, weights), 16_000
    alpha, counts = 2.0 / math.sqrt(T), discrepancies(weights, T - 1)
    order = [draw((t + 0.5) * (math.sqrt(5) - 1) / 2 % 1, weights) for t in range(T - 1)]
    off = float(np.linalg.norm(followed(problem, order, alpha, [1.0]) - local.theta_star))
    assert distance_bound(local, 0.1 * counts, 1.5, alpha) < off <= distance_bound(local, counts, 1.5, alpha)


@pytest.mark.slow
def test_t_times_the_gap_is_bounded_where_the_coin_pays_root_t() -> None:
    """The bound of T G falls once the start is forgotten; the coin's T E G is 0.0755 √T, from 2.4 to 9.5 here."""
    records = {T: alright_even(table2(), lam=0.5, alpha0=2.0, T=T, theta_1=[1.0]) for T in (1000, 4000, 16_000)}
    for T, (gap, counts) in records.items():
        assert (gap.verdict, counts.verdict) == ("holds", "holds")
        assert gap.bound < 0.0755 * math.sqrt(T)
    assert records[16_000][0].bound < records[1000][0].bound


def test_an_objective_without_a_weight_is_never_drawn() -> None:
    problem = random_problem(np.random.default_rng(1), dim=2, n_dpo=9, n_sft=6)
    gap, counts = alright_even(problem, lam=1.0, alpha0=1.0, T=400, theta_1=[0.5, 0.5])
    assert (gap.verdict, counts.attained) == ("holds", 0.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"T": 1}, "T: must be at least 2, got 1"),
        ({"alpha0": -1}, "alpha0: must be more than 0, got -1"),
        ({"alpha0": 100}, r"alpha0: at most √T/L = 48 is needed, got 100"),
        ({"lam": 0.0}, r"lam: f_Mix has no minimiser for lam = 0\.0"),
    ],
)
def test_wrong_input_names_the_argument(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        alright_even(table2(), **{"lam": 0.5, "alpha0": 1.0, "T": 9, "theta_1": [1.0]} | wrong)
