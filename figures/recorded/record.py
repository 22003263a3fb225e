"""Collect the numbers that the pages show from a folder of artefacts and from a study's runs."""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from figures.analysis.multiple import survivors
from llm.common.environment import git_state

Record = dict[str, Any]
EMPIRICAL = ("claims", "conflict", "sensitivity", "families", "curvature")
BASELINE_COLUMNS = ("ideal_distance", "f_dpo", "f_sft", "answers_win_rate", "questions_accuracy", "cpu_seconds")
METRICS = ("f_dpo", "f_sft", "ideal_distance")


def machine() -> dict[str, Any]:
    """Return processor, number of usable cores and operating system of this machine."""
    processor = platform.processor() or platform.machine()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
        processor = next((s.partition(":")[2].strip() for s in lines if s.startswith("model name")), processor)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": processor, "cores": cores, "system": platform.system()}


def artefact(out: Path, name: str) -> Record:
    """Return the JSON file of an artefact in `out`; FileNotFoundError if the artefact has not been made."""
    path = out / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"out: there is no {path}; make it with: python paper_repro.py {name} --out {out}")
    values: Record = json.loads(path.read_text(encoding="utf-8"))
    return values


def verdicts(values: Record) -> list[Record]:
    """Return the checks of an artefact that were judged by an interval; with their p-values, if these are known."""
    kept = ("name", "statement", "kind", "bound", "attained", "interval", "verdict", "p_value")
    return [{key: check[key] for key in kept if key in check} for check in values["checks"] if check["verdict"]]


def correction(artefacts: Mapping[str, Record]) -> dict[str, int] | None:
    """Return how many of all artefacts' verdicts are not mixed, and how many survive Holm's correction.

    Each artefact's claims are a family in `survive`, and all claims are one in `survive_together`. None if a claim has
    no p-value, as in artefacts that were made before there were any.
    """
    families = [verdicts(values) for values in artefacts.values()]
    claims = [claim for family in families for claim in family]
    if any(claim.get("p_value") is None for claim in claims):
        return None
    return {
        "claims": len(claims),
        "decided": sum(claim["verdict"] != "mixed" for claim in claims),
        "survive": sum(map(survivors, families)),
        "survive_together": survivors(claims),
    }


def seed_means(path: Path, by: str, columns: Sequence[str]) -> list[Record]:
    """Return the means of `columns` over the rows of a CSV file with the same value of `by`, in the file's order."""
    groups: dict[str, list[dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            groups.setdefault(row[by], []).append(row)
    return [
        {by: name, "seeds": len(rows)} | {c: sum(float(row[c]) for row in rows) / len(rows) for c in columns}
        for name, rows in groups.items()
    ]


def elapsed(artefacts: Mapping[str, Record]) -> float:
    """Return the seconds from the start of the first computation to the end of the last drawing."""

    def ended(values: Record, key: str) -> datetime:
        return datetime.fromisoformat(values[key])

    starts = [ended(a, "computed") - timedelta(seconds=a["seconds"]["compute"]) for a in artefacts.values()]
    return (max(ended(a, "drawn") for a in artefacts.values()) - min(starts)).total_seconds()


def command_of(claims: Record) -> str:
    """Return the command line that makes the artefacts again, from the JSON of `claims`, whatever the defaults are.

    The number of seeds is that of the runs of `claims`, if these have any, whether the user named it or not.
    """
    counts = [len(spec["seeds"]) for spec in claims["parameters"].get("grids", {}).values()]
    words = [f"python paper_repro.py --scale {claims['scale']}"]
    words += [f"--seeds {max(counts)}"] if counts else []
    words += [f"--toy-runs {claims['toy_runs']}"] if claims.get("toy_runs") else []
    words += [f"--seed {claims['seed']}"] if claims["seed"] else []
    return " ".join(words)


def reproduction(out: Path) -> Record:
    """Return the numbers of the artefacts in the folder `out` that the pages show.

    All artefacts of a whole `paper_repro.py` must be there. The machine is the one that this function runs on.
    """
    made = {path.stem: artefact(out, path.stem) for path in sorted(out.glob("*.json")) if path.stem != "manifest"}
    for name in (*EMPIRICAL, "baselines", "cost"):
        made.setdefault(name, artefact(out, name))
    claims = made["claims"]
    runs = out / claims["runs"]
    summaries = sorted(runs.glob("*/summary.json"))
    versions = json.loads(summaries[0].read_text(encoding="utf-8"))["versions"] if summaries else {}
    return {
        "command": command_of(claims),
        "machine": machine(),
        "versions": {**claims["versions"], **versions},
        "git": claims["git"],
        "date": claims["computed"][:10],
        "seconds": round(elapsed(made)),
        "runs": len(summaries),
        "settings": made["baselines"]["facts"]["scale"],
        "artefacts": len(made),
        "verdicts": {name: verdicts(made[name]) for name in EMPIRICAL},
        "correction": correction(made),
        "baselines": seed_means(out / "baselines.csv", "baseline", BASELINE_COLUMNS),
        "cost": made["cost"]["facts"],
    }


def study(root: Path) -> Record:
    """Return the held-out values before and after the trained runs below `root`, one a method.

    The machine is the one that this function runs on. ValueError if there is no finished run.
    """
    rows, last = [], {}
    for path in sorted(root.glob("**/summary.json")):
        last = json.loads(path.read_text(encoding="utf-8"))
        if "method" not in last or not (path.parent / "metrics.jsonl").is_file():
            continue
        lines = [json.loads(s) for s in (path.parent / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        first = next(line for line in lines if line.get("evaluation") == "held_out" and line["step"] == 0)
        options = json.loads((path.parent / "run.json").read_text(encoding="utf-8"))["config"]
        rows.append(
            {
                "method": last["method"],
                "lam": last["lam"],
                "seed": options["seed"],
                "steps": options["steps"],
                "before": {key: first[key] for key in METRICS if key in first},
                "after": {key: last["evaluation"][key] for key in METRICS if key in last["evaluation"]},
                "seconds": last["seconds"],
                "cpu_seconds": last["cpu_seconds"],
            }
        )
    if not rows:
        raise ValueError(
            f"runs: there is no finished run in {root}; make some with: python -m llm study run --root {root}"
        )
    return {
        "command": "python -m llm study run --root RUNS --lams 0.5 --seeds 42",
        "machine": machine(),
        "versions": last["versions"],
        "git": git_state(),
        "date": datetime.now(UTC).date().isoformat(),
        "device": last["device"],
        "methods": rows,
    }
