"""Build one artefact: plan its steps, compute or read the data, then write the four files, the JSON last.

An artefact counts as finished only if its JSON exists, holds the keys of the present sources and parameters, and the
other three files have the digests that the JSON names.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from figures.analysis.multiple import with_adjusted
from figures.pipeline import keys, paths
from figures.pipeline.paths import read_record
from llm.common.environment import versions
from llm.common.files import write_bytes, write_text

if TYPE_CHECKING:
    from figures.artefact import Artefact, Request
    from figures.pipeline.cache import Computed

FORMAT = "paper_repro artefact 2"
SOURCE = "arXiv 2410.15483v3"
SUFFIXES = ("pdf", "png", "csv")
LIBRARIES = ("numpy", "scipy", "numba", "matplotlib")
# Fields that readers of the JSON rely on; a file without any of them is damaged.
REQUIRED = frozenset(
    "name title paper caption reconstructed is_table scale seeds seed parameters versions git computed drawn seconds"
    " facts checks beside runs key draw_key files".split()
)

ReportCallback = Callable[[str, str], None]  # ("state" | "notice", text)


@dataclass(frozen=True)
class Plan:
    """A requested artefact, and the inputs of its making.

    module       full name of the module that defines the artefact
    force        compute and draw again, whatever is finished or cached
    git          commit of the source tree, for the JSON
    parameters   of `compute`, as JSON gives them back
    key, drawn   keys of the data and of the files drawn from the data
    grids        specifications of the runs that are to be carried out before; {} if none
    seconds      about how long the artefact takes, once its runs are finished; None if unknown
    finished     whether the files are there, made by the present sources from these parameters
    """

    name: str
    module: str
    request: Request
    force: bool
    git: Mapping[str, Any]
    parameters: Mapping[str, Any]
    key: str
    drawn: str
    grids: Mapping[str, Any]
    seconds: float | None
    finished: bool


@dataclass(frozen=True)
class Built:
    """A finished artefact: its checks as in the JSON, and whether its files were there before."""

    name: str
    paper: str
    checks: tuple[Mapping[str, Any], ...]
    cached: bool
    seconds: float


def plan(
    artefact: Artefact,
    module: str,
    request: Request,
    out: Path,
    git: Mapping[str, Any],
    work: Literal["make", "force", "verify"],
) -> Plan:
    """Return the plan of an artefact; runs are needed only if no data are finished or cached.

    Raises the artefact's exceptions, and ModuleNotFoundError if runs are needed and a library of `llm` is absent.
    """
    name = artefact.name
    record = present(out, name)
    parameters = parameters_of(artefact, request)
    grids: dict[str, Any] = parameters.get("grids", {})
    training = paths.training_digest() if grids else ""
    key = keys.compute_key(artefact, module, parameters, training)
    drawn = keys.draw_key(key, artefact, asdict(request))
    finished = record is not None and (record["key"], record["draw_key"]) == (key, drawn)
    if work == "verify":
        wanted = record is not None and record["parameters"] == parameters  # else that is the difference
    else:
        wanted = work == "force" or not (finished or (grids and _is_cached(out, name, key)))
    alike = record is not None and record["scale"] == request.scale
    seconds = float(record["seconds"]["compute"]) if record is not None and alike else artefact.seconds
    return Plan(
        name, module, request, work == "force", git, parameters, key, drawn, grids if wanted else {}, seconds,
        finished and work == "make",
    )  # fmt: skip


def present(out: Path, name: str) -> dict[str, Any] | None:
    """Return the JSON of a finished artefact in `out`, by any sources and parameters; None if there is none."""
    record = read_record(out / f"{name}.json")
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
        if _sha256(content) != expected.get("sha256"):
            return None
    return record


def parameters_of(artefact: Artefact, request: Request) -> dict[str, Any]:
    """Return the artefact's parameters as JSON gives them back. Raises TypeError if they are not JSON-able."""
    parameters: dict[str, Any] = json.loads(json.dumps(artefact.parameters(request), allow_nan=False))
    return parameters


