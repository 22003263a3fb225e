"""`manifest.json`: everything finished that lies in the folder, also from earlier runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from figures.artefact import VERDICTS
from figures.pipeline.build import SOURCE, present
from figures.pipeline.files import sha256, to_json, write

FORMAT = "paper_repro manifest 1"
NAME = re.compile(r"[A-Za-z0-9_]+")  # of an artefact; nothing else goes into a link


def collect(out: Path, order: Iterable[str]) -> list[dict[str, Any]]:
    """The JSON of every finished artefact in `out`: those of `order` first, in that order, then by name."""
    ranks = {name: rank for rank, name in enumerate(order)}
    names = [path.stem for path in out.glob("*.json") if NAME.fullmatch(path.stem)]
    names.sort(key=lambda name: (ranks.get(name, len(ranks)), name))
    return [record for name in names if (record := present(out, name)) is not None]


def tally(record: Mapping[str, Any]) -> dict[str, Any]:
    """How many checks there are and hold, and which of those that must hold do not; empirical claims apart."""
    checks = [check for check in record["checks"] if not check["verdict"]]
    claims = [check["verdict"] for check in record["checks"] if check["verdict"]]
    return {
        "total": len(checks),
        "hold": sum(bool(check["holds"]) for check in checks),
        "broken": [check["name"] for check in checks if check["must_hold"] and not check["holds"]],
        "empirical": {verdict: claims.count(verdict) for verdict in VERDICTS},
    }


def write_manifest(out: Path, registry: Mapping[str, str]) -> None:
    """Write `manifest.json` anew. Raises OSError if `out` cannot be written."""
    artefacts = {}
    for record in collect(out, registry):
        name = record["name"]
        text = (out / f"{name}.json").read_bytes()
        artefacts[name] = {
            "paper": record["paper"],
            "files": record["files"] | {f"{name}.json": {"sha256": sha256(text), "bytes": len(text)}},
            "key": record["key"],
            "scale": record["scale"],
            "seeds": record["seeds"],
            "seed": record["seed"],
            "computed": record["computed"],
            "drawn": record["drawn"],
            "seconds": record["seconds"],
            "checks": tally(record),
            "environment": {"versions": record["versions"], "git": record["git"]},
        }
    from figures.pipeline.environment import git_state, versions

    environment = {"versions": versions(), "git": git_state()}
    content = {"format": FORMAT, "source": SOURCE, "environment": environment, "artefacts": artefacts}
    write(out / "manifest.json", to_json(content))
