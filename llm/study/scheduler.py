"""Carry out what is missing of a study: every run in a process of its own, so many at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.common.files import ensure_writable, write_json
from llm.common.processes import Child, ForkServer, Start, start_process, stop_requested
from llm.study.dependencies import NOTHING, Needs, needs
from llm.study.eta import Forecast, Progress
from llm.study.preload import preload
from llm.study.status import command, failure_file, has_base, has_begun, is_finished, is_trained, last_step
from llm.study.sweep import Grids, StudyRun, union

LAST_LINES = 5
_LOOK_EVERY = 0.05  # seconds; a core that waits for work costs more than a look


@dataclass(frozen=True)
class Failure:
    """A run that failed: its exit status, the last lines that it said, and where the rest of them is."""

    name: str
    status: int
    last: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Outcome:
    """The end of `run_study`: names of the runs that are finished, those that failed, whether it was interrupted."""

    finished: tuple[str, ...]
    failed: tuple[Failure, ...]
    interrupted: bool


@dataclass(frozen=True)
class Running:
    """A run that was started.

    began     when, in seconds of the monotonic clock
    before    seconds of training that its folder held already
    prepares  what it has to make, or to wait for, before its first step
    """

    run: StudyRun
    child: Child
    slot: int
    began: float
    before: float
    log: Path
    prepares: frozenset[str]


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
    """Carry out the runs of one or several grids that are not finished, each in its folder ROOT/NAME, as
    `python -m llm train` would; then their measures. A run that several grids have is carried out once.

    jobs     so many at a time. The cores are shared out (OMP_NUM_THREADS, unless it is set), and so are the devices in
             CUDA_VISIBLE_DEVICES, if it is set.
    isolate  start a new interpreter for every run. Else runs are forked from a process that has imported what they
             need, which saves seconds a run. None: where there is a GPU, for its runtime does not survive a fork.
    start    starts a process instead: arguments, log, environment
    report   is told every `pause` seconds how far it is

    A run that makes what others need too (the embedded world's base; the reference; the optima) goes ahead of them;
    meanwhile others are carried out, the longest first. A run that fails stops no other. SIGTERM and Ctrl-C let the
    running ones save and stop; the second Ctrl-C ends them at once. Either way the same call goes on. ValueError if
    another study is running in ROOT.
    """
    from filelock import FileLock, Timeout

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
            stack.enter_context(FileLock(root / ".lock", timeout=0))
            wanted = stack.enter_context(stop_requested())
            if start is None and (_has_gpu(runs) if isolate is None else isolate):
                start = start_process
            elif start is None:
                start = ForkServer(preload(dict.fromkeys(m for run in runs for m in run.measures)))
                stack.callback(start.close)
            return _Study(runs, root, jobs, start).carry_out(report, wanted, pause)
    except Timeout as error:
        raise ValueError(
            f"root: another study is running in {root}; wait for it, or give another folder with --root"
        ) from error


class _Study:
    """The runs that wait, those that run, and those that failed."""

    def __init__(self, runs: Sequence[StudyRun], root: Path, jobs: int, start: Start) -> None:
        self.runs, self.root, self.jobs, self.start = runs, root, jobs, start
        self.waiting = [run for run in runs if not is_finished(run, root)]
        self.running: list[Running] = []
        self.failed: list[Failure] = []
        self.stopping = False
        self.needs = {r.name: NOTHING if is_trained(r, root) else needs(r.config) for r in runs}
        self.there: set[str] = set()  # what runs share, as far as it has been made
        for run in runs:
            self._see(run, needs(run.config))
        self.forecast = Forecast(runs, root, jobs, self.needs)

    def carry_out(self, report: Callable[[Progress], None], wanted: Callable[[], bool], pause: float) -> Outcome:
        """Until all runs are at an end, or somebody asks to stop."""
        told = -pause
        try:
            while self.running or (self.waiting and not self.stopping):
                if wanted() and not self.stopping:
                    self.stopping = True
                    for one in self.running:
                        one.child.terminate()
                for one in list(self.running):
                    self._look(one)
                while not self.stopping and not wanted() and len(self.running) < self.jobs and self._begin():
                    pass
                if time.monotonic() - told >= pause or not self.running:
                    told = time.monotonic()
                    report(self.forecast.progress(self.waiting, self.running, self.there, len(self.failed)))
                if self.running:
                    time.sleep(min(pause, _LOOK_EVERY))
        finally:
            for one in self.running:
                one.child.kill()
                one.child.wait()
        done = tuple(run.name for run in self.runs if is_finished(run, self.root))
        return Outcome(done, tuple(self.failed), self.stopping and len(done) < len(self.runs))

    def _see(self, run: StudyRun, wanted: Needs) -> None:
        """What a run shows to be there."""
        if has_base(run, self.root):
            self.there |= wanted.base
        if has_begun(run, self.root):
            self.there |= wanted.all

    def _next(self) -> StudyRun | None:
        """The next run that need not wait for what another one makes: those that make something first, for others
        wait for it, then the longest; so the cores are not idle in the end.
        """
        making = {name for one in self.running for name in one.prepares} - self.there
        free = [run for run in self.waiting if not self.needs[run.name].all & making]
        size = self.forecast.size
        return max(free, key=lambda r: (bool(self.needs[r.name].all - self.there), size(r)), default=None)

    def _begin(self) -> bool:
        """Start the next run; False if there is none."""
        run = self._next()
        if run is None:
            return False
        self.waiting.remove(run)
        slot = min(set(range(self.jobs)) - {one.slot for one in self.running})
        before = float(last_step(run.folder(self.root))["seconds"])
        failure_file(run, self.root).unlink(missing_ok=True)
        log = self.root / "logs" / f"{run.name}.log"
        child = self.start(command(run, self.root), log, environment(self.jobs, slot))
        prepares = self.needs[run.name].all - self.there
        self.running.append(Running(run, child, slot, time.monotonic(), before, log, frozenset(prepares)))
        return True

    def _look(self, one: Running) -> None:
        """How far a run is, and whether it has come to its end."""
        code = one.child.poll()
        if one.prepares - self.there:
            self._see(one.run, self.needs[one.run.name])
        if code is None:
            return
        self.running.remove(one)
        if is_finished(one.run, self.root):
            self.forecast.finished(one)
        elif not self.stopping:
            failure = Failure(one.run.name, code, _last(one.log), one.log)
            self.failed.append(failure)
            write_json(failure_file(one.run, self.root), {"status": code, "last": list(failure.last)})


def environment(jobs: int, slot: int) -> dict[str, str]:
    """The environment of the process in a slot, from 0 to jobs - 1."""
    package = str(Path(__file__).resolve().parents[2])
    path = [package, *filter(None, [os.environ.get("PYTHONPATH", "")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    env.setdefault("OMP_NUM_THREADS", str(max(1, cores // jobs)))
    devices = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d.strip()]
    if jobs > 1 and len(devices) > 1:
        env["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)].strip()
    return env


def _has_gpu(runs: Sequence[StudyRun]) -> bool:
    """Whether runs may be on a GPU. Asked of the system, for torch takes seconds to import."""
    seen = Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists() or not hasattr(os, "fork")
    return seen and any(run.config.device != "cpu" for run in runs)


def _last(log: Path) -> tuple[str, ...]:
    """The last lines of a log that hold anything."""
    text: Any = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-LAST_LINES:]
