"""A run of the door: what `paper_repro.py` does once it is known what is asked."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from figures.artefact import Request
from figures.options import SCALES, Options, UsageError
from figures.pipeline.agenda import carry_out
from figures.pipeline.build import Outcome, Task
from figures.pipeline.display import RUNS, Progress
from figures.pipeline.environment import git_state
from figures.pipeline.files import TEMPORARY, BusyError, locked, read_json, sweep, write
from figures.pipeline.jobs import Event
from figures.pipeline.stop import STATUS, Stop
from figures.registry import load
from llm.common.processes import cores

if TYPE_CHECKING:
    from figures.pipeline.verify import Verdict
    from llm.study.resources import Need

SIGNS = {"upper": "<=", "lower": ">=", "equal": "="}
WIDTH = 110  # where the output is no terminal and nothing says how wide it is


def run(options: Options, registry: Mapping[str, str], stop: Stop) -> int:
    """Do what `options` ask and return the exit status. Raises UsageError for a folder that cannot be used."""
    console = Console(highlight=False)
    if not console.is_terminal and console.width == 80:
        console = Console(highlight=False, width=WIDTH)
    names = list(dict.fromkeys(options.names or registry))
    if options.list:
        console.print(listing(names, registry))
        return 0
    out = options.out.expanduser().absolute()
    lock = _folder(options, out)
    try:
        with lock:
            if options.verify:
                return _verify(console, names, registry, options, out, stop)
            return _make(console, names, registry, options, out, stop)
    except BusyError:
        raise UsageError(f"another run is using {options.out}: wait for it to end, or choose another --out") from None


def _folder(options: Options, out: Path) -> AbstractContextManager[None]:
    """The lock of the folder, which is made if it is to be written. Raises UsageError if it cannot be used."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {options.out} is not a folder")
    if not options.verify:
        try:
            out.mkdir(parents=True, exist_ok=True)
            probe = out / f"{TEMPORARY}probe"
            write(probe, b"")
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"--out {options.out} cannot be written: {error.strerror}") from None
    return locked(out, shared=options.verify)


def listing(names: Sequence[str], registry: Mapping[str, str]) -> Table:
    """The table of `--list`."""
    table = _table("name", "in the paper", "what it shows", "cost")
    for name in names:
        try:
            artefact = load(name, registry[name])
        except Exception as error:  # the others can still be listed
            table.add_row(name, "", Text(f"cannot be loaded: {error}", style="red"), "")
        else:
            table.add_row(name, artefact.paper, artefact.title, artefact.cost)
    return table


def _make(
    console: Console,
    names: Sequence[str],
    registry: Mapping[str, str],
    options: Options,
    out: Path,
    stop: Stop,
) -> int:
    from figures.pipeline import manifest, report

    sweep(out)
    request = _request(options, {})
    git = git_state()
    tasks = [Task(name, registry[name], request, options.force, git) for name in names]
    done: dict[str, Outcome] = {}
    failed: dict[str, Event] = {}
    jobs = options.jobs or cores()
    with closing(carry_out(tasks, options.jobs, out, stop)) as events, Progress(console, names, jobs) as progress:
        for event in events:
            if event.name == RUNS:
                _show_runs(progress, event)
            elif event.kind == "done":
                done[event.name] = event.value
                progress.state(event.name, "cached" if event.value.cached else "done")
            elif event.kind == "failed":
                failed[event.name] = event
                progress.state(event.name, "failed")
                _note_failure(out, event)
            else:
                _show(progress, event)
    sweep(out)
    manifest.write_manifest(out, registry)
    report.write_report(out, registry)
    ended = sorted(done, key=names.index)
    if stop() and len(done) + len(failed) < len(tasks):
        return _stopped(ended, "finished")
    console.print(_summary([done[name] for name in ended], names))
    console.print(Text(_verdicts([done[name] for name in ended])), soft_wrap=True)
    console.print(Text(f"{len(done)} of {len(names)} made; all in {options.out / 'index.html'}"), soft_wrap=True)
    return _conclude(console, [done[name] for name in ended], failed, options.out)


def _verify(
    console: Console,
    names: Sequence[str],
    registry: Mapping[str, str],
    options: Options,
    out: Path,
    stop: Stop,
) -> int:
    asked = {name: _request(options, read_json(out / f"{name}.json") or {}) for name in names}
    tasks = [Task(name, registry[name], asked[name], True, {}, "verify", verifies=True) for name in names]
    verdicts: dict[str, Verdict] = {}
    lines: dict[str, str] = {}
    jobs = options.jobs or cores()
    with closing(carry_out(tasks, options.jobs, out, stop)) as events, Progress(console, names, jobs) as progress:
        for event in events:
            if event.name == RUNS:
                _show_runs(progress, event)
            elif event.kind == "done":
                verdicts[event.name] = event.value
                lines[event.name] = event.value.line
                progress.state(event.name, "done")
            elif event.kind == "failed":
                lines[event.name] = f"failed: {event.value}"
                progress.state(event.name, "failed")
            else:
                _show(progress, event)
    if stop() and len(lines) < len(tasks):
        return _stopped(sorted(lines, key=names.index), "compared")
    width = max(map(len, names))
    for name in names:
        same = name in verdicts and verdicts[name].same
        console.print(Text(f"{name:<{width}}  {lines[name]}", style="" if same else "bold red"), soft_wrap=True)
    return 0 if all(verdict.same for verdict in verdicts.values()) and len(verdicts) == len(names) else 1


