"""The artefact `evaluations`: its runs are those of plain steps with stored gaps, and its checks can fail."""

from __future__ import annotations

import math

import numpy as np
import pytest

from figures.artefact import Request
from figures.artefacts import evaluations
from figures.drawing.evaluations import draw
from figures.drawing.render import render
from figures.registry import REGISTRY, load

SETTING = {"starts": {"0.5": -4.0, "0.1": -20.0}, "evaluation": [1, 100], "k": [1, 3, 40], "total": 6000}


@pytest.fixture(scope="module")
def data():
    return evaluations.compute(SETTING)


def average(lam: float, start: float, k: int, T: int, alpha: float) -> float:
    """The mean of T iterates of memory-efficient MAXRIGHT on Table 2, by plain steps."""
    theta, total, stored = start, 0.0, [0.0, 0.0]
    for t in range(T):
        total += theta
        gaps = [lam * math.log1p(math.exp((5 - theta) / 2)), (1 - lam) * math.log1p(math.exp(theta / 2))]
        if t % k == 0:
            stored = list(gaps)
        i = 0 if stored[0] >= stored[1] else 1
        stored[i] = gaps[i]
        theta += alpha * (0.5 / (1 + math.exp((theta - 5) / 2)) if i == 0 else -0.5 / (1 + math.exp(-theta / 2)))
    return total / T


def worst(theta: float, lam: float) -> float:
    return max(lam * math.log1p(math.exp((5 - theta) / 2)), (1 - lam) * math.log1p(math.exp(theta / 2)))


@pytest.mark.slow
def test_the_runs_are_those_of_plain_steps(data) -> None:
    table = data.table
    for lam, start in ((0.5, -4.0), (0.1, -20.0)):
        low, high = -60.0, 60.0  # F falls, then rises: its minimum by ternary search
        for _ in range(200):
            a, b = low + (high - low) / 3, high - (high - low) / 3
            low, high = (low, b) if worst(a, lam) < worst(b, lam) else (a, high)
        for k, c in ((1, 1), (3, 100), (40, 1)):
            own = (table["lam"] == lam) & (table["k"] == k) & (table["evaluation"] == c)
            T, alpha = int(table["T"][own].item()), table["alpha"][own].item()
            assert k * (6000 // (k + c)) == T
            gap = worst(average(lam, start, k, T, alpha), lam) - worst(low, lam)
            assert table["attained"][own].item() == pytest.approx(gap, rel=1e-6, abs=1e-9)


def test_every_check_holds_and_can_fail(data) -> None:
    assert [check.name for check in data.checks] == ["guarantee", "theorem", "runs"]
    assert all(check.holds for check in data.checks)

    def failing(**changed: np.ndarray) -> set[str]:
        return {check.name for check in evaluations.checks(data.table | changed) if not check.holds}

    table = data.table
    assert failing(guarantee=0.1 * table["guarantee"]) == {"guarantee"}
    assert failing(factor=0.9 * table["factor"]) == {"theorem"}
    assert failing(attained_ratio=0.5 * table["attained_ratio"]) == {"runs"}


@pytest.mark.slow
def test_the_figure_can_be_written(data) -> None:
    assert render(draw, data)["png"].startswith(b"\x89PNG")


def test_registered_without_runs() -> None:
    artefact = load("evaluations", REGISTRY["evaluations"])
    assert "grids" not in artefact.parameters(Request())
    assert "no models" in artefact.caption
