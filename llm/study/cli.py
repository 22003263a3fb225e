"""The command line of studies: `python -m llm study run | status | commands | table | one`."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llm.common.arguments import parse, take_option
from llm.common.option_file import read
from llm.common.processes import INTERRUPTED
from llm.common.progress import Display, calm, duration
from llm.config import TrainConfig, configure, with_objectives
from llm.rule_options import Method
from llm.study.eta import Progress
from llm.study.measures import MEASURES, MeasureError, merged, missing, take
from llm.study.scheduler import Outcome, run_study
from llm.study.slurm.queue import read_jobs
from llm.study.status import commands, failures, status
from llm.study.sweep import AXES, METHODS, Grid
from llm.study.table import fronts, paths, table, write_csv
from llm.training.combinations import check_named_model, check_named_sets

USAGE = """usage: python -m llm study COMMAND [OPTIONS]

  run        carry out the runs that are missing, --jobs at a time; or submit them, --executor slurm
  status     every run's state
  commands   a shell command for every run that is not finished, for any scheduler
  table      results as CSV
  one        one run from the file of its configuration, with its measures
  prepare    the computations that such a run shares with others, without the run

The grid is --methods x --lams (of objectives: --weights) x --orders x --ks x --seeds; all other options are those of
`python -m llm train`.
Both may stand in a TOML or YAML file: --config FILE. What comes later counts: preset, file, command line.
"""
ROOT = "runs/study"


@dataclass(frozen=True)
class _Options:
    root: str | None = None
    """Folder of the study (runs/study)."""
    preset: str | None = None
    """A named setting (embedded, if no model is given)."""
    config: str | None = None
    """Grid and options from a TOML or YAML file."""
    methods: tuple[Method, ...] = ()
    """Empty: all."""
    lams: tuple[float, ...] = ()
    """Each λ; empty: the setting's."""
    weights: tuple[str, ...] = ()
    """With objectives, in place of λ: W1,W2,... for each run, in the order of the objectives; empty: the setting's."""
    orders: tuple[str, ...] = ()
    """For Sequential, and for all with the reference `paper`: dpo-sft, sft-dpo, or objectives' names joined by -;
    empty: the setting's."""
    ks: tuple[int, ...] = ()
    """For MAXRIGHT; empty: the setting's."""
    seeds: tuple[int, ...] = ()
    """Empty: the setting's."""
    measures: tuple[str, ...] = ()
    """Computed on every trained run: answers, questions, refusals, samples, cosine, curvature, skill;
    NAME:OPTION=VALUE,... with options; or NAME=MODULE:FUNCTION."""


@dataclass(frozen=True)
class _RunOptions(_Options):
    executor: Literal["local", "slurm"] | None = None
    """Carry the runs out here (local, the default), or submit them to a Slurm cluster (needs the extra `slurm`)."""
    slurm: tuple[str, ...] = ()
    """Slurm: options of sbatch as KEY=VALUE, such as partition=long account=me time=8:00:00 gpus-per-node=1."""
    launcher: str | None = None
    """Slurm: the command before `-m llm train`, such as "accelerate launch --multi_gpu --num_processes 2"."""
    jobs: int | None = None
    """Local: runs at a time (1). They share the cores, and the devices that CUDA_VISIBLE_DEVICES names."""
    isolate: bool | None = None
    """Local: import everything anew for every run; None: where there is a GPU."""


@dataclass(frozen=True)
class _TableOptions(_Options):
    what: Literal["runs", "paths", "fronts"] = "runs"
    """A row a finished run, a row an evaluation, or a row for all λ of a method."""
    csv: str = ""
    """A file; empty: the output stream."""


def study(argv: Sequence[str]) -> int:
    """Run a command and return the exit status: 1 if a run failed, 130 if the study was interrupted.

    Wrong input raises ValueError, TypeError or FileNotFoundError with a message of one line.
    """
    carry_out: dict[str, Callable[[list[str]], int]] = {
        "run": _run, "status": _status, "commands": _commands, "table": _table, "one": _one, "prepare": _prepare,
    }  # fmt: skip
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if argv else 2
    if argv[0] not in carry_out:
        raise ValueError(f"study: {argv[0]} is no command; there are {', '.join(carry_out)}")
    return carry_out[argv[0]](list(argv[1:]))


