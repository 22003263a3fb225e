"""Record the runs of the real model in results/NAME, by artefact, and make the tables of them for the pages."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from figures.analysis.methods import NAMES
from figures.analysis.recorded_runs import ABOUT, TABLE
from figures.analysis.seeds import results
from figures.analysis.sweeps import FIRST_SEED
from figures.artefact import Request
from figures.pipeline.paths import FOLDER, grid_of, training_digest
from figures.recorded.joined import join
from figures.recorded.real_figures import FIGURES, SHOWN, Recorded, is_last
from figures.recorded.record import machine
from figures.recorded.table_text import Record, made_at, seeds_text, with_seeds
from llm.common.environment import git_state
from llm.common.files import write_bytes, write_text


@dataclass(frozen=True)
class Runs:
    """The runs of an artefact in one folder of runs of one training code.

    root        the folder; its name is the first digits of the digest of the training code
    parameters  grids of the artefact and root, as its `table_of` reads them
    request     the request for these runs, with the sets that they name
    seeds       those of which a run was begun
    finished    names of the finished runs
    missing     label -> seeds whose run is not finished; labels without are left out
    """

    root: Path
    parameters: Mapping[str, Any]
    request: Request
    seeds: tuple[int, ...]
    finished: tuple[str, ...]
    missing: Mapping[str, Sequence[int]]

    @property
    def line(self) -> str:
        """The number of finished runs, and all that is missing of the grid of these seeds, in one line."""
        total = len(self.finished) + sum(map(len, self.missing.values()))
        gaps = ", ".join(f"{label} ({seeds_text(seeds)})" for label, seeds in self.missing.items())
        missing = f"; missing: {gaps}" if gaps else ""
        return f"{len(self.finished)} of {total} runs of {seeds_text(self.seeds)}{missing}"


def write(results: Path, out: Path, *, add: bool = False) -> list[str]:
    """Write, for every artefact with finished runs in `out`, table and description to `results`/NAME.

    Return a line for each.

    Runs of the grid that are not finished are left out and named in the line, so that results can be recorded before
    all are there. The machine is the one that this function runs on.

    out  a folder of runs of one training code, or the folder OUT of paper_repro.py that has one such folder
    add  keep what is recorded: runs of other labels and seeds stay, those of the same are replaced

    Raises FileNotFoundError if no run of the real model is finished, and ValueError if there are several such folders,
    if the runs are of another training code than this one or of several sets, if this code would give other runs, or if
    runs to add are of other settings or sets than those that are recorded.
    """
    root, configs = _begun(out)
    lines = []
    for figure in FIGURES:
        own = [config for config in configs if figure.owns(config)]
        if own:
            lines.append(_write(results / figure.name, figure, _found(root, figure, own), add=add))
    if not lines:
        raise FileNotFoundError(f"real: {root} has no run of {' or '.join(figure.name for figure in FIGURES)}")
    return lines


def _write(folder: Path, figure: Recorded, runs: Runs, *, add: bool) -> str:
    """Write the table and the description of one artefact's runs and return the line about them."""
    from figures.pipeline.cache import to_csv

    table = figure.module.table_of(runs.parameters)
    content, described, line = to_csv(table), _described(figure, runs), f"{figure.name}: {runs.line}"
    if add and (folder / ABOUT).is_file():
        old = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        described, rows = join(old, rows_of(folder / TABLE), described, text_rows(table))
        content = to_csv({name: np.array([row[name] for row in rows], dtype=object) for name in table})
        added, now = f"{len(runs.finished)} runs added", f"{described['runs']} of {seeds_text(described['seeds'])}"
        line = f"{figure.name}: {added}; {now} are recorded now"
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / TABLE, content)
    write_text(folder / ABOUT, json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    return line


def _described(figure: Recorded, runs: Runs) -> dict[str, Any]:
    """Return the description of one artefact's runs, which were made on this machine."""
    facts = figure.about(runs.parameters)
    facts["scale"] = with_seeds(facts["scale"], len(runs.seeds))
    here = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), "git": git_state()}
    summary = json.loads((runs.root / runs.finished[0] / "summary.json").read_text(encoding="utf-8"))
    asked = [figure.name, "--scale real", f"--seeds {runs.seeds[-1] - FIRST_SEED['real'] + 1}"]
    asked.append(figure.asked(facts))
    usual = figure.module.parameters(Request(scale="real"))["grids"]
    base = grid_of(next(iter(usual.values()))).base
    asked += [f"--{name} {facts[name]}" for name in ("reference", "precision") if facts[name] != getattr(base, name)]
    return {
        "command": " ".join(["python paper_repro.py", *asked]),
        "date": here["date"],
        "machine": here["machine"],
        "versions": summary["versions"],
        "git": here["git"],
        "training_code": runs.root.name,  # the first digits of its digest
        "facts": {**facts, "made": made_at(here)},
        "sets": figure.sets(runs.parameters),
        "seeds": list(runs.seeds),
        "runs": len(runs.finished),
        "missing": {label: list(seeds) for label, seeds in runs.missing.items()},
    }


