"""The lines of metrics.jsonl: what a step and an evaluation say of themselves."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.common.files import atomically
from toyopt.algorithms import DPO, SFT, Controller, Maxright

if TYPE_CHECKING:
    from llm.training.engine import ForwardResult
    from llm.training.objective import Objective

NAMES = {DPO: "dpo", SFT: "sft"}


def step_line(
    control: Controller,
    passes: Mapping[int, ForwardResult],
    looks: Mapping[int, ForwardResult],
    labels: Mapping[int, str] = NAMES,
) -> dict[str, Any]:
    """The objective that was trained on, the values, rewards under TRL's names, and MAXRIGHT's gaps with their ages.

    passes, looks  what was trained on, and what the rule was shown before; an objective that was not expected to be
                   chosen was shown on other rows than it was trained on, and has both values
    labels         what the values are called; "objective" says dpo for any loss on pairs
    """
    line: dict[str, Any] = {"step": control.t, "objective": "+".join(NAMES[i] for i in passes)}
    for i, p in {**looks, **passes}.items():
        line[f"f_{labels[i]}"] = p.value
        if i in looks and looks[i] is not p:
            line[f"seen_{labels[i]}"] = looks[i].value
        line |= p.task.metrics(p.sums)
    if isinstance(control.rule, Maxright):
        for i, name in labels.items():
            line |= {f"gap_{name}": control.gaps[i], f"age_{name}": control.ages[i]}
            line[f"f_{name}_star"] = control.rule.f_star[i]
    return line


def evaluation_line(
    step: int,
    where: str,
    tasks: Mapping[int, Objective],
    sums: Mapping[int, dict[str, float]],
    optima: Mapping[int, float],
) -> dict[str, Any]:
    """The objectives on the set `where`, and their gaps and ideal distance as far as the optima are known."""
    line: dict[str, Any] = {"step": step, "evaluation": where}
    for i, task in tasks.items():
        line[f"f_{task.label}"] = task.value(sums[i])
        line |= task.metrics(sums[i])
        if i in optima:
            line[f"gap_{task.label}"] = line[f"f_{task.label}"] - optima[i]
    gaps = [line[f"gap_{name}"] for name in NAMES.values() if f"gap_{name}" in line]
    if len(gaps) == len(NAMES):
        line["ideal_distance"] = math.hypot(*gaps)
    return line


class Metrics:
    """metrics.jsonl: a line a step and a line an evaluation. On resume, what came after the checkpoint goes.

    `evaluated` are the evaluations that it holds, by step and set.
    """

    def __init__(self, path: Path, *, upto: int, active: bool = True) -> None:
        self.evaluated: set[tuple[int, str]] = set()
        lines = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    values = json.loads(line)
                except json.JSONDecodeError:
                    break  # the process was killed within this line
                if values["step"] > upto:
                    break
                lines.append(line)
                self._note(values)
        self._path = path if active else None
        if active:
            with atomically(path) as temporary:
                temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """One line."""
        self._note(values)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")

    def _note(self, values: dict[str, Any]) -> None:
        if "evaluation" in values:
            self.evaluated.add((values["step"], values["evaluation"]))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All whole lines of a run's metrics.jsonl."""
    lines = []
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def memory_mb() -> float:
    """The most memory used so far, in MB: of the GPU if there is one, else of this process.

    A process that was forked begins with what its parent held at that moment, not with what that had held before.
    """
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(most / (1e6 if sys.platform == "darwin" else 1e3), 1)


# What a run relies on, and may find in the cache: how long it took to compute, in summary.json and in tables.
PREPARATIONS = tuple(
    f"{what}_{kind}" for what in ("reference", "log_probs", "optima") for kind in ("seconds", "cpu_seconds")
)


KINDS = ("seconds", "cpu_seconds")


class Clock:
    """Seconds on the clock, and of the processor in all threads of this process; the latter do not count what other
    programs take. `seconds` is both since it was made.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> dict[str, float]:
        """By KINDS."""
        now = time.perf_counter(), time.process_time()
        return {kind: end - start_or_resume for kind, start_or_resume, end in zip(KINDS, self._began, now, strict=True)}


class Costs:
    """What the steps so far have cost.

    tokens          that were trained on, padding included, over all processes
    forward_tokens  these, and those that went through the model only to be looked at
    seconds, cpu_seconds  of the steps, as `Clock` counts them; of the main process
    """

    def __init__(self) -> None:
        self.tokens = self.forward_tokens = 0
        self.seconds = self.cpu_seconds = 0.0
        self._told = True  # how busy the GPU is, as long as it can be told

    def add(self, clock: Clock, trained: float, looked: float) -> None:
        """A step: the time since it began, the tokens that were trained on, and those only looked at."""
        self.tokens += int(trained)
        self.forward_tokens += int(trained + looked)
        spent = clock.seconds
        self.seconds += spent["seconds"]
        self.cpu_seconds += spent["cpu_seconds"]

    def state(self) -> dict[str, float]:
        """For a checkpoint."""
        return {n: getattr(self, n) for n in ("tokens", "forward_tokens", *KINDS)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint. What an earlier version did not count begins at 0."""
        self.tokens, self.forward_tokens = int(state["tokens"]), int(state.get("forward_tokens", 0))
        self.seconds, self.cpu_seconds = float(state["seconds"]), float(state.get("cpu_seconds", 0.0))

    def line(self, device: str) -> dict[str, Any]:
        """For metrics.jsonl; on a GPU that tells it, also how busy it is."""
        found: dict[str, Any] = {"tokens": self.tokens, "forward_tokens": self.forward_tokens}
        found |= {kind: round(getattr(self, kind), 4) for kind in KINDS} | {"memory_mb": memory_mb()}
        use = utilisation() if device == "cuda" and self._told else None
        self._told = use is not None
        return found if use is None else {**found, "utilisation": use}


def of_cached_run(folder: Path) -> dict[str, float | None]:
    """By KINDS, of the steps of a run in the cache; None for what it did not count."""
    last: dict[str, Any] = next((line for line in reversed(read_metrics(folder)) if "objective" in line), {})
    return {kind: last.get(kind) for kind in KINDS}


def preparation(costs: Mapping[Path, tuple[str, Mapping[str, float | None]]]) -> dict[str, float | None]:
    """By PREPARATIONS: the sums of what files and folders of the cache took to compute, given with what they are for.
    0 for what is not among them, None where one is not known.
    """
    found: dict[str, float | None] = dict.fromkeys(PREPARATIONS, 0.0)
    for what, cost in costs.values():
        for kind, seconds in cost.items():
            before = found[f"{what}_{kind}"]
            found[f"{what}_{kind}"] = None if before is None or seconds is None else round(before + seconds, 4)
    return found


def utilisation() -> int | None:
    """How busy the GPU is, in percent of the last moment; None where there is none, or where its library (pynvml) is
    not there or does not tell.
    """
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
