"""Tables of the results, on the terminal and in README.md between the markers of their part."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import agreement, growth
from benchmarks.agreement import Agreement, Paired
from benchmarks.c_loop import FLAGS, compiler
from benchmarks.growth import Curve
from benchmarks.timing import Row

Result = Row | Agreement | Paired | Curve
README = Path(__file__).with_name("README.md")
MARKS = {  # a part's results stand between its marks; the other part's stay as they are
    "toyopt": ("<!-- results: written by python -m benchmarks --write -->", "<!-- end of results -->"),
    "llm": ("<!-- llm's results: written by python -m benchmarks --write -->", "<!-- end of llm's results -->"),
    "real": ("<!-- real results: written by python -m benchmarks --write -->", "<!-- end of real results -->"),
    "growth": ("<!-- growth: written by python -m benchmarks --write -->", "<!-- end of growth -->"),
    "forgetting": ("<!-- forgetting: written by python -m benchmarks --write -->", "<!-- end of forgetting -->"),
    "forgetting-real": (
        "<!-- forgetting-real: written by python -m benchmarks --write -->",
        "<!-- end of forgetting-real -->",
    ),
    "forgetting-llamafactory": (
        "<!-- forgetting-llamafactory: written by python -m benchmarks --write -->",
        "<!-- end of forgetting-llamafactory -->",
    ),
}
VERSIONS = {
    "toyopt": ("numpy", "numba", "llvmlite", "torch"),
    "llm": ("numpy", "torch", "transformers", "peft", "trl"),
    "real": ("numpy", "torch", "transformers", "peft", "trl"),
    "forgetting": ("numpy", "torch", "transformers", "peft", "trl"),
    "forgetting-real": ("numpy", "torch", "transformers", "peft", "trl"),
    "forgetting-llamafactory": ("numpy", "torch", "transformers", "peft"),
    "growth": ("numpy", "torch", "transformers", "peft", "trl"),
}
HEADERS = ("what", "median", "ours / this (quartiles)", "bar", "met")


def duration(seconds: float) -> str:
    """Format seconds with three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def size(count: float) -> str:
    """Format bytes with three digits, in MiB or GiB."""
    return f"{count / 2**20:.3g} MiB" if count < 2**30 else f"{count / 2**30:.3g} GiB"


def count(number: float) -> str:
    """Format a count with four digits, in millions."""
    return f"{number / 1e6:.4g} million"


def ratio(number: float) -> str:
    """Format a ratio, or its inverse where the inverse is large."""
    return f"{number:.2f}" if number >= 0.05 else f"1/{1 / number:,.0f}"


def share(number: float, bar: float | None) -> str:
    """Format a ratio with three digits after the point where the bar is close to 1, else as `ratio` does."""
    return f"{number:.3f}" if bar is not None and 1.0 < bar < 1.1 else ratio(number)


def headers(group: Sequence[Result]) -> tuple[str, ...]:
    """Return the columns of a benchmark's table."""
    if any(isinstance(row, Curve) for row in group):
        return growth.HEADERS
    if paired := [row for row in group if isinstance(row, Paired)]:
        return agreement.headers_paired(paired[0].peer)
    return agreement.HEADERS if any(isinstance(row, Agreement) for row in group) else HEADERS


def lines(row: Result) -> list[tuple[str, ...]]:
    """Return one line for each side of a row, or quantity of a comparison, with the columns of `headers`."""
    if isinstance(row, Agreement | Paired):
        return row.lines()
    if isinstance(row, Curve):
        return row.lines(size if row.quantity == "bytes" else duration)
    out: list[tuple[str, ...]] = []
    shape = {"bytes": size, "operations": count}.get(row.quantity, duration)
    for label, times in row.times.items():
        median, bar = float(np.median(times)), row.bars.get(label)
        if label == row.ours:
            compared, reached, shown = "", median, f"≤ {bar:g} s" if bar else ""
        else:
            reached, lower, upper = row.ratio(label)
            compared = share(reached, bar)
            if len(times) > 1:  # a single measurement has no quartiles
                compared += f" ({share(lower, bar)} to {share(upper, bar)})"
            shown = f"≤ {ratio(bar)}" if bar else ""
        met = "" if bar is None else "yes" if reached <= bar else "NO"
        out.append((label, f"{shape(median)} / {row.unit}", compared, shown, met))
    return out


def show(rows: Sequence[Result]) -> None:
    """Print one table on the terminal."""
    table = Table(*headers(rows))
    for row in rows:
        table.add_row(f"[bold]{row.name}[/bold]")
        for line in lines(row):
            table.add_row("  " + line[0], *line[1:])
        table.add_section()
    Console().print(table)


def machine(command: str, names: Sequence[str]) -> list[str]:
    """Return lines on the machine, the command and the versions of `packages`."""
    cpu = platform.processor() or "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
    gcc = subprocess.run([compiler(), "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    return [
        f"- Command: `{command}`, {datetime.date.today().isoformat()}",
        f"- Processor: {cpu}, {os.cpu_count()} cores; {platform.system()} {platform.machine()}",
        f"- Load average, 15 minutes, at the end: {os.getloadavg()[2]:.1f} (the benchmarks alone make about 1)",
        f"- Python {platform.python_version()}, {versions}",
        f"- {gcc}, `{' '.join(FLAGS)}`",
    ]


def write(rows: Mapping[str, Sequence[Result]], part: str, command: str) -> None:
    """Replace the results of a part, a name of MARKS, in README.md."""
    text = README.read_text(encoding="utf-8")
    start_or_resume, end = MARKS[part]
    before, rest = text.split(start_or_resume)
    after = rest.split(end)[1]
    out = ["", *machine(command, VERSIONS[part]), ""]
    for name, group in rows.items():
        columns = headers(group)
        out += [f"### `{name}`", "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        for row in group:
            out += [f"| **{row.name}** |" + " |" * (len(columns) - 1)]
            out += ["| " + " | ".join(line) + " |" for line in lines(row)]
        out.append("")
    whole = before + start_or_resume + "\n".join(out) + end + after
    beside = README.with_suffix(".md.new")
    beside.write_text(whole, encoding="utf-8")
    beside.replace(README)