def _found(root: Path, figure: Recorded, configs: Sequence[Record]) -> Runs:
    """Return the runs of an artefact in one folder, whose configurations are given."""
    if not configs:
        raise FileNotFoundError(f"{figure.name}: {root} has no run of this artefact")
    seeds = tuple(sorted({config["seed"] for config in configs}))
    request = figure.request(configs)
    grids = {n: {**spec, "seeds": list(seeds)} for n, spec in figure.module.parameters(request)["grids"].items()}
    return _compared(figure, root, {"grids": grids, "root": str(root)}, request)


def _compared(figure: Recorded, root: Path, parameters: Mapping[str, Any], request: Request) -> Runs:
    """Return the runs of the grids that are finished, and those that are missing, for every seed with a begun run."""
    rows = results(parameters)
    done = set(map(str, rows["run"])) if len(rows) else set()
    runs = [
        (figure.label(name, NAMES[run.config.method]), run)
        for name, spec in parameters["grids"].items()
        for run in grid_of(spec).runs()
    ]
    seeds = tuple(sorted({run.config.seed for _, run in runs if (run.folder(root) / "run.json").is_file()}))
    finished = tuple(run.name for _, run in runs if run.name in done)
    if not seeds:
        raise ValueError(
            f"{figure.name}: the runs in {root} are not those of this code, of other options or of a set that was "
            "moved since; record them with the code that made them"
        )
    if not finished:
        raise FileNotFoundError(f"{figure.name}: no run in {root} is finished; the command that began them resumes")
    missing: dict[str, list[int]] = {}
    for label, run in runs:
        if run.config.seed in seeds and run.name not in done:
            missing.setdefault(label, []).append(run.config.seed)
    grids = {name: {**spec, "seeds": list(seeds)} for name, spec in parameters["grids"].items()}
    return Runs(root, {**parameters, "grids": grids}, request, seeds, finished, missing)


def roots(out: Path) -> list[Path]:
    """Return the folders of runs of one training code each that `out` is or holds."""
    return [out] if any(out.glob("*/run.json")) else sorted((out / FOLDER).glob("*/"))


def _begun(out: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Return the one folder of runs in `out`, and the configurations of the real model's runs that were begun in it."""
    begun = {root: own for root in roots(out) if (own := _configs(root))}
    if not begun:
        raise FileNotFoundError(
            f"real: {out} has no finished run of the real model; make them with: python paper_repro.py real "
            f"--scale real --out {out}"
        )
    if len(begun) > 1:
        names = ", ".join(map(str, begun))
        raise ValueError(f"real: {out} has runs of {len(begun)} training codes; give one of these folders: {names}")
    [(root, configs)] = begun.items()
    code = training_digest()[: len(root.name)]
    if root.name != code:  # the description would name this checkout's commit
        raise ValueError(
            f"real: the runs in {root} are of another training code than this one ({code}); record them with the "
            "checkout that made them"
        )
    return root, configs


def _configs(root: Path) -> list[dict[str, Any]]:
    """Return the configurations of the real model's runs in a folder of runs."""
    paths = sorted(root.glob("*/run.json"))
    configs = [json.loads(path.read_text(encoding="utf-8"))["config"] for path in paths]
    return [config for config in configs if "smollm2" in config["model"].lower()]


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def text_rows(table: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the rows of a table of arrays with the text that its CSV has."""
    from figures.pipeline.cache import cells

    columns = {name: cells(column) for name, column in table.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def ends(
    rows: Sequence[Mapping[str, str]], shown: Sequence[str] = tuple(SHOWN), is_end: Callable[..., bool] = is_last
) -> list[dict[str, Any]]:
    """Return one row per label: the mean over seeds of each shown column at the end, and the number of seeds.

    A column that one of a label's runs lacks is left out.
    """
    groups: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        if is_end(row):
            groups.setdefault(row["label"], []).append(row)
    means = []
    for label, own in groups.items():
        known = {name: [float(row[name]) for row in own if row[name] not in ("", "nan")] for name in shown}
        values = {name: sum(each) / len(each) for name, each in known.items() if len(each) == len(own)}
        means.append({"label": label, "seeds": len(own), **values})
    return means
