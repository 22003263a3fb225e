"""`python -m figures.recorded --verify OUT`: train the cheapest recorded run of the real model again, and compare.

Losses of a run depend on the last digits of sums, which differ between processors, numbers of threads and versions of
torch, and training amplifies these differences. So the comparison has three tolerances:

counts                        equal: steps on each objective, tokens, questions. The coin and the order of the rows do
                              not depend on a loss. MAXRIGHT, which chooses by its losses, is never the run chosen.
losses before the first step  within `FORWARD`: rounding of one forward pass, without amplification
losses during training        within `TRAINED`
share of exact answers        within the recorded 95 % interval, which is for other questions of the same kind

The accuracy on pairs is not compared: before training it counts the signs of rounding errors, and later it is a step
function of margins whose mean is in f_DPO.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures.analysis import real_sweeps, recorded_runs, sweeps
from figures.analysis.methods import NAMES, NEEDS_OPTIMA
from figures.artefact import Request
from figures.pipeline import training
from figures.pipeline.jobs import Event
from figures.pipeline.paths import grid_of, runs_folder, training_digest
from figures.recorded.joined import origin
from figures.recorded.real import rows_of, text_rows
from figures.recorded.real_figures import is_last
from figures.recorded.table_text import commit_text
from llm.common.cache import sha256

# Relative tolerances, thirty times the largest differences between two trainings of seed 2 by different commits and
# kernels: 3e-6 at step 0, and 6e-4 at steps 60 and 120 of Sequential in both orders and ALRIGHT. Another method or
# order changes f_SFT by factors.
FORWARD = 1e-4
TRAINED = 0.02
COUNTS = ("steps", "steps_dpo", "steps_sft", "tokens", "skill_n")
LOSSES = ("f_dpo", "f_sft")
SKILL = "skill_exact_match"

Row = Mapping[str, str]


@dataclass(frozen=True)
class Comparison:
    """Result of `verify`: whether all is the same within the tolerances, and lines to print."""

    same: bool
    lines: tuple[str, ...]


def verify(out: Path, preference: str = "", folder: Path = recorded_runs.FOLDER) -> Comparison:
    """Train the cheapest recorded run again in OUT/runs, unless it is finished there, and compare it.

    preference  the preference set, as for paper_repro.py; "": that of the hub, if the recorded runs are of a hub's

    Raises ValueError if the set, the model or a library is not there, or another one than the recorded, and
    RuntimeError if the run fails. Takes about the CPU time of the recorded run.
    """
    about, then = recorded_runs.described(folder), _cheapest(rows_of(folder / recorded_runs.TABLE))
    label, seed = then[-1]["label"], int(then[-1]["seed"])
    kept = {"precision": about["facts"].get("precision", "")}
    if about["facts"].get("reference", "base") != "base":
        kept["reference"] = about["facts"]["reference"]
    request = Request(scale="real", preference=_preference(about, preference), sft=_sft(about), **kept)
    grid, spec = _spec(request, label, seed)
    _check_model(about, spec)
    _train({label: spec}, out, about)
    now = _rows(grid, spec, out)
    differences = list(_differences(now, then))
    seconds = float(then[-1]["cpu_seconds"])
    code = origin(about, label, seed)["training_code"]
    codes = f"training code {code} then, {training_digest()[:12]} now"
    lines = [f"{label}, seed {seed} ({seconds:.0f} s of CPU time then): {codes}", *differences]
    if not differences:
        worst = max((_apart(now[i][name], then[i][name]) for i in range(len(then)) for name in LOSSES), default=0.0)
        lines.append(
            f"same: counts equal, losses at steps {', '.join(row['step'] for row in then)} within {FORWARD:g} before "
            f"the first step and {TRAINED:g} after it (largest relative difference {worst:.2g})"
        )
    return Comparison(not differences, tuple(lines))


def _cheapest(rows: Sequence[Row]) -> list[Row]:
    """Return the evaluations of the recorded run of least CPU time whose steps do not depend on its losses."""
    ends = [row for row in rows if is_last(row) and row["method"] not in NEEDS_OPTIMA]
    if not ends:
        raise ValueError("verify: no run is recorded but of methods that choose by their losses; record further runs")
    least = min(ends, key=lambda row: float(row["cpu_seconds"]))
    return [row for row in rows if (row["label"], row["seed"]) == (least["label"], least["seed"])]


def _preference(about: Mapping[str, Any], given: str) -> str:
    """Return the preference set to train on, if it has the recorded SHA-256 (none is known of a set on the hub)."""
    name, digest = recorded_runs.recorded_set(about, "preference")
    if not digest:
        return given or name
    wanted = f"{name} with the SHA-256 {digest}"
    if not given:
        raise ValueError(f"preference: the recorded runs are of {wanted}; give that file by --preference FILE")
    path = Path(given)
    if not path.is_file():
        raise ValueError(f"preference: there is no file {given}; the recorded runs are of {wanted}")
    if not (actual := sha256(path)).startswith(digest):
        raise ValueError(f"preference: {given} has the SHA-256 {actual}; the recorded runs are of {wanted}")
    return given


def _sft(about: Mapping[str, Any]) -> str:
    """Return the recorded SFT set. Raises ValueError for a file, which nobody else has."""
    name, digest = recorded_runs.recorded_set(about, "sft")
    if digest:
        raise ValueError(f"sft: the recorded runs are of a file, {name} (SHA-256 {digest}), and not of a known set")
    return "" if name == sweeps.REAL["sft"] else name


def _spec(request: Request, label: str, seed: int) -> tuple[str, dict[str, Any]]:
    """Return the name and the specification of the grid that has only the run of a label and seed."""
    for name, spec in real_sweeps.real(request).items():
        for method in spec["methods"]:
            if real_sweeps.real_label(name, NAMES[method]) == label:
                return name, {**spec, "methods": [method], "seeds": [seed]}
    raise ValueError(f"verify: the grid of this code has no run {label}, which is recorded; record its runs anew")


def _check_model(about: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    """Raise ValueError if the model's file is absent, or another one than the recorded."""
    from llm.models.packaged import PACKAGED

    model = Path(grid_of(spec).base.model)
    recorded = about.get("sets", {}).get("model", {}).get("sha256", "")
    packaged = next((p for p in PACKAGED.values() if model.name in (Path(p.member).name, Path(p.hub).name)), None)
    digest = recorded or (packaged.file_sha256 if packaged else "")
    if not model.exists():
        raise ValueError(
            f"model: {model.name} is not there (a file with the SHA-256 {digest or 'that was not recorded'}); "
            "fetch it from the package index with: make model"
        )
    if digest and model.is_file() and (actual := sha256(model)) != digest:
        raise ValueError(f"model: {model.name} has the SHA-256 {actual}; the recorded runs are of {digest}")


