"""Progress of a run of `paper_repro.py`: states of artefacts and runs, and the time that remains."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from figures.pipeline.jobs import RUNS
from llm.common.progress import Display, duration

STYLES = {
    "waiting": "dim",
    "computing": "yellow",
    "drawing": "yellow",
    "saving": "yellow",
    "cached": "cyan",
    "done": "green",
    "failed": "bold red",
}
ENDED = frozenset({"cached", "done", "failed"})


@dataclass(frozen=True)
class RunsProgress:
    """Progress of the runs, as their process reports it.

    left  about how many seconds the runs still take; None if unknown
    """

    total: int
    finished: int
    failed: int
    left: float | None


@dataclass(frozen=True)
class _Expected:
    """Expected seconds of an artefact, and whether the artefact waits for the runs."""

    seconds: float
    waits: bool


class States:
    """Context that shows for every artefact its state and time, and about how long everything still takes.

    jobs  artefacts at a time
    """

    def __init__(self, console: Console, names: Sequence[str], jobs: int = 1) -> None:
        self._display = Display(console)
        self._jobs = jobs
        self._width = max(map(len, [*names, RUNS]), default=0)
        self._states = dict.fromkeys(names, "waiting")
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._expected: dict[str, _Expected] = {}
        self._runs: tuple[RunsProgress, float] | None = None  # and the time of the report

    def __enter__(self) -> States:
        self._display.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.__exit__(kind, value, trace)

    def state(self, name: str, state: str) -> None:
        """Note a new state of an artefact, or of the runs."""
        now = time.monotonic()
        self._began.setdefault(name, now)
        self._states[name] = state
        elapsed = ""
        if state in ENDED:
            self._took[name] = now - self._began[name]
            elapsed = f"  {self._took[name]:.1f} s"
        if self._display.live is None and state != "starting":
            self.notice(name, state + elapsed)
        self.update()

    def expect(self, name: str, seconds: float | None, *, waits: bool) -> None:
        """Note about how long an artefact takes (None: unknown), and whether the artefact waits for the runs."""
        if seconds is not None:
            self._expected[name] = _Expected(seconds, waits)

    def runs(self, progress: RunsProgress) -> None:
        """Note the progress of the runs."""
        now = time.monotonic()
        if RUNS not in self._states:
            self._states = {RUNS: "", **self._states}
            self._began[RUNS] = now
        self._runs = progress, now
        self._states[RUNS] = runs_in_words(progress)
        total = self.left()
        more = f" (all: {in_words(total)})" if total is not None and progress.left is not None else ""
        self._display.show(self._table(), self._line(RUNS, self._states[RUNS] + more))

    def update(self) -> None:
        """Show the present times on a terminal."""
        self._display.show(self._table(), "")

    def notice(self, name: str, text: str) -> None:
        """Print a line about an artefact or the runs that stays on the screen."""
        self._display.keep(self._line(name, text))

    def keep(self, content: Any) -> None:
        """Print something that stays on the screen."""
        self._display.keep(content)

    def left(self) -> float | None:
        """Return about how many seconds everything still takes; None if unknown."""
        now = time.monotonic()
        runs = 0.0
        if self._runs is not None and self._states[RUNS] not in ENDED:
            progress, reported = self._runs
            if progress.left is None:
                return None
            runs = max(0.0, progress.left - (now - reported))
        first: list[float] = []
        second: list[float] = []
        for name, expected in self._expected.items():
            if self._states[name] not in ENDED:
                done = now - self._began[name] if name in self._began and self._states[name] != "waiting" else 0.0
                (second if expected.waits else first).append(max(0.0, expected.seconds - done))
        if not (first or second or runs):
            return None
        return max(runs, _shared(first, self._jobs)) + _shared(second, self._jobs)

    def _line(self, name: str, text: str) -> str:
        return f"{name:<{self._width}}  {text}"

    def _table(self) -> Table:
        """Return the live table: names, states, times."""
        table = Table.grid(padding=(0, 2))
        now = time.monotonic()
        for name, state in self._states.items():
            seconds = self._took.get(name, now - self._began[name] if name in self._began else None)
            elapsed = "" if seconds is None else f"{seconds:.1f} s"
            table.add_row(name, Text(state, style=STYLES.get(state, "")), Text(elapsed, style="dim"))
        left = self.left()
        if left is not None:
            table.add_row("", Text(f"all: {in_words(left)}", style="dim"), "")
        return table


def runs_in_words(progress: RunsProgress) -> str:
    """Return the progress as text: `57 of 240 runs, 1 failed, about 6 min left`."""
    parts = [f"{progress.finished} of {progress.total} runs"]
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += [in_words(progress.left)] if progress.left is not None and progress.finished < progress.total else []
    return ", ".join(parts)


def in_words(left: float) -> str:
    """Return a remaining time as text: `about 40 s left`, `about 6 min left`, `about 3.5 h left`."""
    if left < 10:
        return "a few seconds left"
    if left < 100:
        return f"about {round(left, -1):.0f} s left"
    return f"about {duration(left)} left"


def _shared(seconds: Sequence[float], jobs: int) -> float:
    """Return how long jobs of these durations take, so many at a time."""
    return max(sum(seconds) / jobs, max(seconds, default=0.0))
