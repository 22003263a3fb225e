"""Multiple-choice and other benchmarks of EleutherAI's lm-evaluation-harness, on a run, an adapter or a model."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from llm.common.arguments import AT_LEAST_1, NOT_NEGATIVE, check_options
from llm.common.files import check_name, ensure_output, write_json
from llm.common.processes import preserve_torch_state
from llm.common.progress import Line, say
from llm.config import TrainConfig
from llm.evaluation.generate import check_precision, template_of
from llm.evaluation.mmlu import TASK, local_tasks, read_subjects
from llm.evaluation.named_tasks import evaluate_named, task_index
from llm.training.run_folder import load_model, load_run

EMBEDDED = "embedded"  # our own task


@dataclass(frozen=True)
class BenchmarkConfig:
    """Options of `benchmark`: a model, tasks, and examples."""

    model: str
    """Folder of a run, of an adapter or of a model, or a hub name."""
    tasks: tuple[str, ...] = (EMBEDDED,)
    """Tasks or groups of lm-evaluation-harness (mmlu, hellaswag, ...), and `embedded`: the embedded world's own."""
    shots: Annotated[int, NOT_NEGATIVE] = 1
    """Number of examples before a question; tasks made without examples keep none."""
    limit: Annotated[int, NOT_NEGATIVE] = 0
    """Number of questions from the start of each task; 0: all."""
    base: bool = False
    """Evaluate the bare base model of a run or adapter instead."""
    include: str = ""
    """Folder with tasks of your own, in the harness's YAML."""
    mmlu: str = ""
    """For mmlu: folder or archive (.tar, .tar.gz) of its CSV files, SUBJECT_dev.csv and SUBJECT_test.csv; empty: from
    the hub."""
    questions: str = ""
    """For `embedded`: other rows {"question", "choices", "answer"}: .jsonl, .json, .parquet, folder, or hub name."""
    template: str = ""
    """For `embedded`: as in training; empty: the run's own, else auto."""
    chat: bool = False
    """For the harness's tasks: apply the tokenizer's chat template."""
    batch: Annotated[int, AT_LEAST_1] = 16
    """Number of choices in a batch."""
    seed: Annotated[int, NOT_NEGATIVE] = 1234
    """Seed of the drawn examples; the harness's own default."""
    precision: str = "fp32"
    """Precision of the model: fp32 or bf16."""
    remote_code: bool = False
    """Run Python code that a model repository contains."""
    out: str = ""
    """Write the numbers to this .json as well, after each task."""

    def __post_init__(self) -> None:
        check_options(self)
        check_precision(self.precision)
        if not self.tasks:
            raise ValueError(f"tasks: give at least one, for example --tasks {EMBEDDED}")
        if len(set(self.tasks)) < len(self.tasks):
            twice = next(t for t in self.tasks if self.tasks.count(t) > 1)
            raise ValueError(f"tasks: {twice} is given twice")
        if self.questions and EMBEDDED not in self.tasks:
            raise ValueError(f"questions: only the task {EMBEDDED} reads them, and --tasks does not name it")
        if self.mmlu and TASK not in self.tasks:
            raise ValueError(f"mmlu: only the task {TASK} reads its files, and --tasks does not name it")
        if self.include and not Path(self.include).is_dir():
            raise FileNotFoundError(f"include: there is no folder {self.include}")
        if self.out:
            check_name(self.out, ".json")


