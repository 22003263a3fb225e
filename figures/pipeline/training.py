"""The runs that artefacts need, as one job of the scheduler: a process in which `llm.study` carries the runs out.

All runs are one process for this scheduler, so that `figures` never imports torch, and so that Ctrl-C, a failure of the
runs or the kill of this program lets the study save its runs by its own rules. An artefact requests runs by
`parameters(request)["grids"]`, a dict of specifications as `figures.pipeline.paths.grid_of` reads them.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures.pipeline import paths
from figures.pipeline.jobs import RUNS, Event, Reports, write_event
from figures.pipeline.paths import SUMMARY, grid_of, other_runs, read_record, runs_folder
from llm.common.environment import ROOT
from llm.common.files import write_json
from llm.common.processes import Child, cores
from llm.common.progress import storage

if TYPE_CHECKING:
    from llm.study import Grid, Outcome

SAVING = 60.0  # seconds that a stopped study has to save its runs, where nothing else waits for the runs

Wanted = Mapping[str, Mapping[str, Any]]  # artefact -> name of a grid -> its specification


class RunsJob:
    """All runs of the artefacts as one job. Artefacts that cannot be made of the runs fail, and are never started.

    wanted  specifications of grids by artefact
    jobs    runs at a time; None: one per device or core
    fail    called with the artefacts that the runs leave without data
    """

    managed = False
    name = RUNS
    requires = frozenset({RUNS})

    def __init__(
        self,
        wanted: Wanted,
        out: Path,
        jobs: int | None,
        folder: Path,
        report: Callable[[Event], None],
        fail: Callable[[Mapping[str, str]], None],
    ) -> None:
        self._wanted, self._report, self._fail = wanted, report, fail
        self._ended = False
        self.reports = Reports(RUNS, folder / f"{RUNS}.events")
        self._settings, self._log = folder / f"{RUNS}.settings", folder / f"{RUNS}.log"
        settings = {
            "study": paths.STUDY, "wanted": wanted, "out": str(out), "jobs": jobs, "events": str(self.reports.path),
        }  # fmt: skip
        self._settings.write_text(json.dumps(settings), encoding="utf-8")

    def start(self, slot: int) -> Child:  # noqa: ARG002
        """Start the process."""
        return start(self._settings, self._log)

    def expected_seconds(self) -> float:
        """Return infinity: the runs start first."""
        return float("inf")

    def made(self) -> Collection[str]:
        """Return the runs once the process has ended, whichever of the runs are finished."""
        return {RUNS} if self._ended else ()

    def forward(self) -> None:
        """Report the new progress and notices of the process."""
        for event in self.reports.new():
            if event.kind in ("progress", "notice"):
                self._report(event)

    def finish(self, status: int, seconds: float, prepared: frozenset[str]) -> None:  # noqa: ARG002
        """Report the end of the runs, and the artefacts that cannot be made of the runs."""
        self.forward()
        self._ended = True
        last = self.reports.last
        if last is not None and last.kind == "done":
            text, broken = f"{last.value['finished']} of {last.value['total']} runs are finished", last.value["broken"]
        else:
            text = f"the process of the runs ended with status {status}; the same command resumes"
            if last is not None and last.kind == "failed":
                text = str(last.value)
            broken = dict.fromkeys(self._wanted, text)
        self._report(Event("failed" if broken else "done", RUNS, text))
        self._fail(broken)


def requirements(wanted: Wanted, out: Path, folder: Path, stop: Callable[[], bool]) -> list[dict[str, str]]:
    """Return the resources that the unfinished runs need (`llm.study.resources`).

    They are determined in a process of its own. Empty if the process fails, in which case the runs fail for the same
    reason, or if a stop is requested.
    """
    reports = Reports(RUNS, folder / "requirements.events")
    settings = folder / "requirements.settings"
    values = {"study": paths.STUDY, "wanted": wanted, "out": str(out), "events": str(reports.path), "check": True}
    settings.write_text(json.dumps(values), encoding="utf-8")
    process = start(settings, folder / "requirements.log")
    while process.poll() is None:
        if stop():
            process.kill()
            return []
        time.sleep(0.05)
    done = [event for event in reports.new() if event.kind == "done"]
    return list(done[-1].value) if done else []


class _Study(subprocess.Popen[bytes]):
    """The process of the runs; `kill` lets the process end its own children first."""

    def kill(self) -> None:
        """End the process and the runs at once: by the study itself on SIGINT, by SIGKILL if that takes too long."""
        if self.poll() is None:
            self.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.wait(SAVING / 6)
            super().kill()


def start(settings: Path, log: Path) -> Child:
    """Start the process of the runs in a new session, which Ctrl-C on the terminal does not reach."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    command = [sys.executable, "-m", __name__, str(settings), str(os.getpid())]
    with log.open("ab") as file:
        return _Study(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, start_new_session=True
        )


