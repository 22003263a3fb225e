"""Tasks of lm-evaluation-harness on the policy of a run that is being trained, as lines of metrics.jsonl."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm.common.processes import preserve_torch_state
from llm.training.deepspeed_config import shares_weights
from llm.training.metrics import Stopwatch, track

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.data.templates import TemplateOptions
    from llm.evaluation.benchmark import BenchmarkConfig
    from llm.training.engine import Engine
    from llm.training.inputs import Inputs
    from llm.training.metrics import MetricsFile


@dataclass(frozen=True)
class Benchmarks:
    """The tasks of a run with all that they need.

    every      number of steps between two evaluations; 0: only at the end
    options    tasks, shots and limit
    harness    name and version of the harness
    rows       questions of the task `embedded`
    index      the harness's index of tasks; None if none is needed
    tokenizer  a copy of the run's, which the harness may change
    template   template of the run's first SFT set (or preference set), for the task `embedded`
    inputs     the run's inputs, for progress
    """

    every: int
    options: BenchmarkConfig
    harness: str
    rows: Sequence[Mapping[str, Any]]
    index: Any
    tokenizer: Any
    template: TemplateOptions
    inputs: Inputs

    def due(self, step: int, *, last: bool) -> bool:
        """Return whether the tasks are evaluated after a step, the last one or any other."""
        return last or (self.every > 0 and step % self.every == 0)

    def evaluate(self, engine: Engine, metrics: MetricsFile, step: int) -> None:
        """Write the scores of the policy after a step, unless the file of metrics holds them already.

        One process evaluates, and the others wait. Raises ValueError, in one line, if the log-probabilities are not
        numbers.
        """
        if step in metrics.benchmarked:
            return
        accelerator = engine.accelerator
        if accelerator.is_main_process:
            line = {"step": step, "benchmark": self.harness, **self.scores(engine)}
            metrics.write(line)
            track(engine, {f"benchmark/{k}": v for k, v in line.items() if isinstance(v, float)}, step)
        accelerator.wait_for_everyone()

    def scores(self, engine: Engine) -> dict[str, float]:
        """Return {"TASK/METRIC": value, "TASK/METRIC_stderr": standard error, ...}, and the time that this took.

        "benchmark_seconds" are wall-clock time, "benchmark_cpu_seconds" CPU time of this process. A group has its own
        scores, without those of its parts.
        """
        from llm.evaluation import harness
        from llm.evaluation.benchmark import EMBEDDED
        from llm.evaluation.named_tasks import evaluate_named

        stopwatch, policy, values = Stopwatch(), engine.policy, dict[str, float]()
        training, options = policy.training, self.options
        policy.eval()
        with preserve_torch_state(None), harness.hushed():
            for name in options.tasks:
                own = name == EMBEDDED
                template = self.template if own else None
                with self.inputs.progress(name) as line:
                    lm = harness.Model(
                        engine.raw.model, self.tokenizer, batch=options.batch, report=line, template=template
                    )
                    if own:
                        task = harness.choice_task(name, self.rows)
                        given = {"shots": options.shots, "limit": options.limit, "seed": options.seed}
                        results = harness.ask(lm, task, **given)
                    else:
                        results = evaluate_named(lm, name, self.index, options)
                values |= _flat(harness.scores(results))
        policy.train(training)
        return values | {f"benchmark_{kind}": round(spent, 4) for kind, spent in stopwatch.seconds.items()}


def _flat(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the values and standard errors of tasks and groups, by TASK/METRIC and TASK/METRIC_stderr."""
    values: dict[str, float] = {}
    for task, score in scores.items():
        for metric, numbers in score["metrics"].items() if not score["part_of"] else ():
            values[f"{task}/{metric}"] = numbers["value"]
            if numbers["stderr"] is not None:
                values[f"{task}/{metric}_stderr"] = numbers["stderr"]
    return values


def load_benchmarks(inputs: Inputs) -> Benchmarks | None:
    """Return the tasks that a run's options name; None if they name none.

    Raises ValueError or FileNotFoundError, in one line, if the harness, a task or its data is absent, before the run
    trains, or if the weights are shared among processes.
    """
    config = inputs.config
    if not config.benchmark_tasks:
        return None
    from llm.data.templates import TemplateOptions
    from llm.evaluation.benchmark import EMBEDDED, harness_version, read_questions
    from llm.evaluation.named_tasks import check_ready, task_index

    try:
        version = harness_version()
    except ValueError as error:
        raise ValueError(str(error).replace("benchmark:", "benchmark_tasks:", 1)) from error
    if engine := shares_weights(inputs.accelerator):
        raise ValueError(
            f"benchmark_tasks: not with {engine}, which shares the weights; run llm benchmark on the result"
        )
    options = benchmark_options(config)
    try:
        rows = read_questions(options, inputs.asked) if EMBEDDED in options.tasks else []
        named = [name for name in options.tasks if name != EMBEDDED]
        index = task_index(named, options.include, version, quiet=inputs.quiet)
        for name in named:
            check_ready(name, index)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(_renamed(error)) from error
    template = TemplateOptions.named(config.as_dict(), config.sft_first[0].template)
    tokenizer = copy.deepcopy(inputs.tokenizer)
    return Benchmarks(config.benchmark_every, options, f"lm-eval {version}", rows, index, tokenizer, template, inputs)


def benchmark_options(config: TrainConfig) -> BenchmarkConfig:
    """Return the options of `llm benchmark` that a run's options stand for; raise its errors under the run's names."""
    from llm.evaluation.benchmark import BenchmarkConfig

    try:
        return BenchmarkConfig(
            model=config.model,
            tasks=config.benchmark_tasks,
            shots=config.benchmark_shots,
            limit=config.benchmark_limit,
            include=config.benchmark_include,
            questions=config.benchmark_questions,
            chat=config.benchmark_chat,
        )
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(_renamed(error)) from error


def _renamed(error: Exception) -> str:
    """Return a message of `llm benchmark` with the names of a run's options."""
    return re.sub(r"--(tasks|include|questions)\b", r"--benchmark-\1", f"benchmark_{error}")
