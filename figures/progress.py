"""What the user sees during a run: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

LOOKS = {
    "waiting": "dim",
    "computing": "yellow",
    "drawing": "yellow",
    "cached": "cyan",
    "done": "green",
    "failed": "bold red",
}
ENDED = frozenset({"cached", "done", "failed"})


class Progress:
    """A context that shows, for every name, its state and for how long it has been at work."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self._console = console
        self._width = max(map(len, names), default=0)
        self._states = dict.fromkeys(names, "waiting")
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}
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

    def notice(self, name: str, text: str) -> None:
        """Say something about `name` that stays on the screen."""
        self._say(name, text)

    def _say(self, name: str, text: str) -> None:
        self._console.print(Text(f"{name:<{self._width}}  {text}"), soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        now = time.monotonic()
        for name, state in self._states.items():
            seconds: Any = self._took.get(name, now - self._began[name] if name in self._began else None)
            elapsed = "" if seconds is None else f"{seconds:.1f} s"
            table.add_row(name, Text(state, style=LOOKS.get(state, "")), Text(elapsed, style="dim"))
        return table