def _parse(kind: Any, argv: list[str], command: str, description: str) -> tuple[Grid, Path, dict[str, Any]]:
    """Return the grid, its folder, and the other options, from the file and the command line."""
    import tyro

    text = f"{description}\n\nAll options of `python -m llm train` may stand here as well, for every run."
    own, rest = tyro.cli(kind, args=argv, prog=f"python -m llm study {command}", description=text,
                         return_unknown_args=True)  # fmt: skip
    values, rest = with_objectives(read(own.config) if own.config else {}, rest)
    values = {k.replace("-", "_"): v for k, v in values.items()}
    names = {f.name for f in dataclasses.fields(_RunOptions)} - {"config"}
    said = {name: values.pop(name) for name in names & set(values)}
    said |= {k: v for k, v in dataclasses.asdict(own).items() if v not in (None, ())}
    given = {a.partition("=")[0].removeprefix("--").replace("-", "_") for a in rest if a.startswith("--")}
    for axis, name in AXES.items():
        if name in given | set(values):
            raise ValueError(f"{name}: a study takes several; use {axis}, as in --{axis} A B")
    implied = "preset" not in said and "model" not in given | set(values)
    said |= {"preset": "embedded"} if implied else {}  # as for a single run
    axes = {axis: said[axis] for axis in (*AXES, "measures", "weights") if axis in said}
    default = configure(str(said.get("preset", "")), values, str(own.config))
    check_named_sets(default, rest)
    if "sequential" in axes.get("methods", METHODS):
        default["method"] = "sequential"  # the one method that all options can stand with
    base = parse(TrainConfig, rest, f"study {command}", text, default=default)
    if implied:
        check_named_model(base)
    root = said.get("root", ROOT)
    if not isinstance(root, str):
        raise TypeError(f"root: must be a text, got {root!r}")
    return Grid(base, **axes), Path(root), said


def _run(argv: list[str]) -> int:
    grid, root, options = _parse(_RunOptions, argv, "run", "Carry out the runs of a grid that are missing.")
    _check_executor(options)
    if options.get("executor") == "slurm":
        from llm.study.slurm.report import submitted

        return submitted(grid, root, options.get("slurm", ()), options.get("launcher", ""))
    ended = (0, 0)

    def show(progress: Progress) -> None:
        nonlocal ended
        text, now = in_words(progress), (progress.finished, progress.failed)
        display.show(text, text, now=now != ended)
        ended = now

    with Display() as display:
        outcome = run_study(grid, root, jobs=options.get("jobs", 1), isolate=options.get("isolate"), report=show)
    return _tell(outcome, root)


def _check_executor(options: Mapping[str, Any]) -> None:
    """Raise ValueError for options that the executor does not use."""
    unused = {"local": ("slurm", "launcher"), "slurm": ("jobs", "isolate")}
    executor = options.get("executor", "local")
    if executor not in unused:
        raise ValueError(f"executor: must be one of {', '.join(unused)}, got {executor}")
    other = next(name for name in unused if name != executor)
    for name in unused[executor]:
        if options.get(name):
            raise ValueError(f"{name}: has no meaning with --executor {executor}; leave it out, or use {other}")


def _prepare(argv: list[str]) -> int:
    """Make the shared computations of a run."""
    from llm.training.prepare import prepare

    file, argv = take_option(argv, "--config")
    part, argv = take_option(argv, "--part")
    if argv[:1] in (["-h"], ["--help"]):
        print("usage: python -m llm study prepare --config FILE [--part base | reference | optima]")
        return 0
    if not file:
        raise ValueError("config: is missing; use --config FILE with a file that `study commands` wrote")
    if argv:
        raise ValueError(f"study prepare: {argv[0]} is no option; there are --config FILE and --part PART")
    calm()
    prepare(TrainConfig(**configure("", read(file), file)), part or "optima")
    print(f"{part or 'optima'}: finished")
    return 0


