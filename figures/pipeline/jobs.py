"""Worker processes that make artefacts, and the stream of what they report.

A process of its own for each of `jobs` workers: a crash of one costs one artefact, and Ctrl-C can end them at
any moment, also inside compiled code. This module imports nothing heavy: a worker sets its thread counts
before NumPy is loaded.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, MutableSequence, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from llm.common.processes import cores

if TYPE_CHECKING:
    from figures.pipeline.build import Task

POLL = 0.1  # seconds between looks at the stop flag
GRACE = 2.0  # seconds a worker has to end before it is killed


@dataclass(frozen=True)
class Event:
    """What happened to an artefact: a `state` or `notice` (a string), `done` (the result), or `failed`.

    Of a failure `value` is one line, and `trace` the traceback where there is one. A `tick` says that nothing
    happened; `plan`, `needs` and `progress` are of `figures.agenda`.
    """

    kind: Literal["state", "notice", "done", "failed", "tick", "plan", "needs", "progress"]
    name: str
    value: Any
    trace: str = ""


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    task: Task | None = None


def run(
    ahead: MutableSequence[Task],
    jobs: int,
    out: Path,
    stopped: Callable[[], bool],
    more: Callable[[], bool] = lambda: False,
) -> Generator[Event, None, None]:
    """Do every task, `jobs` at a time, and yield what is reported, until all is done or `stopped()`.

    ahead  the tasks; they are taken out of it, and others may be put in between two events
    more   whether that may yet happen; a `tick` comes several times a second, whatever the workers do

    However it ends, no worker is left running.
    """
    workers: list[_Worker] = []
    try:
        while (ahead or any(w.task for w in workers) or more()) and not stopped():
            idle = [w for w in workers if w.task is None]
            while ahead and (idle or len(workers) < jobs):
                if not idle:
                    workers.append(_start(jobs, out))
                    idle = [workers[-1]]
                worker = idle.pop()
                task = ahead.pop(0)
                worker.task = task
                yield Event("state", task.name, "starting")
                _hand(worker, task)
            for pipe in wait([w.pipe for w in workers if w.task], timeout=POLL):
                worker = next(w for w in workers if w.pipe is pipe)
                event = _receive(worker, stopped)
                if event is None:
                    workers.remove(worker)
                    break
                if event.kind in ("done", "failed"):
                    worker.task = None
                    if not worker.process.is_alive():
                        workers.remove(worker)
                yield event
            yield Event("tick", "", None)
    finally:
        _end(workers)


def _hand(worker: _Worker, task: Task) -> None:
    with suppress(OSError):  # it has died; reading from it will say so
        worker.pipe.send(task)


def _receive(worker: _Worker, stopped: Callable[[], bool]) -> Event | None:
    """The next report of a worker; if it died instead, a failure; None if it died because all is to stop."""
    assert worker.task is not None
    try:
        event = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(GRACE)
        code = worker.process.exitcode
        if code == -signal.SIGTERM:  # sent to the whole process group? then our own handler runs any moment
            deadline = time.monotonic() + 1.0
            while not stopped() and time.monotonic() < deadline:
                time.sleep(POLL / 10)
        if stopped():
            return None
        how = f"signal {-code}" if code is not None and code < 0 else f"status {code}"
        return Event("failed", worker.task.name, f"its process ended with {how}")
    assert isinstance(event, Event)
    return event


def _start(jobs: int, out: Path) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, out), name="paper_repro worker")
    with _surroundings(jobs):
        process.start()
    theirs.close()  # or its end would never be noticed
    return _Worker(process, ours)


@contextmanager
def _surroundings(jobs: int) -> Iterator[None]:
    """The environment and signal mask that a new worker inherits.

    One BLAS thread, so that no sum depends on `--jobs`; a fixed hash seed, since matplotlib names the fonts in a
    PDF by `hash()` (of strings, in some versions); SIGINT held back, since Ctrl-C reaches workers too and may
    come before they are ready.
    """
    threads = {
        name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS") if name not in os.environ
    }
    if "NUMBA_NUM_THREADS" not in os.environ:
        threads["NUMBA_NUM_THREADS"] = str(max(1, cores() // jobs))
    changed = {**threads, "PYTHONHASHSEED": "0"}
    before = {name: os.environ.get(name) for name in changed}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _end(workers: Sequence[_Worker]) -> None:
    """Let idle workers go, stop busy ones, and wait for all of them."""
    for worker in workers:
        if worker.task is None:
            worker.pipe.close()
        else:
            worker.process.terminate()
    deadline = time.monotonic() + GRACE
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


def _work(pipe: Connection, out: Path) -> None:
    """What a worker does: one task after the other, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    while True:
        try:
            task: Task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(_perform(pipe, task, out))
        except OSError:
            return  # nobody listens any more


def _perform(pipe: Connection, task: Task, out: Path) -> Event:
    try:
        from figures.pipeline import build, verify
        from figures.registry import load

        def tell(kind: Any, text: str) -> None:
            pipe.send(Event(kind, task.name, text))

        def warn(message: Any, kind: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
            tell("notice", f"{kind.__name__}: {message} ({Path(filename).name}, line {lineno})")

        warnings.showwarning = cast(Any, warn)  # standard error would go right through the live display
        artefact = load(task.name, task.module)
        work: dict[str, Callable[..., Any]] = {
            "plan": build.plan,
            "make": build.produce,
            "verify": verify.verify,
        }
        return Event("done", task.name, work[task.job](artefact, task, out, tell))
    except BaseException as error:  # also SystemExit: an artefact must not end the others
        first = str(error).strip().partition("\n")[0]
        message = f"{type(error).__name__}: {first}" if first else type(error).__name__
        return Event("failed", task.name, message, traceback.format_exc())


def _leave_with_parent() -> None:
    """End this process when its parent is gone, however that was ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
