"""The baselines on made-up folders of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy.stats import t
from support.run_folders import SMOKE, computed, row_of, write, write_runs

from figures.artefacts import baselines
from figures.drawing.baselines import draw


@pytest.mark.slow
def test_every_baseline_is_there_with_its_steps(tmp_path: Path) -> None:
    data = computed(baselines.ARTEFACT, tmp_path)
    assert list(dict.fromkeys(data.table["baseline"])) == list(baselines.NAMES.values())
    assert len(data.table["run"]) == 2 * len(baselines.NAMES)
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
def test_a_run_with_fewer_steps_is_caught(tmp_path: Path) -> None:
    parameters = baselines.parameters(SMOKE)
    write_runs(tmp_path, parameters["grids"])
    path = next(tmp_path.glob("alright-*/summary.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    content["steps_by_objective"]["sft"] -= 1
    write(path, content)
    checks = baselines.compute(parameters | {"root": str(tmp_path)}).checks
    assert [check.name for check in checks if not check.holds] == ["steps"]
