"""The tables and lines that a run of `paper_repro.py` prints: the list, the required resources, the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from figures.pipeline.jobs import Event
from figures.registry import load

if TYPE_CHECKING:
    from figures.pipeline.build import Built

SIGNS = {"upper": "<=", "lower": ">=", "equal": "="}


def listing(names: Sequence[str], registry: Mapping[str, str]) -> Table:
    """Return the table of `--list`."""
    table = _table("name", "in the paper", "content", "cost")
    for name in names:
        try:
            artefact = load(name, registry[name])
        except Exception as error:  # the others can still be listed
            table.add_row(name, "", Text(f"cannot be loaded: {error}", style="red"), "")
        else:
            table.add_row(name, artefact.paper, artefact.title, artefact.cost)
    return table


def requirements(rows: Sequence[Mapping[str, str]]) -> Table:
    """Return the table of the resources that the runs need, and of the available ones."""
    table = _table("resource", "amount", "available", "")
    for row in rows:
        missing = Text("missing" if row["missing"] else "", style="bold red")
        table.add_row(Text(row["name"]), Text(row["amount"]), Text(row["available"]), missing)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column == "name")
    return table


def verdicts(outcomes: Sequence[Built]) -> str:
    """Return `theory: 50 of 50 hold; empirical: seen 5, mixed 1, not seen 2 (6 of 7 survive Holm's correction)`.

    The parts about empirical claims only if there are any, and verdicts other than mixed.
    """
    from figures.pipeline.report import tally

    count = tally({"checks": [check for outcome in outcomes for check in outcome.checks]})
    empirical = _in_words(count["empirical"])
    decided = sum(number for verdict, number in count["empirical"].items() if verdict != "mixed")
    survive = sum(tally({"checks": outcome.checks})["survive"] for outcome in outcomes)
    corrected = f" ({survive} of {decided} survive Holm's correction)" if decided else ""
    text = f"theory: {count['hold']} of {count['total']} hold"
    return f"{text}; empirical: {empirical}{corrected}" if empirical else text


def _in_words(empirical: Mapping[str, int]) -> str:
    """Return `seen 5, mixed 1, not seen 2`, without verdicts of count 0."""
    return ", ".join(f"{verdict} {count}" for verdict, count in empirical.items() if count)


def summary(outcomes: Sequence[Built], names: Sequence[str]) -> Table:
    """Return the table of the artefacts that were made, and of the failed ones."""
    from figures.pipeline.report import tally

    table = _table("name", "in the paper", "files", "checks", "empirical", "time", "")
    by_name = {outcome.name: outcome for outcome in outcomes}
    for name in names:
        outcome = by_name.get(name)
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


def conclude(console: Console, outcomes: Sequence[Built], failed: Mapping[str, Event], out: Path) -> int:
    """Print the checks that do not hold, the claims that are not seen and the failures; return the exit status."""
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
