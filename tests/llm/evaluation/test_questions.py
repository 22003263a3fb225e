"""The measure `questions` of runs on other sets than the embedded world's: MMLU."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny
from support.measured_runs import forget_measures, run_on_files

torch = pytest.importorskip("torch")
from llm import TrainConfig  # noqa: E402
from llm.evaluation import benchmark, questions  # noqa: E402
from llm.study.measures import MeasureError, columns, file_of, result_of, take  # noqa: E402


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on local files, whose model has room for answers of the measure's length."""
    return run_on_files(tmp_path_factory.mktemp("paper"))


@pytest.fixture
def run(trained: Path) -> Iterator[Path]:
    """The same run, not measured yet."""
    yield trained
    forget_measures(trained)


def subject(folder: Path, name: str, n: int, data: str = "") -> None:
    """A task as the harness has them for MMLU, on a local file."""
    draw = random.Random(n)
    rows = [
        {"question": tiny.text(draw, 3, 6), "choices": [tiny.text(draw, 1, 3) for _ in "ABCD"], "answer": i % 4}
        for i in range(n)
    ]
    where = data or door.write(folder / f"{name}.jsonl", rows)
    task = {
        "task": name, "dataset_path": "json", "test_split": "test", "fewshot_split": "test",
        "dataset_kwargs": {"data_files": {"test": where}, "cache_dir": str(folder / "cache")},
        "output_type": "multiple_choice", "doc_to_text": "{{question}}\nAnswer:", "doc_to_target": "answer",
        "doc_to_choice": "choices", "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    (folder / f"{name}.yaml").write_text(json.dumps(task), encoding="utf-8")


def group(folder: Path, name: str, parts: list[str]) -> None:
    mean = {"metric": "acc", "weight_by_size": True}
    (folder / f"{name}.yaml").write_text(
        json.dumps({"group": name, "task": parts, "aggregate_metric_list": [mean]}), encoding="utf-8"
    )


@pytest.fixture
def mmlu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The harness's own folder, as it were: a group of groups of subjects, like MMLU."""
    pytest.importorskip("lm_eval", reason="needs the extra `eval`")
    folder = tmp_path / "harness"
    folder.mkdir()
    subject(folder, "mmlu_algebra", 9)
    subject(folder, "mmlu_law", 15)
    group(folder, "mmlu_stem", ["mmlu_algebra"])
    group(folder, "mmlu_humanities", ["mmlu_law"])
    group(folder, "mmlu", ["mmlu_stem", "mmlu_humanities"])
    monkeypatch.setattr("lm_eval.tasks.manager.__file__", str(folder / "manager.py"))
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)  # a second, and nothing reads it
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("mmlu")
def test_mmlu_as_the_command_asks_it(run: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    take(run, ["questions"])
    assert torch.equal(torch.get_rng_state(), before)
    found = result_of(run, "questions")
    config = benchmark.BenchmarkConfig(model=str(run), tasks=("mmlu",), shots=1)
    score = benchmark.benchmark(config, quiet=True)["tasks"]["mmlu"]
    value = score["metrics"]["acc"]
    base = dataclasses.replace(config, base=True)
    bare = benchmark.benchmark(base, quiet=True)["tasks"]["mmlu"]["metrics"]["acc"]
    assert found == {
        "accuracy": value["value"], "stderr": value["stderr"], "n": 24, "shots": 1, "task": "mmlu", "cut": 0,
        "limit": 0, "base_accuracy": bare["value"], "base_stderr": bare["stderr"],
    }  # fmt: skip
    assert 0.0 < found["accuracy"] < 1.0
    assert columns(run, ["questions"])["questions_task"] == "mmlu"


def test_the_question_that_is_asked(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra `eval`")
    seen: list[benchmark.BenchmarkConfig] = []

    def scores(config: benchmark.BenchmarkConfig, *, quiet: bool) -> dict[str, Any]:
        assert quiet
        seen.append(config)
        metrics = {"acc": {"value": 0.25, "stderr": None}}
        return {"tasks": {"mmlu": {"metrics": metrics, "questions": 3, "shots": 1}}, "cut": {"mmlu": 2}}

    monkeypatch.setattr(questions, "benchmark", scores)
    found = questions.measure(run, mmlu="there.tar.gz", limit=7)
    asked = [(c.model, c.tasks, c.mmlu, c.shots, c.limit, c.precision, c.base) for c in seen]
    same = (str(run), ("mmlu",), "there.tar.gz", 1, 7, "fp32")
    assert asked == [(*same, False), (*same, True)]
    assert (found["accuracy"], found["n"], found["cut"]) == (0.25, 3, 2)
    assert found["stderr"] != found["stderr"]


@pytest.mark.slow
def test_data_that_cannot_be_had(run: Path, mmlu: Path) -> None:
    subject(mmlu, "mmlu_law", 15, data=str(mmlu / "no.jsonl"))
    with pytest.raises(
        MeasureError, match="tasks: mmlu cannot be made ready, most likely for want of its data"
    ) as told:
        take(run, ["questions"])
    assert "\n" not in str(told.value)
    assert not file_of(run, "questions").exists()


def test_what_was_in_memory_has_to_do_with_no_world() -> None:
    world = TrainConfig.preset("embedded")
    assert benchmark.of_world(world)
    assert benchmark.of_world(world, ["sft", "preference"])
    assert not benchmark.of_world(world, ["model", "sft", "preference"])
    assert not benchmark.of_world(TrainConfig.preset("pythia-1b"))
