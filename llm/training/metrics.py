"""metrics.jsonl: a line a step, a line an evaluation, and the costs of both. docs/metrics.md explains every key."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.common.files import write_text

if TYPE_CHECKING:
    from llm.training.engine import Engine, ForwardResult
    from llm.training.objective import Objective
    from toyopt.algorithms import Controller

KINDS = ("seconds", "cpu_seconds")
# Cached computations that a run reuses, with wall-clock and CPU seconds, in summary.json and in tables.
PREPARATIONS = tuple(f"{name}_{kind}" for name in ("reference", "log_probs", "optima") for kind in KINDS)


class MetricsFile:
    """metrics.jsonl of a run; resuming removes the lines after the checkpoint.

    evaluations  the lines of evaluations
    evaluated    their (step, set)
    benchmarked  the steps whose policies have scores of benchmarks
    """

    def __init__(self, path: Path, *, upto: int, active: bool = True) -> None:
        """Keep the lines up to step `upto`; an inactive file (of another process) is only read."""
        self.evaluations: list[dict[str, Any]] = []
        self.evaluated: set[tuple[int, str]] = set()
        self.benchmarked: set[int] = set()
        lines = []
        for line, values in _whole_lines(path) if path.exists() else ():
            if values["step"] > upto:
                break
            lines.append(line)
            self._note(values)
        self._path = path if active else None
        if active:
            write_text(path, "".join(line + "\n" for line in lines))

    def write(self, values: dict[str, Any]) -> None:
        """Append one line."""
        self._note(values)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")

    def _note(self, values: dict[str, Any]) -> None:
        if "evaluation" in values:
            self.evaluations.append(values)
            self.evaluated.add((values["step"], values["evaluation"]))
        if "benchmark" in values:
            self.benchmarked.add(values["step"])


def track(engine: Engine, values: Mapping[str, Any], step: int) -> None:
    """Report values to the trackers of `log_with`, if there are any."""
    if engine.config.log_with:
        engine.accelerator.log({k: v for k, v in values.items() if k not in ("step", "objective")}, step=step)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return all whole lines of a run's metrics.jsonl."""
    return [values for _, values in _whole_lines(folder / "metrics.jsonl")]


def _whole_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the lines with their values, up to half a line of a process that was killed."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield line, json.loads(line)
        except json.JSONDecodeError:
            return


def step_line(
    control: Controller,
    trained: Mapping[int, ForwardResult],
    evaluated: Mapping[int, ForwardResult],
    names: Sequence[str],
    labels: Mapping[int, str],
) -> dict[str, Any]:
    """Return one step's values: the objectives, rewards under TRL's names, and MAXRIGHT's gaps with their ages.

    trained    forward results of the training batches
    evaluated  forward results of the gap evaluations; an objective with another training batch reports both values
    names      of all objectives; in the short form `dpo` for any loss on pairs
    labels     suffixes of the values' keys, where these are not the names
    """
    labels = dict(enumerate(names)) | dict(labels)
    line: dict[str, Any] = {"step": control.t, "objective": "+".join(names[i] for i in trained)}
    for i, result in {**evaluated, **trained}.items():
        line[f"f_{labels[i]}"] = result.value
        if i in evaluated and evaluated[i] is not result:
            line[f"seen_{labels[i]}"] = evaluated[i].value
        line |= result.objective.metrics(result.sums)
    if control.f_star is not None:
        for i, name in labels.items():
            line |= {f"gap_{name}": control.gaps[i], f"age_{name}": control.ages[i]}
            line[f"f_{name}_star"] = control.f_star[i]
    return line


def evaluation_line(
    step: int,
    name: str,
    objectives: Mapping[int, Objective],
    sums: Mapping[int, dict[str, float]],
    optima: Mapping[int, float],
    count: int,
) -> dict[str, Any]:
    """Return the objectives' values on the set `name`, with gaps and ideal distance where optima are known.

    count  number of objectives of the run; without the gaps of all there is no ideal distance
    """
    line: dict[str, Any] = {"step": step, "evaluation": name}
    for i, objective in objectives.items():
        label = objective.label
        line[f"f_{label}"] = objective.value(sums[i])
        line |= objective.metrics(sums[i])
        if i in optima:
            line[f"gap_{label}"] = line[f"f_{label}"] - optima[i]
    gaps = [line[f"gap_{objectives[i].label}"] for i in sorted(objectives) if i in optima]
    if len(gaps) == count > 1:
        line["ideal_distance"] = math.hypot(*gaps)
    return line


