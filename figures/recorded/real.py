"""Record the runs of the real model in results/real, and make the table of them for the pages."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from figures.analysis import sweeps
from figures.analysis.methods import NAMES
from figures.analysis.recorded_runs import ABOUT, TABLE, about, sets
from figures.analysis.seeds import results
from figures.analysis.sweeps import FIRST_SEED, GIVEN
from figures.artefact import Request
from figures.pipeline.paths import FOLDER, grid_of
from figures.recorded.record import machine
from llm.common.environment import git_state
from llm.common.files import write_bytes, write_text

Record = Mapping[str, Any]
# column of the table -> its head in the pages
SHOWN = {
    "skill_exact_match": "skill: exact answers",
    "accuracy": "preferences: accuracy",
    "f_dpo": "f_DPO",
    "f_sft": "f_SFT",
    "cpu_seconds": "CPU seconds",
}


@dataclass(frozen=True)
class Runs:
    """The runs of the figure `real` in one folder of runs of one training code.

    root        the folder; its name is the first digits of the digest of the training code
    parameters  grids of the figure and root, as `figures.artefacts.real.table_of` reads them
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
        gaps = ", ".join(f"{label} ({_seeds(seeds)})" for label, seeds in self.missing.items())
        return f"{len(self.finished)} of {total} runs of {_seeds(self.seeds)}" + (f"; missing: {gaps}" if gaps else "")


def write(folder: Path, out: Path) -> str:
    """Write the table of the real model's finished runs, and its description, to `folder`; return a line about them.

    Runs of the grid that are not finished are left out and named in the line, so that results can be recorded before
    all are there. The machine is the one that this function runs on.

    out  a folder of runs of one training code, or the folder OUT of paper_repro.py that has one such folder

    Raises FileNotFoundError if no run of the real model is finished, and ValueError if there are several such folders,
    if their runs are of several sets, or if this training code would give other runs.
    """
    from figures.artefacts.real import table_of
    from figures.pipeline.cache import to_csv

    runs = find_runs(out)
    table = table_of(runs.parameters)
    facts = about(runs.parameters)
    number, first = len(runs.seeds), FIRST_SEED["real"]
    facts["scale"] = f"{facts['scale'].rpartition(', ')[0]}, {number} seed{'s' * (number > 1)}"
    now, git = datetime.now(UTC).date().isoformat(), git_state()
    there = machine()
    made = f"{now}, commit {(git['commit'] or 'unknown')[:10]}, {there['processor']}, {there['cores']} cores"
    summary = json.loads((runs.root / runs.finished[0] / "summary.json").read_text(encoding="utf-8"))
    asked = ["real", "--scale real", f"--seeds {runs.seeds[-1] - first + 1}", "--preference FILE"]
    usual = {"reference": "base", "precision": "fp32"}
    asked += [f"--{name} {facts[name]}" for name, value in usual.items() if facts[name] != value]
    described = {
        "command": " ".join(["python paper_repro.py", *asked]),
        "date": now,
        "machine": there,
        "versions": summary["versions"],
        "git": git,
        "training_code": runs.root.name,  # the first digits of its digest
        "facts": {**facts, "made": made},
        "sets": sets(runs.parameters),
        "seeds": list(runs.seeds),
        "runs": len(runs.finished),
        "missing": {label: list(seeds) for label, seeds in runs.missing.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / TABLE, to_csv(table))
    write_text(folder / ABOUT, json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    return runs.line


def find_runs(out: Path) -> Runs:
    """Return the real model's runs in `out`; parameters, results and errors as for `write`."""
    begun = {root: own for root in roots(out) if (own := _begun(root))}
    if not begun:
        raise FileNotFoundError(
            f"real: {out} has no finished run of the real model; make them with: python paper_repro.py real "
            f"--scale real --out {out}"
        )
    if len(begun) > 1:
        names = ", ".join(map(str, begun))
        raise ValueError(f"real: {out} has runs of {len(begun)} training codes; give one of these folders: {names}")
    [(root, configs)] = begun.items()
    chosen = sorted({tuple(config[name] for name in GIVEN) for config in configs})
    if len(chosen) > 1:
        texts = "; ".join(f"{s} and {Path(p).name}, reference {of}, {precision}" for s, p, of, precision in chosen)
        raise ValueError(f"real: the runs in {root} are of several settings, {texts}; keep those of one in a folder")
    options = dict(zip(GIVEN, chosen[0], strict=True))
    seeds = tuple(sorted({config["seed"] for config in configs}))
    request = Request(scale="real", **options)
    grids = {name: {**spec, "seeds": list(seeds)} for name, spec in sweeps.real(request).items()}
    return _compared(root, {"grids": grids, "root": str(root)}, request)


def _compared(root: Path, parameters: Mapping[str, Any], request: Request) -> Runs:
    """Return the runs of the grids that are finished, and those that are missing, for every seed with a begun run."""
    from figures.artefacts.real import label_of

    rows = results(parameters)
    done = set(map(str, rows["run"])) if len(rows) else set()
    runs = [
        (label_of(name, NAMES[run.config.method]), run)
        for name, spec in parameters["grids"].items()
        for run in grid_of(spec).runs()
    ]
    seeds = tuple(sorted({run.config.seed for _, run in runs if (run.folder(root) / "run.json").is_file()}))
    finished = tuple(run.name for _, run in runs if run.name in done)
    if not seeds:
        raise ValueError(
            f"real: the runs in {root} are not those of this code, of other options or of a set that was moved since; "
            "record them with the code that made them"
        )
    if not finished:
        raise FileNotFoundError(f"real: no run in {root} is finished; the command that began them resumes")
    missing: dict[str, list[int]] = {}
    for label, run in runs:
        if run.config.seed in seeds and run.name not in done:
            missing.setdefault(label, []).append(run.config.seed)
    grids = {name: {**spec, "seeds": list(seeds)} for name, spec in parameters["grids"].items()}
    return Runs(root, {**parameters, "grids": grids}, request, seeds, finished, missing)


def roots(out: Path) -> list[Path]:
    """Return the folders of runs of one training code each that `out` is or holds."""
    return [out] if any(out.glob("*/run.json")) else sorted((out / FOLDER).glob("*/"))


def _begun(root: Path) -> list[dict[str, Any]]:
    """Return the configurations of the real model's runs in a folder that were begun, without those of `tasks`."""
    paths = sorted(root.glob("*/run.json"))
    configs = [json.loads(path.read_text(encoding="utf-8"))["config"] for path in paths]
    return [config for config in configs if "smollm2" in config["model"].lower() and not config.get("objective")]


def _seeds(seeds: Sequence[int]) -> str:
    """Return seeds as text: `seed 2`, `seeds 2, 3`."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ends(rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return one row per label: the mean over seeds of each shown column at the last step, and the number of seeds.

    A column that one of a label's runs lacks is left out.
    """
    groups: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        if row["step"] == row["steps"]:
            groups.setdefault(row["label"], []).append(row)
    means = []
    for label, own in groups.items():
        known = {name: [float(row[name]) for row in own if row[name] not in ("", "nan")] for name in SHOWN}
        values = {name: sum(found) / len(found) for name, found in known.items() if len(found) == len(own)}
        means.append({"label": label, "seeds": len(own), **values})
    return means
