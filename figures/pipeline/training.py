"""The runs that artefacts need: what they ask for, and the process in which `llm.study` carries it out.

An artefact asks by `parameters(request)["grids"]`, a dict of specifications as `grid_of` reads them. All that is asked
for is carried out as one study in OUT/runs/DIGEST/, DIGEST being that of the training code: changed code begins anew,
and what other code left is not touched. Nothing here trains, and nothing imports torch.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures.pipeline.files import read_json, to_json, write
from llm.common.processes import cores

if TYPE_CHECKING:
    from llm.study import Grid, Outcome

FOLDER = "runs"
SUMMARY = "runs.json"  # what the page says of the runs in a folder
STUDY = "llm.study"  # asked by name, so that it is imported only where runs are needed
AXES = ("methods", "lams", "orders", "ks", "seeds", "measures")
PATIENCE = 60.0  # seconds for the runs to save, where nobody waits for them any longer
APART = 5.0  # seconds between two signals, so that each is noticed, and does not disturb what the one before began

Wanted = Mapping[str, Mapping[str, Any]]  # artefact -> name of a grid -> its specification


@dataclass(frozen=True)
class RunsProgress:
    """How far the runs are; `left`: about how many seconds they still take, None as long as nothing tells."""

    total: int
    finished: int
    failed: int
    left: float | None


@dataclass(frozen=True)
class RunsEnd:
    """The end of the runs: how many there are and are finished, and why an artefact cannot be made of them."""

    total: int
    finished: int
    broken: Mapping[str, str]


def grid_of(spec: Mapping[str, Any]) -> Grid:
    """The grid that a specification stands for.

    spec  preset ("": none), options (of TrainConfig), and the axes of llm.study.Grid: methods, lams, orders, ks, seeds,
          measures; what is left out is Grid's default

    Raises ValueError or TypeError, as Grid does, and for a key that is none of these.
    """
    study = importlib.import_module(STUDY)
    from llm.config import TrainConfig

    known = ("preset", "options", *AXES)
    if unknown := [key for key in spec if key not in known]:
        raise ValueError(f"grids: {unknown[0]!r} is no part of a grid; there are {', '.join(known)}")
    axes = {axis: tuple(spec[axis]) for axis in AXES if spec.get(axis)}
    methods = axes.get("methods", study.METHODS)
    # The base must be a valid run itself, and Sequential is the one method that all options can stand with.
    method = "sequential" if "sequential" in methods else methods[0]
    options = {"method": method, **spec.get("options", {})}
    return study.Grid(TrainConfig.preset(spec.get("preset", ""), **options), **axes)  # type: ignore[no-any-return]


@cache
def digest() -> str:
    """The digest of the training code, which is part of the key of everything computed from runs."""
    return str(importlib.import_module(STUDY).training_digest())


def folder(out: Path) -> Path:
    """Where the runs of today's training code lie."""
    return out / FOLDER / digest()[:12]


def stale(root: Path) -> tuple[int, int]:
    """How many folders of other training code lie beside `root`, and how many bytes they hold."""
    others = [p for p in root.parent.iterdir() if p.is_dir() and p != root] if root.parent.is_dir() else []
    size = 0
    for place in (file for other in others for file in other.rglob("*")):
        with suppress(OSError):
            size += place.stat().st_size if place.is_file() else 0
    return len(others), size


class Training:
    """The process that carries out the runs; Ctrl-C on the terminal does not reach it but through `stop`."""

    def __init__(self, wanted: Wanted, out: Path, jobs: int | None, *, check: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, STUDY, wanted, out, jobs, check)
        self._process = context.Process(target=_work, args=arguments, name="paper_repro runs")
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()  # or its end would never be noticed
        self._asked = False
        self._again = 0.0
        self.ended = False

    def go(self) -> None:
        """Begin: what it says of its needs has been agreed to."""
        with suppress(OSError):
            self._pipe.send("go")

    def reports(self) -> Iterator[Any]:
        """What it has said since the last look: a Needs, texts (notices), RunsProgress, at last a RunsEnd or, if it
        failed, an exception.
        """
        while not self.ended and self._pipe.poll():
            try:
                found = self._pipe.recv()
            except (EOFError, OSError):
                self._process.join(PATIENCE)
                code = self._process.exitcode
                found = RuntimeError(f"the process of the runs ended with status {code}; the same command goes on")
            self.ended = isinstance(found, RunsEnd | Exception)
            yield found

    def stop(self, times: int = 1) -> None:
        """Let the runs save and end; from the second time on, end them at once. To be called again and again."""
        now = time.monotonic()
        again = times > 1 and now >= self._again
        if self._process.pid is not None and self._process.is_alive() and (again or not self._asked):
            os.kill(self._process.pid, signal.SIGINT if self._asked else signal.SIGTERM)
            self._again = now + (APART if self._asked else APART / 10)
            self._asked = True

    def close(self) -> None:
        """End it, whatever it does, and wait for it."""
        for times in (1, 2):
            if not self.ended:
                self.stop(times)
            self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()


