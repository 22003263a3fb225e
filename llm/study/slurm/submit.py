"""Submit the missing runs of a study to Slurm as job arrays, their preparations as jobs that the runs depend on.

Slurm is the only scheduler: which jobs run when and where, and which wait for which, is decided by its queue.
"""

from __future__ import annotations

import importlib.util
import itertools
import shlex
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.common.environment import ROOT
from llm.common.files import BusyError, ensure_writable, lock
from llm.study.dependencies import Rates, prerequisites
from llm.study.scheduler import shown
from llm.study.slurm.job import Job
from llm.study.slurm.queue import QueueError, add_jobs, job_states, read_jobs
from llm.study.slurm.resources import TIMEOUTS, options, requested
from llm.study.status import command, failure_file, failures, is_finished, is_trained, last_step, write_config
from llm.study.sweep import Grids, StudyRun, union
from llm.training.prepare import PARTS

MOST = 1000  # jobs of an array: Slurm's default MaxArraySize is 1001


@dataclass(frozen=True)
class Submission:
    """The result of `submit_study`: names of the runs by their state, and of the preparations.

    finished   have nothing left to do
    queued     had been submitted before, and wait or run
    submitted  job ids of the runs and preparations that were submitted now, by name
    failed     one line for each run or preparation that had failed before, and is submitted again
    """

    finished: tuple[str, ...]
    queued: tuple[str, ...]
    submitted: Mapping[str, str]
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A job to be submitted.

    run    the run, or a run that needs the preparation
    after  names of the tasks that must have succeeded before this one starts
    """

    job: Job
    run: StudyRun
    after: tuple[str, ...]


def submit_study(grids: Grids, root: str | Path, *, slurm: Sequence[str] = (), launcher: str = "") -> Submission:
    """Submit the runs of one or several grids that are neither finished nor queued; return without waiting for them.

    slurm     KEY=VALUE options of sbatch, see `llm.study.slurm.resources`
    launcher  command before `-m llm train`, such as "accelerate launch --multi_gpu --num_processes 2"; "": one process

    Each computation that runs share (the embedded world's base, the reference, the optima) is a job of its own, unless
    a run's folder shows that it exists; the runs that need it depend on the job (afterok). A failed preparation cancels
    the runs that depend on it. One that was removed from the cache since is made again by the first run that needs it.
    Raises ValueError, in one line, if submitit or Slurm's commands are absent, if Slurm refuses a job, or if another
    study is running in `root`.
    """
    if isinstance(slurm, str) or not all(isinstance(item, str) for item in slurm):
        raise TypeError(f"slurm: must be a list of KEY=VALUE texts, got {slurm!r}")
    if not isinstance(launcher, str):
        raise TypeError(f"launcher: must be a text, got {launcher!r}")
    given = options(slurm)
    _check_installed()
    root = Path(root)
    runs = union(grids)
    ensure_writable("root", root)
    ensure_writable("root", root / "logs")
    try:
        with lock(root / ".lock"):
            jobs = read_jobs(root)
            try:
                alive = job_states(jobs)
            except QueueError as error:
                raise ValueError(f"executor: {error}, so jobs might be submitted twice; try again later") from error
            queued = {name: job for name, job in jobs.items() if job in alive}
            finished = tuple(run.name for run in runs if is_finished(run, root))
            settled = {*finished, *queued}
            waiting = [run for run in runs if run.name not in settled]
            made = {name for run in runs for name in shown(run, root, prerequisites(run.config))}
            tasks = plan(waiting, root, made, queued, launcher)
            before = failures(root, [task.job.name for task in tasks])
            rates = Rates()
            for run in runs:
                rates.update(run, last_step(run.folder(root)))
            submitted = _submit(tasks, root, queued, rates, given)
    except BusyError as error:
        raise ValueError(
            f"root: another study is running in {root}; wait for it, or give another folder with --root"
        ) from error
    ended = set(finished)
    still = tuple(run.name for run in runs if run.name in queued and run.name not in ended)
    return Submission(finished, still, submitted, before)


def plan(
    runs: Sequence[StudyRun], root: Path, made: Collection[str], queued: Mapping[str, str], launcher: str = ""
) -> list[Task]:
    """Return the tasks of runs and of the preparations that they lack, each after the tasks that it depends on.

    made    names of the computations that exist, as `llm.study.dependencies.prerequisites` has them
    queued  job ids of tasks that wait or run, by name: they are depended on, and not planned again
    """
    preparations: dict[str, list[Task]] = {part: [] for part in PARTS}
    planned: set[str] = set(queued)
    lacking = {run.name: () if is_trained(run, root) else _lacking(run, root, made) for run in runs}
    # A rule that reads the optima needs all of them, with that of another loss on pairs.
    for run in sorted(runs, key=lambda run: not run.config.rule().needs_optima):
        for i, name in enumerate(lacking[run.name]):
            if name not in planned:
                planned.add(name)
                part = name.partition("-")[0]
                preparations[part].append(Task(_preparation(name, part, run, root), run, lacking[run.name][:i]))
    trainings = [Task(_training(run, root, launcher), run, lacking[run.name]) for run in runs]
    return [*itertools.chain.from_iterable(preparations.values()), *trainings]


def _lacking(run: StudyRun, root: Path, made: Collection[str]) -> tuple[str, ...]:
    """Return the tasks' names of a run's preparations that do not exist yet, in the order of their computation."""
    names = sorted(prerequisites(run.config).all.difference(made), key=lambda name: PARTS.index(_part(name)))
    names = [name.replace(" ", "-") for name in names]
    return tuple(name for name in names if not _done_file(name, root).is_file())


def _part(name: str) -> Any:
    return name.partition(" ")[0]


def _done_file(name: str, root: Path) -> Path:
    """Return the file that shows that a preparation has been made by a job."""
    return root / "slurm" / "made" / name


def _preparation(name: str, part: str, run: StudyRun, root: Path) -> Job:
    argv = [sys.executable, "-m", "llm", "study", "prepare", "--config", str(write_config(run, root)), "--part", part]
    return Job(name, str(root.resolve()), (tuple(argv),), str(_done_file(name, root).resolve()))


def _training(run: StudyRun, root: Path, launcher: str) -> Job:
    commands = [command(run, root)]
    if launcher and not is_trained(run, root):
        train = [*shlex.split(launcher), "-m", "llm", "train", "--config", str(write_config(run, root))]
        commands = [train, *(commands if run.measures else [])]
    return Job(run.name, str(root.resolve()), tuple(map(tuple, commands)))


def _submit(
    tasks: Sequence[Task], root: Path, queued: Mapping[str, str], rates: Rates, given: Mapping[str, str]
) -> dict[str, str]:
    """Submit tasks, those with the same dependencies as one array, and return their job ids by name."""
    import submitit
    from submitit.core.utils import FailedSubmissionError, UncompletedJobError

    ids: dict[str, str] = {}
    known = dict(queued)
    timeouts = int(given.get("max-num-timeout", TIMEOUTS))
    # Before the first job: an error of the options must not leave half of a study submitted.
    arrays = [(array, requested([task.run for task in array], rates, given)) for array in _arrays(tasks)]
    for array, parameters in arrays:
        executor = submitit.AutoExecutor(root.resolve() / "slurm", cluster="slurm", slurm_max_num_timeout=timeouts)
        after = [known[name] for name in array[0].after]
        if after:
            parameters["slurm_dependency"] = "afterok:" + ":".join(after)
        parameters.setdefault("slurm_job_name", root.resolve().name)
        parameters["slurm_setup"] = [_python_path(), *parameters.get("slurm_setup", [])]
        for task in array:
            failure_file(task.job.name, root).unlink(missing_ok=True)
        try:
            executor.update_parameters(**parameters)
            with executor.batch():
                jobs = [executor.submit(task.job) for task in array]
        except (FailedSubmissionError, UncompletedJobError) as error:
            raise ValueError(f"slurm: sbatch refuses the jobs ({' '.join(str(error).split())})") from error
        now = {task.job.name: str(job.job_id) for task, job in zip(array, jobs, strict=True)}
        add_jobs(root, now)
        ids |= now
        known |= now
    return ids


def _arrays(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """Return the tasks in groups that can be one array: of equal dependencies, which come in earlier groups."""
    groups: dict[tuple[str, tuple[str, ...]], list[Task]] = {}
    for task in tasks:
        kind = task.job.name.partition("-")[0] if task.job.done else "run"
        groups.setdefault((kind, task.after), []).append(task)
    for group in groups.values():
        for start in range(0, len(group), MOST):
            yield group[start : start + MOST]


def _python_path() -> str:
    """Return the shell command by which a job imports this package, wherever it is."""
    return f"export PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}"


def _check_installed() -> None:
    """Raise ValueError, with the remedy, unless submitit and Slurm's commands are installed."""
    if importlib.util.find_spec("submitit") is None:
        raise ValueError(
            "executor: slurm needs submitit, which is not installed; install it: pip install -e '.[slurm]'"
        )
    for name in ("sbatch", "srun", "squeue", "scontrol"):
        if shutil.which(name) is None:
            raise ValueError(
                f"executor: slurm needs {name}, which is not on PATH; use a cluster's login node, or --executor local"
            )
