"""The artefact `lora`: its gaps and trajectories are those of torch's steps on A and B, and its checks can fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from figures.artefact import Request
from figures.artefacts import lora
from figures.drawing.lora import LOOKS, draw
from figures.drawing.render import render
from figures.registry import REGISTRY, load
from toyopt import minimise
from toyopt.examples import table2

PARAMETERS = lora.parameters(Request(scale="smoke"))


@pytest.fixture(scope="module")
def data():
    return lora.compute(PARAMETERS)


def by_torch(name: str, lengths: tuple[int, int]) -> float:
    """Return θ after steps of torch.optim.SGD on B (1 × r) and A (r × 1), DPO's example first."""
    a, b = PARAMETERS["starts"][name]
    A = torch.tensor(a, dtype=torch.float64).reshape(-1, 1).requires_grad_()
    B = torch.tensor(b, dtype=torch.float64).reshape(1, -1).requires_grad_()
    base, stepper = 5.0 - float(np.dot(a, b)), torch.optim.SGD([A, B], lr=1.0)
    for steps, sign, origin in ((lengths[0], -1.0, 5.0), (lengths[1], 1.0, 0.0)):
        for _ in range(steps):
            stepper.zero_grad()
            margin = sign * 0.5 * (base + (B @ A).squeeze() - origin)
            torch.nn.functional.softplus(margin, threshold=1e9).backward()
            stepper.step()
    return base + float((B @ A).detach())


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("name", lora.STARTS)
def test_gaps_and_trajectories_are_those_of_torch(data, name: str) -> None:
    T = int(data.table["T"][data.table["start"] == name][4])
    gap = data.table["gap"][(data.table["start"] == name) & (data.table["T"] == T)].item()
    optimum = minimise(table2(), 0.5).value
    assert gap == pytest.approx(float(table2().f_mix([by_torch(name, (T, T))], 0.5)) - optimum, rel=1e-9)
    # 2000 steps of torch take long: a phase of 60 is the same computation.
    short = lora._path(name, PARAMETERS | {"phase": 60})
    assert short[[0, 7, 60]] == pytest.approx([by_torch(name, (60, n)) for n in (0, 7, 60)], rel=1e-9)


@pytest.mark.slow
def test_every_check_holds_and_can_fail(data) -> None:
    names = ["below", "above", "law", "more than all weights", "balanced", "faster back"]
    assert [check.name for check in data.checks] == names
    assert all(check.holds for check in data.checks), [str(check) for check in data.checks if not check.holds]
    table = dict(data.table)
    paths = {name.removeprefix("path_"): path for name, path in data.extra.items()}

    def failing(table=table, paths=paths) -> set[str]:
        return {check.name for check in lora.checks(table, paths, PARAMETERS) if not check.holds}

    assert "below" in failing(table | {"gap": table["gap"] - 0.01})
    assert "above" in failing(table | {"gap": table["gap"] + 0.01})
    # The law of all weights in place of LoRA's.
    full = table["start"] == lora.FULL
    swapped = table["law"].copy()
    swapped[table["start"] == "LoRA"] = swapped[full]
    assert failing(table | {"law": swapped}) == {"law"}
    same = table["gap"].copy()
    same[full] = same[table["start"] == "LoRA"] + 1.0
    assert "more than all weights" in failing(table | {"gap": same})
    assert failing(paths=paths | {"balanced": paths["LoRA"]}) == {"balanced"}
    assert failing(paths=paths | {lora.FULL: paths["LoRA"]}) == {"faster back"}


@pytest.mark.slow
def test_a_small_adapter_waits_at_its_base_and_goes_on(data) -> None:
    """The plateau of (b): longer the smaller the adapter; it leaves at the speed of factors, h = ½ a step at most."""
    path = data.extra["path_LoRA, rank 3, small"]
    waits = np.abs(path - 5.0) < 0.1
    assert waits.sum() > 15
    assert path[-1] < -15.0
    assert (np.abs(data.extra["path_LoRA"] - 5.0) < 0.1).sum() < 5
    # Of T log T: the growth per log T at the last lengths is a little more than λ.
    own = data.table["start"] == "LoRA"
    growth = np.diff(data.table["gap"][own])[-1] / math.log(data.table["T"][own][-1] / data.table["T"][own][-2])
    assert 0.51 < growth < 0.58


@pytest.mark.slow
def test_the_figure_can_be_written(data) -> None:
    assert render(draw, data)["png"].startswith(b"\x89PNG")
    assert set(LOOKS) == {lora.FULL, *lora.STARTS}


def test_registered_without_runs() -> None:
    artefact = load("lora", REGISTRY["lora"])
    assert "grids" not in artefact.parameters(Request())
    assert "Theory and simulator only" in artefact.caption
