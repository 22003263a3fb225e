"""The study's measure `questions`: multiple choice on a finished run, through lm-evaluation-harness."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from llm.common.contents import HUB
from llm.common.processes import preserve_torch_state
from llm.config import TrainConfig
from llm.evaluation.base_values import with_base
from llm.evaluation.benchmark import (
    EMBEDDED,
    BenchmarkConfig,
    benchmark,
    harness_version,
    of_world,
    read_questions,
    set_model_threads,
)
from llm.evaluation.generate import template_of
from llm.evaluation.mmlu import TASK
from llm.training.run_folder import load_model, load_run

_QUICK = 64  # batch size on the embedded worlds' models


def measure(folder: Path, *, mmlu: str = HUB, limit: int = 0) -> dict[str, Any]:
    """Return the share of right answers of a finished run, with one example before each question.

    For a run on the embedded world, all questions of its world; for any other run, those of MMLU, through `benchmark`.
    "accuracy" in [0, 1], the harness's standard error "stderr", "n" questions, "shots"; for MMLU also "task", its name
    in the harness, "limit" as given, "cut", the number of prompts longer than the model's context, and "base_accuracy"
    and "base_stderr" of the base model, which are computed once for all runs on it. The process' random generators
    stay unchanged.

    mmlu   folder or archive of MMLU's CSV files (`llm.evaluation.mmlu`), or hub
    limit  number of questions of each subject, from the first; 0: all

    Raises the ValueErrors of `benchmark`.
    """
    harness_version()
    past = load_run(folder)
    if not of_world(past.config, past.in_memory):
        return _of_mmlu(folder, past.config, mmlu, limit)
    if mmlu != HUB or limit:
        raise ValueError(f"questions: {folder} is on an embedded world, with questions of its own; leave mmlu out")
    return _of_world(folder, past.config)


def _of_world(folder: Path, run: TrainConfig) -> dict[str, Any]:
    """Return the share of right answers to the questions of a run's world."""
    config = BenchmarkConfig(model=str(folder), batch=_QUICK)
    rows = read_questions(config, run)
    from llm.evaluation import harness

    with preserve_torch_state(None), harness.hushed():
        model, tokenizer = load_model(folder, remote_code=run.remote_code, precision=run.precision)
        set_model_threads(model)
        own = template_of(str(folder))
        lm = harness.Model(model, tokenizer, batch=config.batch, report=lambda _done, _of: None, template=own)
        results = harness.ask(lm, harness.choice_task(EMBEDDED, rows), shots=config.shots, limit=0, seed=config.seed)
    values = results["results"][EMBEDDED]
    error = values["acc_stderr,none"]  # a text if there is but one question
    return {
        "accuracy": float(values["acc,none"]),
        "stderr": float(error) if isinstance(error, float) else math.nan,
        "n": int(results["n-samples"][EMBEDDED]["effective"]),
        "shots": int(results["n-shot"][EMBEDDED]),
    }


def _of_mmlu(folder: Path, run: TrainConfig, mmlu: str, limit: int) -> dict[str, Any]:
    """Return the share of right answers to MMLU's questions, of a run and of its base."""

    def asked(base: bool) -> dict[str, Any]:
        config = BenchmarkConfig(
            model=str(folder),
            base=base,
            tasks=(TASK,),
            mmlu="" if mmlu == HUB else mmlu,
            shots=1,
            limit=limit,
            precision=run.precision,
            remote_code=run.remote_code,
        )
        record = benchmark(config, quiet=True)
        score = record["tasks"][TASK]
        value = score["metrics"]["acc"]
        return {
            "accuracy": value["value"],
            "stderr": math.nan if value["stderr"] is None else value["stderr"],
            "n": score["questions"],
            "shots": score["shots"],
            "cut": record["cut"].get(TASK, 0),
        }

    result = with_base(folder, __name__, {"mmlu": mmlu, "limit": limit}, asked, ("accuracy", "stderr"))
    return {**result, "task": TASK, "limit": limit}
