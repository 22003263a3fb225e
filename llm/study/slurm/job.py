"""One job of a study on a node of the cluster: the function that submitit calls there."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from llm.common.files import write_json, write_text
from llm.common.processes import INTERRUPTED, start_process
from llm.study.status import failure_file, last_lines, log_file

_PATIENCE = 60.0  # seconds for squeue's answer
_POLL_EVERY = 0.2  # seconds


class JobError(RuntimeError):
    """A command of a job failed; the message has one line."""


@dataclass(frozen=True)
class Job:
    """Commands of a run or of a preparation, one after the other, up to the first that fails. Pickled by submitit.

    name      of the run or preparation
    root      folder of the study, as an absolute path
    commands  command lines
    done      file that is written when all commands have succeeded; "": none

    On the signal that Slurm sends before a time limit (sbatch's --signal), and on a SIGTERM to a job that is not being
    cancelled, the command saves its state and ends, and submitit requeues the job, whose commands then resume.
    """

    name: str
    root: str
    commands: tuple[tuple[str, ...], ...]
    done: str = ""

    def __call__(self) -> None:
        """Carry out the commands; JobError for the first that fails, whose log's end is kept for `study status`."""
        root = Path(self.root)
        failure, log = failure_file(self.name, root), log_file(self.name, root)
        failure.unlink(missing_ok=True)
        with _requested(preemption_signal()) as preempted:
            status = next(filter(None, (_carry_out(argv, log, preempted) for argv in self.commands)), 0)
        if status:
            self._end(status, failure, log, preempted=preempted())
        if self.done:
            write_text(Path(self.done), self.name + "\n")

    def _end(self, status: int, failure: Path, log: Path, *, preempted: bool) -> NoReturn:
        """Requeue an interrupted job that is not being cancelled (SystemExit); JobError for any other.

        status  exit status of the command that ended last, not 0
        """
        interrupted = status in (INTERRUPTED, -signal.SIGTERM)
        if preempted or (interrupted and _is_running()):
            try:
                signal.raise_signal(preemption_signal())  # submitit's handler requeues the job and leaves
            except Exception as error:  # it requeues no more: the job has run out of time too often
                write_json(failure, {"status": status, "last": [" ".join(str(error).split())]})
                raise
        if not interrupted:
            write_json(failure, {"status": status, "last": list(last_lines(log))})
        end = "was stopped" if interrupted else "failed"
        raise JobError(f"{self.name} {end} (exit status {status}); its log is {log}")

    def checkpoint(self) -> Any:
        """Return the job that submitit requeues: the same, whose commands have saved their state."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _carry_out(argv: tuple[str, ...], log: Path, preempted: Callable[[], bool]) -> int:
    """Return the exit status of a command, which is asked to save and end when the job is preempted."""
    number, asked = preemption_signal(), False
    # Slurm signals every process of a job. The command's processes inherit the mask, so they ignore the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        child = start_process(argv, log, _environment())
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    while (status := child.poll()) is None:
        if preempted() and not asked:
            asked = True
            child.terminate()
        time.sleep(_POLL_EVERY)
    return status


@contextmanager
def _requested(number: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether this process was sent a signal, which has no other effect in the block."""
    received: list[int] = []
    before = signal.signal(number, lambda sent, _: received.append(sent))
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(number, before)


def preemption_signal() -> signal.Signals:
    """Return the signal on which submitit checkpoints and requeues a job."""
    from submitit import JobEnvironment

    return signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]


def _environment() -> dict[str, str]:
    """Return the environment of a command: as many threads as the job has processors, unless their number is set."""
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", environment.get("SLURM_CPUS_PER_TASK", "1"))
    return environment


def _is_running() -> bool:
    """Return whether Slurm counts this job as running, hence neither cancelled nor requeued nor out of time."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job:
        return False
    argv = ["squeue", "--noheader", "--format", "%T", "--jobs", job]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.split() == ["RUNNING"]
