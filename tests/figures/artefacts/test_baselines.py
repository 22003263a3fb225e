"""The baselines on made-up folders of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy.stats import t
from support.run_folders import SMOKE, computed, row_of, write, write_runs

from figures.analysis import recorded_runs
from figures.artefact import Request
from figures.artefacts import baselines
from figures.drawing.baselines import draw
from figures.recorded.real import rows_of


@pytest.mark.slow
def test_every_baseline_is_there_with_its_steps(tmp_path: Path) -> None:
    data = computed(baselines.ARTEFACT, tmp_path)
    names = [name for name in baselines.NAMES.values() if "p =" not in name]
    assert list(dict.fromkeys(data.table["baseline"])) == names
    assert len(data.table["run"]) == 2 * len(names)
    orpo = row_of(data, baseline="ORPO on the pairs", seed=1)
    assert (orpo["steps_dpo"], orpo["steps_sft"], orpo["f_dpo"]) == (60, 0, 0.001)
    means = {
        (b, q): (v, low, high)
        for b, q, v, low, high in zip(
            *(data.extra[f"mean_{c}"] for c in ("baseline", "quantity", "value", "low", "high")), strict=True
        )
    }
    half = float(t.ppf(0.975, 1)) * 0.5
    assert means["Mix", "cpu_seconds"] == pytest.approx((11.5, 11.5 - half, 11.5 + half))
    assert means["Mix", "answers_win_rate"][0] == pytest.approx(21 / 80)
    assert means["MAXRIGHT", "f_dpo"][0] == pytest.approx(0.8 + 0.015)


@pytest.mark.slow
def test_each_measured_quantity_has_a_panel(tmp_path: Path) -> None:
    figure = draw(computed(baselines.ARTEFACT, tmp_path / "all"))
    assert sum(ax.axison for ax in figure.axes) == 8
    assert [ax.get_xscale() for ax in figure.axes].count("symlog") == 1
    parameters = baselines.parameters(SMOKE)
    for spec in parameters["grids"].values():
        spec["measures"] = []
    write_runs(tmp_path / "some", parameters["grids"])
    figure = draw(baselines.compute(parameters | {"root": str(tmp_path / "some")}))
    titles = [ax.get_title() for ax in figure.axes if ax.axison]
    assert len(titles) == 6
    assert not any("win rate" in title for title in titles)


@pytest.mark.slow
def test_recorded_runs_of_the_real_model_stand_in_the_rows_of_their_methods(tmp_path: Path) -> None:
    data = computed(baselines.ARTEFACT, tmp_path)
    ends = [row for row in rows_of(recorded_runs.FOLDER / recorded_runs.TABLE) if row["step"] == row["steps"]]
    names = {"Sequential, DPO first", "Sequential, SFT first", "Mix", "ALRIGHT", "MAXRIGHT"}
    wanted = {
        (row["label"], int(row["seed"]), loss): float(row[loss])
        for row in ends
        for loss in ("f_dpo", "f_sft")
        if row["label"] in names
    }
    columns = (data.extra[f"recorded_{name}"].tolist() for name in ("baseline", "seed", "quantity", "value"))
    assert {(b, s, q): v for b, s, q, v in zip(*columns, strict=True)} == wanted
    assert len(wanted) >= 8
    figure = draw(data)
    diamonds = [
        float(x) for line in figure.axes[2].lines if line.get_marker() == "D" and line.get_markerfacecolor() == "none"
        for x in line.get_xdata()
    ]  # fmt: skip
    assert sorted(diamonds) == sorted(v for (_, _, loss), v in wanted.items() if loss == "f_sft")
    assert "recorded results: SmolLM2-135M-Instruct" in figure.get_supxlabel()
    assert [text.get_text() for text in figure.legends[0].texts] == ["a real model, recorded runs (a mark a seed)"]


@pytest.mark.slow
def test_the_real_models_replay_has_three_shares(tmp_path: Path) -> None:
    parameters = baselines.parameters(Request(scale="real", seeds=1))
    for spec in parameters["grids"].values():
        spec["measures"] = []
    write_runs(tmp_path, parameters["grids"])
    data = baselines.compute(parameters | {"root": str(tmp_path)})
    assert all(check.holds for check in data.checks)
    assert list(dict.fromkeys(data.table["baseline"])) == list(baselines.NAMES.values())
    labels = [text.get_text() for text in draw(data).axes[0].get_yticklabels()]
    assert labels == list(baselines.NAMES.values())


def test_at_the_scale_of_a_real_model_no_recorded_ones_are_beside() -> None:
    assert baselines.parameters(Request(scale="real"))["recorded"] == {}
    assert baselines.parameters(Request(scale="embedded"))["recorded"] == recorded_runs.digests()
    assert baselines._recorded({"recorded": {}})[1] == {}


@pytest.mark.slow
def test_a_run_with_fewer_steps_is_caught(tmp_path: Path) -> None:
    parameters = baselines.parameters(SMOKE)
    write_runs(tmp_path, parameters["grids"])
    path = next(tmp_path.glob("alright-*/summary.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    content["steps_by_objective"]["sft"] -= 1
    write(path, content)
    checks = baselines.compute(parameters | {"root": str(tmp_path)}).checks
    assert [check.name for check in checks if not check.holds] == ["steps"]
