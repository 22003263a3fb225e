"""Carry out the missing runs of a study, each in a separate process, `jobs` at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from llm.common.environment import ROOT
from llm.common.files import BusyError, ensure_writable, lock, write_json
from llm.common.processes import Child, ForkServer, Start, cores, start_process, stop_requested
from llm.common.scheduler import Scheduler
from llm.study.dependencies import NOTHING, Prerequisites, prerequisites
from llm.study.eta import Forecast, Progress
from llm.study.preload import preload
from llm.study.status import (
    command,
    failure_file,
    has_base,
    has_begun,
    is_finished,
    is_trained,
    last_lines,
    last_step,
    log_file,
)  # fmt: skip
from llm.study.sweep import Grids, StudyRun, union

# glibc's memory of freed tensors stays with the process, as it does after a while by default: else every evaluation of
# a small model returns megabytes to the system and has them zeroed again. The first is glibc's maximum, in bytes.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}


@dataclass(frozen=True)
class Failure:
    """A run that failed: its exit status, the last lines of its log, and the log file."""

    name: str
    status: int
    last: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Outcome:
    """The end of `run_study`: names of the finished runs, the failures, and whether the study was interrupted."""

    finished: tuple[str, ...]
    failed: tuple[Failure, ...]
    interrupted: bool


def run_study(
    grids: Grids,
    root: str | Path,
    *,
    jobs: int = 1,
    isolate: bool | None = None,
    start: Start | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    pause: float = 1.0,
) -> Outcome:
    """Carry out the unfinished runs of one or several grids, then their measures; each run in its folder ROOT/NAME.

    A run is trained as by `python -m llm train`; a run that several grids contain is carried out once.

    jobs     runs at a time. The cores are divided among them (OMP_NUM_THREADS, unless it is set), and so are the
             devices in CUDA_VISIBLE_DEVICES, if it is set.
    isolate  start a new interpreter for every run. Otherwise runs are forked from a process that has imported their
             libraries, which saves seconds per run. None: isolate where there is a GPU, whose runtime does not survive
             a fork.
    start    starts a process instead: arguments, log, environment
    report   called every `pause` seconds with the progress

    A run that makes a computation that others share (the embedded world's base, the reference, the optima) goes first;
    meanwhile runs without missing computations are carried out, the longest first. A run that fails stops no other run.
    SIGTERM and Ctrl-C let the running ones save and stop; a second Ctrl-C ends them at once. In both cases the same
    call resumes.
    Raises ValueError if another study is running in ROOT.
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int):
        raise TypeError(f"jobs: must be a whole number, got {jobs!r}")
    if jobs < 1:
        raise ValueError(f"jobs: must be at least 1, got {jobs}")
    root = Path(root)
    runs = union(grids)
    ensure_writable("root", root)
    ensure_writable("root", root / "logs")
    try:
        with ExitStack() as stack:
            stack.enter_context(lock(root / ".lock"))
            stop = stack.enter_context(stop_requested())
            if start is None and (_has_gpu(runs) if isolate is None else isolate):
                start = start_process
            elif start is None:
                start = ForkServer(preload(dict.fromkeys(m for run in runs for m in run.measures)))
                stack.callback(start.close)
            study = _Study(runs, root, jobs, start)
            # A second SIGTERM has the effect of the first; the second Ctrl-C raises KeyboardInterrupt.
            study.scheduler.run(lambda: min(stop.count, 1), lambda: report(study.progress()), pause)
            return study.outcome()
    except BusyError as error:
        raise ValueError(
            f"root: another study is running in {root}; wait for it, or give another folder with --root"
        ) from error


class _Study:
    """The jobs of a study, their forecast, and the failures."""

    def __init__(self, runs: Sequence[StudyRun], root: Path, jobs: int, start: Start) -> None:
        self.runs, self.root, self.at_a_time, self.start = runs, root, jobs, start
        self.failed: list[Failure] = []
        required = {r.name: NOTHING if is_trained(r, root) else prerequisites(r.config) for r in runs}
        self.forecast = Forecast(runs, root, jobs, required)
        waiting = [RunJob(run, self) for run in runs if not is_finished(run, root)]
        made = (name for run in runs for name in shown(run, root, prerequisites(run.config)))
        self.scheduler: Scheduler[RunJob] = Scheduler(waiting, jobs, made)

    def progress(self) -> Progress:
        """Return the progress at this moment."""
        waiting = [job.run for job in self.scheduler.waiting]
        return self.forecast.progress(waiting, self.scheduler.running, self.scheduler.made, len(self.failed))

    def outcome(self) -> Outcome:
        """Return the outcome once no run is running."""
        done = tuple(run.name for run in self.runs if is_finished(run, self.root))
        return Outcome(done, tuple(self.failed), self.scheduler.stopping and len(done) < len(self.runs))


class RunJob:
    """A run as a job of the scheduler.

    before  seconds of training that the run's folder held when the job was started
    """

    managed = True

    def __init__(self, run: StudyRun, study: _Study) -> None:
        self.run, self.name, self.before = run, run.name, 0.0
        self.requires = study.forecast.prerequisites[run.name].all
        self._study = study

    def start(self, slot: int) -> Child:
        """Start the process that trains and measures the run."""
        root = self._study.root
        self.before = float(last_step(self.run.folder(root))["seconds"])
        failure_file(self.name, root).unlink(missing_ok=True)
        return self._study.start(command(self.run, root), self.log, environment(self._study.at_a_time, slot))

    @property
    def log(self) -> Path:
        """The file that both output streams of the process are appended to."""
        return log_file(self.name, self._study.root)

    def expected_seconds(self) -> float:
        """Return about how long the run takes; units of work as long as no duration is known."""
        return self._study.forecast.size(self.run)

    def made(self) -> frozenset[str]:
        """Return the shared resources that the run's folder shows to exist."""
        return shown(self.run, self._study.root, self._study.forecast.prerequisites[self.name])

    def finish(self, status: int, seconds: float, prepared: frozenset[str]) -> None:
        """Record the duration of a finished run, or the failure of another; an interrupted run is no failure."""
        study = self._study
        if is_finished(self.run, study.root):
            study.forecast.finished(self.run, self.before, seconds, prepared)
        elif not study.scheduler.stopping:
            failure = Failure(self.name, status, last_lines(self.log), self.log)
            study.failed.append(failure)
            write_json(failure_file(self.name, study.root), {"status": status, "last": list(failure.last)})


def shown(run: StudyRun, root: Path, required: Prerequisites) -> frozenset[str]:
    """Return the shared resources, of those that a run requires, that its folder shows to exist."""
    if has_begun(run, root):
        return required.all
    return required.base if has_base(run, root) else frozenset()


def environment(jobs: int, slot: int) -> dict[str, str]:
    """Return the environment of the process in a slot, a number from 0 to jobs - 1."""
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    env.setdefault("OMP_NUM_THREADS", str(max(1, cores() // jobs)))
    for name, value in MALLOC.items():
        env.setdefault(name, value)
    devices = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d.strip()]
    if jobs > 1 and len(devices) > 1:
        env["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)].strip()
    return env


def _has_gpu(runs: Sequence[StudyRun]) -> bool:
    """Return whether runs may be on a GPU, judged from device files, since torch takes seconds to import."""
    present = Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists() or not hasattr(os, "fork")
    return present and any(run.config.device != "cpu" for run in runs)
