"""The artefact `forgetting`: its gaps are those of plain steps, its proven length follows from the total step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from figures.artefact import Request
from figures.artefacts import forgetting
from figures.drawing.forgetting import draw
from figures.drawing.render import render
from figures.registry import REGISTRY, load

SETTING = forgetting.parameters(Request(scale="smoke")) | {"decades": 3, "per_decade": 1, "seeds": 4}


@pytest.fixture(scope="module")
def data():
    return forgetting.compute(SETTING)


def f_mix(theta: float) -> float:
    """Return the mean of the two losses of Table 2."""
    return 0.5 * math.log1p(math.exp((5 - theta) / 2)) + 0.5 * math.log1p(math.exp(theta / 2))


def slopes(theta: float) -> tuple[float, float]:
    """Return the derivatives of f_DPO and f_SFT of Table 2."""
    return -0.5 / (1 + math.exp((theta - 5) / 2)), 0.5 / (1 + math.exp(-theta / 2))


def test_gaps_are_those_of_plain_steps(data) -> None:
    least = minimize_scalar(f_mix, bounds=(-5, 10), method="bounded", options={"xatol": 1e-12}).fun
    for T, sequential, mix, maxright in zip(
        *(data.table[name] for name in ("T", "Sequential", "Mix", "MAXRIGHT")), strict=True
    ):
        alpha, ends = 4.0 / math.sqrt(2 * T), [5.0, 5.0, 5.0]
        for t in range(2 * int(T)):
            ends[0] -= alpha * slopes(ends[0])[0 if t < T else 1]
            ends[1] -= alpha * sum(slopes(ends[1])) / 2
            dpo, sft = math.log1p(math.exp((5 - ends[2]) / 2)), math.log1p(math.exp(ends[2] / 2))
            ends[2] -= alpha * slopes(ends[2])[0 if dpo >= sft else 1]
        assert [sequential, mix, maxright] == pytest.approx([f_mix(theta) - least for theta in ends], abs=1e-9)
    assert (data.table["low"] <= data.table["ALRIGHT"]).all()
    assert (data.table["ALRIGHT"] <= data.table["high"]).all()


def test_the_proven_length_has_the_proven_total(data) -> None:
    """The least T with c² T α0/√(2T) >= 19, c = 1/2, α0 = 4."""
    T = data.facts["proven_from"]
    assert next(n for n in range(1, 10_000) if n / math.sqrt(2 * n) >= 19) == T
    assert 4.0 / math.sqrt(2 * T) <= 1.0
    assert all(check.holds for check in data.checks)


@pytest.mark.parametrize(
    ("change", "name"),
    [("Sequential", "level"), ("Sequential", "grows"), ("ALRIGHT", "vanish"), ("proven", "proven")],
)
def test_false_data_fail(data, change: str, name: str) -> None:
    table = {key: np.array(column, dtype=float) for key, column in data.table.items()}
    proven = -1 if change == "proven" else data.facts["proven_from"]
    if change == "Sequential":
        table["Sequential"][-1] = 0.1
    elif change == "ALRIGHT":
        table["ALRIGHT"][-1] = 0.06
    assert name in {check.name for check in forgetting.checks(table, proven, 1.0) if not check.holds}


def test_the_panel_is_drawn(data) -> None:
    assert load("forgetting", REGISTRY["forgetting"]).draw is draw
    assert render(draw, data)["png"].startswith(b"\x89PNG")
