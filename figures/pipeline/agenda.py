"""The order of a run: see what is to be done, have the runs carried out that are missing, make the artefacts.

Artefacts that need no runs are made while these are under way; the others when they are over.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures.pipeline import jobs as workers
from figures.pipeline.display import RUNS
from figures.pipeline.jobs import Event
from figures.pipeline.training import RunsEnd, RunsProgress, Training
from llm.common.processes import cores

if TYPE_CHECKING:
    from figures.pipeline.build import Plan, Task
    from figures.pipeline.stop import Stop


class Agenda:
    """What is still to be done of a run's tasks."""

    def __init__(self, tasks: Sequence[Task], out: Path, jobs: int | None) -> None:
        self.tasks = {task.name: task for task in tasks}
        self.out, self.jobs = out, jobs
        self.ahead = [replace(task, job="plan") for task in tasks]  # the pool takes from here
        self.planning = set(self.tasks)
        self.plans: dict[str, Plan] = {}
        self.waiting: list[str] = []  # for the runs
        self.begun: set[str] = set()
        self.training: Training | None = None

    def more(self) -> bool:
        """Whether tasks may yet be added."""
        return bool(self.planning) or (self.training is not None and not self.training.ended)

    def note(self, event: Event) -> Generator[Event, None, None]:
        """Take in what a worker reports, and pass on what the user should know."""
        if event.kind == "tick":
            return
        if event.name not in self.planning:
            yield event
            return
        if event.kind == "done":
            self.plans[event.name] = event.value
            yield Event("plan", event.name, event.value)
        elif event.kind != "state":
            yield event
        if event.kind in ("done", "failed"):
            self.planning.discard(event.name)
            if not self.planning:
                self._begin()

    def _begin(self) -> None:
        """All is known: start the runs, and whatever need not wait for them."""
        self.waiting = [name for name in self.tasks if name in self.plans and self.plans[name].grids]
        wanted = {name: self.plans[name].grids for name in self.waiting}
        check = any(self.tasks[name].request.scale == "paper" for name in self.waiting)
        if wanted:
            self.training = Training(wanted, self.out, self.jobs, check=check)
        if not check:
            self._make_others()

    def _make_others(self) -> None:
        """Let those begin that need not wait; for the first time only."""
        self.ahead += [self.tasks[name] for name in self.plans if name not in self.waiting and name not in self.begun]
        self.begun.update(self.plans)

    def look(self) -> Generator[Event, None, None]:
        """Pass on what the process of the runs reports."""
        for report in self.training.reports() if self.training is not None else ():
            if isinstance(report, RunsProgress):
                yield Event("progress", RUNS, report)
            elif isinstance(report, str):
                yield Event("notice", RUNS, report)
            elif isinstance(report, RunsEnd | Exception):
                yield from self._over(report)
            else:
                yield Event("needs", RUNS, report)  # who does not agree stops here
                assert self.training is not None
                self.training.go()
                self._make_others()

    def _over(self, end: RunsEnd | Exception) -> Generator[Event, None, None]:
        if isinstance(end, RunsEnd):
            broken = dict(end.broken)
            text = f"{end.finished} of {end.total} runs are finished"
        else:
            text = str(end)
            broken = dict.fromkeys(self.waiting, text)
        self._make_others()  # where it ended before anybody asked whether it may begin
        yield Event("failed" if broken else "done", RUNS, text)
        for name in self.waiting:
            if name in broken:
                yield Event("failed", name, broken[name])
            else:
                self.ahead.append(self.tasks[name])


def carry_out(tasks: Sequence[Task], jobs: int | None, out: Path, stop: Stop) -> Generator[Event, None, None]:
    """Do all tasks, `jobs` at a time (None: one a core), and yield what is reported: besides the events of
    `workers.run`, `plan` (a Plan), and, by the name `runs`, `needs` (of llm.needs, before anything starts at scale
    `paper`), `progress` (RunsProgress), and the end.

    Of a failure of the runs, the artefacts that need them fail. However it ends, no process is left running, and the
    runs that were under way have saved.
    """
    agenda = Agenda(tasks, out, jobs)
    at_a_time = max(1, min(jobs or cores(), len(tasks)))
    try:
        with closing(workers.run(agenda.ahead, at_a_time, out, stop, agenda.more)) as pool:
            for event in pool:
                yield from agenda.note(event)
                yield from agenda.look()
        yield from _let_save(agenda.training, stop)
    finally:
        if agenda.training is not None:
            agenda.training.close()


def _let_save(running: Training | None, stop: Stop) -> Generator[Event, None, None]:
    """Stop the runs and wait until they have saved; a second Ctrl-C ends them at once."""
    if running is None or running.ended:
        return
    yield Event("state", RUNS, "saving")
    while not running.ended:
        running.stop(stop.times)
        found: list[Any] = list(running.reports())
        if not found:
            time.sleep(workers.POLL)
