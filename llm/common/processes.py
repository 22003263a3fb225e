"""Stop signals, child processes, the fork server, and the cores of this process."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

INTERRUPTED = 130  # exit status by which shells report Ctrl-C


@contextmanager
def preserve_torch_state(model: Any) -> Iterator[None]:
    """Restore, at the end of a block, torch's generators and threads, and a model's mode and trainable parameters.

    model  of transformers, or None
    """
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
def seeded_torch(seed: int) -> Iterator[None]:
    """Seed torch's generators of the CPU and of every GPU for a block; afterwards the generators are as before."""
    import torch

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


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
    """A process that was started: the part of subprocess.Popen that is used."""

    def poll(self) -> int | None:
        """Return the exit status, minus the number of the signal that ended the process; None while it runs."""

    def terminate(self) -> None:
        """Send SIGTERM, on which a run saves and stops."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def wait(self) -> int:
        """Wait for the end of the process and return its exit status."""


Start = Callable[[Sequence[str], Path, Mapping[str, str]], Child]


def start_process(argv: Sequence[str], log: Path, env: Mapping[str, str]) -> Child:
    """Start a process that appends both its output streams to `log`.

    Ctrl-C on the terminal does not reach the process; on Linux it is killed when the calling process ends.
    """
    parent = os.getpid()
    with log.open("ab") as file:
        return subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=dict(env), start_new_session=True,
            preexec_fn=lambda: die_with(parent),
        )  # fmt: skip


def die_with(parent: int) -> None:
    """Have this process killed when its parent, of process number `parent`, ends; without effect outside Linux."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    set_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_death_signal, int(signal.SIGKILL))
    if os.getppid() != parent:  # the parent ended before
        os.kill(os.getpid(), signal.SIGKILL)


class ForkServer:
    """Start commands `PYTHON -m MODULE ...` as forks of one process that has imported their libraries.

    A fork takes milliseconds, the imports seconds. A fork is a process of its own: its state is that of a new process
    after the imports, its environment and streams are its own, and its end concerns no other. `server(argv, log, env)`
    starts a command as `start_process` does. The standard library's fork server does the forking; this class gives
    that server its imports, session, signals and log, and starts a new one if the server was killed; the commands that
    were running then count as killed.

    preload  imports of the server before it forks: "MODULE", or "MODULE:FUNCTION" for a function to call as well

    The server starts with the first command, in that command's environment. A process has one server at a time:
    RuntimeError if another `ForkServer` is in use.
    """

    _in_use: ClassVar[ForkServer | None] = None  # the one whose server runs

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._preload = tuple(preload)
        self._children: list[_Fork] = []

    def __call__(self, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> Child:
        """Start `argv`, which must be [PYTHON, "-m", MODULE, ...]; both output streams are appended to `log`."""
        python, option, module, *arguments = argv
        if (python, option) != (sys.executable, "-m"):
            raise ValueError(f"argv: must be {sys.executable} -m MODULE ..., got {' '.join(argv)}")
        if ForkServer._in_use not in (None, self):
            raise RuntimeError("another fork server is in use in this process; close it first")
        ForkServer._in_use = self
        place = str(log.resolve())
        settings = {"preload": self._preload, "log": place}
        child = _Fork(_run_module, (module, arguments, place, dict(env)), {**env, SETTINGS: json.dumps(settings)})
        self._children.append(child)
        return child

    def close(self) -> None:
        """End the server and all commands that it started; the next command starts a new server."""
        for child in self._children:
            child.kill()
        for child in self._children:
            child.wait()
        self._children.clear()
        if ForkServer._in_use is self:
            _Fork(_end_server, (), os.environ).wait()
            ForkServer._in_use = None


SETTINGS = "LLM_FORK_SERVER"  # environment variable of the server's process: `ForkServer`'s settings as JSON
_ENDING = 10.0  # seconds that a killed server has to be gone
_LOST = 255  # exit status that multiprocessing gives to children whose server is gone


class _Fork:
    """A function call in a child of the standard library's fork server; a `Child`.

    environment  of the server, if this call is the one that starts it
    """

    def __init__(
        self, function: Callable[..., None], arguments: tuple[Any, ...], environment: Mapping[str, str]
    ) -> None:
        multiprocessing.set_forkserver_preload(["llm.common.fork_server"])
        before, main = dict(os.environ), sys.modules["__main__"]
        try:
            os.environ.clear()
            os.environ.update(environment)
            sys.modules["__main__"] = ModuleType("__main__")  # or the child would run the caller's script once more
            self._process = _started(function, arguments)
        finally:
            sys.modules["__main__"] = main
            os.environ.clear()
            os.environ.update(before)

    def poll(self) -> int | None:
        """Return the exit status; None while the child runs."""
        status = self._process.exitcode
        return -int(signal.SIGKILL) if status == _LOST else status

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def wait(self) -> int:
        """Wait for the end of the child and return its exit status."""
        self._process.join()
        status = self.poll()
        assert status is not None
        return status


def _started(function: Callable[..., None], arguments: tuple[Any, ...]) -> ForkServerProcess:
    """Start a function in a child of the fork server, and a new server if the last one has ended.

    A server that is ending accepts no connection, while multiprocessing believes that it runs: hence the attempts.
    """
    end = time.monotonic() + _ENDING
    while True:
        process = multiprocessing.get_context("forkserver").Process(target=function, args=arguments)
        try:
            process.start()
        except (ConnectionError, EOFError):
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return process


def _run_module(module: str, arguments: Sequence[str], log: str, environment: Mapping[str, str]) -> None:
    """Carry out `python -m MODULE ARGUMENTS` in this process, a new child of the fork server."""
    die_with(os.getppid())
    with open(log, "ab") as file:  # noqa: PTH123
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.environ.clear()
    os.environ.update(environment)
    path = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [folder for folder in path if folder and folder not in sys.path]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_server() -> None:
    """Kill the parent of this process, the fork server."""
    os.kill(os.getppid(), signal.SIGKILL)


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
