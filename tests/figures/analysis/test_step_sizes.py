"""Sequential under several schedules: the runs are those of a plain loop, and the checks can fail."""

from __future__ import annotations

import math

import numpy as np
import pytest

from figures.analysis import step_sizes

PARAMETERS = {
    "c": 0.5,
    "theta_ref": 5.0,
    "theta_1": 5.0,
    "alpha": 1.0,
    "alpha0": 4.0,
    "lams": [0.1, 0.5, 0.9],
    "joint_decades": 3,
    "proven_for": ["1/10", "9/10"],
}


@pytest.fixture(scope="module")
def extra() -> dict[str, np.ndarray]:
    return step_sizes.collapse(PARAMETERS) | step_sizes.equal_steps(PARAMETERS, np.array([1, 10, 100, 1000]))


def test_a_cosine_run_is_that_of_a_plain_loop(extra: dict[str, np.ndarray]) -> None:
    """100 steps (1 + cos(π(t-1)/100))/2 on each objective, and the gap from a grid of θ."""
    theta = 5.0
    steps = [(1 + math.cos(math.pi * t / 100)) / 2 for t in range(100)]
    for alpha in steps:
        theta += alpha * 0.5 / (1 + math.exp((theta - 5) / 2))
    for alpha in steps:
        theta -= alpha * 0.5 / (1 + math.exp(-theta / 2))
    grid = np.linspace(-10, 15, 100_001)
    i, j = extra["shapes"].tolist().index("cosine"), 4
    assert extra["totals"][i, j] == pytest.approx(0.25 * sum(steps), rel=1e-12)
    for lam, gap in zip(PARAMETERS["lams"], extra["gaps"][:, i, j], strict=True):
        mix = [lam * np.log1p(np.exp((5 - t) / 2)) + (1 - lam) * np.log1p(np.exp(t / 2)) for t in (theta, grid)]
        assert gap == pytest.approx(float(mix[0] - mix[1].min()), abs=1e-8)


def test_the_checks_hold_and_can_fail(extra: dict[str, np.ndarray]) -> None:
    def failing(changed: dict[str, np.ndarray]) -> set[str]:
        return {check.name for check in step_sizes.step_checks(extra | changed) if not check.holds}

    assert failing({}) == set()
    assert failing({"laws": extra["laws"] + math.log(4.0) * np.array(PARAMETERS["lams"])[:, None, None]}) == {
        "any-steps"
    }
    assert failing({"sequential_law": extra["sequential_law"] + 0.5}) == {"equal-steps"}
    assert failing({"any_g": extra["any_g"] + 0.2}) == {"any-steps-certified"}
    assert failing({"any_g": np.full(3, np.nan)}) == {"any-steps-certified"}
    assert (np.diff(extra["any_g"]) > 0).all()


def test_no_schedule_but_one_over_t_keeps_sequential_from_forgetting(extra: dict[str, np.ndarray]) -> None:
    final = dict(zip(extra["shapes"].tolist(), extra["gaps"][1, :, -1], strict=True))
    assert final["1/t"] < 0.05
    assert min(gap for name, gap in final.items() if name != "1/t") > 1.0
