"""The artefact `optimisers`: its gaps are those of torch's optimizers, and its checks can fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from figures.artefact import Request
from figures.artefacts import optimisers
from figures.drawing.optimisers import LOOKS, draw
from figures.drawing.render import render
from figures.registry import REGISTRY, load
from toyopt import minimise
from toyopt.examples import table2

PARAMETERS = optimisers.parameters(Request(scale="smoke"))
MAKE = {
    "SGD": lambda theta: torch.optim.SGD([theta], lr=0.01),
    "heavy ball": lambda theta: torch.optim.SGD([theta], lr=0.01, momentum=0.9),
    "Adam, slow": lambda theta: torch.optim.Adam([theta], lr=0.01, betas=(0.9, 0.999)),
    "Adam, fast": lambda theta: torch.optim.Adam([theta], lr=0.01, betas=(0.9, 0.95)),
    "AdamW": lambda theta: torch.optim.AdamW([theta], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1),
}


@pytest.fixture(scope="module")
def data():
    return optimisers.compute(PARAMETERS)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("name", MAKE)
def test_gaps_are_those_of_torch(data, name: str) -> None:
    """The shortest run of the logarithmic axis: 100 steps on each objective, and the next one, 373."""
    optimum = minimise(table2(), 0.5).value
    own = (data.table["optimizer"] == name) & (data.table["axis"] == "logarithmic")
    for T, gap in zip(data.table["T"][own][:2], data.table["gap"][own][:2], strict=True):
        theta = torch.tensor([5.0], dtype=torch.float64)
        for sign, origin in ((-1.0, 5.0), (1.0, 0.0)):
            stepper = MAKE[name](theta)
            for _ in range(int(T)):
                slope = sign * 0.5 / (1.0 + math.exp(-sign * 0.5 * (theta.item() - origin)))
                theta.grad = torch.tensor([slope], dtype=torch.float64)
                stepper.step()
        value = 0.5 * math.log1p(math.exp(-0.5 * (theta.item() - 5.0))) + 0.5 * math.log1p(math.exp(0.5 * theta.item()))
        assert gap == pytest.approx(value - optimum, abs=1e-11)


@pytest.mark.slow
def test_every_check_holds_and_can_fail(data) -> None:
    assert all(check.holds for check in data.checks), [str(check) for check in data.checks if not check.holds]
    names = {check.name for check in data.checks}
    table = dict(data.table)
    speeds = {name: float(data.facts[f"speed of {name}"]) for name in ("Adam, slow", "Adam, fast")}
    rest = float(data.facts["AdamW's gap at rest"])

    def failing(table=table, speeds=speeds, rest=rest) -> set[str]:
        return {check.name for check in optimisers.checks(table, speeds, PARAMETERS, rest) if not check.holds}

    assert failing() == set()
    assert failing(table | {"low": table["high"] + 0.1}) == {"below"}
    assert "above" in failing(table | {"high": table["gap"] - 0.1})
    # Half the speed, ½ log(1/β2) + cα, and a gap that does not grow at all.
    assert failing(speeds=speeds | {"Adam, slow": 0.00025}) == {"linear: Adam"}
    assert failing(speeds=speeds | {"Adam, slow": 0.0055}) == {"linear: Adam"}
    assert failing(rest=rest + 0.1) == {"AdamW at rest"}
    flat = np.where(table["optimizer"] == "heavy ball", 3.0, table["gap"])
    assert "log: heavy ball" in failing(table | {"gap": flat})
    swapped = np.where(table["optimizer"] == "SGD", 20.0, table["gap"])
    assert "Adam beyond SGD" in failing(table | {"gap": swapped})
    assert {
        "below",
        "above",
        "log: SGD",
        "log: heavy ball",
        "linear: Adam",
        "Adam beyond SGD",
        "AdamW at rest",
    } == names


@pytest.mark.slow
def test_the_figure_can_be_written(data) -> None:
    assert set(LOOKS) == set(PARAMETERS["runs"])
    assert render(draw, data)["png"].startswith(b"\x89PNG")


def test_registered_without_runs() -> None:
    artefact = load("optimisers", REGISTRY["optimisers"])
    assert "grids" not in artefact.parameters(Request())
    assert "no models" in artefact.caption
