"""`python -m llm benchmark`: scores of runs, the study's measure `questions`, and wrong input."""

from __future__ import annotations

import importlib.util
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny
from support.measured_runs import embedded_run
from support.own_questions import questions, refused

torch = pytest.importorskip("torch")
pytest.importorskip("lm_eval", reason="needs the extra `eval`")
from llm import TrainConfig, train  # noqa: E402
from llm.common.files import read_json  # noqa: E402
from llm.evaluation.benchmark import BenchmarkConfig, benchmark, table  # noqa: E402
from llm.evaluation.questions import measure  # noqa: E402
from llm.training.run_folder import load_model  # noqa: E402


@pytest.mark.slow
def test_the_seed_draws_the_examples_and_the_batch_does_not_matter(tmp_path: Path) -> None:
    base = str(tiny.base(tmp_path / "base"))
    mine = {"model": base, "questions": door.write(tmp_path / "q.jsonl", questions())}
    first = benchmark(BenchmarkConfig(**mine), quiet=True)
    assert benchmark(BenchmarkConfig(**mine, batch=3), quiet=True) == first
    others = [benchmark(BenchmarkConfig(**mine, seed=i), quiet=True)["tasks"] for i in range(4)]
    assert len({other["embedded"]["metrics"]["acc"]["value"] for other in others}) > 1


@pytest.mark.slow
def test_an_adapter_that_learnt_the_answers_is_right_and_its_base_is_not(tmp_path: Path) -> None:
    rows = questions(8)
    sets = door.place(tmp_path)
    right = [{"prompt": r["question"], "completion": r["choices"][r["answer"]]} for r in rows]
    sets |= {"sft": door.write(tmp_path / "right.jsonl", right), "lam": 0.0}  # SFT alone
    more = {"held_out": 0.0, "steps": 80, "lr": 0.02, "lora_rank": 8, "eval_every": 0, "batch_sft": 8}
    run = train(TrainConfig(**{**sets, **more}), quiet=True)
    mine = {"questions": door.write(tmp_path / "q.jsonl", rows), "shots": 0}
    adapted = benchmark(BenchmarkConfig(model=str(run.folder), **mine), quiet=True)["tasks"]["embedded"]
    bare = benchmark(BenchmarkConfig(model=str(run.folder), base=True, **mine), quiet=True)["tasks"]["embedded"]
    assert bare == benchmark(BenchmarkConfig(model=sets["model"], **mine), quiet=True)["tasks"]["embedded"]
    assert adapted["metrics"]["acc"]["value"] == 1.0
    assert bare["metrics"]["acc"]["value"] < 0.8
    assert adapted["metrics"]["acc"] | {"stderr": 0.0} == adapted["metrics"]["acc"]
    assert adapted["metrics"]["acc"]["low"] < 0.7 < adapted["metrics"]["acc"]["high"] == 1.0


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with two tasks on local files, a group of them, and two tasks whose data cannot be had."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, rows in (("ours_a", questions(10, 1)), ("ours_b", questions(14, 2))):
        where = door.write(tmp_path / f"{name}.jsonl", rows)
        local = {"data_files": {"test": where}, "cache_dir": str(tmp_path / "cache")}
        yaml(folder, task=name, dataset_path="json", dataset_kwargs=local)
    yaml(folder, task="lost", dataset_path="json", dataset_kwargs={"data_files": {"test": str(tmp_path / "no.jsonl")}})
    yaml(folder, task="far", dataset_path="nobody/has-this")
    mean = {"metric": "acc", "aggregation": "mean", "weight_by_size": True}
    group = {"group": "ours", "task": ["ours_a", "ours_b"], "aggregate_metric_list": [mean]}
    (folder / "ours.yaml").write_text(json.dumps(group), encoding="utf-8")
    return folder


