"""Waiting jobs of the scheduler in the order in which they start, at a cost that grows with their number alone."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Set
from typing import Generic, NamedTuple, Protocol, TypeVar

RENEW_SHARE = 8  # expected durations are evaluated anew once one job in so many has started


class WaitingJob(Protocol):
    """The part of a job that decides when the job starts; see `llm.common.scheduler.Job`."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def requires(self) -> frozenset[str]: ...  # noqa: D102

    def expected_seconds(self) -> float:
        """Return about how long the job takes."""


J = TypeVar("J", bound=WaitingJob)
_Entry = tuple[float, int, str]  # minus the expected duration, the position among the jobs, the name


class Candidate(NamedTuple, Generic[J]):
    """The next job of a queue.

    makes    whether a resource that the job requires is missing, so that the job makes it
    seconds  expected duration when durations were last evaluated
    """

    makes: bool
    seconds: float
    job: J


class JobQueue(Generic[J]):
    """Waiting jobs: jobs that lack a resource start before the others, and of both kinds the longest first.

    jobs  names must differ; of equally long jobs the first starts first

    Expected durations change as other jobs end. They are evaluated at the first `next`, and again once an eighth of the
    waiting jobs has started since: n jobs cost about 8 n evaluations and n log n comparisons, where an evaluation of
    all jobs at every start would cost n²/2.
    """

    def __init__(self, jobs: Iterable[J]) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._positions = {name: i for i, name in enumerate(self._jobs)}
        self._ready: list[_Entry] = []  # heaps; an entry whose job has left the queue is skipped
        self._lacking: list[_Entry] = []
        self._parked: dict[str, list[_Entry]] = {}  # by a resource that was being made when the job was looked at
        self._started: int | None = None  # since the last evaluation of durations; None: never evaluated

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[J]:
        """Iterate over the waiting jobs in their first order."""
        return iter(self._jobs.values())

    def next(self, made: Set[str], making: Collection[str]) -> Candidate[J] | None:
        """Return the job to start next, which stays in the queue; None if all jobs wait for a resource.

        made    resources that exist; a resource never ceases to exist
        making  resources that running jobs make: a job that requires one of them waits
        """
        if self._started is None or (self._started and self._started * RENEW_SHARE >= len(self._jobs)):
            self._renew(made)
        for resource in [resource for resource in self._parked if resource in made]:
            for entry in self._parked.pop(resource):
                self._push(entry, made)
        while heap := self._lacking_heap(making):
            entry = heap[0]
            job = self._jobs[entry[2]]
            blocking = [resource for resource in job.requires if resource in making]
            if not blocking and not job.requires <= made:
                return Candidate(True, -entry[0], job)
            heapq.heappop(heap)
            if blocking:
                heapq.heappush(self._parked.setdefault(min(blocking), []), entry)
            else:
                self._push(entry, made)
        if not self._has_head(self._ready):
            return None
        seconds, _, name = self._ready[0]
        return Candidate(False, -seconds, self._jobs[name])

    def start(self, job: J) -> None:
        """Remove a job, which starts."""
        del self._jobs[job.name]
        self._started = (self._started or 0) + 1

    def drop(self, names: Collection[str]) -> None:
        """Remove jobs, which never start; names of other jobs are ignored."""
        for name in names:
            self._jobs.pop(name, None)

    def _renew(self, made: Set[str]) -> None:
        """Evaluate the expected durations, and order all jobs by them."""
        self._ready, self._lacking, self._parked, self._started = [], [], {}, 0
        for name, job in self._jobs.items():
            self._push((-job.expected_seconds(), self._positions[name], name), made)

    def _push(self, entry: _Entry, made: Set[str]) -> None:
        """Add a job to the heap of its kind, unless the job has left the queue."""
        job = self._jobs.get(entry[2])
        if job is not None:
            heapq.heappush(self._ready if job.requires <= made else self._lacking, entry)

    def _lacking_heap(self, making: Collection[str]) -> list[_Entry] | None:
        """Return the heap whose first job is the longest of those that lack a resource, as far as is known."""
        freed = [resource for resource in self._parked if resource not in making]
        for resource in freed:  # its maker has failed
            if not self._has_head(self._parked[resource]):
                del self._parked[resource]
        heaps = [self._lacking, *(self._parked[resource] for resource in freed if resource in self._parked)]
        return min(filter(self._has_head, heaps), key=lambda heap: heap[0], default=None)

    def _has_head(self, heap: list[_Entry]) -> bool:
        """Remove entries of jobs that have left the queue from the top of a heap; return whether any entry is left."""
        while heap and heap[0][2] not in self._jobs:
            heapq.heappop(heap)
        return bool(heap)
