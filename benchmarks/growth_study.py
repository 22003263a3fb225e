"""Curves of the parts of `llm` that hold no model: a study of simulated runs, and metrics.jsonl."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.growth import Curve, measured
from llm.config import TrainConfig
from llm.study import Grid, run_study, status
from llm.study.table import fronts, table
from llm.training.metrics import MetricsFile, read_metrics

STEPS, SEEDS = 4, 5


class Simulated:
    """A process that has ended as soon as it is started, and has left a finished run's files."""

    def __init__(self, argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:  # noqa: ARG002
        config = Path(argv[list(argv).index("--config") + 1])
        folder = config.parents[1] / config.stem
        folder.mkdir()
        (folder / "run.json").write_text("{}", encoding="utf-8")
        last = {"f_dpo": 0.5, "f_sft": 2.0}
        lines = [{"step": 0, "evaluation": "held_out", "f_dpo": 1.0, "f_sft": 3.0}]
        lines += [{"step": t, "objective": "sft", "seconds": 2.0 * t} for t in range(1, STEPS + 1)]
        lines += [{"step": STEPS, "evaluation": "held_out", **last}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        counts = {"dpo": 1, "sft": STEPS - 1}
        summary = {"evaluation": last, "steps_by_objective": counts, "seconds": 2.0 * STEPS, "tokens": 40}
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")

    def poll(self) -> int:
        """Return the exit status."""
        return 0

    def terminate(self) -> None:
        """Do nothing: the process has ended."""

    def kill(self) -> None:
        """Do nothing: the process has ended."""

    def wait(self) -> int:
        """Return the exit status."""
        return 0


def seconds(call: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def grid_of(runs: int) -> Grid:
    """Return a grid of so many runs, a multiple of 2 SEEDS: two methods, some λ, SEEDS seeds."""
    lams = runs // (2 * SEEDS)
    return Grid(
        TrainConfig(steps=STEPS),
        methods=("mix", "alright"),
        lams=tuple((i + 1) / (lams + 1) for i in range(lams)),
        seeds=tuple(range(SEEDS)),
    )


def study(sizes: Sequence[int]) -> list[Curve]:
    """Return the CPU time of a study's own work: its grid, scheduling a tenth of the runs at a time, status, tables."""
    parts: dict[str, dict[float, float]] = {"the grid": {}, "scheduling": {}, "status": {}, "both tables": {}}
    for runs in sizes:
        with tempfile.TemporaryDirectory(prefix="llm-bench-") as folder:
            root, made = Path(folder) / "study", list[Grid]()
            parts["the grid"][runs] = seconds(lambda n=runs, made=made: made.append(grid_of(n)))
            grid = made[0]

            def carry_out(grid: Grid = grid, root: Path = root, runs: int = runs) -> None:
                outcome = run_study(grid, root, jobs=max(1, runs // 10), start=Simulated, pause=1.0)
                if len(outcome.finished) != runs:
                    raise AssertionError(f"{len(outcome.finished)} of {runs} simulated runs are finished")

            parts["scheduling"][runs] = seconds(carry_out)
            parts["status"][runs] = seconds(lambda grid=grid, root=root: status(grid, root))
            parts["both tables"][runs] = seconds(lambda grid=grid, root=root: (table(grid, root), fronts(grid, root)))
    return [
        measured(f"study: {name}", "runs", sizes, {"llm": lambda n, by_size=by_size: by_size[n]})
        for name, by_size in parts.items()
    ]


def metrics(sizes: Sequence[int]) -> Curve:
    """Return the CPU time of writing metrics.jsonl line by line, reading it, and resuming from it."""

    def cost(steps: float) -> float:
        with tempfile.TemporaryDirectory(prefix="llm-bench-") as folder:

            def use() -> None:
                file = MetricsFile(Path(folder) / "metrics.jsonl", upto=0)
                for t in range(1, int(steps) + 1):
                    file.write({"step": t, "objective": "sft", "f_sft": 1.0 / t, "seconds": 2.0 * t, "lr": 1e-4})
                read_metrics(Path(folder))
                MetricsFile(Path(folder) / "metrics.jsonl", upto=int(steps))

            return seconds(use)

    return measured("metrics.jsonl: written, read, resumed", "steps", sizes, {"llm": cost})
