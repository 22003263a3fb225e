"""States of a study's runs, and the commands that carry the runs out one by one."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llm.common.files import is_locked, read_json, write_text
from llm.study.measures import lock_of, missing
from llm.study.slurm.queue import WAITING, Queue
from llm.study.sweep import Grids, StudyRun, union

_TAIL = 32_768  # bytes; a line of metrics.jsonl has less than 2000
_LAST_LINES = 5


StateName = Literal["missing", "queued", "prepares", "running", "measured", "stopped", "failed", "finished"]


@dataclass(frozen=True)
class State:
    """State of a run.

    missing: not begun; queued: waits in Slurm's queue; prepares: shared computations are under way; running; measured:
    measures are under way; stopped: the same command resumes; failed; finished.

    step, of  optimiser steps done and to be done
    note      the last words of a failed run; the job of a queued run, or of an unfinished run whose job has ended
    """

    run: StudyRun
    state: StateName
    step: int
    of: int
    note: str = ""


def status(grids: Grids, root: str | Path) -> tuple[State, ...]:
    """Return the state of every run, whichever process carries the run out, on this machine or on a cluster's nodes.

    Runs that were submitted to Slurm are looked up with squeue; where there is none, the files of the study decide.
    """
    queue = Queue.read(Path(root))
    return tuple(_state(run, Path(root), queue) for run in union(grids))


def failures(root: str | Path, names: Iterable[str]) -> tuple[str, ...]:
    """Return one line, with exit status, last words and log file, for each of these names that failed.

    names  of runs or of a cluster's preparations
    """
    lines = []
    for name in names:
        file = failure_file(name, Path(root))
        if file.is_file():
            saved = read_json(file)
            words = saved["last"][-1] if saved["last"] else "no words"
            lines.append(f"{name} failed (exit status {saved['status']}): {words}; log: {log_file(name, Path(root))}")
    return tuple(lines)


def commands(grids: Grids, root: str | Path) -> tuple[str, ...]:
    """Return a shell command for every unfinished run; the configurations that the commands name are written.

    The commands may run in any order and at the same time, on machines that share the folder. Shared computations are
    made by the first run that needs them.
    """
    root = Path(root)
    here = shlex.quote(str(Path.cwd()))
    runs = [run for run in union(grids) if not is_finished(run, root)]
    return tuple(f"cd {here} && {shlex.join(command(run, root))}" for run in runs)


def command(run: StudyRun, root: Path) -> list[str]:
    """Return the command line that carries out a run with its measures; its configuration is written."""
    said = ["--config", str(write_config(run, root))]
    if not run.measures:
        return [sys.executable, "-m", "llm", "train", *said]
    return [sys.executable, "-m", "llm", "study", "one", *said, "--measures", *run.measures]


def write_config(run: StudyRun, root: Path) -> Path:
    """Write the run's configuration as a file of `train --config`, unless it is unchanged; return its path."""
    import yaml

    path = root / "configs" / f"{run.name}.yaml"
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # the compiled one takes a third of the time
    text = yaml.dump(run.placed(root).as_dict(), Dumper=dumper, sort_keys=False, allow_unicode=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return path


def is_trained(run: StudyRun, root: Path) -> bool:
    """Return whether the run has an adapter with its summary."""
    return (run.folder(root) / "summary.json").is_file()


def is_finished(run: StudyRun, root: Path) -> bool:
    """Return whether the run is trained, and measured by all of its measures."""
    return is_trained(run, root) and not missing(run.folder(root), run.measures)


def has_base(run: StudyRun, root: Path) -> bool:
    """Return whether the run has loaded its base model, which the embedded world makes first."""
    return (run.folder(root) / "run.json").is_file()


def has_begun(run: StudyRun, root: Path) -> bool:
    """Return whether the run's shared computations are in the cache."""
    return (run.folder(root) / "metrics.jsonl").is_file()


def failure_file(name: str, root: Path) -> Path:
    """Return the file of a failed run's exit status and last lines, removed when the run starts again."""
    return root / "logs" / f"{name}.failed.json"


def log_file(name: str, root: Path) -> Path:
    """Return the file that both output streams of a run are appended to."""
    return root / "logs" / f"{name}.log"


def last_lines(log: Path) -> tuple[str, ...]:
    """Return the last lines of a log that are not blank."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-_LAST_LINES:]


def last_step(folder: Path) -> dict[str, Any]:
    """Return the last step's line of metrics.jsonl, read from its end; step 0 and 0.0 seconds before the first."""
    path = folder / "metrics.jsonl"
    if path.is_file():
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read().splitlines()
        for line in reversed(lines):
            try:
                values = json.loads(line)
            except ValueError:  # half a line, at either end
                continue
            if isinstance(values, dict) and "objective" in values:
                return values
    return {"step": 0, "seconds": 0.0}


def _state(run: StudyRun, root: Path, queue: Queue) -> State:
    folder, of = run.folder(root), run.config.steps
    if is_finished(run, root):
        return State(run, "finished", of, of)
    step = int(last_step(folder)["step"])
    if is_locked(folder / ".lock"):
        return State(run, "running" if has_begun(run, root) else "prepares", step, of)
    if is_locked(lock_of(folder)):
        return State(run, "measured", step, of)
    job, state, begun = queue.jobs.get(run.name, ""), queue.state(run.name), (folder / "run.json").is_file()
    if state in WAITING or (job and queue.states is None and not begun and not failure_file(run.name, root).is_file()):
        return State(run, "queued", step, of, f"job {job}")
    if state:  # another node, whose locks are not seen here
        begins: StateName = "running" if has_begun(run, root) else "prepares"
        active: StateName = "measured" if is_trained(run, root) else begins
        return State(run, active, step, of)
    failed = failure_file(run.name, root)
    if failed.is_file():
        lines = read_json(failed)["last"]
        return State(run, "failed", step, of, lines[-1] if lines else "")
    ended = f"job {job} has ended" if job and queue.states is not None else ""
    return State(run, "stopped" if begun else "missing", step, of, ended)