def yaml(folder: Path, **values: Any) -> None:
    common = {
        "test_split": "test", "fewshot_split": "test", "output_type": "multiple_choice",
        "doc_to_text": "Q: {{question}}\nA:", "doc_to_choice": "choices", "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    (folder / f"{values['task']}.yaml").write_text(json.dumps({**common, **values}), encoding="utf-8")


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness's description of the machine takes a second a task, and nothing reads it."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.usefixtures("described")
def test_a_task_of_the_harness_has_the_score_of_the_harness_alone(tmp_path: Path, tasks: Path) -> None:
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from llm.evaluation import harness

    base = str(tiny.base(tmp_path / "base"))
    found = benchmark(BenchmarkConfig(model=base, tasks=("ours",), include=str(tasks)), quiet=True)["tasks"]
    model, tokenizer = load_model(base)
    with harness.hushed():
        own = simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer), tasks=["ours"], num_fewshot=1, log_samples=False,
            task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        )  # fmt: skip
    assert own is not None
    assert set(found) == {"ours", "ours_a", "ours_b"}
    for name, score in found.items():
        values = own["results"][name]
        assert score["metrics"]["acc"]["value"] == values["acc,none"]
        assert score["metrics"]["acc"]["stderr"] == values["acc_stderr,none"]
        assert score["shots"] == 1
    assert [found[n]["questions"] for n in ("ours", "ours_a", "ours_b")] == [24, 10, 14]
    assert [found[n]["part_of"] for n in ("ours", "ours_a", "ours_b")] == [None, "ours", "ours"]
    a, b = (found[n]["metrics"]["acc"]["value"] for n in ("ours_a", "ours_b"))
    assert found["ours"]["metrics"]["acc"]["value"] == pytest.approx((10 * a + 14 * b) / 24)


@pytest.mark.slow
@pytest.mark.usefixtures("described")
def test_what_is_measured_is_kept_when_the_next_task_refused(tmp_path: Path, tasks: Path) -> None:
    out = tmp_path / "there" / "scores.json"
    mine = {"model": str(tiny.base(tmp_path / "base")), "include": str(tasks), "out": str(out), "limit": 4}
    for lost, why in (("lost", "no.jsonl"), ("far", "nobody/has-this")):
        config = BenchmarkConfig(**mine, tasks=("ours_a", lost))
        refused(lambda c=config: benchmark(c, quiet=True), f"tasks: {lost} cannot be made ready", why, "HF_HOME")
        record = read_json(out)
        assert list(record["tasks"]) == ["ours_a"]
        assert record["tasks"]["ours_a"]["questions"] == 4


