"""`--verify`: compute again, without the cache, and compare the data with the files in the folder.

Columns, facts and checks are compared; pictures are not, only that they exist. Nothing is written. An artefact is
computed for the scale, seeds, toy runs and seed in its JSON; options of the user take precedence over these, and if
the resulting parameters differ from the recorded ones, that is the difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures.pipeline.build import FORMAT, SUFFIXES, Plan, ReportCallback, with_runs
from figures.pipeline.cache import cells, plain, read_csv
from figures.pipeline.paths import read_record

if TYPE_CHECKING:
    from figures.artefact import Artefact, Data

# Two numbers are the same if |a - b| <= ATOL + RTOL |b|, b being the one in the folder. Another CPU or libm may
# round exp and log otherwise by an ulp (1e-16), and 2e4 steps of a convex descent, which do not amplify
# errors, may add these up to about 1e-12; RTOL leaves three more digits. ATOL is for numbers that are 0 but for
# rounding. A change of method or of a random stream shows in the first few digits, far above both.
RTOL = 1e-9
ATOL = 1e-12


@dataclass(frozen=True)
class Verdict:
    """Result of `verify`, with the reason in one line."""

    name: str
    same: bool
    line: str


@dataclass(frozen=True)
class _Difference:
    """A difference between now and the folder."""

    text: str
    size: float  # in units of the tolerance; infinite for differences without a size


def verify(artefact: Artefact, plan: Plan, out: Path, report: ReportCallback) -> Verdict:
    """Compare one artefact with its files. Raises the artefact's exceptions."""
    record = read_record(out / f"{plan.name}.json")
    absent = [f"{plan.name}.{s}" for s in ("json", *SUFFIXES) if not (out / f"{plan.name}.{s}").is_file()]
    if absent:
        return Verdict(plan.name, False, "missing: " + ", ".join(absent))
    if record is None or record.get("format") != FORMAT:
        return Verdict(plan.name, False, f"differs: {plan.name}.json was not written by this program")
    now, then = plan.parameters, record.get("parameters")
    if now != then:
        return Verdict(plan.name, False, "differs: " + _parameters(now, then))
    report("state", "computing")
    data = artefact.compute(with_runs(now, out))
    differences = _table(data, out / f"{plan.name}.csv") + _facts(data, record) + _checks(data, record)
    differences += _beside(data, record)
    if differences:
        worst = max(differences, key=lambda difference: difference.size)
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        return Verdict(plan.name, False, f"differs: {worst.text}{more}")
    if failing := [check.name for check in data.checks if check.must_hold and not check.holds]:
        return Verdict(plan.name, False, "same, and these checks that must hold do not: " + ", ".join(failing))
    count = len(next(iter(data.table.values())))
    return Verdict(
        plan.name,
        True,
        f"same: {count} rows of {len(data.table)} columns, {len(data.facts)} facts, {len(data.checks)} checks"
        f" (rtol {RTOL:g}, atol {ATOL:g})",
    )


def excess(now: float, then: float) -> float:
    """Return `|now - then|` in units of the tolerance; 0 for equal infinities and two NaN, else infinite."""
    if now == then or (math.isnan(now) and math.isnan(then)):
        return 0.0
    if not (math.isfinite(now) and math.isfinite(then)):
        return math.inf
    return abs(now - then) / (ATOL + RTOL * abs(then))


def _compare(where: str, now: Any, then: Any) -> list[_Difference]:
    """Compare a value with the recorded one: numbers within the tolerance, all else exactly."""
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [d for a, b in zip(now, then, strict=True) for d in _compare(where, a, b)]
    size = 0.0 if type(now) is type(then) and now == then else math.inf
    if size and _is_number(now) and _is_number(then):
        size = excess(float(now), float(then))
    return [_Difference(f"{where}: {now!r} now, {then!r} there", size)] if size > 1.0 else []


def _is_number(value: Any) -> bool:
    """Return whether a value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parameters(now: Mapping[str, Any], then: Any) -> str:
    """Return the first parameter that differs, as text."""
    if not isinstance(then, dict):
        return "no parameters are recorded"
    for name in [*now, *then]:
        a, b = (repr(p[name]) if name in p else "absent" for p in (now, then))
        if a != b:
            return f"parameter {name}: {a} now, {b} there"
    return "parameters"


def _table(data: Data, path: Path) -> list[_Difference]:
    """Compare the table with the CSV."""
    try:
        header, rows = read_csv(path)
    except (OSError, ValueError) as error:
        return [_Difference(f"{path.name} cannot be read: {error}", math.inf)]
    if header != list(data.table):
        return [_Difference(f"columns: {','.join(data.table)} now, {','.join(header)} there", math.inf)]
    count = len(next(iter(data.table.values())))
    if count != len(rows):
        return [_Difference(f"rows: {count} now, {len(rows)} there", math.inf)]
    differences: list[_Difference] = []
    for index, (name, column) in enumerate(data.table.items()):
        numeric = column.dtype.kind in "iuf"
        differences += _column(name, cells(column), [row[index] for row in rows], numeric)
    return differences


def _column(name: str, now: Sequence[str], then: Sequence[str], numeric: bool) -> list[_Difference]:
    """Return the largest difference in a column, if there is one; rows are counted from 1, below the header."""
    worst: _Difference | None = None
    for row, (a, b) in enumerate(zip(now, then, strict=True), start=1):
        if a == b:
            continue
        size = math.inf
        if numeric:
            with suppress(ValueError):
                size = excess(float(a), float(b))
        if size > 1.0 and (worst is None or size > worst.size):
            worst = _Difference(f"column {name}, row {row}: {a} now, {b} there", size)
    return [] if worst is None else [worst]


def _facts(data: Data, record: Mapping[str, Any]) -> list[_Difference]:
    """Compare the facts with the recorded ones."""
    now, then = plain(data.facts), record.get("facts")
    if not isinstance(then, dict) or now.keys() != then.keys():
        return [_Difference("the names of the facts differ", math.inf)]
    return [d for name in now for d in _compare(f"fact {name}", now[name], then[name])]


def _beside(data: Data, record: Mapping[str, Any]) -> list[_Difference]:
    """Compare the rows beside the paper's with the recorded ones."""
    now = {column: plain(values.tolist()) for column, values in data.beside.items()}
    then = record.get("beside")
    if not isinstance(then, dict) or {n: len(v) for n, v in now.items()} != {n: len(v) for n, v in then.items()}:
        return [_Difference("the rows beside the paper's differ", math.inf)]
    return [
        difference
        for name, values in now.items()
        for row, pair in enumerate(zip(values, then[name], strict=True), start=1)
        for difference in _compare(f"{name} beside the paper's, row {row}", *pair)
    ]


def _checks(data: Data, record: Mapping[str, Any]) -> list[_Difference]:
    """Compare the checks with the recorded ones."""
    now, then = [plain(asdict(check)) for check in data.checks], record.get("checks")
    if not isinstance(then, list) or [c["name"] for c in now] != [c.get("name") for c in then]:
        return [_Difference("the names of the checks differ", math.inf)]
    differences: list[_Difference] = []
    for a, b in zip(now, then, strict=True):
        for field in a:
            differences += _compare(f"check {a['name']}, {field}", a[field], b.get(field))
    return differences
