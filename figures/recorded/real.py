"""Record the runs of the real model in results/real, and make the table of them for the pages."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures.analysis.recorded_runs import ABOUT, TABLE
from figures.recorded.record import artefact, machine
from llm.common.files import write_text

Record = Mapping[str, Any]
# column of the table -> its head in the pages
SHOWN = {
    "skill_exact_match": "skill: exact answers",
    "accuracy": "preferences: accuracy",
    "f_dpo": "f_DPO",
    "f_sft": "f_SFT",
    "cpu_seconds": "CPU seconds",
}


def write(folder: Path, out: Path) -> None:
    """Write the table and its description to `folder` from the artefact `real` in `out`.

    The machine is the one that this function runs on. ValueError if the artefact is of another scale, or a check of it
    failed; FileNotFoundError if it has not been made.
    """
    made = artefact(out, "real")
    if made["scale"] != "real":
        raise ValueError(f"real: {out / 'real.json'} is of scale {made['scale']}; make it with --scale real")
    if failed := [check["name"] for check in made["checks"] if check["must_hold"] and not check["holds"]]:
        raise ValueError(f"real: {out / 'real.json'} has checks that do not hold ({', '.join(failed)})")
    summaries = sorted((out / made["runs"]).glob("*/summary.json"))
    versions = json.loads(summaries[0].read_text(encoding="utf-8"))["versions"] if summaries else made["versions"]
    about = {
        "command": f"python paper_repro.py real --scale real --seeds {made['seeds']} --preference FILE",
        "date": made["computed"][:10],
        "machine": machine(),
        "versions": versions,
        "git": made["git"],
        "facts": {**made["facts"], "made": _made(made)},
        "seeds": sorted({int(row["seed"]) for row in rows_of(out / "real.csv")}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(out / "real.csv", folder / TABLE)
    write_text(folder / ABOUT, json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def _made(made: Record) -> str:
    """Return when and where an artefact was computed, as one phrase."""
    there = machine()
    commit = (made["git"]["commit"] or "unknown")[:10]
    return f"{made['computed'][:10]}, commit {commit}, {there['processor']}, {there['cores']} cores"


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ends(rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return one row per label: the mean over seeds of each shown column at the last step, and the number of seeds."""
    groups: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        if row["skill_n"] or row["cpu_seconds"]:  # filled on the last evaluation of a run
            groups.setdefault(row["label"], []).append(row)
    means = []
    for label, own in groups.items():
        known = {name: [float(row[name]) for row in own if row[name]] for name in SHOWN}
        values = {name: sum(found) / len(found) for name, found in known.items() if len(found) == len(own)}
        means.append({"label": label, "seeds": len(own), **values})
    return means
