"""Ctrl-C and SIGTERM as a flag: the run ends at a place of its own choosing, within a tenth of a second."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STATUS = 130  # what a shell reports for a program ended by Ctrl-C


class Stop:
    """A context in which SIGINT and SIGTERM do nothing but make `stop()` true; `times` counts them."""

    def __init__(self) -> None:
        self.times = 0
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        return self.times > 0

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # only there can handlers be set
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.times += 1