class Stopwatch:
    """Wall-clock seconds, and CPU seconds of all threads of this process, since construction."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by KINDS."""
        now = time.perf_counter(), time.process_time()
        return {kind: end - begin for kind, begin, end in zip(KINDS, self._began, now, strict=True)}


class Costs:
    """Token counts, wall-clock and CPU time of the steps so far.

    tokens          trained on, padding included, over all processes
    forward_tokens  `tokens` and the tokens of gap evaluations
    seconds, cpu_seconds  of the steps, on the main process
    """

    def __init__(self) -> None:
        self.tokens = self.forward_tokens = 0
        self.seconds = self.cpu_seconds = 0.0
        self._reports_utilisation = True

    def add(self, stopwatch: Stopwatch, trained: Iterable[ForwardResult], evaluated: Iterable[ForwardResult]) -> None:
        """Add one step: time since its start, its forward results on training batches, and all others.

        A result that is given as both counts once.
        """
        results = {id(result): result for result in trained}
        others = {id(result): result for result in evaluated if id(result) not in results}
        tokens = sum(result.sums["tokens"] for result in results.values())
        more = sum(result.sums["tokens"] for result in others.values())
        more += sum(result.sums["mismatched"] for result in (results | others).values())
        self.tokens += int(tokens)
        self.forward_tokens += int(tokens + more)
        spent = stopwatch.seconds
        self.seconds += spent["seconds"]
        self.cpu_seconds += spent["cpu_seconds"]

    def state(self) -> dict[str, float]:
        """Return the values of a checkpoint."""
        return {n: getattr(self, n) for n in ("tokens", "forward_tokens", *KINDS)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the values of a checkpoint."""
        self.tokens, self.forward_tokens = int(state["tokens"]), int(state["forward_tokens"])
        self.seconds, self.cpu_seconds = float(state["seconds"]), float(state["cpu_seconds"])

    def line(self, device: str) -> dict[str, Any]:
        """Return the values of a line of metrics.jsonl, with the utilisation of a GPU that reports it."""
        values: dict[str, Any] = {"tokens": self.tokens, "forward_tokens": self.forward_tokens}
        values |= {kind: round(getattr(self, kind), 4) for kind in KINDS} | {"memory_mb": memory_mb()}
        use = utilisation() if device == "cuda" and self._reports_utilisation else None
        self._reports_utilisation = use is not None
        return values if use is None else {**values, "utilisation": use}


def cost_of_cached_run(folder: Path) -> dict[str, float | None]:
    """Return seconds by KINDS of the steps of a cached run; None for a kind that the run did not count."""
    last: dict[str, Any] = next((line for line in reversed(read_metrics(folder)) if "objective" in line), {})
    return {kind: last.get(kind) for kind in KINDS}


def preparation(costs: Mapping[Path, tuple[str, Mapping[str, float | None]]]) -> dict[str, float | None]:
    """Return total seconds by PREPARATIONS; 0 for a computation that was not needed, None for an unknown time.

    costs  (computation, seconds by KINDS) of every cached file or folder that a run reuses
    """
    total: dict[str, float | None] = dict.fromkeys(PREPARATIONS, 0.0)
    for name, cost in costs.values():
        for kind, seconds in cost.items():
            before = total[f"{name}_{kind}"]
            total[f"{name}_{kind}"] = None if before is None or seconds is None else round(before + seconds, 4)
    return total


def memory_mb() -> float:
    """Return the peak memory so far, in MB: of the GPU if there is one, else of this process.

    A forked process starts from its parent's memory at the fork, not from its parent's peak.
    """
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def utilisation() -> int | None:
    """Return the GPU's momentary utilisation in percent; None without a GPU, or without pynvml's report."""
    import torch

    if not torch.cuda.is_available():
        return None
    try:
        return int(torch.cuda.utilization())
    except (ImportError, RuntimeError, OSError, AssertionError):
        return None
    except Exception as error:  # the library's own
        if type(error).__module__.partition(".")[0] != "pynvml":
            raise
        return None
