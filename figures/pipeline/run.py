"""A run of `paper_repro.py` with checked options: plan the artefacts, run their jobs, write manifest and report."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.text import Text

from figures.analysis.recorded_runs import is_shown
from figures.artefact import REAL_OPTIONS, SCALES, Artefact, Request, UsageError
from figures.options import Options
from figures.pipeline import jobs as processes
from figures.pipeline import tables, training
from figures.pipeline.display import RunsProgress, States
from figures.pipeline.jobs import RUNS, ArtefactJob, Event, first_line
from figures.pipeline.paths import read_record
from figures.pipeline.training import RunsJob
from figures.registry import load
from llm.common.environment import git_state
from llm.common.files import BusyError, ensure_writable, lock, remove_unfinished, write_text
from llm.common.processes import INTERRUPTED, StopSignal, cores
from llm.common.scheduler import Scheduler

if TYPE_CHECKING:
    from figures.pipeline.build import Plan

WIDTH = 110  # where the output is no terminal and its width is unknown
Work = Literal["make", "force", "verify"]


def run(options: Options, registry: Mapping[str, str], stop: StopSignal) -> int:
    """Carry out the request and return the exit status. Raises UsageError for a folder that cannot be used."""
    console = Console(highlight=False)
    if not console.is_terminal and console.width == 80:
        console = Console(highlight=False, width=WIDTH)
    if options.list:
        console.print(tables.listing(list(dict.fromkeys(options.names or registry)), registry))
        return 0
    names = list(dict.fromkeys(options.names)) or [n for n in registry if options.scale == "real" or is_shown(n)]
    out = options.out.expanduser().absolute()
    held = _folder(options, out)
    try:
        with held:
            made = _Making(console, names, registry, options, out, stop)
            return made.verify() if options.verify else made.make()
    except BusyError:
        raise UsageError(f"another run is using {options.out}: wait for it to end, or choose another --out") from None


def _folder(options: Options, out: Path) -> AbstractContextManager[None]:
    """Return the lock of the folder, which is made if it is to be written. Raises UsageError if it cannot be used."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {options.out} is not a folder")
    path = out / ".lock"
    if options.verify:  # writes nothing, not even a lock file
        return lock(path) if path.is_file() and os.access(path, os.W_OK) else nullcontext()
    try:
        ensure_writable("out", out)
    except ValueError as error:
        raise UsageError(f"--{error}") from None
    return lock(path)


