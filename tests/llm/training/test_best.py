"""`keep_best` and `patience`: the best of a run's own evaluations, its adapter, and the same after kills."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as runs
from support import run_worker as worker
from support import tiny_models as tiny
from support.wrong import fails

pytest.importorskip("torch")

from llm import TrainConfig, train
from llm.common.files import read_json
from llm.evaluation.held_out import EvaluateConfig, evaluate
from llm.training import best
from llm.training.best import Best, BestSoFar, best_folder, find_best, forget_best, measure
from llm.training.metrics import read_metrics

ADAPTER = "adapter_model.safetensors"
LINE = {"f_dpo": 0.5, "f_sft": 2.0, "gap_dpo": 0.3, "gap_sft": 0.4, "ideal_distance": 0.5}
STAR = {"f_star": "given", "f_dpo_star": 0.2, "f_sft_star": 1.6}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("f_dpo", 0.5),
        ("f_sft", 2.0),
        ("mix", 0.7 * 0.5 + 0.3 * 2.0),
        ("worst_gap", max(0.7 * 0.3, 0.3 * 0.4)),
        ("ideal_distance", 0.5),
    ],
)
def test_measures_are_their_formulas(name: Any, value: float) -> None:
    config = TrainConfig(lam=0.7, keep_best=name, **STAR)  # type: ignore[arg-type]
    assert measure(config, LINE) == pytest.approx(value, rel=1e-15)
    assert math.isnan(measure(config, {"f_dpo": math.nan}))


def lines(*values: float, every: int = 10) -> list[dict[str, Any]]:
    """Evaluations of f_sft, with a step's line after each."""
    return [
        line
        for j, value in enumerate(values)
        for line in ({"step": j * every, "evaluation": "held_out", "f_sft": value}, {"step": j * every + 1, "lr": 1.0})
    ]


def test_the_best_is_the_first_of_the_least_finite_values() -> None:
    config = TrainConfig(keep_best="f_sft")
    found = lines(0.1, 3.0, 2.0, math.nan, 2.0, 5.0)
    assert find_best(config, found, 0, 50) == Best(20, 2.0, 3)
    assert find_best(config, found, 0, 10) == Best(10, 3.0, 0)
    assert find_best(config, found, 20, 50) == Best(40, 2.0, 1)  # a last stage that begins after step 20
    assert find_best(config, found, 0, 0) is None  # the untrained adapter does not count
    assert find_best(config, lines(1.0, math.nan), 0, 10) is None
    assert find_best(config, [{**line, "evaluation": "train"} for line in found], 0, 50) is None


def test_each_evaluation_is_measured_once_however_often_the_best_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with `patience` asks after every step; to measure all evaluations each time is quadratic in the steps."""
    measured: list[int] = []

    def counted(config: TrainConfig, line: dict[str, Any]) -> float:
        measured.append(line["step"])
        return measure(config, line)

    monkeypatch.setattr(best, "measure", counted)
    config, found = TrainConfig(keep_best="f_sft"), lines(*(abs(v - 20.5) for v in range(60)), every=2)
    so_far = BestSoFar(config, 0)
    for t in range(120):  # the values are 20.5 - v up to v = 20, and rise then
        last = t // 2
        expected = Best(2 * min(last, 20), abs(min(last, 20) - 20.5), max(0, last - 20)) if last else None
        assert so_far.read([line for line in found if line["step"] <= t]).at(t) == expected
        assert so_far.at(1) is None  # also of an earlier step
    assert measured == [2 * v for v in range(1, 60)]


def test_only_the_steps_that_a_run_may_need_stay(tmp_path: Path) -> None:
    def left() -> list[int]:
        return sorted(int(path.name[5:]) for path in (tmp_path / "best").iterdir())

    for step in (2, 4, 6):
        best_folder(tmp_path, step).mkdir(parents=True)
    (tmp_path / "best" / ".step-000008.x.unfinished").mkdir()
    forget_best(tmp_path, after=4)
    assert left() == [2, 4]
    forget_best(tmp_path, steps=[4])
    assert left() == [4]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a tiny run on DPO alone, at a rate that makes f_sft worse."""
    place = runs.place(tmp_path_factory.mktemp("place"))
    own = {"method": "mix", "lam": 0.6, "steps": 12, "eval_every": 2, "save_every": 5, "lr": 0.05, "lora_dropout": 0.1}
    return {**place, **own}


