"""What the paper's prose says of Figure 2, asserted on the data of `fig2`."""

from __future__ import annotations

import numpy as np
import pytest

from figures.artefact import Request
from figures.artefacts import fig2


@pytest.fixture(scope="module")
def data():
    return fig2.compute(fig2.parameters(Request(scale="embedded")))


def _path(data, method):
    own = data.table["method"] == method
    return {name: column[own] for name, column in data.table.items()}


def test_columns_and_ends(data):
    assert list(data.table) == ["method", "step", "theta_1", "theta_2", "f_dpo", "f_sft"]
    for method in ("Sequential", "ALRIGHT", "MAXRIGHT", "Mix"):
        path = _path(data, method)
        assert path["step"][0] == 0
        assert (path["theta_1"][0], path["theta_2"][0]) == (5.0, -9.9)
        assert (np.diff(path["step"]) > 0).all()
    assert _path(data, "MAXRIGHT")["step"][-1] == 20_000
    assert _path(data, "Sequential")["step"][-1] == data.facts["sequential_stage_end"] + 10_000


def test_losses_are_those_of_the_parameters(data):
    from toyopt.examples import Figure2

    problem = Figure2().problem()
    theta = np.stack([data.table["theta_1"], data.table["theta_2"]], axis=-1)
    np.testing.assert_allclose(data.table["f_dpo"], problem.f_dpo(theta), rtol=1e-12)
    np.testing.assert_allclose(data.table["f_sft"], problem.f_sft(theta), rtol=1e-12)


def test_prose(data):
    assert len(data.checks) == 6
    for check in data.checks:
        assert check.holds, check


def test_sequential_swings_between_extremes(data):
    path = _path(data, "Sequential")
    turn = int(np.argmin(path["f_dpo"]))
    assert path["f_dpo"][turn] < 0.05 < 5 < path["f_sft"][turn]
    assert path["f_sft"][-1] < 0.07 < 4.9 < path["f_dpo"][-1]


@pytest.mark.slow
def test_many_coins_from_other_seeds():
    again = fig2.compute(fig2.parameters(Request(scale="smoke", seeds=200, seed=10_000)))
    assert again.facts["ideal_distance_ALRIGHT_min"] > again.facts["ideal_distance_MAXRIGHT"]
    assert 0.6 * again.facts["chord_deviation_ALRIGHT_min"] > again.facts["chord_deviation_MAXRIGHT"]


def test_checks_can_fail(data):
    """With ALRIGHT's path in MAXRIGHT's place the last two checks do not hold."""
    values = {m: np.stack([_path(data, m)["f_dpo"], _path(data, m)["f_sft"]], axis=-1) for m in ("Sequential", "Mix")}
    alright = np.stack([_path(data, "ALRIGHT")["f_dpo"], _path(data, "ALRIGHT")["f_sft"]], axis=-1)
    maxright = np.stack([_path(data, "MAXRIGHT")["f_dpo"], _path(data, "MAXRIGHT")["f_sft"]], axis=-1)
    swapped = values | {"ALRIGHT": maxright, "MAXRIGHT": alright}
    _, checks = fig2.checks_of(swapped, [maxright], np.zeros(2), values["Sequential"][100], 0.05)
    failed = {c.name for c in checks if not c.holds}
    assert {"dpo-learnt", "maxright-nearer", "maxright-straighter"} <= failed


def test_chord_deviation_of_known_paths():
    assert fig2.chord_deviation(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])) == pytest.approx(1.0)
    assert fig2.chord_deviation(np.array([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]])) == pytest.approx(0.0)


@pytest.mark.slow
def test_drawing_reads_only_the_data(data):
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from figures.drawing import style

    with rc_context(style.rc()):
        figure = fig2.ARTEFACT.draw(data)
        FigureCanvasAgg(figure).draw()
    assert len(figure.axes) == 6
    legend = figure.legends[0].get_window_extent()
    for axes in figure.axes:  # the legend covers no data
        assert not legend.overlaps(axes.get_window_extent())