def main(arguments: Sequence[str]) -> int:
    """Carry out the runs of a settings file, in this process; the events report progress and result."""
    settings = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    events, out = Path(settings["events"]), Path(settings["out"])
    paths.STUDY = settings["study"]
    threading.Thread(target=_stop_with_parent, args=(int(arguments[1]),), daemon=True).start()
    try:
        if settings.get("check"):
            write_event(events, "done", [asdict(row) for row in _requirements(settings["wanted"], out)])
        else:
            write_event(events, "done", _carry_out(events, settings["wanted"], out, settings["jobs"]))
    except KeyboardInterrupt:
        write_event(events, "failed", "the runs were interrupted; the same command resumes")
        return 1
    except Exception as error:  # whatever is wrong with a grid, a folder or an installation
        write_event(events, "failed", str(error).strip().partition("\n")[0] or repr(error))
        return 1
    return 0


def _grids(wanted: Wanted) -> tuple[dict[str, list[Grid]], dict[str, str]]:
    """Return the grids by artefact, and by artefact the reason why a specification is not valid."""
    grids: dict[str, list[Grid]] = {}
    broken: dict[str, str] = {}
    for name, specs in wanted.items():
        try:
            grids[name] = [grid_of(spec) for spec in specs.values()]
        except (ValueError, TypeError) as error:
            broken[name] = f"its grid is not valid: {error}"
    return grids, broken


def _requirements(wanted: Wanted, out: Path) -> Sequence[Any]:
    """Return the resources that the unfinished runs need: GPU, weights, data, disk."""
    from llm.study.resources import requirements

    every = [grid for grids in _grids(wanted)[0].values() for grid in grids]
    return requirements(every, runs_folder(out)) if every else ()


def _carry_out(events: Path, wanted: Wanted, out: Path, jobs: int | None) -> dict[str, Any]:
    """Run the study and report progress; return the number of runs, and by artefact why its runs are not finished."""
    study = importlib.import_module(paths.STUDY)
    grids, broken = _grids(wanted)
    every = [grid for own in grids.values() for grid in own]
    if not every:
        return {"total": 0, "finished": 0, "broken": broken}
    root = runs_folder(out)
    count, size = other_runs(root)
    if count:
        folders = f"{count} folder{'s' * (count > 1)} of runs by other training code"
        write_event(events, "notice", f"{folders} in {root.parent} ({storage(size)}) not used; can be removed")
    root.mkdir(parents=True, exist_ok=True)

    def report(progress: Any) -> None:
        with suppress(OSError):  # the folder of events is gone with the parent, and the runs are to save all the same
            values = {"total": progress.total, "finished": progress.finished, "failed": progress.failed}
            write_event(events, "progress", {**values, "left": progress.left})

    outcome = study.run_study(every, root, jobs=jobs or _at_a_time(every), report=report)
    summarize(root)
    names = {name: {run.name for grid in own for run in grid.runs()} for name, own in grids.items()}
    broken |= {name: why for name, runs in names.items() if (why := _missing(runs, outcome))}
    total = set().union(*names.values())
    return {"total": len(total), "finished": len(total & set(outcome.finished)), "broken": broken}


def _at_a_time(grids: Sequence[Grid]) -> int:
    """Return the default number of runs at a time: one per device if the runs need devices, else one per core.

    One more than cores is slower even of small models: 6 % fewer steps in the same time on two cores.
    """
    if any(grid.base.model != "embedded" and grid.base.device != "cpu" for grid in grids):
        from llm.study.resources import gpus

        return gpus() or cores()
    return cores()


def _missing(runs: set[str], outcome: Outcome) -> str:
    """Return in one line why some of these runs are not finished; "" if all are."""
    failed = [failure for failure in outcome.failed if failure.name in runs]
    if failed:
        first = failed[0]
        more = f"; {len(failed) - 1} more of its runs failed" if len(failed) > 1 else ""
        return f"run {first.name} failed: {first.last[-1] if first.last else 'no output'} (log: {first.log}){more}"
    left = len(runs - set(outcome.finished))
    return f"{left} of its {len(runs)} runs are not finished; the same command resumes" if left else ""


def summarize(root: Path) -> None:
    """Write the summary of all finished runs in a folder: their number, seconds of training, devices, machine."""
    records = [s for path in sorted(root.glob("*/summary.json")) if (s := read_record(path)) is not None]
    content = {
        "finished": len(records),
        "seconds": round(sum(float(s.get("seconds") or 0.0) for s in records), 1),
        "cpu_seconds": round(sum(float(s.get("cpu_seconds") or 0.0) for s in records), 1),
        "devices": sorted({str(s["device"]) for s in records if "device" in s}),
        "machine": machine(),
    }
    write_json(root / SUMMARY, content)


def machine() -> str:
    """Return the machine in a few words: processor, cores, system."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    count = cores()
    return f"{model}, {count} core{'s' * (count > 1)}, {platform.system()}"


def _stop_with_parent(parent: int) -> None:
    """Have the study save its runs and stop when the parent process has ended, in whatever way."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