def _work(pipe: Connection, study: str, wanted: Wanted, out: Path, jobs: int | None, check: bool) -> None:
    """What the process does. In a session of its own, so that it alone decides how its runs end."""
    global STUDY
    STUDY = study  # as it is in the process that started this one
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        end = _carry_out(pipe, wanted, out, jobs, check)
    except KeyboardInterrupt:
        end = InterruptedError("the runs were interrupted; the same command goes on")
    except Exception as error:  # whatever is wrong with a grid, a folder or an installation
        first = str(error).strip().partition("\n")[0]
        end = type(error)(first) if type(error) in (ValueError, TypeError) else RuntimeError(first or repr(error))
    with suppress(OSError):
        pipe.send(end)


def _carry_out(pipe: Connection, wanted: Wanted, out: Path, jobs: int | None, check: bool) -> Any:
    """Run the study and say how far it is; the RunsEnd, or the exception that says why there was none."""
    study = importlib.import_module(STUDY)
    grids: dict[str, list[Grid]] = {}
    broken: dict[str, str] = {}
    for name, specs in wanted.items():
        try:
            grids[name] = [grid_of(spec) for spec in specs.values()]
        except (ValueError, TypeError) as error:
            broken[name] = f"its grid is no grid: {error}"
    every = [grid for found in grids.values() for grid in found]
    root = folder(out)
    if not every:
        return RunsEnd(0, 0, broken)
    if check:
        from llm.study.resources import needs

        pipe.send(needs(every, root))
        if pipe.recv() != "go":
            return InterruptedError("the runs were not begun")
    count, size = stale(root)
    if count:
        what = f"{count} folder{'s' * (count > 1)} of runs by other training code"
        pipe.send(f"{what} in {root.parent} ({_megabytes(size)}) not used; can be removed")
    root.mkdir(parents=True, exist_ok=True)

    def report(progress: Any) -> None:
        with suppress(OSError):  # nobody listens any more, and the runs are to save all the same
            pipe.send(RunsProgress(progress.total, progress.finished, progress.failed, progress.left))

    outcome = study.run_study(every, root, jobs=jobs or _at_a_time(every, check), report=report)
    summarise(root)
    names = {name: {run.name for grid in found for run in grid.runs()} for name, found in grids.items()}
    for name, runs in names.items():
        if why := _missing(runs, outcome):
            broken[name] = why
    total = set().union(*names.values())
    return RunsEnd(len(total), len(total & set(outcome.finished)), broken)


def _at_a_time(grids: Sequence[Grid], check: bool) -> int:
    """How many runs at a time, if nobody says: one a device, if they need one, else one a core."""
    from llm.study.resources import gpus, wants_gpu

    if check and any(wants_gpu(grid.base) for grid in grids):
        return max(1, gpus())
    return cores()


def _missing(runs: set[str], outcome: Outcome) -> str:
    """Why these runs are not all there, in one line; "" if they are."""
    failed = [failure for failure in outcome.failed if failure.name in runs]
    if failed:
        first = failed[0]
        more = f"; {len(failed) - 1} more of its runs failed" if len(failed) > 1 else ""
        return f"run {first.name} failed: {first.last[-1] if first.last else 'no word'} (log: {first.log}){more}"
    left = len(runs - set(outcome.finished))
    return f"{left} of its {len(runs)} runs are not finished; the same command goes on" if left else ""


def summarise(root: Path) -> None:
    """Write what the page says of all finished runs in a folder: how many, seconds of training, on what."""
    found = [s for path in sorted(root.glob("*/summary.json")) if (s := read_json(path)) is not None]
    content = {
        "finished": len(found),
        "seconds": round(sum(float(s.get("seconds") or 0.0) for s in found), 1),
        "cpu_seconds": round(sum(float(s.get("cpu_seconds") or 0.0) for s in found), 1),
        "devices": sorted({str(s["device"]) for s in found if "device" in s}),
        "machine": machine(),
    }
    write(root / SUMMARY, to_json(content))


def machine() -> str:
    """The machine in a few words: processor, cores, system."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    count = cores()
    return f"{model}, {count} core{'s' * (count > 1)}, {platform.system()}"


def summaries(out: Path) -> Sequence[dict[str, Any]]:
    """What `summarise` left in OUT/runs, with the folder's name; in the order of the names."""
    found = [(path.parent.name, read_json(path)) for path in sorted((out / FOLDER).glob(f"*/{SUMMARY}"))]
    return [{"folder": name, **content} for name, content in found if content is not None]


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _stop_with_parent() -> None:
    """When the door is gone, however that was ended: let the runs save, then end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