def _request(options: Options, recorded: Mapping[str, Any]) -> Request:
    """What is asked of an artefact: as the user says, else as `recorded`, else the default."""
    asked = {field: getattr(options, field) for field in ("scale", "seeds", "seed")}
    valid = {
        "scale": recorded.get("scale") in SCALES,
        "seeds": isinstance(recorded.get("seeds"), int),
        "seed": isinstance(recorded.get("seed"), int),
    }
    taken = {field: recorded[field] for field, is_valid in valid.items() if is_valid}
    return Request(**(taken | {field: value for field, value in asked.items() if value is not None}))


def _show(progress: Progress, event: Event) -> None:
    if event.kind == "state":
        progress.state(event.name, event.value)
    elif event.kind == "plan":
        progress.expect(event.name, event.value.seconds, waits=bool(event.value.grids))
    else:
        progress.notice(event.name, event.value)


def _show_runs(progress: Progress, event: Event) -> None:
    """Show what the step of the runs says. Raises UsageError if what it needs is not there."""
    if event.kind == "needs":
        progress.show(_needs(event.value))
        if missing := [row.missing for row in event.value if row.missing]:
            raise UsageError("; ".join(missing))
    elif event.kind == "progress":
        progress.runs(event.value)
    elif event.kind == "notice":
        progress.notice(RUNS, event.value)
    else:
        progress.state(RUNS, event.value if event.kind == "state" else event.kind)
        if event.kind != "state":
            progress.notice(RUNS, event.value)


def _needs(rows: Sequence[Need]) -> Table:
    """What the runs need, and what of it is there."""
    table = _table("needed", "how much", "there", "")
    for row in rows:
        missing = Text("missing" if row.missing else "", style="bold red")
        table.add_row(Text(row.what), Text(row.amount), Text(row.there), missing)
    return table


def _note_failure(out: Path, event: Event) -> None:
    """Leave the traceback in NAME.error.txt; a folder that cannot take it has been reported already."""
    with suppress(OSError):
        write(out / f"{event.name}.error.txt", (event.trace or event.value + "\n").encode())


def _stopped(ended: Sequence[str], verb: str) -> int:
    names = ", ".join(ended) or "none"
    print(f"paper_repro: stopped; {verb}: {names}; run the same command to go on", file=sys.stderr)
    return STATUS


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column == "name")
    return table


def _verdicts(outcomes: Sequence[Outcome]) -> str:
    """`theory: 50 of 50 hold; empirical: seen 5, mixed 1, not seen 2`; the latter only if there are any."""
    from figures.pipeline.manifest import tally

    count = tally({"checks": [check for outcome in outcomes for check in outcome.checks]})
    empirical = _in_words(count["empirical"])
    return f"theory: {count['hold']} of {count['total']} hold" + (f"; empirical: {empirical}" if empirical else "")


def _in_words(empirical: Mapping[str, int]) -> str:
    """`seen 5, mixed 1, not seen 2`, without what is 0; "" for none at all."""
    return ", ".join(f"{verdict} {count}" for verdict, count in empirical.items() if count)


def _summary(outcomes: Sequence[Outcome], names: Sequence[str]) -> Table:
    from figures.pipeline.manifest import tally

    table = _table("name", "in the paper", "files", "checks", "empirical", "time", "")
    found = {outcome.name: outcome for outcome in outcomes}
    for name in names:
        outcome = found.get(name)
        if outcome is None:
            table.add_row(name, "", "", "", "", "", Text("failed", style="bold red"))
            continue
        count = tally({"checks": outcome.checks})
        table.add_row(
            name,
            outcome.paper,
            f"{name}.pdf .png .csv .json",
            Text(f"{count['hold']}/{count['total']}", style="" if count["hold"] == count["total"] else "bold red"),
            _in_words(count["empirical"]),
            f"{outcome.seconds:.1f} s",
            "cached" if outcome.cached else "",
        )
    return table


def _conclude(console: Console, outcomes: Sequence[Outcome], failed: Mapping[str, Event], out: Path) -> int:
    """Say which checks do not hold, what was not seen and what failed, and give the exit status."""
    status = 1 if failed else 0
    for outcome in outcomes:
        for check in outcome.checks:
            if check["verdict"]:
                if check["verdict"] != "seen":
                    sign = SIGNS[check["kind"]]
                    numbers = f"{_short(check['attained'])} in {_range(check['interval'])}"
                    text = f"{outcome.name}  {check['verdict']}: {check['statement']}: {numbers} {sign}"
                    console.print(Text(f"{text} {_short(check['bound'])}"), soft_wrap=True)
                continue
            if check["holds"]:
                continue
            status = 1 if check["must_hold"] else status
            word = "DOES NOT HOLD" if check["must_hold"] else "does not hold (and need not)"
            sides = f"{check['attained']} {SIGNS[check['kind']]} {check['bound']}"
            text = f"{outcome.name}  {word}: {check['statement']}: {sides}"
            console.print(Text(text, style="bold red" if check["must_hold"] else ""), soft_wrap=True)
    for name, event in failed.items():
        where = f" (traceback in {out / (name + '.error.txt')})" if event.trace else ""
        console.print(Text(f"{name}  failed: {event.value}{where}", style="bold red"), soft_wrap=True)
    return status


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | int) else str(value)


def _range(interval: Sequence[Any]) -> str:
    return f"[{_short(interval[0])}, {_short(interval[1])}]"
