"""One live line on a terminal; a line now and then where there is none."""

from __future__ import annotations

import sys
import time
import warnings
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Line:
    """`with Line("training") as line: line(done, of, text)`. Silent when `active` is false."""

    def __init__(self, what: str, *, active: bool = True, every: float = 15.0) -> None:
        self.what, self.active, self.every = what, active, every
        self.console = Console(stderr=True)
        self.live = active and self.console.is_terminal
        self._last = 0.0
        self._began = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.console,
            disable=not self.live,
        )
        self._task = self._progress.add_task(what, total=None, text="")

    def __enter__(self) -> Line:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, done: int, of: int, text: str = "") -> None:
        """`done` of `of` steps are done."""
        if self.live:
            self._progress.update(self._task, completed=done, total=of, text=text)
            return
        now = time.monotonic()
        if self.active and (now - self._last >= self.every or done == of):
            self._last = now
            left = (now - self._began) / done * (of - done) if done else 0.0
            print(f"{self.what}: {done}/{of}  {text}  about {left:.0f} s left", file=sys.stderr, flush=True)


def calm() -> None:
    """No bars of other libraries between our lines, and none of their warnings about each other's next versions."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub: Any = hub_logging  # its functions and transformers' are not typed
    own: Any = logging
    hub.set_verbosity_error()  # without a network it tells of every try
    own.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def say(text: str, *, active: bool = True) -> None:
    """A line for the reader, on the error stream so that results can be piped."""
    if active:
        print(text, file=sys.stderr, flush=True)
