"""Artefacts and their runs as jobs of the scheduler: each a process that reports by lines of JSON in a file.

A process for each artefact: a crash costs one artefact, and a stop ends the process at any moment, also inside compiled
code. The processes are forked from one that has imported the libraries, with one BLAS thread, so that no sum depends on
`--jobs`, and a fixed hash seed, since matplotlib names the fonts in a PDF by `hash()` in some versions.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from figures.artefact import Request
from figures.pipeline.build import Plan, build
from llm.common.environment import ROOT
from llm.common.processes import Child, ForkServer, cores

RUNS = "runs"  # name of the step that carries out the runs, and of the resource that it makes
LIBRARIES = ("numpy", "matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf")
MORE_LIBRARIES = ("numba", "scipy.stats", "pandas")  # worth an import in advance if there are several artefacts
# Names the folder of the runs; 0.8 seconds of CPU time in the process of every artefact that reads runs otherwise.
TRAINING_DIGEST = "figures.pipeline.paths:training_digest"


@dataclass(frozen=True)
class Event:
    """A report about an artefact or the runs.

    kind   `state` or `notice` (value: a text), `progress` (of the runs), `done` (value: the result) or `failed` (value:
           one line)
    trace  the traceback of a failure; "" if there is none
    """

    kind: Literal["state", "notice", "progress", "done", "failed"]
    name: str
    value: Any
    trace: str = ""


class Reports:
    """A file of events, written by a job's process line by line and read while the process runs."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.last: Event | None = None
        self._position = 0

    def new(self) -> Iterator[Event]:
        """Yield the events that were written since the last call."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self._position)
            content = file.read()
        complete = content[: content.rfind(b"\n") + 1]
        self._position += len(complete)
        for line in complete.splitlines():
            self.last = Event(name=self.name, **json.loads(line))
            yield self.last


def write_event(path: Path, kind: str, value: Any, trace: str = "") -> None:
    """Append an event to a file of events."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"kind": kind, "value": value, "trace": trace}) + "\n")


class ArtefactJob:
    """Build or verify one artefact in a separate process, as a job of the scheduler.

    work    `build`, or `verify`: compare with the files in `out`
    folder  of settings, events and logs of the processes
    """

    managed = True

    def __init__(
        self,
        plan: Plan,
        work: Literal["build", "verify"],
        out: Path,
        folder: Path,
        server: Callable[[Sequence[str], Path, Mapping[str, str]], Child],
        report: Callable[[Event], None],
        environment: Mapping[str, str],
    ) -> None:
        self.plan, self.name, self.requires = plan, plan.name, frozenset({RUNS} if plan.grids else ())
        self.reports = Reports(plan.name, folder / f"{plan.name}.events")
        self._settings = folder / f"{plan.name}.settings"
        self._log = folder / f"{plan.name}.log"
        self._server, self._report, self._environment = server, report, environment
        values = {"plan": asdict(plan), "work": work, "out": str(out), "events": str(self.reports.path)}
        self._settings.write_text(json.dumps(values), encoding="utf-8")

    def start(self, slot: int) -> Child:  # noqa: ARG002
        """Start the process."""
        self._report(Event("state", self.name, "starting"))
        argv = [sys.executable, "-m", __name__, str(self._settings)]
        return self._server(argv, self._log, self._environment)

    def expected_seconds(self) -> float:
        """Return about how long the artefact takes; 0 if unknown."""
        return self.plan.seconds or 0.0

    def made(self) -> tuple[str, ...]:
        """Return no resource: artefacts make none for each other."""
        return ()

    def forward(self) -> None:
        """Report the new events of the process."""
        for event in self.reports.new():
            self._report(event)

    def finish(self, status: int, seconds: float, prepared: frozenset[str]) -> None:  # noqa: ARG002
        """Report the end of the process as a failure if the process did not report its result."""
        self.forward()
        last = self.reports.last
        if last is None or last.kind not in ("done", "failed"):
            how = f"signal {-status}" if status < 0 else f"status {status}"
            self._report(Event("failed", self.name, f"its process ended with {how}"))


def environment(jobs: int) -> dict[str, str]:
    """Return the environment of the processes that make artefacts, `jobs` at a time."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    threads["NUMBA_NUM_THREADS"] = str(max(1, cores() // jobs))
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
    return {**threads, **os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path}


def fork_server(plans: Sequence[Plan]) -> ForkServer:
    """Return the server from which the processes of the planned artefacts are forked."""
    more = MORE_LIBRARIES if len(plans) > 2 else ()
    digest = (TRAINING_DIGEST,) if any(plan.grids for plan in plans) else ()
    return ForkServer([*LIBRARIES, *more, *digest])


def main(arguments: Sequence[str]) -> int:
    """Build or verify the artefact of a settings file, in this process; the events report the result."""
    settings = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    plan = Plan(**(settings["plan"] | {"request": Request(**settings["plan"]["request"])}))
    out, events = Path(settings["out"]), Path(settings["events"])

    def report(kind: str, text: str) -> None:
        write_event(events, kind, text)

    def warn(message: Any, kind: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
        report("notice", f"{kind.__name__}: {message} ({Path(filename).name}, line {lineno})")

    warnings.showwarning = cast(Any, warn)  # the log of the process is not shown
    try:
        from figures.pipeline.verify import verify
        from figures.registry import load

        artefact = load(plan.name, plan.module)
        work: Callable[..., Any] = verify if settings["work"] == "verify" else build
        write_event(events, "done", asdict(work(artefact, plan, out, report)))
    except BaseException as error:  # also SystemExit: the end of the process alone would not name it
        write_event(events, "failed", first_line(error), traceback.format_exc())
        return 1
    return 0


def first_line(error: BaseException) -> str:
    """Return an exception as one line: its type, and the first line of its message."""
    message = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
