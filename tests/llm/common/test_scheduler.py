"""The scheduler: order of jobs, shared requirements, stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from llm.common.scheduler import Scheduler


@dataclass
class Process:
    """A process that ends after so many polls; None: only when it is stopped."""

    polls: int | None
    signals: list[str] = field(default_factory=list)

    def poll(self) -> int | None:
        if self.polls is None:
            return -15 if self.signals else None
        self.polls -= 1
        return 0 if self.polls <= 0 else None

    def terminate(self) -> None:
        self.signals.append("terminate")

    def kill(self) -> None:
        self.signals.append("kill")

    def wait(self) -> int:
        return 0


@dataclass
class Work:
    """A job of so many polls; notes its start and its end in `log`."""

    name: str
    log: list[str]
    polls: int | None = 2
    seconds: float = 1.0
    requires: frozenset[str] = frozenset()
    managed: bool = True
    makes: bool = True
    process: Process | None = None
    slot: int = -1
    ended: bool = False

    def start(self, slot: int) -> Process:
        self.log.append(f"+{self.name}")
        self.slot, self.process = slot, Process(self.polls)
        return self.process

    def expected_seconds(self) -> float:
        return self.seconds

    def made(self) -> Iterable[str]:
        return self.requires if self.ended and self.makes else ()

    def finish(self, status: int, seconds: float, prepared: frozenset[str]) -> None:  # noqa: ARG002  (the interface of a job)
        assert seconds >= 0.0
        self.log.append(f"-{self.name}")
        self.ended = True


def run(jobs: list[Work], at_a_time: int, stop: Callable[[], int] = lambda: 0) -> Scheduler[Work]:
    scheduler: Scheduler[Work] = Scheduler(jobs, at_a_time)
    scheduler.run(stop, lambda: None, pause=0.0)
    return scheduler


def test_the_longest_job_starts_first_and_so_many_run_at_a_time() -> None:
    log: list[str] = []
    jobs = [Work(name, log, seconds=seconds) for name, seconds in (("a", 1.0), ("b", 3.0), ("c", 2.0))]
    run(jobs, 2)
    assert log[:2] == ["+b", "+c"]
    assert log.index("+a") > min(log.index("-b"), log.index("-c"))
    assert {job.slot for job in jobs} == {0, 1}


def test_one_job_makes_a_shared_requirement_and_the_others_wait() -> None:
    log: list[str] = []
    shared = frozenset({"base"})
    jobs = [Work("own", log, seconds=9.0), Work("first", log, requires=shared), Work("second", log, requires=shared)]
    run(jobs, 3)
    assert log[:2] == ["+first", "+own"]  # a job that makes something precedes a longer one
    assert log.index("+second") > log.index("-first")


def test_a_job_that_fails_to_make_a_resource_leaves_it_to_the_next() -> None:
    log: list[str] = []
    jobs = [Work(name, log, requires=frozenset({"base"}), makes=name == "b") for name in "abc"]
    run(jobs, 3)
    assert log == ["+a", "-a", "+b", "-b", "+c", "-c"]


def test_a_job_with_processes_of_its_own_takes_no_place() -> None:
    log: list[str] = []
    run([Work("a", log, polls=4), Work("runs", log, polls=9, managed=False, seconds=5.0)], 1)
    assert log[:2] == ["+runs", "+a"]


def test_a_job_that_is_dropped_never_starts() -> None:
    log: list[str] = []
    scheduler: Scheduler[Work] = Scheduler([Work("a", log, seconds=2.0), Work("b", log)], 1)
    scheduler.run(lambda: 0, lambda: scheduler.drop(["b"]), pause=0.0)
    assert log == ["+a", "-a"]


@pytest.mark.parametrize("stops", [1, 2])
def test_the_first_stop_ends_jobs_in_order_and_the_second_at_once(stops: int) -> None:
    log: list[str] = []
    jobs = [Work("a", log, polls=None), Work("b", log)]
    scheduler = run(jobs, 1, lambda: stops if log else 0)
    assert scheduler.stopping
    assert log == (["+a", "-a"] if stops == 1 else ["+a"])  # b was not started
    assert jobs[0].process is not None
    assert jobs[0].process.signals == (["terminate"] if stops == 1 else ["terminate", "kill"])


def test_no_process_is_left_where_the_report_raises() -> None:
    log: list[str] = []
    job = Work("a", log, polls=None)

    def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        Scheduler([job], 1).run(lambda: 0, fail, pause=0.0)
    assert job.process is not None
    assert job.process.signals == ["kill"]


def test_reports_that_take_long_are_made_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that takes half a second is due again 100 seconds later: 0.5 % of the time."""
    now, reported = [0.0], list[float]()

    def report() -> None:
        reported.append(now[0])
        now[0] += 0.5

    monkeypatch.setattr("llm.common.scheduler.time.monotonic", lambda: now[0])
    monkeypatch.setattr("llm.common.scheduler.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    Scheduler([Work("a", [], polls=210)], 1).run(lambda: 0, report, pause=1.0, poll_every=1.0)
    assert [round(t, 6) for t in reported[:3]] == [0.0, 100.5, 201.0]
