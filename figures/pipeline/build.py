"""One artefact, made: from the cache or by computing, then its four files, each whole, the JSON last.

An artefact counts as finished only if its JSON exists, carries the keys of today's sources and parameters,
and the other three files have the digests that it names.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from figures.pipeline import keys as digest
from figures.pipeline import training
from figures.pipeline.environment import versions
from figures.pipeline.files import NON_FINITE, plain, read_json, sha256, to_json, write

if TYPE_CHECKING:
    from figures.artefact import Artefact, Request
    from figures.pipeline.cache import Computed

FORMAT = "paper_repro artefact 2"
SOURCE = "arXiv 2410.15483v3"
SUFFIXES = ("pdf", "png", "csv")
# What a reader of the JSON relies on; without any of it the file is not what was written.
REQUIRED = frozenset(
    "name title paper caption reconstructed is_table scale seeds seed parameters versions git computed drawn seconds"
    " facts checks beside runs key draw_key files".split()
)

Tell = Callable[[str, str], None]  # ("state" | "notice", text)


@dataclass(frozen=True)
class Task:
    """One artefact of a run: its name, the module that defines it, how it is asked for, and what is to be done.

    job  `plan` (see what it needs), `make`, or `verify`; of a plan, `force` and `verifies` say what it is for
    """

    name: str
    module: str
    request: Request
    force: bool
    git: Mapping[str, Any]
    job: Literal["plan", "make", "verify"] = "make"
    verifies: bool = False


@dataclass(frozen=True)
class Plan:
    """What an artefact needs before it can be made: the specifications of its grids, {} if nothing.

    seconds  about how long it will take, once its runs are there; None if nothing tells
    """

    grids: Mapping[str, Any]
    seconds: float | None


@dataclass(frozen=True)
class Outcome:
    """How one artefact ended: its checks as in the JSON, and whether its files were already there."""

    name: str
    paper: str
    checks: tuple[Mapping[str, Any], ...]
    cached: bool
    seconds: float


def present(out: Path, name: str) -> dict[str, Any] | None:
    """The JSON of a finished artefact in `out` (by any sources and parameters), or None if there is none."""
    record = read_json(out / f"{name}.json")
    if record is None or record.get("format") != FORMAT or record.get("name") != name:
        return None
    if not record.keys() >= REQUIRED:
        return None
    files = record["files"]
    if not isinstance(files, dict) or set(files) != {f"{name}.{suffix}" for suffix in SUFFIXES}:
        return None
    for file, expected in files.items():
        try:
            content = (out / file).read_bytes()
        except OSError:
            return None
        if sha256(content) != expected.get("sha256"):
            return None
    return record


def plan(artefact: Artefact, task: Task, out: Path, _tell: Tell) -> Plan:
    """What has to be there before the artefact can be made: nothing, if it is made already, or its data are cached.

    Raises what the artefact raises, and ModuleNotFoundError if it needs runs and `llm` is not installed.
    """
    record = present(out, task.name)
    alike = record is not None and record["scale"] == task.request.scale
    expected = float(record["seconds"]["compute"]) if record is not None and alike else seconds_of(artefact.cost)
    parameters = parameters_of(artefact, task.request)
    grids: dict[str, Any] = parameters.get("grids", {})
    if not grids:
        return Plan({}, expected)
    key, drawn = keys_of(task, parameters)
    if task.verifies:
        wanted = record is not None and record["parameters"] == parameters  # else the difference is known as it is
    elif task.force:
        wanted = True
    else:
        finished = record is not None and (record["key"], record["draw_key"]) == (key, drawn)
        wanted = not finished and not _is_cached(out, task.name, key)
    return Plan(grids if wanted else {}, expected)


def seconds_of(cost: str) -> float | None:
    """The seconds that an artefact's `cost` speaks of, roughly; None if it names none."""
    words = {"instant": 1.0, "seconds": 5.0, "half a minute": 30.0, "a minute": 60.0, "minutes": 180.0}
    found = re.search(r"(\d+(?:\.\d+)?) *(s|min|h)\b", cost)
    if found:
        return float(found[1]) * {"s": 1.0, "min": 60.0, "h": 3600.0}[found[2]]
    return next((value for word, value in words.items() if word in cost), None)


def _is_cached(out: Path, name: str, key: str) -> bool:
    from figures.pipeline import cache

    try:
        return cache.read(out, name, key) is not None
    except cache.DamagedError:
        return False


def keys_of(task: Task, parameters: Mapping[str, Any]) -> tuple[str, str]:
    """The keys of the artefact's data and of its files."""
    by = training.digest() if parameters.get("grids") else ""
    key = digest.compute_key(task.name, task.module, parameters, by)
    return key, digest.draw_key(key, task.module, asdict(task.request))


