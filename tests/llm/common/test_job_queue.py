"""The queue of waiting jobs: the order of a plain rule, at a cost that grows with the number of jobs alone."""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from llm.common.job_queue import RENEW_SHARE, JobQueue


@dataclass
class Work:
    """A job that counts the evaluations of its expected duration."""

    name: str
    seconds: float = 1.0
    requires: frozenset[str] = frozenset()
    asked: int = 0

    def expected_seconds(self) -> float:
        self.asked += 1
        return self.seconds


def plain_next(jobs: list[Work], made: Set[str], making: Collection[str]) -> Work | None:
    """The rule in one expression: a job that must not wait, one that makes something first, then the longest."""
    free = [job for job in jobs if not job.requires & set(making)]
    return max(free, key=lambda job: (bool(job.requires - made), job.seconds), default=None)


REQUIRED = st.frozensets(st.sampled_from("abc"), max_size=2)
JOBS = st.lists(st.tuples(st.sampled_from([1.0, 2.0, 3.0]), REQUIRED), min_size=1, max_size=20)
EVENTS = st.lists(st.sampled_from(["start", "made", "failed"]), max_size=80)


@given(JOBS, EVENTS)
def test_the_next_job_is_that_of_the_plain_rule(drawn: list[tuple[float, frozenset[str]]], events: list[str]) -> None:
    jobs = [Work(str(i), seconds, requires) for i, (seconds, requires) in enumerate(drawn)]
    queue, waiting = JobQueue(jobs), list(jobs)
    made: set[str] = set()
    running: list[frozenset[str]] = []  # the resources that each running job makes
    for event in events:
        if event == "start":
            making = set().union(*running)
            first, expected = queue.next(made, making), plain_next(waiting, made, making)
            assert (first and first.job) is expected
            if expected is not None:
                queue.start(expected)
                waiting.remove(expected)
                running.append(expected.requires - made)
        elif running:
            ended = running.pop(0)
            made |= ended if event == "made" else set()
        assert list(queue) == waiting


def test_a_changed_duration_counts_at_the_next_start_of_a_short_queue() -> None:
    a, b, c = (Work(name, seconds) for name, seconds in (("a", 3.0), ("b", 2.0), ("c", 1.0)))
    queue = JobQueue([a, b, c])
    first = queue.next(set(), ())
    assert first is not None
    assert first.job is a
    queue.start(a)
    c.seconds = 9.0
    second = queue.next(set(), ())
    assert second is not None
    assert (second.job, second.seconds) == (c, 9.0)


def evaluations(n: int) -> int:
    """Return the evaluations of expected durations that the starts of n jobs take."""
    jobs = [Work(str(i), float(i % 7), frozenset({f"r{i % 5}"})) for i in range(n)]
    queue, made, order = JobQueue(jobs), set[str](), list[Work]()
    while (first := queue.next(made, ())) is not None:
        queue.start(first.job)
        made |= first.job.requires
        order.append(first.job)
    assert len(order) == n
    return sum(job.asked for job in jobs)


def test_evaluations_of_durations_grow_with_the_number_of_jobs_and_not_with_its_square() -> None:
    """w jobs are evaluated, then at least w/8 of them start: 8 a start in all, and 1 for each rounding up."""
    for n in (16, 256, 4096):
        assert evaluations(n) <= (RENEW_SHARE + 1) * n  # an evaluation of all at every start takes n (n + 1) / 2


def test_jobs_that_wait_for_a_resource_are_looked_at_once_while_it_is_made() -> None:
    looks = 0

    class Counted(frozenset[str]):
        def __le__(self, other: Set[object]) -> bool:
            nonlocal looks
            looks += 1
            return super().__le__(other)

        def __iter__(self):  # type: ignore[no-untyped-def]
            nonlocal looks
            looks += 1
            return super().__iter__()

    n = 500
    queue = JobQueue([Work(str(i), requires=Counted({"base"})) for i in range(n)])
    first = queue.next(set(), ())
    assert first is not None
    queue.start(first.job)
    for _ in range(100):  # polls
        assert queue.next(set(), {"base"}) is None
    assert looks <= 3 * n  # each is placed once, and found blocked once; a look at all in each poll takes 100 n
    second = queue.next({"base"}, ())
    assert second is not None
    assert not second.makes


def test_a_dropped_job_is_never_next() -> None:
    queue = JobQueue([Work("a", 2.0), Work("b"), Work("c", 3.0, frozenset({"r"}))])
    queue.drop(["a", "c", "unknown"])
    first = queue.next(set(), ())
    assert first is not None
    assert (first.job.name, len(queue)) == ("b", 1)
