"""Curvature along a run: records, the mix's bounds, options, and the command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import pipeline_runs as door

torch = pytest.importorskip("torch")
from llm import (  # noqa: E402
    Result,
    TrainConfig,
    train,
)
from llm.evaluation import curvature_points  # noqa: E402
from llm.evaluation.curvature import CurvatureConfig, curvature, kept_steps, measure  # noqa: E402

OBJECTIVES = ("dpo", "sft", "mix")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of a run that keeps adapters."""
    folder = tmp_path_factory.mktemp("curvature")
    return {**door.place(folder), "lora_rank": 2, "keep_every": 2, "steps": 6, "method": "mix", "lam": 0.25}


@pytest.fixture(scope="module")
def run(options: dict[str, Any]) -> Result:
    """It, finished."""
    return train(TrainConfig(**options), quiet=True)


@pytest.mark.slow
def test_a_run(run: Result, tmp_path: Path) -> None:
    assert kept_steps(run.folder) == [0, 2, 4, 6]
    out = tmp_path / "there" / "c.json"
    config = CurvatureConfig(run=str(run.folder), rows=4, points=3, products=12, out=str(out))
    found = curvature(config, quiet=True)
    assert json.loads(out.read_text(encoding="utf-8")) == found
    rows = found["rows"]
    assert all(row["converged"] for row in rows)
    again = curvature(dataclasses.replace(config, out="", points=1), quiet=True)
    assert again["rows"] == rows[:3]
    assert [(r["step"], r["objective"]) for r in rows] == [(s, o) for s in (0, 4, 6) for o in OBJECTIVES]
    assert (found["points"], found["rows_used"], found["lam"]) == (3, 4, 0.25)
    by = {(r["step"], r["objective"]): r for r in rows}
    assert by[0, "dpo"]["value"] == pytest.approx(np.log(2.0), rel=1e-5)
    for step in (0, 4, 6):
        dpo, sft, mix = (by[step, o] for o in OBJECTIVES)
        assert mix["value"] == pytest.approx(0.25 * dpo["value"] + 0.75 * sft["value"])
        # the ends of a sum lie between the sums of ends (Weyl)
        slack = 0.01 * (dpo["largest"] + sft["largest"])
        assert mix["largest"] <= 0.25 * dpo["largest"] + 0.75 * sft["largest"] + slack
        assert mix["smallest"] >= 0.25 * dpo["smallest"] + 0.75 * sft["smallest"] - slack
        for r in (dpo, sft, mix):
            assert r["smallest"] <= r["along_gradient"] <= r["largest"]
            assert r["negative"] == (r["smallest"] < 0.0)
    for o in OBJECTIVES:
        mine = [r for r in rows if r["objective"] == o]
        assert found[f"negative_share_{o}"] == sum(r["negative"] for r in mine) / 3
        assert found[f"negative_along_gradient_share_{o}"] == sum(r["along_gradient"] < 0 for r in mine) / 3
    # at B = 0 the Hessian has no diagonal blocks from A: its ends have both signs, whatever the objective
    assert by[0, "dpo"]["negative"]
    assert by[0, "sft"]["negative"]
    other = curvature(dataclasses.replace(config, out="", seed=1, points=1), quiet=True)
    assert [r["value"] for r in other["rows"]] != [r["value"] for r in rows[:3]]  # other rows


