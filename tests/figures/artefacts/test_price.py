"""The artefact `price`: its gaps are those of all paths and of plain steps, and its checks can fail."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from figures.artefact import Request
from figures.artefacts import price
from figures.drawing.price import draw
from figures.drawing.render import render
from figures.registry import REGISTRY, load

SETTING = {"lams": [0.3, 0.5], "lengths": [8, 512, 2048], "nodes": 16_000, "alpha0": 2.0, "theta_1": 2.0}


@pytest.fixture(scope="module")
def data():
    return price.compute(SETTING)


def gap(theta: float, lam: float) -> float:
    """The gap on Table 2; the minimiser by bisection of the slope."""

    def value(x: float) -> float:
        return lam * math.log1p(math.exp((5 - x) / 2)) + (1 - lam) * math.log1p(math.exp(x / 2))

    low, high = -20.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        up = (1 - lam) / (1 + math.exp(-middle / 2)) > lam / (1 + math.exp((middle - 5) / 2))
        low, high = (low, middle) if up else (middle, high)
    return value(theta) - value(low)


def end(draws: tuple[bool, ...], alpha: float) -> float:
    """θ after plain steps on DPO (True) and SFT from 2."""
    theta = 2.0
    for dpo in draws:
        theta += alpha * (0.5 / (1 + math.exp((theta - 5) / 2)) if dpo else -0.5 / (1 + math.exp(-theta / 2)))
    return theta


@pytest.mark.slow
def test_the_coins_gap_is_the_mean_over_all_paths(data) -> None:
    """T = 8 has 2^7 paths; the value is within the grid's error of their mean."""
    for lam in SETTING["lams"]:
        own = (data.table["lam"] == lam) & (data.table["T"] == 8)
        mean = sum(
            lam ** sum(draws) * (1 - lam) ** (7 - sum(draws)) * gap(end(draws, 2 / math.sqrt(8)), lam)
            for draws in itertools.product((True, False), repeat=7)
        )
        assert data.table["low"][own].item() <= math.sqrt(8) * mean <= data.table["high"][own].item()
        assert data.table["coin"][own].item() == pytest.approx(math.sqrt(8) * mean, rel=1e-4)


@pytest.mark.slow
def test_the_even_gap_is_that_of_plain_steps(data) -> None:
    for lam, T in itertools.product(SETTING["lams"], (8, 512)):
        own = (data.table["lam"] == lam) & (data.table["T"] == T)
        draws = tuple((t + 0.5) * (math.sqrt(5) - 1) / 2 % 1 < lam for t in range(T - 1))
        expected = math.sqrt(T) * gap(end(draws, 2 / math.sqrt(T)), lam)
        assert data.table["even"][own].item() == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.slow
def test_every_check_holds_and_can_fail(data) -> None:
    assert [check.name for check in data.checks] == ["limit", "even", "theorem", "price"]
    assert all(check.holds for check in data.checks)

    def failing(**changed: np.ndarray) -> set[str]:
        return {check.name for check in price.checks(data.table | changed) if not check.holds}

    table = data.table
    assert failing(limit=2 * table["limit"]) == {"limit"}
    assert failing(limit=0 * table["limit"]) == {"limit"}
    assert failing(even=table["coin"]) == {"even", "price"}
    assert failing(high=table["high"] + table["theorem_41"]) >= {"theorem"}


@pytest.mark.slow
def test_the_figure_can_be_written(data) -> None:
    assert render(draw, data)["png"].startswith(b"\x89PNG")


def test_registered_without_runs() -> None:
    artefact = load("price", REGISTRY["price"])
    assert "grids" not in artefact.parameters(Request())
    assert "no models" in artefact.caption
