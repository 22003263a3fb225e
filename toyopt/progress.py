"""Progress of a long computation on the error stream; nothing is shown in its first seconds."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

INTERRUPTED = 130  # exit status by which shells report Ctrl-C
AFTER, EVERY = 2.0, 15.0  # seconds before the first line, and between two lines where there is no terminal
GRACE = 2.0  # seconds that the main thread has to notice a Ctrl-C: compiled code does not notice it

Item = TypeVar("Item")
_active: Progress | None = None


def counted(items: Iterable[Item], total: int, text: str) -> Iterable[Item]:
    """Return the items of a loop of known length, counted for the `Progress` that is active; as they are if none is.

    text  the loop's name, in the plural or as a mass noun: it is followed by the numbers of items
    """
    return items if _active is None else _active.count(items, total, text)


@dataclass
class Loop:
    """A loop that is counted: name, numbers of finished and of all items, and its start on the monotonic clock."""

    text: str
    total: int
    began: float
    done: int = 0


class Progress:
    """Context that shows a computation's progress: live on a terminal, a line now and then where there is none.

    title  the computation's name
    after  seconds before anything is shown
    every  seconds between two lines where there is no terminal

    In the main thread a Ctrl-C raises KeyboardInterrupt as usual; where compiled code does not notice it within
    `GRACE` seconds, the process prints one line and ends with the status `INTERRUPTED`.
    """

    def __init__(self, title: str, *, after: float = AFTER, every: float = EVERY) -> None:
        self.title, self.after, self.every = title, after, every
        self._loop: Loop | None = None
        self._bar: Any = None
        self._began = time.monotonic()

    def __enter__(self) -> Progress:
        global _active
        self._before, _active = _active, self
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:  # every signal's number is written at once, even while compiled code runs
            self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _active
        _active = self._before
        if self._main:
            signal.set_wakeup_fd(self._wakeup)
        self._writer.send(b"\0")
        self._thread.join()
        self._reader.close()
        self._writer.close()

    def count(self, items: Iterable[Item], total: int, text: str) -> Iterator[Item]:
        """Yield the items and count them; a loop inside another one is shown in its place."""
        before, loop = self._loop, Loop(text, total, time.monotonic())
        self._loop = loop
        try:
            for item in items:
                yield item
                loop.done += 1
        finally:
            self._loop = before

    def line(self) -> str:
        """Return the present state as one line."""
        now, loop = time.monotonic(), self._loop
        if loop is None:
            return f"{self.title}: computing for {now - self._began:.0f} s"
        left = (now - loop.began) / loop.done * (loop.total - loop.done) if loop.done else None
        rest = "" if left is None else f", about {left:.0f} s left"
        return f"{self.title}: {loop.text}, {loop.done:,} of {loop.total:,}{rest}"

    def _watch(self) -> None:
        """Show the state until the end of the context; end the process after a Ctrl-C that nobody notices."""
        wait = self.after
        while True:
            ready, _, _ = select.select([self._reader], [], [], wait)
            received = self._reader.recv(4096) if ready else b""
            if signal.SIGINT in received and 0 not in received:
                ready, _, _ = select.select([self._reader], [], [], GRACE)
                if not ready:
                    self._close()
                    print("error: interrupted", file=sys.stderr, flush=True)
                    os._exit(INTERRUPTED)
                received = self._reader.recv(4096)
            if 0 in received:
                break
            if not ready:
                wait = self._show()
        self._close()

    def _show(self) -> float:
        """Show the state; return the seconds until the next time."""
        if not sys.stderr.isatty():
            print(self.line(), file=sys.stderr, flush=True)
            return self.every
        if self._bar is None:
            self._bar = _bar()
            self._bar.start()
            self._bar.add_task(self.title, total=None, text="")
        loop = self._loop
        done, total, text = (0, None, "") if loop is None else (loop.done, loop.total, loop.text)
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, text=text)
        return 0.2

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar() -> Any:
    """Return rich's display of one computation on the error stream."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn(), TimeRemainingColumn()]
    text = TextColumn("{task.fields[text]}", markup=False)
    return Progress(*columns, text, console=Console(stderr=True), transient=True)
