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


@contextmanager
def stop_requested() -> Iterator[Any]:
    """A function that tells whether SIGTERM or Ctrl-C came; the second Ctrl-C interrupts at once."""
    came: list[int] = []

    def note(number: int, _: Any) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(came)
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
