"""The artefact `angle`: its gaps are those of plain steps, and its checks can fail."""

from __future__ import annotations

import math

import numpy as np
import pytest

from figures.artefact import Request
from figures.artefacts import angle
from figures.drawing.angle import draw
from figures.drawing.render import render
from figures.registry import REGISTRY, load


@pytest.fixture(scope="module")
def data():
    return angle.compute(angle.parameters(Request(scale="smoke")))


def by_hand(degrees: float, c: float, theta_ref: float, T: int) -> float:
    """The mean of both losses after T + T plain steps of 1 in the plane."""
    u, theta = (math.cos(math.radians(degrees)), math.sin(math.radians(degrees))), [theta_ref, 0.0]
    for _ in range(T):
        theta[0] += c / (1 + math.exp(c * (theta[0] - theta_ref)))
    for _ in range(T):
        step = c / (1 + math.exp(-c * (theta[0] * u[0] + theta[1] * u[1])))
        theta = [theta[0] - step * u[0], theta[1] - step * u[1]]
    margins = -c * (theta[0] - theta_ref), c * (theta[0] * u[0] + theta[1] * u[1])
    return sum(math.log1p(math.exp(margin)) for margin in margins) / 2


@pytest.mark.slow
@pytest.mark.parametrize(("degrees", "c", "theta_ref"), [(25.0, 0.5, 5.0), (55.0, 1.0, 5.0), (105.0, 2.0, 1.0)])
def test_gaps_are_those_of_plain_steps(data, degrees: float, c: float, theta_ref: float) -> None:
    table = data.table
    for T in (100, 1000):
        own = (table["degrees"] == degrees) & (table["c"] == c) & (table["theta_ref"] == theta_ref) & (table["T"] == T)
        assert table["gap"][own].item() == pytest.approx(by_hand(degrees, c, theta_ref, T), rel=1e-10)


@pytest.mark.slow
def test_the_critical_angle_divides_growth_from_decay(data) -> None:
    """cos ψ = (√5 - 1)/2."""
    critical = data.facts["critical angle, degrees"]
    assert math.cos(math.radians(critical)) == pytest.approx((math.sqrt(5) - 1) / 2, rel=1e-12)
    value, degrees = data.extra["growth_value"], data.extra["growth_degrees"]
    assert (value[degrees < critical - 1] > 0).all()
    assert (value[degrees > critical + 1] < 0).all()
    near = degrees == 25.0  # growth per log T is λ (cos ψ - sin² ψ), to some (log T)/T
    expected = 0.5 * (math.cos(math.radians(25)) - math.sin(math.radians(25)) ** 2)
    np.testing.assert_allclose(value[near], expected, atol=0.01)


@pytest.mark.slow
def test_every_check_holds_and_can_fail(data) -> None:
    assert [check.name for check in data.checks] == ["below", "above", "law", "grows", "falls"]
    assert all(check.holds for check in data.checks)
    growth = {name.removeprefix("growth_"): values for name, values in data.extra.items()}
    critical = data.facts["critical angle, degrees"]

    def failing(table=data.table, growth=growth, critical=critical) -> set[str]:
        return {check.name for check in angle.checks(table, growth, critical) if not check.holds}

    table = dict(data.table)
    assert failing(table | {"gap": table["gap"] - 0.01}) >= {"below"}
    assert failing(table | {"gap": table["gap"] + 1.0}) >= {"above", "law"}
    # The law with cos ψ in place of cos ψ - sin² ψ.
    psi = np.radians(table["degrees"])
    wrong = 0.5 * np.logaddexp(
        0, table["c"] * table["theta_ref"] * np.cos(psi) ** 2 + np.cos(psi) * np.log(table["c"] ** 2 * table["T"])
    )
    assert failing(table | {"law": wrong}) == {"law"}
    assert failing(critical=60.0) == {"grows"}
    assert failing(critical=40.0) == {"falls"}


@pytest.mark.slow
def test_the_figure_can_be_written(data) -> None:
    assert render(draw, data)["png"].startswith(b"\x89PNG")


def test_registered_without_runs() -> None:
    artefact = load("angle", REGISTRY["angle"])
    assert "grids" not in artefact.parameters(Request())
    assert "Theory and simulator only" in artefact.caption