def benchmark(config: BenchmarkConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Return the scores of a model, as plain values.

    "tasks" maps a task, and each part of a group, to "shots", "questions" (their number) and "metrics": name ->
    "value", the harness's own "stderr" (None where it has none), and "low" and "high" of a 95 % interval (None without
    a standard error). The interval of a share (acc, ...) of one task's questions is Wilson's, which is not empty where
    all answers are right; any other is value ± 1.96 stderr. A part of a group has the group's name as "part_of". "cut"
    counts the prompts longer than the model's context, by task.

    The record is written to `config.out` after each task, so that a later error cannot lose it. Raises ValueError in
    one line, with the remedy, if the harness, a task or its data is absent. A task of the harness seeds the process'
    generators, as the harness does.
    """
    version = harness_version()
    if config.out:
        ensure_output(config.out, questions=config.questions)
    run = _run_config(config.model)
    rows = read_questions(config, run) if EMBEDDED in config.tasks else []
    subjects = read_subjects(config.mmlu) if config.mmlu else {}
    named = [name for name in config.tasks if name != EMBEDDED and not (name == TASK and config.mmlu)]
    manager = task_index(named, config.include, version, quiet=quiet)
    from llm.evaluation import harness

    record: dict[str, Any] = {
        "model": config.model,
        "base": config.base,
        "harness": f"lm-eval {version}",
        "stderr": "lm-eval's own; for a mean: the sample standard deviation (n - 1) over the square root of n",
        "interval": harness.CONFIDENCE,
        "limit": config.limit,
        "seed": config.seed,
        "tasks": {},
        "cut": {},
    }
    with preserve_torch_state(None), harness.hushed():
        model, tokenizer = load(config)
        for name in config.tasks:
            template = template_of(config.model, config.template) if name == EMBEDDED else None
            with Line(name, active=not quiet) as line:
                lm = harness.Model(model, tokenizer, batch=config.batch, report=line, template=template)
                if name == EMBEDDED:
                    task = harness.choice_task(name, rows)
                    results = harness.ask(lm, task, shots=config.shots, limit=config.limit, seed=config.seed)
                elif name == TASK and config.mmlu:
                    tasks = local_tasks(subjects, shots=config.shots, seed=config.seed)
                    results = harness.ask_tasks(lm, tasks, limit=config.limit, chat=config.chat)
                else:
                    results = evaluate_named(lm, name, manager, config)
            record["tasks"] |= harness.scores(results)
            if lm.cut:
                say(
                    f"{name}: {lm.cut} prompts lost their beginning; the model takes {lm.max_length} tokens",
                    active=not quiet,
                )
                record["cut"][name] = lm.cut
            if config.out:
                write_json(Path(config.out), record)
    return record


def of_world(run: TrainConfig, in_memory: Sequence[str] = ()) -> bool:
    """Return whether a run uses an embedded world, with questions of its own.

    in_memory  sets and model that were given in memory, so that their names were not used
    """
    sources = {"model": run.model, **{own.set_name: own.source for own in run.objectives}}
    return EMBEDDED in (source for name, source in sources.items() if name not in in_memory)


def table(record: Mapping[str, Any]) -> Any:
    """Return a rich table of `benchmark`'s scores, one line per metric, without the parts of groups."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for name in ("task", "metric", "value", "stderr", "95 %", "questions", "shots"):
        shown.add_column(name, no_wrap=True, justify="left" if name in ("task", "metric") else "right")
    for name, score in record["tasks"].items():
        if score.get("part_of"):
            continue
        for metric, v in score["metrics"].items():
            interval = "" if v["low"] is None else f"{v['low']:.4f} to {v['high']:.4f}"
            error = "" if v["stderr"] is None else f"{v['stderr']:.4f}"
            counts = ("" if score[k] is None else str(score[k]) for k in ("questions", "shots"))
            shown.add_row(name, metric, f"{v['value']:.4f}", error, interval, *counts)
    return shown


def harness_version() -> str:
    """Return the version of the harness; ValueError, with the remedy, if it is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise ValueError("benchmark: lm-eval is not installed; pip install -e '.[eval]'")
    return importlib.metadata.version("lm-eval")


def _run_config(folder: str) -> TrainConfig | None:
    """Return the configuration of the run in a folder, or None without a run."""
    return load_run(folder).config if (Path(folder) / "run.json").is_file() else None


def read_questions(config: BenchmarkConfig, run: TrainConfig | None) -> Sequence[Mapping[str, Any]]:
    """Return the rows {"question", "choices", "answer"} of the task `embedded`: those of a file, else of a run's world.

    Raises ValueError or FileNotFoundError, in one line, if there are none.
    """
    from llm.data.readers import read

    if config.questions:
        try:
            return read(config.questions, None, None).rows
        except (ValueError, FileNotFoundError) as error:
            raise type(error)(f"questions: {error}") from error
    if run is None or not of_world(run):
        raise ValueError(
            f"tasks: {EMBEDDED} asks about the world of a run, and {config.model} is no run on one; "
            "give --questions FILE, or other --tasks"
        )
    from llm.embedded.prepare import embedded_paths

    return read(embedded_paths(run).questions, None, None).rows


def load(config: BenchmarkConfig) -> tuple[Any, Any]:
    """Return model and tokenizer; ValueError for the base of a model that is no adapter."""
    from peft import PeftModel

    model, tokenizer = load_model(config.model, remote_code=config.remote_code, precision=config.precision)
    if config.base:
        if not isinstance(model, PeftModel):
            raise ValueError(f"base: {config.model} is no adapter, and has no other base; leave --base out")
        model = model.unload()
    set_model_threads(model)
    return model, tokenizer


def set_model_threads(model: Any) -> None:
    """Set the number of threads for a model on a CPU."""
    from llm.models.architecture import set_threads

    if model.device.type == "cpu":
        set_threads(model)
