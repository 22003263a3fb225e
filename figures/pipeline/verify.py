"""`--verify`: compute again, without the cache, and compare the data with what lies in the folder.

Columns, facts and checks are compared; pictures are not, only that they are there. Nothing is written.
An artefact is computed as its JSON says it was asked for (scale, seeds, seed); what the user passes takes the
place of what is recorded, and if the parameters that follow are not the recorded ones, that is the difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures.pipeline.build import FORMAT, SUFFIXES, Tell, parameters_of, with_runs
from figures.pipeline.files import plain, read_json
from figures.pipeline.table import cells, read_csv

if TYPE_CHECKING:
    from figures.artefact import Artefact, Data
    from figures.pipeline.build import Task

# Two numbers are the same if |a - b| <= ATOL + RTOL |b|, b being the one in the folder. Another CPU or libm may
# round exp and log otherwise by an ulp (1e-16), and 2e4 steps of a convex descent, which do not amplify
# errors, may add these up to about 1e-12; RTOL leaves three more digits. ATOL is for numbers that are 0 but for
# rounding. A change of method or of a random stream shows in the first few digits, far above both.
RTOL = 1e-9
ATOL = 1e-12


@dataclass(frozen=True)
class Verdict:
    """What `verify` found: `line` says it in one line."""

    name: str
    same: bool
    line: str


@dataclass(frozen=True)
class _Difference:
    text: str
    size: float  # in units of the tolerance; infinite if it is no matter of size


def verify(artefact: Artefact, task: Task, out: Path, tell: Tell) -> Verdict:
    """Compare one artefact. Raises what the artefact raises."""
    record = read_json(out / f"{task.name}.json")
    absent = [f"{task.name}.{s}" for s in ("json", *SUFFIXES) if not (out / f"{task.name}.{s}").is_file()]
    if absent:
        return Verdict(task.name, False, "missing: " + ", ".join(absent))
    if record is None or record.get("format") != FORMAT:
        return Verdict(task.name, False, f"differs: {task.name}.json is not one of this program's")
    now, then = parameters_of(artefact, task.request), record.get("parameters")
    if now != then:
        return Verdict(task.name, False, "differs: " + _parameters(now, then))
    tell("state", "computing")
    data = artefact.compute(with_runs(now, out))
    found = _table(data, out / f"{task.name}.csv") + _facts(data, record) + _checks(data, record)
    found += _beside(data, record)
    if found:
        worst = max(found, key=lambda difference: difference.size)
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return Verdict(task.name, False, f"differs: {worst.text}{more}")
    if failing := [check.name for check in data.checks if check.must_hold and not check.holds]:
        return Verdict(task.name, False, "same, and fails what must hold: " + ", ".join(failing))
    count = len(next(iter(data.table.values())))
    return Verdict(
        task.name,
        True,
        f"same: {count} rows of {len(data.table)} columns, {len(data.facts)} facts, {len(data.checks)} checks"
        f" (rtol {RTOL:g}, atol {ATOL:g})",
    )


def excess(now: float, then: float) -> float:
    """`|now - then|` in units of the tolerance; 0 for equal infinities and for two NaN, else infinite for these."""
    if now == then or (math.isnan(now) and math.isnan(then)):
        return 0.0
    if not (math.isfinite(now) and math.isfinite(then)):
        return math.inf
    return abs(now - then) / (ATOL + RTOL * abs(then))


def _compare(where: str, now: Any, then: Any) -> list[_Difference]:
    """One value against the recorded one: numbers within the tolerance, all else exactly."""
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [d for a, b in zip(now, then, strict=True) for d in _compare(where, a, b)]
    size = 0.0 if type(now) is type(then) and now == then else math.inf
    if size and _is_number(now) and _is_number(then):
        size = excess(float(now), float(then))
    return [_Difference(f"{where}: {now!r} now, {then!r} there", size)] if size > 1.0 else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parameters(now: Mapping[str, Any], then: Any) -> str:
    if not isinstance(then, dict):
        return "no parameters are recorded"
    for name in [*now, *then]:
        a, b = (repr(p[name]) if name in p else "absent" for p in (now, then))
        if a != b:
            return f"parameter {name}: {a} now, {b} there"
    return "parameters"


def _table(data: Data, path: Path) -> list[_Difference]:
    try:
        header, rows = read_csv(path)
    except (OSError, ValueError) as error:
        return [_Difference(f"{path.name} cannot be read: {error}", math.inf)]
    if header != list(data.table):
        return [_Difference(f"columns: {','.join(data.table)} now, {','.join(header)} there", math.inf)]
    count = len(next(iter(data.table.values())))
    if count != len(rows):
        return [_Difference(f"rows: {count} now, {len(rows)} there", math.inf)]
    found: list[_Difference] = []
    for place, (name, column) in enumerate(data.table.items()):
        numeric = column.dtype.kind in "iuf"
        found += _column(name, cells(column), [row[place] for row in rows], numeric)
    return found


def _column(name: str, now: Sequence[str], then: Sequence[str], numeric: bool) -> list[_Difference]:
    """The worst entry of a column, if any differs; rows are counted from 1, below the header."""
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
    now, then = plain(data.facts), record.get("facts")
    if not isinstance(then, dict) or now.keys() != then.keys():
        return [_Difference("the facts have other names", math.inf)]
    return [d for name in now for d in _compare(f"fact {name}", now[name], then[name])]


def _beside(data: Data, record: Mapping[str, Any]) -> list[_Difference]:
    now = {column: plain(values.tolist()) for column, values in data.beside.items()}
    then = record.get("beside")
    if not isinstance(then, dict) or {n: len(v) for n, v in now.items()} != {n: len(v) for n, v in then.items()}:
        return [_Difference("the rows beside the paper's are others", math.inf)]
    return [
        difference
        for name, values in now.items()
        for row, pair in enumerate(zip(values, then[name], strict=True), start=1)
        for difference in _compare(f"{name} beside the paper's, row {row}", *pair)
    ]


def _checks(data: Data, record: Mapping[str, Any]) -> list[_Difference]:
    now, then = [plain(asdict(check)) for check in data.checks], record.get("checks")
    if not isinstance(then, list) or [c["name"] for c in now] != [c.get("name") for c in then]:
        return [_Difference("the checks have other names", math.inf)]
    found: list[_Difference] = []
    for a, b in zip(now, then, strict=True):
        for field in a:
            found += _compare(f"check {a['name']}, {field}", a[field], b.get(field))
    return found
