"""lm-evaluation-harness on our models: scores against our own log-probabilities, prompts, and what goes wrong."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import pipeline_runs as door
from support import tiny_models as tiny

torch = pytest.importorskip("torch")
pytest.importorskip("lm_eval", reason="needs the extra `eval`")

from llm import (
    TrainConfig,
    train,
)
from llm.common.files import read_json  # noqa: E402
from llm.evaluation.benchmark import BenchmarkConfig, benchmark, measure, table  # noqa: E402
from llm.evaluation.harness import interval  # noqa: E402
from llm.training.run_folder import load_model  # noqa: E402

CHOICES = 4


def questions(n: int = 20, seed: int = 3) -> list[dict[str, Any]]:
    """Different questions with choices of various lengths; no choice is another question's."""
    draw = random.Random(seed)
    found: set[str] = set()
    while len(found) < n * (CHOICES + 1):
        found.add(tiny.text(draw, 2, 6))
    texts = sorted(found)  # a set's own order is not the same in every process
    draw.shuffle(texts)
    rows = [texts[i : i + CHOICES + 1] for i in range(0, len(texts), CHOICES + 1)]
    return [{"question": q, "choices": c, "answer": draw.randrange(CHOICES)} for q, *c in rows]


def refused(call: Callable[[], Any], *words: str) -> None:
    """A ValueError of one line with all these words."""
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def nothing(_done: int, _of: int) -> None: ...


def asked(
    model: Any,
    tokenizer: Any,
    rows: Sequence[dict[str, Any]],
    *,
    template: str = "auto",
    shots: int = 1,
) -> tuple[Any, dict[str, Any]]:
    """The harness's task, with the requests that it made and the answers to them, and the harness's results."""
    from llm.evaluation import harness

    with harness.hushed():
        lm = harness.Model(model, tokenizer, batch=7, tell=nothing, template=template)
        task = harness.choice_task("own", rows)
        return task, harness.ask(lm, task, shots=shots, limit=0, seed=5)


def by_hand(model: Any, tokenizer: Any, turns: list[str], choice: str) -> float:
    """The choice's log-probability after a conversation, by the model that training uses."""
    from llm.data.collate import collate
    from llm.data.tokenization import tokenize_prompts
    from llm.models.policy import Policy

    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
    prompt = tokenize_prompts([messages], tokenizer)[0]
    response = np.array(tokenizer(choice, add_special_tokens=False)["input_ids"], dtype=np.int32)
    with torch.no_grad():
        return float(Policy(model).token_logps(collate([prompt], [(response,)])).sum())


