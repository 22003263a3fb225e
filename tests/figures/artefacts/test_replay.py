"""The artefact `replay`: theory, simulator and models, and that its checks can fail."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from support.grid_runs import data_of, install

from figures.analysis import recorded_runs
from figures.analysis.small_tables import unpack
from figures.artefact import Request
from figures.artefacts import baselines, replay
from figures.drawing.render import render
from figures.drawing.replay import draw
from figures.pipeline.paths import grid_of
from figures.recorded.real import rows_of


def by_share(run: Any, row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with a gap of f_DPO that falls with the share, and one of f_SFT that rises."""
    p = run.config.replay if run.config.method == "replay" else 0.0
    noise = 0.01 * run.config.seed
    return row | {"gap_dpo": 1.0 - 2.0 * p + noise, "gap_sft": 0.1 + p}


@pytest.fixture(scope="module")
def data():
    with pytest.MonkeyPatch.context() as patch:
        install(patch, by_share)
        return data_of(replay)


@pytest.mark.slow
def test_gaps_are_those_of_plain_steps(data) -> None:
    """θ from 5 by T steps on DPO and T on the mixture with share p, in the two sigmoids."""
    toy = unpack(data.extra, "toy")
    for T in (100, 1000):
        for k in np.flatnonzero(toy["T"] == T)[[0, 5, 10]]:
            p, theta = toy["p"][k], 5.0
            for _ in range(T):
                theta += 0.5 / (1 + math.exp(0.5 * (theta - 5)))
            for _ in range(T):
                dpo, sft = 0.5 / (1 + math.exp(0.5 * (theta - 5))), 0.5 / (1 + math.exp(-0.5 * theta))
                theta += p * dpo - (1 - p) * sft
            grid = np.linspace(0.0, 5.0, 50_001)
            mix = [np.log1p(np.exp((5 - t) / 2)) / 2 + np.log1p(np.exp(t / 2)) / 2 for t in (theta, grid)]
            # The grid's least is within f''/2 (spacing/2)² < 1e-9 of the infimum.
            assert toy["gap"][k] == pytest.approx(float(mix[0] - mix[1].min()), abs=1e-8)


@pytest.mark.slow
def test_the_boxes_are_proven_and_contain_the_limits(data) -> None:
    """At λ = 1/2, p = 1/100 the limit is 2.046467 (docs/theory.md, S9)."""
    box, toy = data.extra["box"], unpack(data.extra, "toy")
    assert np.isfinite(box).all()
    assert (box[:, 2] < box[:, 3]).all()
    first = box[box[:, 1] == 0.01][0]
    assert first[2] == pytest.approx(2.046467, abs=1e-3)
    assert (toy["limit"] > 0).all()


@pytest.mark.slow
def test_the_gaps_of_models_are_weighted_by_lam(data) -> None:
    models = unpack(data.extra, "model")
    assert sorted(set(models["p"])) == [0.0, 0.05, 0.2]
    np.testing.assert_allclose(models["gap_mix"], 0.5 * models["gap_dpo"] + 0.5 * models["gap_sft"], rtol=1e-12)
    mean = unpack(data.extra, "mean", quantity="gap_dpo", p=0.2)
    assert mean["value"].item() == pytest.approx(1.0 - 0.4 + 0.015)  # seeds 1 and 2
    kind = data.table["kind"]
    assert np.isnan(data.table["gap_mix"][kind != "model"]).all()
    assert np.isnan(data.table["gap"][kind == "model"]).all()


