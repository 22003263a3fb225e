"""Record the runs of the real model in results/real, and make the table of them for the pages."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from figures.analysis import sweeps
from figures.analysis.recorded_runs import ABOUT, TABLE, about
from figures.analysis.sweeps import FIRST_SEED
from figures.artefact import Request
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


def write(folder: Path, out: Path) -> None:
    """Write the table of the real model's finished runs in `out`, and its description, to `folder`.

    Runs of the grid that are not finished are left out, so that results can be recorded before all are there. The
    machine is the one that this function runs on. Raises FileNotFoundError if no run of the real model is finished.
    """
    from figures.artefacts.real import table_of
    from figures.pipeline.cache import to_csv

    root, configs, summary = _finished(out)
    seeds = sorted({config["seed"] for config in configs})
    first = FIRST_SEED["real"]
    request = Request(
        scale="real", seeds=seeds[-1] - first + 1, sft=configs[0]["sft"], preference=configs[0]["preference"]
    )
    parameters = {"grids": sweeps.real(request), "root": str(root)}
    table = table_of(parameters)
    facts = about(parameters)
    number = len(seeds)
    facts["scale"] = f"{facts['scale'].rpartition(', ')[0]}, {number} seed{'s' * (number > 1)}"
    now, git = datetime.now(UTC).date().isoformat(), git_state()
    there = machine()
    made = f"{now}, commit {(git['commit'] or 'unknown')[:10]}, {there['processor']}, {there['cores']} cores"
    described = {
        "command": f"python paper_repro.py real --scale real --seeds {request.seeds} --preference FILE",
        "date": now,
        "machine": there,
        "versions": summary["versions"],
        "git": git,
        "training_code": root.name,  # the first digits of its digest
        "facts": {**facts, "made": made},
        "seeds": seeds,
        "runs": len({str(name) for name in table["run"] if name}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / TABLE, to_csv(table))
    write_text(folder / ABOUT, json.dumps(described, indent=1, ensure_ascii=False) + "\n")


def _finished(out: Path) -> tuple[Path, list[dict[str, Any]], Record]:
    """Return the folder of the real model's finished runs in `out`, their configurations, and one summary."""
    for root in sorted((out / "runs").glob("*/"), key=lambda path: path.stat().st_mtime, reverse=True):
        finished = [path for path in sorted(root.glob("*/summary.json")) if "smollm2" in _config(path)["model"].lower()]
        if finished:
            return root, [_config(path) for path in finished], json.loads(finished[0].read_text(encoding="utf-8"))
    raise FileNotFoundError(
        f"real: {out} has no finished run of the real model; make them with: python paper_repro.py real --scale real "
        f"--out {out}"
    )


def _config(summary: Path) -> dict[str, Any]:
    """Return the configuration of the run that a summary belongs to."""
    config: dict[str, Any] = json.loads((summary.parent / "run.json").read_text(encoding="utf-8"))["config"]
    return config


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
