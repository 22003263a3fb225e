"""One display of progress: live on a terminal, a line now and then where there is none."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY = 30.0  # seconds between two lines where there is no terminal


class Display:
    """Context that shows the current state of a computation.

    console  where to; None: the error stream, so that results can be piped
    active   False: show nothing
    every    seconds between two lines where there is no terminal
    stays    whether the last state stays on a terminal
    """

    def __init__(
        self, console: Console | None = None, *, active: bool = True, every: float = LINE_EVERY, stays: bool = False
    ) -> None:
        self.console = console or Console(stderr=True, markup=False, highlight=False)
        self.active, self.every = active, every
        self.live: Live | None = None
        if active and self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=8, transient=not stays)
        self._last: float | None = None

    def __enter__(self) -> Display:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, live: RenderableType, line: str, *, now: bool = False) -> None:
        """Show a state: `live` on a terminal; elsewhere `line`, if the last line is long enough ago or `now` is set."""
        if self.live is not None:
            self.live.update(live)
        elif self.active and line and (now or self._last is None or time.monotonic() - self._last >= self.every):
            self._last = time.monotonic()
            self.keep(line)

    def keep(self, content: RenderableType) -> None:
        """Print something that stays: above the live part on a terminal."""
        if self.active:
            self.console.print(content, soft_wrap=isinstance(content, str), markup=False)


class Line:
    """Progress of one loop of known length: `with Line("training") as line: line(done, of, text)`."""

    def __init__(self, title: str, *, active: bool = True, every: float = 15.0) -> None:
        self.title = title
        self._display = Display(active=active, every=every, stays=True)
        self._began = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._task = self._bar.add_task(title, total=None, text="")

    def __enter__(self) -> Line:
        self._display.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.__exit__(kind, error, trace)

    def __call__(self, done: int, of: int, text: str = "") -> None:
        """Show that `done` of `of` steps are done."""
        self._bar.update(self._task, completed=done, total=of, text=text)
        left = (time.monotonic() - self._began) / done * (of - done) if done else 0.0
        line = f"{self.title}: {done}/{of}  {text}  about {left:.0f} s left"
        self._display.show(self._bar, line, now=done == of)


def duration(seconds: float) -> str:
    """Return a duration as text: `40 s`, `6 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def storage(size: float) -> str:
    """Return a number of bytes as text: `76 MB`, `1.2 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def calm() -> None:
    """Switch off other libraries' progress bars, and their warnings about each other's next versions."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as transformers_logging

    hub: Any = hub_logging  # its functions and transformers' are not typed
    own: Any = transformers_logging
    hide_unused_kernel()
    hub.set_verbosity_error()  # without a network, every attempt is logged
    own.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def hide_unused_kernel() -> None:
    """Switch off the warning of bitsandbytes about a kernel of 4 bits that it has not loaded.

    PEFT imports bitsandbytes wherever it is installed, also where no model has 4 bits; it computes without the kernel.
    Call this before PEFT is imported.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def say(text: str, *, active: bool = True) -> None:
    """Print a line on the error stream, so that results can be piped."""
    if active:
        print(text, file=sys.stderr, flush=True)