@pytest.mark.slow
def test_runs_that_kept_the_same_adapter_share_its_numbers(
    run: Result, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[float] = []
    numbers_at = curvature_points.numbers_at

    def recorded(*given: Any) -> dict[str, Any]:
        numbers = numbers_at(*given)
        computed.append(numbers["value"])
        return numbers

    monkeypatch.setattr(curvature_points, "numbers_at", recorded)
    other = train(TrainConfig(**{**options, "method": "alright", "out": str(tmp_path / "other")}), quiet=True)
    config = CurvatureConfig(run=str(run.folder), rows=4, points=2, products=5)
    first = curvature(config, quiet=True)["rows"]
    assert len(computed) == 6
    assert curvature(config, quiet=True)["rows"] == first
    assert len(computed) == 6
    second = curvature(dataclasses.replace(config, run=str(other.folder)), quiet=True)["rows"]
    assert len(computed) == 9  # at the last step alone: both runs begin at one adapter
    assert second[:3] == first[:3]
    assert [row["value"] for row in second[3:]] == computed[6:] != [row["value"] for row in first[3:]]
    for change in ({"seed": 1}, {"products": 6}, {"rows": 5}):
        before = len(computed)
        curvature(dataclasses.replace(config, **change), quiet=True)  # type: ignore[arg-type]
        assert len(computed) == before + 6
    with monkeypatch.context() as patch:
        patch.setattr(curvature_points, "code_digest", lambda *_: "other code")
        assert curvature(config, quiet=True)["rows"] == first
    assert len(computed) == 9 + 4 * 6


@pytest.mark.slow
def test_any_number_of_objectives(options: dict[str, Any], tmp_path: Path) -> None:
    sets = {"facts": options["sft"], "manner": options["preference"], "other": options["preference"]}
    kinds = {"facts": "sft", "manner": "preference", "other": "preference"}
    mine = {k: v for k, v in options.items() if k not in ("sft", "preference", "lam", "out")}
    for last in ("other", "mix"):
        names = ("facts", "manner", last)
        texts: list[str] = []
        for name, weight in zip(names, (0.5, 0.2, 0.3), strict=True):
            given = "other" if name == "mix" else name
            texts += [f"{name}={kinds[given]}:{sets[given]}", f"weight={weight}", "batch=4"]
        texts += ["loss=simpo"]
        folder = str(tmp_path / last)
        train(TrainConfig(**mine, out=folder, objective=tuple(texts)), quiet=True)
        config = CurvatureConfig(run=folder, rows=4, points=2, products=6)
        if last == "mix":
            with pytest.raises(ValueError, match=r"^run: an objective is named mix, which is the name"):
                curvature(config, quiet=True)
            return
        found = curvature(config, quiet=True)
        assert "lam" not in found
        values = {(row["step"], row["objective"]): row["value"] for row in found["rows"]}
        for step in (0, 6):
            summed = 0.5 * values[step, "facts"] + 0.2 * values[step, "manner"] + 0.3 * values[step, "other"]
            assert values[step, "mix"] == pytest.approx(summed)
        assert values[0, "manner"] == pytest.approx(np.log(2.0), rel=1e-5)
        assert {f"negative_share_{name}" for name in (*names, "mix")} <= set(found)


@pytest.mark.slow
def test_more_rows_than_there_are(run: Result) -> None:
    with pytest.raises(ValueError, match=r"^rows: the run has 1\d training rows in its smallest set, got 99$"):
        curvature(CurvatureConfig(run=str(run.folder), rows=99), quiet=True)


@pytest.mark.slow
def test_as_a_measure(run: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"products": 6}  # a third
    monkeypatch.setattr("llm.evaluation.curvature.CurvatureConfig", lambda **own: CurvatureConfig(**{**own, **few}))
    found = measure(run.folder)
    assert {"rows", "negative_share_dpo", "negative_share_sft", "rows_used"} <= set(found)
    assert json.loads(json.dumps(found)) == found
    assert found["points"] == 4


@pytest.mark.slow
def test_without_kept_adapters(options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = {**options, "keep_every": 0, "steps": 1, "out": str(tmp_path / "run")}
    train(TrainConfig(**mine), quiet=True)
    said = door.call(capsys, "curvature", run=mine["out"])
    assert said.status == 2
    assert "kept no adapters along the way; train again with --keep-every 1 and another --out" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        ({"rows": 0}, "rows: must be at least 1, got 0"),
        ({"points": 0}, "points: must be at least 1, got 0"),
        ({"products": 2}, "products: must be at least 3, got 2"),
        ({"tolerance": 0.0}, "tolerance: must be greater than 0 and less than 1, got 0.0"),
        ({"seed": -1}, "seed: must be at least 0, got -1"),
        ({"out": "c.txt"}, "out: must be a .json file, got c.txt"),
    ],
)
def test_wrong_options(wrong: dict[str, Any], shown: str) -> None:
    with pytest.raises(ValueError, match=f"^{shown}$"):
        CurvatureConfig(run="somewhere", **wrong)


@pytest.mark.slow
def test_the_command(run: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c.json"
    said = door.call(capsys, "curvature", run=run.folder, rows=4, points=2, products=12, out=out)
    assert said.status == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    lines = said.out.splitlines()
    assert len(lines) == 1 + len(found["rows"]) + 1
    assert f"{found['rows'][3]['smallest']:.4g}" in lines[4]
    assert "negative_share_dpo" in lines[-1]
    none = door.call(capsys, "curvature", run=tmp_path / "nowhere")
    assert (none.status, "holds no run" in none.err) == (2, True)