@pytest.mark.slow
@pytest.mark.usefixtures("described")
def test_prompts_that_are_cut_are_counted(tmp_path: Path, tasks: Path) -> None:
    base = tiny.base(tmp_path / "base")
    config = read_json(base / "config.json") | {"max_position_embeddings": 16}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    mine = {"model": str(base), "tasks": ("ours_a",), "include": str(tasks)}
    assert 0 < benchmark(BenchmarkConfig(**mine), quiet=True)["cut"]["ours_a"] <= 40
    assert benchmark(BenchmarkConfig(**mine, shots=0), quiet=True)["cut"] == {}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run on a very small embedded world."""
    with embedded_run(tmp_path_factory.mktemp("embedded")) as folder:
        yield folder


@pytest.mark.slow
def test_measure_is_the_benchmark_and_leaves_the_generators_alone(run: Path) -> None:
    torch.manual_seed(3)
    random.seed(4)
    before = torch.get_rng_state(), random.getstate(), torch.get_num_threads()
    found = measure(run)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), torch.get_num_threads()) == before[1:]
    assert set(found) == {"accuracy", "stderr", "n", "shots"}
    assert (found["n"], found["shots"]) == (24, 1)
    record = benchmark(BenchmarkConfig(model=str(run)), quiet=True)
    value = record["tasks"]["embedded"]["metrics"]["acc"]
    assert (found["accuracy"], found["stderr"]) == (value["value"], value["stderr"])
    assert value["low"] < value["value"] < value["high"]
    assert measure(run) == found


@pytest.mark.slow
def test_the_command_prints_a_table_and_nothing_else(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.json"
    said = door.call(capsys, "benchmark", model=run, shots=1, limit=5, out=out)
    assert said.status == 0
    lines = said.out.splitlines()
    assert lines[0].split() == ["task", "metric", "value", "stderr", "95", "%", "questions", "shots"]
    record = read_json(out)
    value = record["tasks"]["embedded"]["metrics"]["acc"]
    interval = [f"{value['low']:.4f}", "to", f"{value['high']:.4f}"]
    wanted = ["embedded", "acc", f"{value['value']:.4f}", f"{value['stderr']:.4f}", *interval, "5", "1"]
    assert lines[1].split() == wanted
    assert lines[-1] == record["harness"]
    assert record["harness"].startswith("lm-eval 0.")
    assert {line.split(":")[0] for line in said.err.splitlines()} == {"embedded"}  # the progress
    assert "20/20" in said.err
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_the_table_leaves_out_unknown_values() -> None:
    from rich.console import Console

    metrics = {"bleu": {"value": 0.5, "stderr": None, "low": None, "high": None}}
    tasks = {"a": {"shots": None, "questions": 3, "part_of": None, "metrics": metrics}}
    tasks["b"] = {**tasks["a"], "part_of": "a"}
    console = Console(width=100)
    with console.capture() as said:
        console.print(table({"tasks": tasks}))
    assert [line.split() for line in said.get().splitlines()[1:]] == [["a", "bleu", "0.5000", "3"]]


def test_without_the_harness(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "lm_eval" else real(name, *a))
    said = door.call(capsys, "benchmark", model=run)
    assert said.status == 2
    assert said.err == "error: benchmark: lm-eval is not installed; pip install -e '.[eval]'\n"
    refused(lambda: measure(run), "lm-eval is not installed")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tasks": ["helaswag"]}, "has no task helaswag; did you mean hellaswag?"),
        ({"tasks": ["embedded", "zzzzzz"]}, "has no task zzzzzz; see `lm-eval ls tasks`"),
    ],
)
def test_an_unknown_task(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    words: str,
) -> None:
    yaml(tmp_path, task="hellaswag", dataset_path="json")
    # the harness's own folder has ten thousand files
    monkeypatch.setattr("lm_eval.tasks.manager.__file__", str(tmp_path / "manager.py"))
    said = door.call(capsys, "benchmark", model=run, **options)
    assert said.status == 2
    lines = said.err.splitlines()
    assert lines[0].startswith("reading the harness's list of tasks")
    assert len(lines) == 2
    assert words in lines[1]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"shots": -1}, "shots: must be at least 0, got -1"),
    ({"limit": -1}, "limit: must be at least 0, got -1"),
    ({"batch": 0}, "batch: must be at least 1, got 0"),
    ({"tasks": ["a", "a"]}, "tasks: a is given twice"),
    ({"precision": "fp8"}, "precision: must be fp32 or bf16, got fp8"),
    ({"tasks": ["mmlu"], "questions": "q.jsonl"}, "questions: only the task embedded reads them"),
    ({"include": "nowhere"}, "include: there is no folder nowhere"),
    ({"out": "scores.txt"}, "out: must be a .json file, got scores.txt"),
    ({"questions": "nowhere.jsonl"}, "questions: nowhere.jsonl: no such file"),
    ({"shots": 24}, "shots: must be less than the number of questions, 24, got 24"),
]


@pytest.mark.parametrize(("options", "words"), WRONG, ids=[words[:30] for _, words in WRONG])
def test_wrong_options(run: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], words: str) -> None:
    said = door.call(capsys, "benchmark", model=run, **options)
    assert said.status == 2
    assert f"error: {words}" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.slow
def test_a_model_without_a_world_or_an_adapter(tmp_path: Path) -> None:
    base = str(tiny.base(tmp_path / "base"))
    refused(lambda: benchmark(BenchmarkConfig(model=base)), "asks about the world of a run", "--questions FILE")
    mine = {"model": base, "questions": door.write(tmp_path / "q.jsonl", questions(3)), "base": True}
    refused(lambda: benchmark(BenchmarkConfig(**mine), quiet=True), "base:", "is no adapter")
