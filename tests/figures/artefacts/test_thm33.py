"""The artefact `thm33`: its table, what it claims of the two other methods, and that its checks can fail."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from figures.artefact import Request
from figures.artefacts import thm33
from figures.registry import REGISTRY, load


@pytest.fixture(scope="module")
def data():
    return thm33.compute(thm33.parameters(Request(scale="smoke")))


def test_the_table(data):
    assert list(data.table) == ["lam", "T", "alpha", "theta_1", "gap", "lower", "upper"]
    assert np.unique(data.table["lam"]).tolist() == [0.1, 0.5, 0.9]
    for lam in (0.1, 0.5, 0.9):
        own = data.table["lam"] == lam
        assert data.table["T"][own][[0, -1]].tolist() == [1, 10**5]
        assert (np.diff(data.table["T"][own]) > 0).all()
    assert set(data.table["alpha"]) == {1.0}
    assert set(data.table["theta_1"]) == {5.0}
    assert ((data.table["lower"] <= data.table["gap"]) & (data.table["gap"] <= data.table["upper"])).all()


def test_every_check_holds(data):
    assert len(data.checks) == 15
    for check in data.checks:
        assert check.holds, check


def test_gaps_are_those_of_the_simulator(data):
    from toyopt import Constant, Sequential, minimise, simulate
    from toyopt.examples import table2

    problem = table2()
    for lam, T in ((0.1, 1), (0.5, 100), (0.9, 1000)):
        end = simulate(problem, Sequential((T, T)), Constant(1.0), theta0=[5.0]).last[0]
        row = (data.table["lam"] == lam) & (data.table["T"] == T)
        gap = float(problem.f_mix(end, lam)) - minimise(problem, lam).value
        # `minimise` stops within 1e-12 of the minimum; 2000 steps round by a few ulp of 10 each.
        assert data.table["gap"][row].item() == pytest.approx(gap, abs=1e-11)


@pytest.mark.slow
def test_sizes_and_seeds():
    large = thm33.parameters(Request())
    assert (large["decades"], thm33.parameters(Request(scale="paper"))["decades"]) == (8, 8)
    assert thm33._lengths(8, 5)[[0, -1]].tolist() == [1, 10**8]
    assert 10**7 in thm33._lengths(8, 5)
    assert thm33.parameters(Request(toy_runs=3, seed=7))["seeds"] == 3
    with_few = thm33.parameters(Request(scale="smoke", toy_runs=2, seed=7)) | {"joint_decades": 2}
    first, again = thm33._joint(with_few), thm33._joint(with_few)
    np.testing.assert_array_equal(first["alright"], again["alright"])
    other = thm33._joint(with_few | {"seed": 8})
    assert (first["alright"] != other["alright"]).any()
    np.testing.assert_array_equal(first["mix"], other["mix"])


@pytest.mark.slow
def test_mix_takes_the_step_of_the_caption(data):
    """θ_T in the recursion of the two sigmoids, α = 4/√(T+1)."""
    for lam, row in zip((0.1, 0.5, 0.9), data.extra["mix"], strict=True):
        for T, gap in zip(data.extra["joint_T"][:7].tolist(), row, strict=False):
            theta = 5.0
            for _ in range(T):
                dpo, sft = -0.5 / (1 + np.exp((theta - 5) / 2)), 0.5 / (1 + np.exp(-theta / 2))
                theta -= 4 / np.sqrt(T + 1) * (lam * dpo + (1 - lam) * sft)
            grid = np.linspace(-10, 15, 100_001)
            mix = [lam * np.log1p(np.exp((5 - t) / 2)) + (1 - lam) * np.log1p(np.exp(t / 2)) for t in (theta, grid)]
            # The grid's best is within f''/2 (spacing/2)² < 1e-8 of the optimum.
            assert gap == pytest.approx(mix[0] - mix[1].min(), abs=1e-8)


@pytest.mark.slow
def test_all_methods_have_the_same_step_in_the_comparison(data):
    """Sequential with 4/√(T+1) in the simulator, T = 10 and 1000."""
    from toyopt import Constant, Sequential, simulate
    from toyopt.examples import table2
    from toyopt.optimum import minimise

    T = data.extra["joint_T"].tolist()
    for k, lam in enumerate((0.1, 0.5, 0.9)):
        for n in (10, 1000):
            end = simulate(table2(), Sequential((n, n)), Constant(4 / np.sqrt(n + 1)), theta0=[5.0]).last[0]
            gap = float(table2().f_mix(end, lam)) - minimise(table2(), lam).value
            assert data.extra["sequential"][k, T.index(n)] == pytest.approx(gap, abs=1e-11)


def failing(checks):
    return {check.name for check in checks if not check.holds}


def test_checks_of_sequential_can_fail(data):
    table = dict(data.table)
    swapped = table | {"gap": np.concatenate([table["gap"][table["lam"] == lam] for lam in (0.9, 0.5, 0.1)])}
    assert failing(thm33.sequential_checks(swapped, data.extra)) == {"lower-envelope", "upper-envelope"}
    late = np.concatenate([np.append(g[1:], g[-1]) for g in np.split(table["gap"], 3)])
    assert "upper-envelope" in failing(thm33.sequential_checks(table | {"gap": late}, data.extra))
    # κ without its c θ_ref, and with the growth 1% too small.
    lams, T = np.array([[0.1], [0.5], [0.9]]), float(data.facts["T"])
    for off in (2.5 * lams, np.log(T) * 1e-2 * lams):
        wrong = dict(data.extra) | {"away": data.extra["away"] - off}
        names = {"constant-0.1", "constant-0.5", "constant-0.9"}
        assert failing(thm33.sequential_checks(table, wrong)) == names


def test_the_known_value_is_checked_where_it_is_reached(data):
    for gap, fails in ((7.1140, set()), (7.1142, {"known-value"})):
        table = {"lam": np.array([0.5]), "T": np.array([10**7])}
        table |= {name: np.array([gap]) for name in ("gap", "lower", "upper")}
        away = {name: data.extra[name][1:2] for name in ("kappa", "away", "error")}
        assert failing(thm33.sequential_checks(table, away)) == fails


def test_checks_of_the_others_can_fail(data):
    sequential = np.stack(np.split(data.table["gap"], 3))[:, : data.extra["mix"].shape[1]]
    for name in ("mix", "alright"):
        failed = failing(thm33.joint_checks(dict(data.extra) | {name: sequential}))
        assert {f"{name}-small", f"{name}-decreases"} <= failed
    assert failing(thm33.joint_checks(dict(data.extra) | {"bound": data.extra["low"]})) == {"theorem-4.1"}


def test_an_unproven_certificate_fails_the_check(data):
    _, proven = thm33._certificates(thm33.parameters(Request(scale="smoke")))
    assert not failing(thm33.proof_checks(data.table, data.extra, proven))
    opened = [dataclasses.replace(proven[0], attained=float("nan")), *proven[1:]]
    assert failing(thm33.proof_checks(data.table, data.extra, opened)) == {"certified"}
    floats = [dataclasses.replace(record, evidence="property") for record in proven]
    assert failing(thm33.proof_checks(data.table, data.extra, floats)) == {"certified"}
    higher = dict(data.extra) | {"proven_g": data.extra["proven_g"] + 0.01}
    assert failing(thm33.proof_checks(data.table, higher, proven)) == {"certified-levels"}


@pytest.mark.slow
def test_drawing(data):
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from figures.drawing import style

    with rc_context(style.rc()):
        figure = thm33.ARTEFACT.draw(data)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        legend = figure.legends[0].get_window_extent(canvas.get_renderer())
        for ax in figure.axes:
            assert ax.get_xscale() == "log"
            assert not legend.overlaps(ax.get_window_extent(canvas.get_renderer()))
    assert len(figure.axes) == 12
    assert [ax.get_yscale() for ax in figure.axes] == ["linear"] * 3 + ["log"] * 6 + ["linear"] * 3


def test_registered():
    artefact = load("thm33", REGISTRY["thm33"])
    assert "reconstructed" in artefact.reconstructed
    assert artefact.parameters(Request(scale="smoke"))["lams"] == [0.1, 0.5, 0.9]
