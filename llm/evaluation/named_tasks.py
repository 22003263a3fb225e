"""Tasks of lm-evaluation-harness by their names: its index; unknown names and absent data are errors in one line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llm.common.progress import say

if TYPE_CHECKING:
    from llm.evaluation.benchmark import BenchmarkConfig
    from llm.evaluation.harness import Model


def task_index(names: Sequence[str], include: str, version: str, *, quiet: bool) -> Any:
    """Return the harness's index of tasks, or None without names; ValueError for an unknown task.

    include  folder with tasks of one's own; empty: none
    version  of the harness, for messages
    """
    if not names:
        return None
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=include, include_defaults=False) if include else None
    if manager is None or not set(names) <= set(manager.all_tasks):
        say("reading the harness's list of tasks, which takes some seconds", active=not quiet)
        manager = TaskManager(include_path=include or None)
    known = set(manager.all_tasks)
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "see `lm-eval ls tasks`, or give --include FOLDER"
            raise ValueError(f"tasks: lm-eval {version} has no task {name}; {hint}")
    return manager


def evaluate_named(lm: Model, name: str, manager: Any, config: BenchmarkConfig) -> dict[str, Any]:
    """Return the harness's results on one of its tasks; ValueError, in one line, if its data is absent."""
    from llm.evaluation import harness

    try:
        return harness.ask_named(
            lm, name, manager, shots=config.shots, limit=config.limit, seed=config.seed, chat=config.chat
        )
    except Exception as error:  # data sets fail in a dozen ways, but only before the first request
        if lm.begun:
            raise
        raise _not_ready(name, error) from error


def check_ready(name: str, index: Any) -> None:
    """Raise ValueError, in one line, if a task of the harness cannot be made, most likely for want of its data."""
    from llm.evaluation import harness

    try:
        with harness.hushed():
            index.load([name])
    except Exception as error:  # data sets fail in a dozen ways
        raise _not_ready(name, error) from error


def _not_ready(name: str, error: Exception) -> ValueError:
    return ValueError(
        f"tasks: {name} cannot be made ready, most likely for want of its data ({_first(error)}); run it once with "
        "a network, or set HF_HOME to a folder that holds the data, or give --include with a task on a local file"
    )


def _first(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
