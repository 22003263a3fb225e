"""The table of `python -m llm check`, printed row by row as findings are made."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from llm.common.progress import Display, duration
from llm.evaluation.conformance.finding import Finding

WIDTH = 180  # characters of a line where there is no terminal
VERDICTS = {True: "holds", False: "WRONG", None: "not applicable"}
STYLES = {True: "", False: "bold red", None: "dim"}


class Report:
    """Context that prints findings as rows of one table, with the part that runs, their number, and the time so far.

    console  where to; None: the output stream
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(markup=False, highlight=False)
        if not self.console.is_terminal:
            self.console.width = WIDTH
        self.findings: list[Finding] = []
        self.part = ""
        self._began = time.monotonic()
        self._display = Display(self.console)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._task = self._bar.add_task("loading", total=None)

    def __enter__(self) -> Report:
        self._display.__enter__()
        self._display.show(self._bar, "loading", now=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.__exit__(kind, error, trace)

    @property
    def elapsed(self) -> str:
        """The time since the beginning, as text."""
        return duration(time.monotonic() - self._began)

    def begin(self, j: int, of: int, part: str) -> None:
        """Show that part j (from 0) of a number of parts begins."""
        if j == 0:
            self._display.keep(grid([], header=True))
        self.part = f"part {j + 1} of {of}: {part}"
        self._bar.update(self._task, description=part, completed=j, total=of)
        self._display.keep(f"{self.part}, after {self.elapsed}")

    def add(self, finding: Finding) -> None:
        """Print a finding."""
        self.findings.append(finding)
        self._display.keep(grid([finding]))

    def close(self, *, interrupted: bool = False) -> None:
        """Print how many statements hold, and in how much time they were checked."""
        wrong = sum(finding.holds is False for finding in self.findings)
        of = f"of {len(self.findings)} statements"
        verdict = f"{wrong} {of} do not hold" if wrong else f"every statement holds, {of.removeprefix('of ')}"
        if interrupted:
            where = f" in {self.part}" if self.part else " while loading"
            verdict = f"interrupted{where}; {wrong} {of} so far do not hold"
        self._display.keep(f"{verdict}; {self.elapsed}")


def grid(findings: Sequence[Finding], *, header: bool = False) -> Table:
    """Return findings as rows of a table of rich, whose columns are as wide in every table of one console."""
    shown = Table(box=None, expand=True, pad_edge=False, show_header=header, header_style="bold")
    shown.add_column("part", ratio=4)
    shown.add_column("statement", ratio=8)
    shown.add_column("difference", width=10)
    shown.add_column("tolerance", width=9)
    shown.add_column("", width=max(map(len, VERDICTS.values())))
    shown.add_column("note", ratio=8)
    for f in findings:
        numbers = ("" if x is None else f"{x:.2g}" for x in (f.difference, f.tolerance))
        shown.add_row(f.group, f.claim, *numbers, VERDICTS[f.holds], f.note, style=STYLES[f.holds])
    return shown