class _Making:
    """The artefacts of one command: their plans, results and failures."""

    def __init__(
        self,
        console: Console,
        names: Sequence[str],
        registry: Mapping[str, str],
        options: Options,
        out: Path,
        stop: StopSignal,
    ) -> None:
        self.console, self.names, self.registry, self.options = console, names, registry, options
        self.out, self.stop = out, stop
        self.jobs = max(1, min(options.jobs or cores(), len(names)))
        self.done: dict[str, Any] = {}
        self.failed: dict[str, Event] = {}
        self.states = States(console, names, options.jobs or cores())

    def make(self) -> int:
        """Make the artefacts, the manifest and the report; return the exit status."""
        from figures.pipeline import report
        from figures.pipeline.build import Built

        remove_unfinished(self.out)
        request = _request(self.options, {})
        work: Work = "force" if self.options.force else "make"
        self._run(dict.fromkeys(self.names, (request, work)), git_state())
        remove_unfinished(self.out)
        report.write_manifest(self.out, self.registry)
        report.write_report(self.out, self.registry)
        ended = sorted(self.done, key=self.names.index)
        if self._stopped():
            return _report_stop(ended, "finished")
        results = [self.done[name] for name in ended]
        built = [result if isinstance(result, Built) else Built(**result) for result in results]
        self.console.print(tables.summary(built, self.names))
        self.console.print(Text(tables.verdicts(built)), soft_wrap=True)
        page = self.options.out / "index.html"
        self.console.print(Text(f"{len(built)} of {len(self.names)} made; all in {page}"), soft_wrap=True)
        return tables.conclude(self.console, built, self.failed, self.options.out)

    def verify(self) -> int:
        """Compute the artefacts again and compare; return the exit status."""
        work: Work = "verify"
        requests = {name: _request(self.options, read_record(self.out / f"{name}.json") or {}) for name in self.names}
        self._run({name: (request, work) for name, request in requests.items()}, {})
        if self._stopped():
            return _report_stop(sorted([*self.done, *self.failed], key=self.names.index), "compared")
        width = max(map(len, self.names))
        for name in self.names:
            verdict = self.done.get(name, {"same": False, "line": ""})
            line = verdict["line"] or f"failed: {self.failed[name].value}"
            self.console.print(
                Text(f"{name:<{width}}  {line}", style="" if verdict["same"] else "bold red"), soft_wrap=True
            )
        return 0 if all(self.done.get(name, {"same": False})["same"] for name in self.names) else 1

    def _stopped(self) -> bool:
        """Return whether a stop left artefacts undone."""
        return self.stop() and len(self.done) + len(self.failed) < len(self.names)

    def _run(self, wanted: Mapping[str, tuple[Request, Work]], git: Mapping[str, Any]) -> None:
        """Plan and carry out all artefacts.

        Artefacts that need no runs are made while the runs are under way. If the runs fail, the artefacts that need
        the runs fail. However it ends, no process is left running, and the runs that were under way have saved.
        """
        with self.states, tempfile.TemporaryDirectory(prefix="paper_repro-", ignore_cleanup_errors=True) as temporary:
            plans = self._plans(wanted, git)
            folder = Path(temporary)
            grids = {plan.name: plan.grids for plan in plans if plan.grids}
            if any(plan.request.scale in ("real", "paper") for plan in plans if plan.grids):
                self._require(grids, folder)
            if plans and not self.stop():
                self._schedule(plans, grids, folder)

    def _plans(self, wanted: Mapping[str, tuple[Request, Work]], git: Mapping[str, Any]) -> list[Plan]:
        """Return the plans of the artefacts that are to be made; those that are finished are reported as done."""
        from figures.pipeline import build

        plans = []
        for name, (request, work) in wanted.items():
            if self.stop():
                return []
            try:
                artefact: Artefact = load(name, self.registry[name])
                plan = build.plan(artefact, self.registry[name], request, self.out, git, work)
                if plan.finished:
                    self._note(Event("done", name, build.load_finished(plan, artefact, self.out)))
                    continue
            except (Exception, SystemExit) as error:  # an artefact must not end the others
                self._note(Event("failed", name, first_line(error), "".join(traceback.format_exception(error))))
                continue
            self.states.expect(name, plan.seconds, waits=bool(plan.grids))
            plans.append(plan)
        return plans

    def _require(self, grids: training.Wanted, folder: Path) -> None:
        """Show the resources that the runs need. Raises UsageError if a resource is missing."""
        rows = training.requirements(grids, self.out, folder, self.stop)
        if not rows:
            return
        self.states.keep(tables.requirements(rows))
        if missing := [row["missing"] for row in rows if row["missing"]]:
            raise UsageError("; ".join(missing))

    def _schedule(self, plans: Sequence[Plan], grids: training.Wanted, folder: Path) -> None:
        """Run the jobs of the plans and report their events."""
        environment = processes.environment(self.jobs)
        work: Literal["build", "verify"] = "verify" if self.options.verify else "build"
        with closing(processes.fork_server(plans)) as server:
            jobs: list[ArtefactJob | RunsJob] = [
                ArtefactJob(plan, work, self.out, folder, server, self._note, environment) for plan in plans
            ]
            if grids:
                runs = RunsJob(grids, self.out, self.options.jobs, folder, self._note, self._fail)
                jobs.append(runs)
            scheduler: Scheduler[ArtefactJob | RunsJob] = Scheduler(jobs, self.jobs)
            self._scheduler = scheduler
            saving = False

            def report() -> None:
                nonlocal saving
                for one in scheduler.running:
                    one.job.forward()
                if scheduler.stopping and not saving and any(one.job.name == RUNS for one in scheduler.running):
                    saving = True
                    self.states.state(RUNS, "saving")
                self.states.update()

            scheduler.run(lambda: self.stop.count, report, pause=0.1)

    def _fail(self, broken: Mapping[str, str]) -> None:
        """Report artefacts that the runs leave without data as failed, before their jobs are started."""
        self._scheduler.drop(list(broken))
        for name, why in broken.items():
            self._note(Event("failed", name, why))

    def _note(self, event: Event) -> None:
        """Take in an event, and show the event."""
        stopping = self.stop() and event.kind == "failed"
        if stopping:  # ended by the stop, which is no failure
            return
        if event.kind == "progress":
            self.states.runs(RunsProgress(**event.value))
        elif event.kind == "notice":
            self.states.notice(event.name, event.value)
        elif event.kind == "state":
            self.states.state(event.name, event.value)
        elif event.name == RUNS:
            self.states.state(RUNS, event.kind)
            self.states.notice(RUNS, event.value)
        elif event.kind == "done":
            self.done[event.name] = event.value
            cached = not isinstance(event.value, dict) and event.value.cached
            self.states.state(event.name, "cached" if cached else "done")
        else:
            self.failed[event.name] = event
            self.states.state(event.name, "failed")
            if not self.options.verify:
                _note_failure(self.out, event)


def _request(options: Options, recorded: Mapping[str, Any]) -> Request:
    """Return the request for an artefact: the user's options, else `recorded` values, else the defaults."""
    given = {field: getattr(options, field) for field in ("scale", "seeds", "toy_runs", "seed")}
    given |= {name: None if (value := getattr(options, name)) in ("", ()) else value for name in REAL_OPTIONS}
    valid = {
        "scale": recorded.get("scale") in SCALES,
        "seeds": isinstance(recorded.get("seeds"), int),
        "toy_runs": isinstance(recorded.get("toy_runs"), int),
        "seed": isinstance(recorded.get("seed"), int),
        **{name: type(recorded.get(name)) is type(getattr(Request(), name)) for name in REAL_OPTIONS},
        "tasks": isinstance(recorded.get("tasks"), list),
    }
    taken = {field: recorded[field] for field, is_valid in valid.items() if is_valid}
    taken |= {"tasks": tuple(map(str, taken.get("tasks", ())))}
    request = Request(**(taken | {field: value for field, value in given.items() if value is not None}))
    if request.scale != "real":  # with --verify, one of the artefacts that were made at another scale
        request = request.at(request.scale)
    return request


def _note_failure(out: Path, event: Event) -> None:
    """Write the traceback to NAME.error.txt; a folder that cannot be written has been reported already."""
    with suppress(OSError):
        write_text(out / f"{event.name}.error.txt", event.trace or event.value + "\n")


def _report_stop(ended: Sequence[str], verb: str) -> int:
    """Report a stop on the error stream and return the exit status."""
    names = ", ".join(ended) or "none"
    print(f"paper_repro: stopped; {verb}: {names}; run the same command to resume", file=sys.stderr)
    return INTERRUPTED
