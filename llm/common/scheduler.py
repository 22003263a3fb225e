"""Scheduler of processes: jobs that share resources, so many at a time, the longest first."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from llm.common.job_queue import JobQueue
from llm.common.processes import Child

REPORT_SHARE = 0.005  # of the time, at most, that reports take: their length grows with the number of jobs
POLL_EVERY = 0.05  # seconds; an idle core costs more than a poll


class Job(Protocol):
    """A process to be started.

    name      unique among the jobs
    requires  names of the resources that the job needs. The first job that finds a resource missing makes the
              resource; other jobs that require the resource wait until it exists or that job has ended.
    managed   whether the job counts towards the jobs at a time; False for a job that manages processes of its own
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def requires(self) -> frozenset[str]: ...  # noqa: D102

    @property
    def managed(self) -> bool: ...  # noqa: D102

    def start(self, slot: int) -> Child:
        """Start the process; no other running job has the same slot, a number from 0."""

    def expected_seconds(self) -> float:
        """Return about how long the job takes, in seconds or another unit that all jobs share."""

    def made(self) -> Iterable[str]:
        """Return the resources in `requires` that exist, as far as this job's output shows."""

    def finish(self, status: int, seconds: float, prepared: frozenset[str]) -> None:
        """Evaluate the result of the job, whose process has ended.

        status    exit status of the process
        seconds   wall-clock time since the start
        prepared  required resources that were missing at the start
        """


J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class Running(Generic[J]):
    """A job that was started.

    began     start time, in seconds of the monotonic clock
    prepares  resources that were missing at the start, which the job makes or waits for
    """

    job: J
    child: Child
    slot: int
    began: float
    prepares: frozenset[str]


class Scheduler(Generic[J]):
    """Jobs that wait and jobs that run.

    jobs       started in the order of `llm.common.job_queue`: first jobs that make a resource, then the longest
    at_a_time  number of managed jobs that run at the same time
    made       resources that exist from the beginning
    """

    def __init__(self, jobs: Iterable[J], at_a_time: int, made: Iterable[str] = ()) -> None:
        jobs = list(jobs)
        self._managed = JobQueue(job for job in jobs if job.managed)
        self._unmanaged = JobQueue(job for job in jobs if not job.managed)
        self.running: list[Running[J]] = []
        self.made = set(made)
        self.at_a_time = at_a_time
        self.stopping = False

    @property
    def waiting(self) -> list[J]:
        """The jobs that have not started."""
        return [*self._unmanaged, *self._managed]

    def run(
        self, stop: Callable[[], int], report: Callable[[], None], pause: float = 1.0, poll_every: float = POLL_EVERY
    ) -> None:
        """Run all jobs until the last has ended or a stop is requested. However it ends, no process is left running.

        stop    number of stop requests so far: the first sends SIGTERM to the running jobs, which are waited for; the
                second kills them
        report  called about every `pause` seconds while jobs run (0: at every poll), less often if it takes long, and
                at the end
        """
        due = 0.0
        try:
            while self.running or ((self._managed or self._unmanaged) and not self.stopping):
                if stop() and not self.stopping:
                    self.stopping = True
                    for one in self.running:
                        one.child.terminate()
                if stop() > 1:
                    break
                for one in list(self.running):
                    self._poll(one)
                while not self.stopping and not stop() and self._begin():
                    pass
                now = time.monotonic()
                if now >= due or not self.running:
                    report()
                    took = time.monotonic() - now
                    due = now + took + (max(pause, took / REPORT_SHARE) if pause else 0.0)
                if self.running:
                    time.sleep(min(pause, poll_every))
        finally:
            for one in self.running:
                one.child.kill()
            for one in self.running:
                one.child.wait()

    def drop(self, names: Collection[str]) -> None:
        """Remove waiting jobs, which are then never started."""
        self._managed.drop(names)
        self._unmanaged.drop(names)

    def _begin(self) -> bool:
        """Start the next job; return whether a job was started."""
        job = self._next()
        if job is None:
            return False
        (self._managed if job.managed else self._unmanaged).start(job)
        slots = {one.slot for one in self.running}
        slot = next(number for number in range(len(slots) + 1) if number not in slots)
        prepares = frozenset(job.requires - self.made)
        began = time.monotonic()
        self.running.append(Running(job, job.start(slot), slot, began, prepares))
        return True

    def _next(self) -> J | None:
        """Return the next job that need not wait for a resource; None if there is none, or no slot is free."""
        full = sum(one.job.managed for one in self.running) >= self.at_a_time
        making = {name for one in self.running for name in one.prepares} - self.made
        queues = [self._unmanaged] if full else [self._unmanaged, self._managed]
        free = [first for queue in queues if (first := queue.next(self.made, making)) is not None]
        return max(free, key=lambda first: (first.makes, first.seconds)).job if free else None

    def _poll(self, one: Running[J]) -> None:
        """Update the resources that a job has made, and evaluate the job if it has ended."""
        status = one.child.poll()
        if status is not None:
            self.running.remove(one)
            one.job.finish(status, time.monotonic() - one.began, one.prepares)
        if one.prepares - self.made:
            self.made.update(one.job.made())
