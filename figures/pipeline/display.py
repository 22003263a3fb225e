"""What the user sees during a run: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from figures.pipeline.training import RunsProgress

LOOKS = {
    "waiting": "dim",
    "computing": "yellow",
    "drawing": "yellow",
    "saving": "yellow",
    "cached": "cyan",
    "done": "green",
    "failed": "bold red",
}
ENDED = frozenset({"cached", "done", "failed"})
LINE_EVERY = 30.0  # seconds between two lines about the runs, where there is no terminal
RUNS = "runs"  # the name of the step that is no artefact


@dataclass
class _Expected:
    """How long an artefact will take, as far as known, and whether it waits for the runs."""

    seconds: float
    waits: bool


class Progress:
    """A context that shows, for every name, its state and for how long it has been at work, and what is left."""

    def __init__(self, console: Console, names: Sequence[str], jobs: int = 1) -> None:
        self._console = console
        self._jobs = jobs
        self._width = max(map(len, [*names, RUNS]), default=0)
        self._states = dict.fromkeys(names, "waiting")
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._expected: dict[str, _Expected] = {}
        self._runs: tuple[RunsProgress, float] | None = None  # and when it was said
        self._line = -LINE_EVERY
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, get_renderable=self._table, refresh_per_second=8, transient=True)

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def state(self, name: str, state: str) -> None:
        """Note a new state of `name`."""
        now = time.monotonic()
        self._began.setdefault(name, now)
        self._states[name] = state
        elapsed = ""
        if state in ENDED:
            self._took[name] = now - self._began[name]
            elapsed = f"  {self._took[name]:.1f} s"
        if self._live is None and state != "starting":
            self._say(name, state + elapsed)

    def expect(self, name: str, seconds: float | None, *, waits: bool) -> None:
        """Note about how long `name` will take (None: nobody knows), and whether it waits for the runs."""
        if seconds is not None:
            self._expected[name] = _Expected(seconds, waits)

    def runs(self, progress: RunsProgress) -> None:
        """Note how far the runs are: on a terminal at once, else as a line now and then."""
        now = time.monotonic()
        if RUNS not in self._states:
            self._states = {RUNS: "", **self._states}
            self._began[RUNS] = now
        self._runs = progress, now
        self._states[RUNS] = runs_in_words(progress)
        if self._live is None and now - self._line >= LINE_EVERY:
            self._line = now
            total = self.left()
            more = f" (all: {in_words(total)})" if total is not None and progress.left is not None else ""
            self._say(RUNS, self._states[RUNS] + more)

    def notice(self, name: str, text: str) -> None:
        """Say something about `name` that stays on the screen."""
        self._say(name, text)

    def show(self, what: Any) -> None:
        """Show something that stays on the screen."""
        self._console.print(what)

    def left(self) -> float | None:
        """About how many seconds all of it still takes; None as long as nothing tells."""
        now = time.monotonic()
        runs = 0.0
        if self._runs is not None and self._states[RUNS] not in ENDED:
            progress, said = self._runs
            if progress.left is None:
                return None
            runs = max(0.0, progress.left - (now - said))
        first: list[float] = []
        second: list[float] = []
        for name, expected in self._expected.items():
            if self._states[name] not in ENDED:
                done = now - self._began[name] if name in self._began and self._states[name] != "waiting" else 0.0
                (second if expected.waits else first).append(max(0.0, expected.seconds - done))
        if not (first or second or runs):
            return None
        return max(runs, _shared(first, self._jobs)) + _shared(second, self._jobs)

    def _say(self, name: str, text: str) -> None:
        self._console.print(Text(f"{name:<{self._width}}  {text}"), soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        now = time.monotonic()
        for name, state in self._states.items():
            seconds: Any = self._took.get(name, now - self._began[name] if name in self._began else None)
            elapsed = "" if seconds is None else f"{seconds:.1f} s"
            table.add_row(name, Text(state, style=LOOKS.get(state, "")), Text(elapsed, style="dim"))
        left = self.left()
        if left is not None:
            table.add_row("", Text(f"all: {in_words(left)}", style="dim"), "")
        return table


def runs_in_words(progress: RunsProgress) -> str:
    """`57 of 240 runs, 1 failed, about 6 min left`."""
    parts = [f"{progress.finished} of {progress.total} runs"]
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += [in_words(progress.left)] if progress.left is not None and progress.finished < progress.total else []
    return ", ".join(parts)


def in_words(left: float) -> str:
    """`about 40 s left`, `about 6 min left`, `about 3.5 h left`; a few seconds are not counted."""
    if left < 10:
        return "a few seconds left"
    if left < 100:
        return f"about {round(left, -1):.0f} s left"
    return f"about {left / 60:.0f} min left" if left < 5400 else f"about {left / 3600:.1f} h left"


def _shared(seconds: Sequence[float], jobs: int) -> float:
    """How long these take, so many at a time."""
    return max(sum(seconds) / jobs, max(seconds, default=0.0))
