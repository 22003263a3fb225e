"""The shared computations of the loss-space figures, by hand on made-up runs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from support.made_up_runs import STAR, MadeUpRuns, bar, data_of, front_data, gaps

from figures.analysis import loss_space, seeds
from figures.analysis.small_tables import rows_with, unpack
from figures.artefact import Request
from figures.artefacts import fig1, fig3

T95 = 12.7062047  # 97.5 % quantile of Student's t, one degree of freedom; the standard error of two values is |a-b|/2


@pytest.mark.slow
def test_means_and_intervals_over_seeds(monkeypatch):
    MadeUpRuns(monkeypatch)
    data = data_of(fig1, scale="smoke")
    values = [gaps("Mix", 0.5, 0, seed) for seed in (1, 2)]
    for i, quantity in enumerate(("gap_dpo", "gap_sft")):
        a, b = (value[i] for value in values)
        half = T95 * abs(a - b) / 2
        assert bar(data, quantity, "Mix") == pytest.approx(((a + b) / 2, (a + b) / 2 - half, (a + b) / 2 + half))
    distances = [math.hypot(*value) for value in values]
    assert bar(data, "ideal_distance", "Mix")[0] == pytest.approx(np.mean(distances))  # and not that of mean gaps
    path = unpack(data.extra, "path", method="Mix")
    assert path["ideal_distance"][-1] == pytest.approx(np.mean(distances))
    assert path["step"].tolist() == list(range(0, 61, 6))
    assert path["f_dpo"][-1] == pytest.approx(STAR["dpo"] + np.mean([v[0] for v in values]))
    assert data.extra["start"].tolist() == pytest.approx([0.3, 0.7])  # f_SFT across, f_DPO up
    assert data.extra["ideal"].tolist() == pytest.approx([0.1, 0.05])


@pytest.mark.slow
def test_the_csv_is_every_evaluation(monkeypatch):
    MadeUpRuns(monkeypatch)
    data = data_of(fig1, scale="smoke")
    assert len(data.table["step"]) == 4 * 2 * 11
    own = rows_with(data.table, method="MAXRIGHT", seed=2)
    assert own["step"].tolist() == list(range(0, 61, 6))
    assert own["gap_dpo"][-1] == pytest.approx(gaps("MAXRIGHT", 0.5, 10, 2)[0])
    assert own["steps_dpo"][-1] == 30  # columns of a whole run are filled on its last row
    assert np.isnan(own["steps_dpo"][:-1]).all()


@pytest.mark.slow
def test_increases_are_over_sequential_of_the_same_lam_and_seed(monkeypatch):
    def slower(row):  # the machine is slower for one λ and one seed
        factor = 7.0 if row["lam"] == 0.75 and row["seed"] == 2 else 1.0
        return row | {"cpu_seconds": row["cpu_seconds"] * factor}

    MadeUpRuns(monkeypatch, slower)
    data = front_data(scale="smoke")
    for lam in (0.25, 0.75):
        assert bar(data, "runtime_increase", "Mix", lam=lam) == pytest.approx((80.0,) * 3)
        assert bar(data, "tokens_increase", "MAXRIGHT", lam=lam) == pytest.approx((20.0,) * 3)
        assert bar(data, "runtime_increase", "Sequential", lam=lam)[0] == 0.0


@pytest.mark.slow
def test_a_gpu_is_timed_by_the_clock_and_its_utilisation_is_shown(monkeypatch):
    clock = {"Sequential": 10.0, "Mix": 15.0, "ALRIGHT": 10.0, "MAXRIGHT": 11.0}
    MadeUpRuns(
        monkeypatch, lambda r: r | {"device": "GPU", "seconds": clock[r["method"]], "utilisation": clock[r["method"]]}
    )
    data = front_data(scale="smoke")
    assert data.facts["runtime"] == "seconds"
    assert bar(data, "runtime_increase", "Mix", lam=0.25)[0] == pytest.approx(50.0)
    assert bar(data, "utilisation_increase", "MAXRIGHT", lam=0.25)[0] == pytest.approx(10.0)
    assert "tokens_increase" not in data.extra["bar_quantity"]
    MadeUpRuns(monkeypatch, lambda r: r | {"device": "GPU", "utilisation": 5.0 if r["seed"] == 1 else None})
    assert "utilisation_increase" not in front_data(scale="smoke").extra["bar_quantity"]


def broken(monkeypatch, change):
    MadeUpRuns(monkeypatch, change)
    return {check.name for check in front_data(scale="smoke").checks if not check.holds and check.must_hold}


@pytest.mark.slow
def test_runs_that_are_wrong_break_a_check(monkeypatch):
    def first(row):
        return row["method"] == "Sequential" and row["seed"] == 1 and row["lam"] == 0.25

    assert broken(monkeypatch, lambda row: None if first(row) else row) == {"runs"}
    assert broken(monkeypatch, lambda row: row | {"ideal_distance": row["ideal_distance"] + 1e-6}) == {"hypot"}
    assert broken(monkeypatch, lambda row: row | {"steps_dpo": row["steps"] - row["steps_dpo"]}) == {"split"}
    assert broken(monkeypatch, lambda row: row | {"f_sft_star": 0.31} if first(row) else row) == {"start"}
    study = MadeUpRuns(monkeypatch)
    elsewhere = [
        line | {"f_sft": line["f_sft"] + 1e-6} for line in study.paths(fig3.parameters(Request(scale="smoke", seeds=2)))
    ]
    monkeypatch.setattr(seeds, "paths", lambda _: pd.DataFrame(elsewhere))
    assert [c.name for c in front_data(scale="smoke").checks if not c.holds] == ["ends"]


def test_a_run_of_two_grids_counts_once_and_an_unfinished_one_not_at_all(monkeypatch):
    study = MadeUpRuns(monkeypatch)
    specs = fig1.parameters(Request(scale="smoke", seeds=2))["grids"]
    twice = {"grids": {**specs, "again": specs["all"]}}
    found = loss_space.read_runs(twice)
    assert len(found.results) == 8
    assert len(found.paths) == 8 * 11
    lines = list(study.paths(twice))
    monkeypatch.setattr(seeds, "paths", lambda _: pd.DataFrame([*lines, lines[0] | {"run": "unfinished"}]))
    assert len(loss_space.read_runs(twice).paths) == 8 * 11


def test_a_mean_path_has_the_steps_that_all_seeds_have():
    line = {"method": "Mix", "lam": 0.5, "k": None, "f_sft": 1.0, "forward_tokens": 10, "ideal_distance": 2.0}
    lines = [line | {"seed": s, "step": t, "f_dpo": s + t} for s, t in ((1, 0), (2, 0), (1, 5), (2, 5), (1, 7))]
    means = loss_space.mean_paths(pd.DataFrame(lines))
    assert means[["step", "f_dpo", "k"]].values.tolist() == [[0, 1.5, 0], [5, 6.5, 0]]
