"""Scores by lm-evaluation-harness during a run: the harness alone is the oracle; resuming repeats none."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny
from support.wrong import fails

pytest.importorskip("torch")
from llm import TrainConfig, train
from llm.common.files import read_json
from llm.study import Grid, paths, table
from llm.training import benchmarks
from llm.training.metrics import read_metrics, track

CLOCK = {"seconds", "cpu_seconds", "memory_mb"}
needs_harness = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="needs the extra `eval`")


def questions(n: int, seed: int) -> list[dict[str, Any]]:
    """Questions with three choices each; no question twice."""
    draw, rows = random.Random(seed), dict[str, dict[str, Any]]()
    while len(rows) < n:
        choices = [tiny.text(draw, 2, 6) for _ in range(3)]
        question = tiny.text(draw, 3, 6)
        if len(set(choices)) == 3:
            rows[question] = {"question": question, "choices": choices, "answer": draw.randrange(3)}
    return list(rows.values())


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with a task of the harness on a local file."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = door.write(tmp_path / "questions.jsonl", questions(24, 1))
    local = {"data_files": {"test": rows}, "cache_dir": str(tmp_path / "data")}
    values = {
        "task": "ours", "dataset_path": "json", "dataset_kwargs": local, "test_split": "test",
        "fewshot_split": "test", "output_type": "multiple_choice", "doc_to_text": "Q: {{question}}\nA:",
        "doc_to_choice": "choices", "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    (folder / "ours.yaml").write_text(json.dumps(values), encoding="utf-8")
    lost = {**values, "task": "lost", "dataset_kwargs": {"data_files": {"test": str(tmp_path / "no.jsonl")}}}
    (folder / "lost.yaml").write_text(json.dumps(lost), encoding="utf-8")
    return folder


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness's description of the machine takes a second a task, and nothing reads it."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)


def options(folder: Path, tasks: Path, **changes: Any) -> dict[str, Any]:
    asked = {
        "benchmark_tasks": ("embedded", "ours"), "benchmark_every": 2, "benchmark_include": str(tasks), "steps": 5,
        "benchmark_questions": str(folder / "questions.jsonl"), "save_every": 2, "lr": 0.05,
    }  # fmt: skip
    return {**door.place(folder), **asked, **changes}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in CLOCK} for line in read_metrics(folder)]


def harness_alone(base: str, adapter: Path, tasks: Path) -> dict[str, Any]:
    """The values of the task `ours` by the harness's own model class, with the adapter as PEFT loads it."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from llm.evaluation import harness

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter))
    with harness.hushed():
        results = simple_evaluate(
            model=HFLM(pretrained=model.eval(), tokenizer=tiny.tokenizer()), tasks=["ours"], num_fewshot=1,
            log_samples=False, task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        )  # fmt: skip
    return dict(results["results"]["ours"])


@needs_harness
@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.usefixtures("described")
def test_the_scores_of_a_run_are_those_of_the_harness_alone(tmp_path: Path, tasks: Path) -> None:
    """Before the first step, every two steps, and after the last one."""
    asked = options(tmp_path, tasks, keep_every=1)
    folder = train(TrainConfig(**asked), quiet=True).folder
    scored = [line for line in lines(folder) if "benchmark" in line]
    assert [line["step"] for line in scored] == [0, 2, 4, 5]
    for line in scored:
        assert line["benchmark"].startswith("lm-eval ")
        assert line["benchmark_seconds"] > 0.0
        assert line["benchmark_cpu_seconds"] > 0.0
        alone = harness_alone(asked["model"], folder / "kept" / f"step-{line['step']:06d}", tasks)
        assert line["ours/acc"] == alone["acc,none"]
        assert line["ours/acc_stderr"] == alone["acc_stderr,none"]
        assert 0.0 <= line["embedded/acc"] <= 1.0
    assert len({line["ours/acc"] for line in scored}) > 1  # the adapters differ
    summary = read_json(folder / "summary.json")
    assert summary["benchmarks"] == {k: v for k, v in scored[-1].items() if isinstance(v, float)}
    assert f"| ours/acc | {scored[-1]['ours/acc']:.6g} |" in (folder / "README.md").read_text(encoding="utf-8")


@needs_harness
@pytest.mark.slow
@pytest.mark.usefixtures("described")
def test_scores_change_nothing_else(tmp_path: Path, tasks: Path) -> None:
    """The same adapter to the byte, and the same other lines, with dropout, which a changed generator would change."""
    plain = {"benchmark_tasks": (), "benchmark_every": 0, "benchmark_include": "", "benchmark_questions": ""}
    adapters, others = [], []
    for name, changes in (("with", {}), ("without", plain)):
        asked = options(tmp_path, tasks, out=str(tmp_path / name), lora_dropout=0.3, **changes)
        folder = train(TrainConfig(**asked), quiet=True).folder
        adapters.append((folder / "adapter_model.safetensors").read_bytes())
        others.append([line for line in lines(folder) if "benchmark" not in line])
    assert adapters[0] == adapters[1]
    assert others[0] == others[1]