def run(options: dict[str, Any], **changes: Any) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of a run, and its evaluations."""
    folder = train(TrainConfig(**{**options, **changes}), quiet=True).folder
    return folder, [line for line in read_metrics(folder) if "evaluation" in line]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["f_sft", "mix", "worst_gap"])
def test_the_result_is_the_adapter_of_the_best_evaluation(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """A run that keeps every adapter is the oracle: the one with the least measure is the result."""
    config = TrainConfig(**{**options, **STAR, "keep_best": name})
    every, watched = run(options, **STAR, keep_every=2, out=str(tmp_path / "every"))
    values = {line["step"]: measure(config, line) for line in watched if line["step"]}
    step = min(values, key=lambda t: values[t])
    folder, again = run(options, **STAR, keep_best=name, out=str(tmp_path / "best"))
    assert again == watched
    assert (folder / ADAPTER).read_bytes() == (every / "kept" / f"step-{step:06d}" / ADAPTER).read_bytes()
    assert (folder / ADAPTER).read_bytes() != (every / ADAPTER).read_bytes()
    summary = read_json(folder / "summary.json")
    assert summary["best"] == {"measure": name, "step": step, "value": values[step]}
    assert summary["evaluation"] == {k: v for k, v in watched[step // 2].items() if isinstance(v, float)}
    assert summary["steps"] == 12
    assert f"adapter of step {step}, with the least {name}" in (folder / "README.md").read_text(encoding="utf-8")
    found = evaluate(EvaluateConfig(run=str(folder)), quiet=True)
    assert found == pytest.approx(summary["evaluation"], rel=1e-5, abs=1e-6)
    assert not (folder / "best").exists()
    assert read_json(every / "summary.json")["best"] is None


@pytest.mark.slow
def test_patience_ends_the_run(options: dict[str, Any], tmp_path: Path) -> None:
    whole, watched = run(options, keep_best="f_sft", out=str(tmp_path / "whole"))
    best = read_json(whole / "summary.json")["best"]["step"]
    assert best < 8, "the run must get worse for this test"
    folder, some = run(options, keep_best="f_sft", patience=2, keep_every=5, out=str(tmp_path / "patient"))
    end = best + 4
    assert [line["step"] for line in some] == list(range(0, end + 1, 2))
    assert some == watched[: len(some)]
    assert read_json(folder / "summary.json")["steps"] == end
    assert (folder / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()
    assert (folder / "kept" / f"step-{end:06d}").is_dir()
    assert max(line["step"] for line in read_metrics(folder)) == end


@pytest.mark.slow
def test_only_the_last_stage_counts(options: dict[str, Any], tmp_path: Path) -> None:
    """f_dpo is least at the end of the first stage, where the run is not yet Sequential."""
    changes = {"method": "sequential", "lam": 0.5, "keep_best": "f_dpo", "lr": 0.02}
    folder, watched = run(options, **changes, out=str(tmp_path / "run"))
    least = min(watched[1:], key=lambda line: line["f_dpo"])["step"]
    assert least <= 6
    second = min(watched[4:], key=lambda line: line["f_dpo"])["step"]
    assert read_json(folder / "summary.json")["best"]["step"] == second > 6


@pytest.mark.slow
def test_kills_change_neither_the_choice_nor_the_end(options: dict[str, Any], tmp_path: Path) -> None:
    own = {**options, "keep_best": "f_sft", "patience": 2, "save_every": 3}
    whole, _ = run(own, out=str(tmp_path / "whole"))
    server, cut = worker.server(), tmp_path / "cut"
    again = worker.command(cut, **{**own, "out": ""})
    for path, n in (("cut/best", 1), ("cut/best", 3), ("cut/checkpoints", 9), ("cut/adapter_model", 1)):
        job = server.run(again, tmp_path / "log", kill_path=path, kill_at=n)
        assert job.status == -signal.SIGKILL, (path, n, job.said)
    job = server.run(again, tmp_path / "log", kill_path="cut/summary.json", kill_at=1)
    assert job.status == -signal.SIGKILL, job.said
    assert server.run(again, tmp_path / "log").status == 0
    assert worker.weights(cut) == worker.weights(whole)
    assert worker.lines(cut) == worker.lines(whole)
    assert read_json(cut / "summary.json")["best"] == read_json(whole / "summary.json")["best"]
    assert {p.name for p in cut.iterdir()} == {p.name for p in whole.iterdir()}


def test_a_measure_needs_its_held_out_rows(tmp_path: Path) -> None:
    given = {"model": tiny.model(), "tokenizer": tiny.tokenizer()}
    rows = {"sft": tiny.sft_rows(30), "preference": tiny.preference_rows(30)}
    where = {"out": str(tmp_path / "run"), "cache": str(tmp_path / "cache"), "device": "cpu"}
    for name, kind in (("f_sft", "SFT"), ("f_dpo", "preference"), ("mix", "SFT")):
        asked = TrainConfig(held_out=0.0, keep_best=name, **where)  # type: ignore[arg-type]
        begins = f"keep_best: {name} needs held-out {kind} rows"
        fails(lambda asked=asked: train(asked, quiet=True, **given, **rows), ValueError, begins, "--held-out")
    assert not (tmp_path / "run").exists()
