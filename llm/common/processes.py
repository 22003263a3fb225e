"""Signals, child processes and cores of this process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from llm.common.forks import die_with

INTERRUPTED = 130  # exit status by which shells report Ctrl-C


@contextmanager
def preserve_torch_state(model: Any) -> Iterator[None]:
    """Torch's generators and threads, and which parameters are trainable, are afterwards what they were."""
    import torch

    threads = torch.get_num_threads()
    training = model is not None and model.training
    before = [] if model is None else [(p, p.requires_grad) for p in model.parameters()]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            if model is not None:
                model.train(training)
            for parameter, trainable in before:
                parameter.requires_grad_(trainable)


class StopSignal:
    """Count of the SIGTERM and SIGINT that this process was sent; calling the object returns whether there was one."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> bool:
        """Return whether a signal came."""
        return self.count > 0


@contextmanager
def stop_requested(*, interrupt: bool = True) -> Iterator[StopSignal]:
    """Yield a `StopSignal`; while the block lasts, SIGTERM and Ctrl-C are counted instead of ending the process.

    interrupt  a Ctrl-C after the first signal raises KeyboardInterrupt; False: further signals are only counted

    Outside the main thread, where Python allows no signal handlers, signals keep their effect.
    """
    stop = StopSignal()

    def note(number: int, _: Any) -> None:
        if interrupt and stop() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.count += 1

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Child(Protocol):
    """A process that was started; what is used of subprocess.Popen."""

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""

    def terminate(self) -> None:
        """Ask it to save and stop."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self) -> int:
        """The exit status, when there is one."""


Start = Callable[[Sequence[str], Path, Mapping[str, str]], Child]


def start_process(argv: Sequence[str], log: Path, env: Mapping[str, str]) -> Child:
    """A process that writes both its streams at the end of `log`. Ctrl-C on the terminal does not reach it; on Linux
    it is killed when this one ends.
    """
    parent = os.getpid()
    with log.open("ab") as file:
        return subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=dict(env), start_new_session=True,
            preexec_fn=lambda: die_with(parent),
        )  # fmt: skip


def cores() -> int:
    """The number of processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