@pytest.mark.slow
def test_recorded_runs_of_the_real_model_stand_beside_them(data) -> None:
    """The points are the rows of results/real, read here by hand; the shares are those of the labels."""
    shares = {"Sequential, SFT first": 0.0, "Replay 1%, SFT first": 0.01, "Replay 5%, SFT first": 0.05,
              "Replay 20%, SFT first": 0.2}  # fmt: skip
    ends = [row for row in rows_of(recorded_runs.FOLDER / recorded_runs.TABLE) if row["step"] == row["steps"]]
    wanted = {
        (shares[row["label"]], float(row["seed"])): (float(row["skill_exact_match"]), float(row["accuracy"]))
        for row in ends
        if row["label"] in shares
    }
    points = unpack(data.extra, "real")
    found = zip(*(points[name].tolist() for name in ("p", "seed", "skill_exact_match", "accuracy")), strict=True)
    assert {(p, seed): (skill, accuracy) for p, seed, skill, accuracy in found} == wanted
    assert len(wanted) >= 3
    kinds = data.table["kind"].tolist()
    assert kinds.count("real model, recorded") == len(wanted)
    first = kinds.index("real model, recorded")
    assert np.isnan([data.table[name][first] for name in ("gap_mix", "gap", "T")]).all()
    figure = draw(data)
    assert [ax.get_title() for ax in figure.axes][2] == "(c) real model, recorded"
    assert "in (c) recorded results: SmolLM2-135M-Instruct" in figure.get_supxlabel()


@pytest.mark.slow
def test_without_recorded_runs_there_are_two_panels(data) -> None:
    extra = {name: values for name, values in data.extra.items() if not name.startswith(("kept_", "real_"))}
    assert len(draw(dataclasses.replace(data, extra=extra)).axes) == 2
    rows, facts = replay._recorded({"recorded": {}})
    assert (len(rows), facts) == (0, {})


def failing(checks: tuple[Any, ...]) -> set[str]:
    return {check.name for check in checks if not check.holds}


@pytest.mark.slow
def test_checks_of_theory_hold_and_can_fail(data) -> None:
    # The made-up gaps are not those of the made-up losses, which other checks are about.
    assert not failing(data.checks) & {"below", "above", "law", "limit", "certified", "runs"}
    toy, box = unpack(data.extra, "toy"), {"box": data.extra["box"]}
    assert failing(replay.toy_checks(toy, box)) == set()
    assert failing(replay.toy_checks(toy | {"gap": toy["gap"] - 1.0}, box)) >= {"below", "limit"}
    assert failing(replay.toy_checks(toy | {"gap": toy["gap"] + 1.0}, box)) >= {"above", "limit"}
    wrong = toy["law"] + 0.5 * np.log(2.0)  # λ log(2/p)
    assert failing(replay.toy_checks(toy | {"law": wrong}, box)) == {"law"}
    assert failing(replay.toy_checks(toy | {"limit": toy["limit"] + 1.5}, box)) >= {"law", "certified"}
    unproven = box["box"].copy()
    unproven[1, 2:] = math.nan
    assert failing(replay.toy_checks(toy, {"box": unproven})) == {"certified"}


@pytest.mark.slow
def test_models_are_judged_by_their_seeds(data, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more replay the made-up gap of f_DPO falls by 2 a share, that of the mixture by 1/2 a share."""
    found = {check.name: check for check in data.checks if check.verdict}
    assert found["gap_dpo/0.2-0.05"].attained == pytest.approx(-0.3)
    assert found["gap_mix/0.05-0"].attained == pytest.approx(-0.025)
    assert {check.verdict for check in found.values()} == {"seen"}
    install(monkeypatch, lambda run, row: by_share(run, row) | {"gap_dpo": 1.0 + 0.01 * run.config.seed})
    flat = {check.name: check for check in data_of(replay).checks if check.verdict}
    assert flat["gap_mix/0.2-0.05"].verdict == "not seen"  # only f_SFT's gap is left, which rises


@pytest.mark.slow
def test_only_the_other_shares_are_new_runs() -> None:
    """Sequential and the share of 0.05 are the runs of `baselines`; the two others are 10 runs, one at scale smoke."""
    for scale, new in (("smoke", 1), ("embedded", 10)):
        request = Request(scale=scale)  # type: ignore[arg-type]
        names = [
            {run.name for spec in module.parameters(request)["grids"].values() for run in grid_of(spec).runs()}
            for module in (baselines, replay)
        ]
        assert len(names[1] - names[0]) == new, scale
    specs = replay.parameters(Request(scale="paper"))["grids"].values()
    assert {spec["preset"] for spec in specs} == {"embedded"}


@pytest.mark.slow
def test_the_figure_can_be_written(data) -> None:
    assert render(draw, data)["png"].startswith(b"\x89PNG")