def with_runs(parameters: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """What `compute` gets: a copy of the parameters, with the folder of the runs as "root" if there are grids."""
    copy: dict[str, Any] = json.loads(json.dumps(parameters))  # it may not change ours
    return copy | ({"root": str(training.folder(out))} if parameters.get("grids") else {})


def produce(artefact: Artefact, task: Task, out: Path, tell: Tell) -> Outcome:
    """Make the files of one artefact in `out`, or find them made.

    Raises what the artefact raises, OSError if `out` cannot be written, and TypeError if parameters or data
    cannot be stored.
    """
    began = time.perf_counter()
    parameters = parameters_of(artefact, task.request)
    key, drawn = keys_of(task, parameters)
    record = None if task.force else present(out, task.name)
    if record is None or record["key"] != key or record["draw_key"] != drawn:
        if record is None and not task.force and (out / f"{task.name}.json").exists():
            tell("notice", "its files are not what was written; they are made again")
        computed = _computed(artefact, task, parameters, key, out, tell)
        tell("state", "drawing")
        record = _write(artefact, task, parameters, computed, (key, drawn), out)
        cached = False
    else:
        cached = True
    (out / f"{task.name}.error.txt").unlink(missing_ok=True)
    return Outcome(task.name, artefact.paper, tuple(record["checks"]), cached, round(time.perf_counter() - began, 3))


def parameters_of(artefact: Artefact, request: Request) -> dict[str, Any]:
    """The artefact's parameters as JSON gives them back. Raises TypeError if they are not JSON-able."""
    found: dict[str, Any] = json.loads(json.dumps(artefact.parameters(request), allow_nan=False))
    return found


def _computed(artefact: Artefact, task: Task, parameters: dict[str, Any], key: str, out: Path, tell: Tell) -> Computed:
    """The data of `key`, from the cache if they are there and whole, else computed and put there."""
    from figures.pipeline import cache

    if not task.force:
        try:
            found = cache.read(out, task.name, key)
        except cache.DamagedError as error:
            tell("notice", f"its cached data are damaged and are computed again ({error})")
            found = None
        if found is not None:
            return found
    tell("state", "computing")
    began = time.perf_counter()
    data = artefact.compute(with_runs(parameters, out))
    made = {
        "seconds": round(time.perf_counter() - began, 6),
        "at": _now(),
        "versions": {name: number for name, number in versions().items() if name != "matplotlib"},
        "git": dict(task.git),
    }
    computed = cache.Computed(data, made)
    cache.save(out, task.name, key, computed)
    return computed


def _write(
    artefact: Artefact,
    task: Task,
    parameters: dict[str, Any],
    computed: Computed,
    keys: tuple[str, str],
    out: Path,
) -> dict[str, Any]:
    """Draw, write the four files, the JSON last, and return what it says."""
    from figures.drawing.render import render
    from figures.pipeline.table import to_csv

    began = time.perf_counter()
    contents = render(artefact.draw, computed.data)
    drawing = round(time.perf_counter() - began, 6)
    contents["csv"] = to_csv(computed.data.table)
    record = {
        "format": FORMAT,
        "name": task.name,
        "title": artefact.title,
        "source": SOURCE,
        "paper": artefact.paper,
        "caption": artefact.caption,
        "reconstructed": artefact.reconstructed,
        "is_table": artefact.is_table,
        **asdict(task.request),
        "parameters": parameters,
        "versions": {**computed.made["versions"], "matplotlib": versions()["matplotlib"]},
        "git": computed.made["git"],
        "computed": computed.made["at"],
        "drawn": _now(),
        "seconds": {"compute": computed.made["seconds"], "draw": drawing},
        "facts": plain(computed.data.facts),
        "checks": [plain(asdict(check)) for check in computed.data.checks],
        "beside": {column: plain(values.tolist()) for column, values in computed.data.beside.items()},
        "runs": f"{training.FOLDER}/{training.folder(out).name}" if parameters.get("grids") else "",
        "not_finite": NON_FINITE,
        "key": keys[0],
        "draw_key": keys[1],
        "files": {
            f"{task.name}.{suffix}": {"sha256": sha256(contents[suffix]), "bytes": len(contents[suffix])}
            for suffix in SUFFIXES
        },
    }
    text = to_json(record)
    for suffix in SUFFIXES:
        write(out / f"{task.name}.{suffix}", contents[suffix])
    write(out / f"{task.name}.json", text)
    return json.loads(text)  # type: ignore[no-any-return]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