def with_runs(parameters: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Return the argument of `compute`: a copy of the parameters, with the folder of runs as "root" if needed."""
    copy: dict[str, Any] = json.loads(json.dumps(parameters))  # `compute` may not change the recorded ones
    return copy | ({"root": str(paths.runs_folder(out))} if parameters.get("grids") else {})


def load_finished(plan: Plan, artefact: Artefact, out: Path) -> Built:
    """Return the finished artefact of a plan whose files are there."""
    record = present(out, plan.name)
    assert record is not None
    (out / f"{plan.name}.error.txt").unlink(missing_ok=True)
    return Built(plan.name, artefact.paper, tuple(record["checks"]), True, 0.0)


def build(artefact: Artefact, plan: Plan, out: Path, report: ReportCallback) -> Built:
    """Make the files of one artefact in `out`.

    Raises the artefact's exceptions, OSError if `out` cannot be written, and TypeError if parameters or data cannot be
    stored.
    """
    began = time.perf_counter()
    if not plan.force and (out / f"{plan.name}.json").exists() and present(out, plan.name) is None:
        report("notice", "its files were changed or damaged; they are made again")
    computed = _computed(artefact, plan, out, report)
    report("state", "drawing")
    record = _write(artefact, plan, computed, out)
    (out / f"{plan.name}.error.txt").unlink(missing_ok=True)
    return Built(plan.name, artefact.paper, tuple(record["checks"]), False, round(time.perf_counter() - began, 3))


def _is_cached(out: Path, name: str, key: str) -> bool:
    """Return whether the data of a key are in the cache, undamaged."""
    from figures.pipeline import cache

    return cache.read(out, name, key) is not None


def _computed(artefact: Artefact, plan: Plan, out: Path, report: ReportCallback) -> Computed:
    """Return the data of a plan, from the cache if they are there undamaged, else computed and put there."""
    from figures.pipeline import cache

    def damaged(reason: str) -> None:
        report("notice", f"its cached data are damaged and are computed again ({reason})")

    if not plan.force:
        cached = cache.read(out, plan.name, plan.key, damaged)
        if cached is not None:
            return cached
    report("state", "computing")
    began = time.perf_counter()
    data = artefact.compute(with_runs(plan.parameters, out))
    made = {
        "seconds": round(time.perf_counter() - began, 6),
        "at": _now(),
        "versions": versions(LIBRARIES[:-1]),
        "git": dict(plan.git),
    }
    computed = cache.Computed(data, made)
    cache.save(out, plan.name, plan.key, computed)
    return computed


def _write(artefact: Artefact, plan: Plan, computed: Computed, out: Path) -> dict[str, Any]:
    """Draw, write the four files, the JSON last, and return the content of the JSON."""
    from figures.drawing.render import render
    from figures.pipeline.cache import NON_FINITE, plain, to_csv, to_json

    began = time.perf_counter()
    contents = render(artefact.draw, computed.data)
    drawing = round(time.perf_counter() - began, 6)
    contents["csv"] = to_csv(computed.data.table)
    record = {
        "format": FORMAT,
        "name": plan.name,
        "title": artefact.title,
        "source": SOURCE,
        "paper": artefact.paper,
        "caption": artefact.caption,
        "reconstructed": artefact.reconstructed,
        "is_table": artefact.is_table,
        **asdict(plan.request),
        "parameters": plan.parameters,
        "versions": {**computed.made["versions"], "matplotlib": versions(LIBRARIES).get("matplotlib", "absent")},
        "git": computed.made["git"],
        "computed": computed.made["at"],
        "drawn": _now(),
        "seconds": {"compute": computed.made["seconds"], "draw": drawing},
        "facts": plain(computed.data.facts),
        "checks": plain(with_adjusted([asdict(check) for check in computed.data.checks])),
        "beside": {column: plain(values.tolist()) for column, values in computed.data.beside.items()},
        "runs": f"{paths.FOLDER}/{paths.runs_folder(out).name}" if plan.parameters.get("grids") else "",
        "not_finite": NON_FINITE,
        "key": plan.key,
        "draw_key": plan.drawn,
        "files": {
            f"{plan.name}.{suffix}": {"sha256": _sha256(contents[suffix]), "bytes": len(contents[suffix])}
            for suffix in SUFFIXES
        },
    }
    text = to_json(record)
    for suffix in SUFFIXES:
        write_bytes(out / f"{plan.name}.{suffix}", contents[suffix])
    write_text(out / f"{plan.name}.json", text)
    return json.loads(text)  # type: ignore[no-any-return]


def _sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _now() -> str:
    """Return the present time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