def _train(grids: Mapping[str, Any], out: Path, about: Mapping[str, Any]) -> None:
    """Carry out the run in a separate process, with its progress on the error stream."""
    broken: dict[str, str] = {}

    def report(event: Event) -> None:
        if event.kind == "notice":
            print(f"verify: {event.value}", file=sys.stderr)

    out = out.expanduser().absolute()
    with tempfile.TemporaryDirectory(prefix="recorded-", ignore_cleanup_errors=True) as folder:
        job = training.RunsJob({"real": grids}, out, None, Path(folder), report, broken.update)
        process = job.start(0)
        try:
            while process.poll() is None:
                job.forward()
                time.sleep(0.1)
        except BaseException:  # Ctrl-C: the run saves, and the same command resumes
            process.kill()
            raise
        job.finish(process.poll() or 0, 0.0, frozenset())
    if broken:
        raise RuntimeError(f"verify: {broken['real']} (recorded at commit {commit_text(about['git'])})")


def _rows(grid: str, spec: Mapping[str, Any], out: Path) -> list[dict[str, str]]:
    """Return the evaluations of the run in OUT/runs as rows of the recorded table."""
    from figures.artefacts.real import table_of

    return text_rows(table_of({"grids": {grid: spec}, "root": str(runs_folder(out.expanduser().absolute()))}))


def _differences(now: Sequence[Row], then: Sequence[Row]) -> Iterator[str]:
    """Yield a line for every difference that exceeds its tolerance."""
    steps = [[row["step"] for row in rows] for rows in (now, then)]
    if steps[0] != steps[1]:
        yield f"differs: evaluations at steps {', '.join(steps[0])} now, {', '.join(steps[1])} then"
        return
    for a, b in zip(now, then, strict=True):
        tolerance = FORWARD if b["step"] == "0" else TRAINED
        for name in LOSSES:
            if not (apart := _apart(a[name], b[name])) <= tolerance:
                yield (
                    f"differs: {name} at step {b['step']} is {a[name]} now, {b[name]} then: {apart:.2g} relative, "
                    f"tolerance {tolerance:g}"
                )
    a, b = now[-1], then[-1]
    for name in COUNTS:
        if not _equal(a[name], b[name]):
            yield f"differs: {name} is {a[name]} now, {b[name]} then"
    low, high = float(b[f"{SKILL}_low"]), float(b[f"{SKILL}_high"])
    if not math.isnan(low) and not low <= float(a[SKILL]) <= high:
        yield f"differs: {SKILL} is {a[SKILL]} now, {b[SKILL]} then, outside of its 95 % interval [{low:g}, {high:g}]"


def _apart(now: str, then: str) -> float:
    """Return the relative difference of two numbers; NaN if one is unknown."""
    return abs(float(now) - float(then)) / abs(float(then))


def _equal(now: str, then: str) -> bool:
    """Return whether two counts are the same, or both unknown."""
    a, b = float(now), float(then)
    return a == b or (math.isnan(a) and math.isnan(b))
