"""What a run costs: tokens, seconds on the clock and of the processor; its own, and of what it relies on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.common.files import memory_mb, read_metrics

# What a run relies on, and may find in the cache: how long it took to compute, in summary.json and in tables.
PREPARATIONS = tuple(
    f"{what}_{kind}" for what in ("reference", "log_probs", "optima") for kind in ("seconds", "cpu_seconds")
)
KINDS = ("seconds", "cpu_seconds")


class Clock:
    """Seconds on the clock, and of the processor in all threads of this process; the latter do not count what other
    programs take. `seconds` is both since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> dict[str, float]:
        """By KINDS."""
        now = time.perf_counter(), time.process_time()
        return {kind: end - begin for kind, begin, end in zip(KINDS, self._began, now, strict=True)}


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
    0 for what is not among them, None where one is not known."""
    found: dict[str, float | None] = dict.fromkeys(PREPARATIONS, 0.0)
    for what, cost in costs.values():
        for kind, seconds in cost.items():
            before = found[f"{what}_{kind}"]
            found[f"{what}_{kind}"] = None if before is None or seconds is None else round(before + seconds, 4)
    return found


def utilisation() -> int | None:
    """How busy the GPU is, in percent of the last moment; None where there is none, or where its library (pynvml) is
    not there or does not tell."""
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