def t5() -> Any:
    """A tiny encoder-decoder model with random weights."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = T5ForConditionalGeneration(config)
        for parameter in made.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


# scores


@pytest.mark.parametrize(("family", "bos"), [("gpt_neox", False), ("llama", True), ("t5", False)])
def test_the_harness_finds_the_log_probabilities_of_training(family: str, bos: bool) -> None:
    model = t5() if family == "t5" else tiny.model(family)
    tokenizer, rows = tiny.tokenizer(bos=bos), questions()
    task, results = asked(model, tiny.tokenizer(bos=bos), rows)
    right = []
    for i, row in enumerate(rows):
        requests = sorted((r for r in task.instances if r.doc_id == i), key=lambda r: r.idx)
        assert [r.args[1] for r in requests] == row["choices"]
        context = requests[0].args[0].removesuffix("\nAssistant: ").removeprefix("User: ")
        turns = context.replace("\nAssistant: ", "\n").replace("\nUser: ", "\n").split("\n")
        assert len(turns) == 3
        wanted = [by_hand(model, tokenizer, turns, choice) for choice in row["choices"]]
        found = [r.resps[0][0] for r in requests]
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-4)  # float32 sums of up to 7 terms, in padded batches
        right.append(int(np.argmax(wanted)) == row["answer"])
    values, p, n = results["results"]["own"], np.mean(right), len(rows)
    assert 0.0 < p < 1.0
    assert values["acc,none"] == pytest.approx(p)
    assert values["acc_stderr,none"] == pytest.approx(math.sqrt(p * (1 - p) / (n - 1)))


def test_an_example_is_another_question_with_its_right_answer() -> None:
    rows = questions()
    answers = {row["question"]: row["choices"][row["answer"]] for row in rows}
    task, results = asked(tiny.model(), tiny.tokenizer(), rows)
    shown = set()
    for request in task.instances:
        row, text = rows[request.doc_id], request.args[0]
        example, _, question = text.rpartition("\nUser: ")
        assert question == f"{row['question']}\nAssistant: "
        other, _, answer = example.removeprefix("User: ").partition("\nAssistant: ")
        assert other != row["question"]
        assert answers[other] == answer
        assert not any(choice in text for choice in row["choices"])
        shown.add(other)
    assert len(shown) > 8
    assert results["n-shot"]["own"] == 1
    few, _ = asked(tiny.model(), tiny.tokenizer(), rows[:3], shots=2)  # where each must be the other two
    for request in few.instances:
        assert all(request.args[0].count(f"User: {row['question']}\n") == 1 for row in rows[:3])
    none, _ = asked(tiny.model(), tiny.tokenizer(), rows, shots=0)
    assert none.instances[0].args[0] == f"User: {rows[0]['question']}\nAssistant: "


def test_templates_are_those_of_training() -> None:
    rows, tokenizer = questions(), tiny.tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role[:1] }} {{ m.content }} / {% endfor %}"
        "{% if add_generation_prompt %}a {% endif %}"
    )
    task, _ = asked(tiny.model(), tokenizer, rows)
    assert task.instances[0].args[0].count("u ") == 2
    assert task.instances[0].args[0].endswith(f"u {rows[0]['question']} / a ")
    task, _ = asked(tiny.model(), tokenizer, rows, template="Q: {prompt} A: ", shots=0)
    assert task.instances[0].args[0] == f"Q: {rows[0]['question']} A: "
    task, _ = asked(tiny.model(), tokenizer, rows, template="none", shots=0)
    assert task.instances[0].args[0] == rows[0]["question"]
    refused(lambda: asked(tiny.model(), tokenizer, rows, template="none"), "--template none has none")


def test_the_seed_draws_the_examples_and_the_batch_does_not_matter(tmp_path: Path) -> None:
    base = str(tiny.base(tmp_path / "base"))
    mine = {"model": base, "questions": door.write(tmp_path / "q.jsonl", questions())}
    first = benchmark(BenchmarkConfig(**mine), quiet=True)
    assert benchmark(BenchmarkConfig(**mine, batch=3), quiet=True) == first
    others = [benchmark(BenchmarkConfig(**mine, seed=i), quiet=True)["tasks"] for i in range(4)]
    assert len({other["embedded"]["metrics"]["acc"]["value"] for other in others}) > 1


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


def test_intervals() -> None:
    # Wilson's own formula, by hand
    n, k, z = 40, 9, 1.959963984540054
    p = k / n
    middle, reach = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    wilson = ((middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n))
    assert interval(p, 0.07, n) == pytest.approx(wilson)
    assert interval(2.0, 0.5, 0) == pytest.approx((2.0 - z / 2, 2.0 + z / 2))
    assert interval(2.0, None, 0) == (None, None)


# tasks of the harness


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


@pytest.mark.usefixtures("described")
def test_a_task_of_the_harness_gives_what_the_harness_gives_alone(tmp_path: Path, tasks: Path) -> None:
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


@pytest.mark.usefixtures("described")
def test_prompts_that_are_cut_are_counted(tmp_path: Path, tasks: Path) -> None:
    base = tiny.base(tmp_path / "base")
    config = read_json(base / "config.json") | {"max_position_embeddings": 16}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    mine = {"model": str(base), "tasks": ("ours_a",), "include": str(tasks)}
    assert 0 < benchmark(BenchmarkConfig(**mine), quiet=True)["cut"]["ours_a"] <= 40
    assert benchmark(BenchmarkConfig(**mine, shots=0), quiet=True)["cut"] == {}


# the study's measure


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run on a very small embedded world."""
    from llm.embedded import EmbeddedConfig

    world = EmbeddedConfig(
        places=8, hidden=16, layers=1, heads=2, pretrain_steps=6, sft_rows=12, preference_rows=10, held_out_rows=4,
        questions=24,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("embedded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedConfig, "of_size", staticmethod(lambda *_, **__: world))
        options = {"cache": str(folder / "cache"), "out": str(folder / "run"), "device": "cpu", "eval_rows": 4}
        more = {"steps": 4, "batch_sft": 4, "batch_preference": 4, "lora_rank": 4, "lr": 1e-2}
        made = train(TrainConfig.preset("embedded", **options, **more), quiet=True)
        yield made.folder


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


def test_choices_are_tokenised_as_responses_are(run: Path) -> None:
    """The world's tokeniser joins a space to the word after it: the template's last one would go to the choice."""
    path = next(run.parent.glob("cache/data/*/questions.jsonl"))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    model, tokenizer = load_model(run)
    task, _ = asked(model, tokenizer, rows[:3], shots=0)
    for request in task.instances:
        wanted = by_hand(model, tokenizer, [rows[request.doc_id]["question"]], request.args[1])
        assert request.resps[0][0] == pytest.approx(wanted, rel=1e-5, abs=1e-4)
    together = tokenizer(request.args[0] + request.args[1])["input_ids"]
    assert together != [i for text in request.args for i in tokenizer(text)["input_ids"]]


def test_the_command_says_a_table_and_nothing_else(
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


def test_the_table_leaves_out_what_is_not_known() -> None:
    from rich.console import Console

    metrics = {"bleu": {"value": 0.5, "stderr": None, "low": None, "high": None}}
    tasks = {"a": {"shots": None, "questions": 3, "part_of": None, "metrics": metrics}}
    tasks["b"] = {**tasks["a"], "part_of": "a"}
    console = Console(width=100)
    with console.capture() as said:
        console.print(table({"tasks": tasks}))
    assert [line.split() for line in said.get().splitlines()[1:]] == [["a", "bleu", "0.5000", "3"]]


# wrong input


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
        ({"tasks": ["helaswag"]}, "knows no helaswag; did you mean hellaswag?"),
        ({"tasks": ["embedded", "zzzzzz"]}, "knows no zzzzzz; see `lm-eval ls tasks`"),
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


ROWS: list[tuple[dict[str, Any], str]] = [
    ({"question": " "}, "questions: row 1: `question` must be a text, got ' '"),
    ({"question": None}, "questions: row 1: `question` must be a text, got None"),
    ({"choices": ["only one"]}, "questions: row 1: `choices` must be two texts or more"),
    ({"choices": ["bax", ""]}, "questions: row 1: `choices` must be two texts or more"),
    ({"answer": 4}, "questions: row 1: `answer` must be from 0 to 3, got 4"),
    ({"answer": "bax"}, "questions: row 1: `answer` must be from 0 to 3, got 'bax'"),
    ({"question": questions(3)[0]["question"]}, "is asked twice; leave one of the two out"),
]


@pytest.mark.parametrize(("change", "words"), ROWS)
def test_rows_that_are_no_questions(change: dict[str, Any], words: str) -> None:
    from llm.evaluation.harness import choice_task

    rows = questions(3)
    rows[1] = {**rows[1], **change}
    refused(lambda: choice_task("own", rows), words)


def test_a_model_without_a_world_or_an_adapter(tmp_path: Path) -> None:
    base = str(tiny.base(tmp_path / "base"))
    refused(lambda: benchmark(BenchmarkConfig(model=base)), "asks about the world of a run", "--questions FILE")
    mine = {"model": base, "questions": door.write(tmp_path / "q.jsonl", questions(3)), "base": True}
    refused(lambda: benchmark(BenchmarkConfig(**mine), quiet=True), "base:", "is no adapter")


def test_weights_that_are_no_numbers() -> None:
    model = tiny.model()
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(math.nan)
    refused(lambda: asked(model, tiny.tokenizer(), questions(3)), "model: its log-probabilities are not numbers")
