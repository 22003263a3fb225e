"""Carry out what is missing of a study: every run in a process of its own, so many at a time."""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from llm.records import read_json, write_json
from llm.study.grid import Grid, StudyRun
from llm.study.states import command, failure_file, has_begun, is_finished, last_step, write_config
from llm.train import asked_to_stop, writable

LAST_LINES = 5


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
class Progress:
    """How far a study is.

    running  names with steps done and to be done
    left     about how many seconds it still takes; None as long as nothing tells
    """

    total: int
    finished: int
    failed: int
    running: tuple[tuple[str, int, int], ...]
    left: float | None


@dataclass(frozen=True)
class _Running:
    run: StudyRun
    child: Child
    slot: int
    began: float
    before: float  # the seconds of training that its folder held already
    log: Path


def start_process(argv: Sequence[str], log: Path, env: Mapping[str, str]) -> Child:
    """A process that writes both its streams at the end of `log`. Ctrl-C on the terminal does not reach it."""
    with log.open("ab") as file:
        return subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=dict(env), start_new_session=True
        )


def run_study(
    grid: Grid,
    root: str | Path,
    *,
    jobs: int = 1,
    start: Start = start_process,
    report: Callable[[Progress], None] = lambda _: None,
    pause: float = 1.0,
) -> Outcome:
    """Carry out the runs of a grid that are not finished, each by `python -m llm train` in its folder ROOT/NAME.

    jobs    so many at a time. The cores are shared out (OMP_NUM_THREADS, unless it is set), and so are the devices in
            CUDA_VISIBLE_DEVICES, if it is set.
    start   starts a process: arguments, log, environment
    report  is told every `pause` seconds how far it is

    The first run of a seed goes ahead until the reference and the optima, which it shares with others, are in the
    cache. A run that fails stops no other. SIGTERM and Ctrl-C let the running ones save and stop; the second Ctrl-C
    ends them at once. Either way the same call goes on. ValueError if another study is running in ROOT.
    """
    from filelock import FileLock, Timeout

    if isinstance(jobs, bool) or not isinstance(jobs, int):
        raise TypeError(f"jobs: must be a whole number, got {jobs!r}")
    if jobs < 1:
        raise ValueError(f"jobs: must be at least 1, got {jobs}")
    root = Path(root)
    writable("root", root)
    writable("root", root / "logs")
    try:
        with FileLock(root / ".lock", timeout=0), asked_to_stop() as wanted:
            return _Study(grid.runs(), root, jobs, start).carry_out(report, wanted, pause)
    except Timeout as error:
        raise ValueError(
            f"root: another study is running in {root}; wait for it, or give another folder with --root"
        ) from error


class _Study:
    """The runs that wait, those that run, and those that failed."""

    def __init__(self, runs: Sequence[StudyRun], root: Path, jobs: int, start: Start) -> None:
        self.runs, self.root, self.jobs, self.start = runs, root, jobs, start
        self.waiting = [run for run in runs if not is_finished(run, root)]
        self.running: list[_Running] = []
        self.failed: list[Failure] = []
        self.stopping = False
        self.overheads: list[float] = []  # seconds that a process takes beside its training
        self.rates = {r.name: _rate(r, root) for r in runs if is_finished(r, root)}  # of the finished ones

    def carry_out(self, report: Callable[[Progress], None], wanted: Callable[[], bool], pause: float) -> Outcome:
        """Until all runs are at an end, or somebody asks to stop."""
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
                report(self.progress())
                if self.running:
                    time.sleep(pause)
        finally:
            for one in self.running:
                one.child.kill()
                one.child.wait()
        done = tuple(run.name for run in self.runs if is_finished(run, self.root))
        return Outcome(done, tuple(self.failed), self.stopping and len(done) < len(self.runs))

    def _begin(self) -> bool:
        """Start the next run that need not wait for what another one computes; False if there is none."""
        ready = {run.group for run in self.runs if has_begun(run, self.root)}
        preparing = {one.run.group for one in self.running} - ready
        run = next((r for r in self.waiting if r.group not in preparing), None)
        if run is None:
            return False
        self.waiting.remove(run)
        slot = min(set(range(self.jobs)) - {one.slot for one in self.running})
        before = float(last_step(run.folder(self.root))["seconds"])
        failure_file(run, self.root).unlink(missing_ok=True)
        log = self.root / "logs" / f"{run.name}.log"
        child = self.start(command(write_config(run, self.root)), log, environment(self.jobs, slot))
        self.running.append(_Running(run, child, slot, time.monotonic(), before, log))
        return True

    def _look(self, one: _Running) -> None:
        """Whether a run has come to its end, and to which."""
        code = one.child.poll()
        if code is None:
            return
        self.running.remove(one)
        if is_finished(one.run, self.root):
            self.rates[one.run.name] = _rate(one.run, self.root)
            trained = float(last_step(one.run.folder(self.root))["seconds"]) - one.before
            self.overheads.append(max(0.0, time.monotonic() - one.began - trained))
        elif not self.stopping:
            failure = Failure(one.run.name, code, _last(one.log), one.log)
            self.failed.append(failure)
            write_json(failure_file(one.run, self.root), {"status": code, "last": list(failure.last)})

    def progress(self) -> Progress:
        """How far it is, and how long it still takes."""
        steps = {one.run.name: last_step(one.run.folder(self.root)) for one in self.running}
        rates = dict(self.rates)
        rates |= {name: float(line["seconds"]) / line["step"] for name, line in steps.items() if line["step"]}
        extra = sum(self.overheads) / len(self.overheads) if self.overheads else 0.0
        work = []
        for run in [*self.waiting, *(one.run for one in self.running)]:
            done = steps.get(run.name, last_step(run.folder(self.root)))["step"]
            work.append((run.config.steps - done) * self._expected(run, rates) + (0.0 if run.name in steps else extra))
        # So many at a time, but none faster than the slowest of them.
        left = max(sum(work) / self.jobs, max(work, default=0.0))
        running = tuple((one.run.name, int(steps[one.run.name]["step"]), one.run.config.steps) for one in self.running)
        known = left if math.isfinite(left) else None
        return Progress(len(self.runs), len(self.rates), len(self.failed), running, known)

    def _expected(self, run: StudyRun, rates: Mapping[str, float]) -> float:
        """Seconds a step: of the run itself, of others of its method (and k), or of any; nan if nothing is known."""
        if run.name in rates:
            return rates[run.name]
        kind = run.config.method, run.config.k
        alike = [rates[r.name] for r in self.runs if r.name in rates and (r.config.method, r.config.k) == kind]
        known = alike or list(rates.values())
        return sum(known) / len(known) if known else math.nan


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


def _rate(run: StudyRun, root: Path) -> float:
    """Seconds a step of a finished run."""
    return float(read_json(run.folder(root) / "summary.json")["seconds"]) / run.config.steps


def _last(log: Path) -> tuple[str, ...]:
    """The last lines of a log that hold anything."""
    text: Any = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-LAST_LINES:]