@needs_harness
@pytest.mark.slow
@pytest.mark.usefixtures("described")
def test_a_resumed_run_repeats_no_scores(tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it scores step 4, it goes on from the checkpoint of step 2, whose scores are there."""
    ordinary, counted = benchmarks.Benchmarks.scores, list[int]()

    def killed(self: Any, engine: Any) -> Any:
        counted.append(len(counted))
        if len(counted) == 3:
            raise KeyboardInterrupt
        return ordinary(self, engine)

    monkeypatch.setattr(benchmarks.Benchmarks, "scores", killed)
    asked = TrainConfig(**options(tmp_path, tasks))
    with pytest.raises(KeyboardInterrupt):
        train(asked, quiet=True)
    folder = train(asked, quiet=True).folder
    assert len(counted) == 5  # steps 0, 2, 4 (killed), 4, 5
    assert [line["step"] for line in lines(folder) if "benchmark" in line] == [0, 2, 4, 5]
    train(asked, quiet=True)  # finished
    assert len(counted) == 5


@needs_harness
@pytest.mark.slow
@pytest.mark.usefixtures("described")
def test_a_study_has_the_scores_in_its_tables(tmp_path: Path, tasks: Path) -> None:
    """The last ones in the table of runs, and on the way those of steps with an evaluation."""
    from llm.study.sweep import union

    base = {k: v for k, v in options(tmp_path, tasks, benchmark_tasks=("ours",)).items() if k != "out"}
    base.pop("benchmark_questions")
    grid = Grid(base=TrainConfig(**base), methods=("mix",), lams=(0.5,), seeds=(1,))
    (one,) = union(grid)
    train(dataclasses.replace(one.config, out=str(one.folder(tmp_path / "study"))), quiet=True)
    (last,) = table(grid, tmp_path / "study").to_dict("records")
    on_the_way = paths(grid, tmp_path / "study")
    assert on_the_way["step"].tolist() == [0, 2, 4, 5]
    assert on_the_way["ours/acc"].notna().all()
    assert last["ours/acc"] == on_the_way["ours/acc"].iloc[-1]


@needs_harness
@pytest.mark.slow
def test_keep_best_reports_the_scores_of_its_step(tmp_path: Path, tasks: Path) -> None:
    asked = options(tmp_path, tasks, benchmark_tasks=("embedded",), benchmark_include="", keep_best="f_sft")
    folder = train(TrainConfig(**asked), quiet=True).folder
    summary = read_json(folder / "summary.json")
    (line,) = [x for x in lines(folder) if "benchmark" in x and x["step"] == summary["best"]["step"]]
    assert summary["benchmarks"]["embedded/acc"] == line["embedded/acc"]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"benchmark_tasks": ("our",)}, "benchmark_tasks: lm-eval", "did you mean"),
    ({"benchmark_tasks": ("lost",)}, "benchmark_tasks: lost cannot be made ready", "--benchmark-include"),
    ({"benchmark_tasks": ("ours", "ours")}, "benchmark_tasks: ours is given twice", ""),
    ({"benchmark_include": "nowhere"}, "benchmark_include: there is no folder", "nowhere"),
    ({"benchmark_tasks": ("ours",)}, "benchmark_questions: only the task embedded", "--benchmark-tasks"),
    ({"benchmark_questions": ""}, "benchmark_tasks: embedded asks about the world", "--benchmark-questions FILE"),
    ({"benchmark_questions": "nowhere.jsonl"}, "benchmark_questions: ", "nowhere.jsonl"),
]


@needs_harness
@pytest.mark.slow
@pytest.mark.parametrize(("changes", "begins", "shows"), WRONG)
def test_wrong_tasks_are_one_line_before_the_run(
    changes: dict[str, Any], begins: str, shows: str, tmp_path: Path, tasks: Path
) -> None:
    if changes.get("benchmark_tasks") in (("our",), ("lost",), ("ours", "ours")):
        changes = {**changes, "benchmark_questions": ""}
    asked = TrainConfig(**options(tmp_path, tasks, **changes))
    error = FileNotFoundError if "nowhere" in shows else ValueError
    fails(lambda: train(asked, quiet=True), error, begins, shows)
    assert not (tmp_path / "run").exists()


def test_without_the_extra_it_is_named(tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "lm_eval" else ordinary(name, *a))
    asked = TrainConfig(**options(tmp_path, tasks))
    fails(lambda: train(asked, quiet=True), ValueError, "benchmark_tasks: lm-eval is not installed", "'.[eval]'")
    assert not (tmp_path / "run").exists()


def test_shared_weights_are_refused(tmp_path: Path, tasks: Path) -> None:
    accelerator = SimpleNamespace(distributed_type="DistributedType.FSDP")
    inputs: Any = SimpleNamespace(config=TrainConfig(**options(tmp_path, tasks)), accelerator=accelerator)
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("needs the extra `eval`")
    fails(lambda: benchmarks.load_benchmarks(inputs), ValueError, "benchmark_tasks: not with FSDP", "llm benchmark")


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({"benchmark_every": 2}, "benchmark_every: there are no tasks"),
        ({"benchmark_limit": 2}, "benchmark_limit: there are no tasks"),
        ({"benchmark_tasks": ("a",), "method": "sequential", "average": True}, "benchmark_tasks: with average"),
    ],
)
def test_options_that_do_not_go_together(changes: dict[str, Any], begins: str) -> None:
    fails(lambda: TrainConfig(**changes), ValueError, begins, "benchmark")


def test_trackers_get_values_without_names() -> None:
    logged: list[Any] = []
    accelerator = SimpleNamespace(log=lambda values, step: logged.append((values, step)))
    for trackers in ((), ("tensorboard",)):
        engine: Any = SimpleNamespace(config=SimpleNamespace(log_with=trackers), accelerator=accelerator)
        track(engine, {"step": 3, "objective": "sft", "benchmark/ours/acc": 0.5}, 3)
    assert logged == [({"benchmark/ours/acc": 0.5}, 3)]