def _one(argv: list[str]) -> int:
    """Train a run unless it is finished, then compute its missing measures."""
    file, argv = take_option(argv, "--config")
    if argv[:1] in (["-h"], ["--help"]):
        print("usage: python -m llm study one --config FILE [--measures NAME ...]")
        print(f"measures: {', '.join(MEASURES)}, or NAME=MODULE:FUNCTION")
        return 0
    if not file:
        raise ValueError("config: is missing; use --config FILE with a file that `study commands` wrote")
    if argv and argv[0] != "--measures":
        raise ValueError(f"study one: {argv[0]} is no option; there are --config FILE and --measures NAME ...")
    measures = merged(argv[1:])
    config = TrainConfig(**configure("", read(file), file))
    if not (config.folder / "summary.json").is_file():
        from llm.training.run import train

        print(f"{train(config).folder}: trained")
    try:
        if missing(config.folder, measures):
            calm()
            take(config.folder, measures)
    except MeasureError as error:
        traceback.print_exception(error.__cause__)
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{config.folder}: finished")
    return 0


def _tell(outcome: Outcome, root: Path) -> int:
    """Report the end of a study and return the exit status."""
    for failure in outcome.failed:
        print(f"\n{failure.name} failed (exit status {failure.status}); {failure.log} ends with", file=sys.stderr)
        for line in failure.last:
            print(f"    {line}", file=sys.stderr)
    if outcome.interrupted:
        print("error: interrupted; the finished steps are saved, the same command resumes", file=sys.stderr)
        return INTERRUPTED
    print(f"{root}: {len(outcome.finished)} runs are finished")
    if outcome.failed:
        print(f"error: {len(outcome.failed)} runs failed; the same command tries them again", file=sys.stderr)
    return 1 if outcome.failed else 0


def _status(argv: list[str]) -> int:
    from rich.console import Console
    from rich.table import Table

    grid, root, _ = _parse(_Options, argv, "status", "Every run's state.")
    states = status(grid, root)
    shown = Table(box=None, pad_edge=False)
    for name in ("run", "state", "step", "of"):
        shown.add_column(name, no_wrap=True, justify="right" if name in ("step", "of") else "left")
    if any(s.note for s in states):
        shown.add_column("note", no_wrap=True)
    for s in states:
        shown.add_row(s.run.name, s.state, str(s.step), str(s.of), *([s.note] if s.note else []))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(shown)
    counts = {name: sum(s.state == name for s in states) for name in dict.fromkeys(s.state for s in states)}
    console.print(f"{root}: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
    preparations = [name for name in read_jobs(root) if name.partition("-")[0] not in METHODS]
    for line in failures(root, [*preparations, *(s.run.name for s in states if s.state == "failed")]):
        console.print(line, soft_wrap=True)
    return 0


def _commands(argv: list[str]) -> int:
    grid, root, _ = _parse(_Options, argv, "commands", "A shell command for every run that is not finished.")
    for line in commands(grid, root):
        print(line)
    return 0


def _table(argv: list[str]) -> int:
    grid, root, options = _parse(_TableOptions, argv, "table", "Results as CSV.")
    make: dict[str, Callable[[Grid, Path], Any]] = {"runs": table, "paths": paths, "fronts": fronts}
    rows = make[options["what"]](grid, root)
    if rows.empty:
        raise ValueError(f"root: no run of this grid is finished in {root}; `study status` lists their states")
    if options["csv"]:
        from llm.common.files import atomic_path

        with atomic_path(Path(options["csv"])) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            write_csv(rows, file)
    else:
        write_csv(rows, sys.stdout)
    return 0


def in_words(progress: Progress) -> str:
    """Return `study: 3 of 12 finished, 0 failed, 2 running (mix-lam0.5 40/400, ...), 2 min, about 5 min left`."""

    def state(step: int, of: int) -> str:
        return "prepares" if step == 0 else "ends" if step == of else f"{step}/{of}"

    running = ", ".join(f"{n.rpartition('-')[0]} {state(s, of)}" for n, s, of in progress.running)
    parts = [f"{progress.finished} of {progress.total} finished", f"{progress.failed} failed"]
    parts.append(f"{len(progress.running)} running" + (f" ({running})" if running else ""))
    if progress.elapsed:
        parts.append(duration(progress.elapsed))
    if progress.left is not None and progress.running:
        parts.append(f"about {duration(progress.left)} left")
    return "study: " + ", ".join(parts)
