"""Numbers, durations, machines and tables as text of the pages (Markdown)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def number(value: float) -> str:
    """Format a number with three significant digits, at most three after the point."""
    if not math.isfinite(value):
        return str(value)
    digits = 3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0.0 else text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def minutes(seconds: float) -> str:
    """Format seconds as minutes and seconds."""
    return f"{int(seconds) // 60} min {int(seconds) % 60} s" if seconds >= 60 else f"{seconds:.0f} s"


def commit_text(git: Record) -> str:
    """Return the first digits of the commit in a record's "git", `unknown` without one."""
    return str(git["commit"] or "unknown")[:10]


def with_seeds(scale: str, number: int) -> str:
    """Return the scale of runs, whose last part is a number of seeds, with another number."""
    return f"{scale.rpartition(', ')[0]}, {number} seed{'s' * (number > 1)}"


def made_at(record: Record) -> str:
    """Return date, commit, processor and number of cores of a record as one phrase."""
    machine = record["machine"]
    return f"{record['date']}, commit {commit_text(record['git'])}, {machine['processor']}, {machine['cores']} cores"


def recorded_by(record: Record) -> str:
    """Return the date, the commit and the command of a record as one phrase."""
    return f"Recorded on {record['date']} at commit `{commit_text(record['git'])}` by `{record['command']}`"


def seeds_text(seeds: Sequence[int]) -> str:
    """Return seeds as text: `seed 2`, `seeds 2, 3`."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def on_machine(record: Record) -> str:
    """Return the processor, the number of cores and the main versions as one phrase."""
    machine, versions = record["machine"], record["versions"]
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "numpy") if name in versions)
    return f"{machine['processor']}, {machine['cores']} cores, {machine['system']}; {libraries}"
