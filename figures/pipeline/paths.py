"""Places and grids of the runs that artefacts need: OUT/runs/DIGEST, named by the digest of the training code.

Changed training code starts in a new folder, and folders of other code are left as they are. Nothing here trains, and
nothing imports torch.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm.study import Grid

FOLDER = "runs"
SUMMARY = "runs.json"  # in the folder of runs: their number, time and machine, for the report
STUDY = "llm.study"  # by name, so that the package is imported only where runs are needed
AXES = ("methods", "lams", "orders", "ks", "seeds", "measures")


def grid_of(spec: Mapping[str, Any]) -> Grid:
    """Return the grid that a specification stands for.

    spec  preset ("": none), options (of TrainConfig), and the axes of llm.study.Grid: methods, lams, orders, ks, seeds,
          measures; an axis that is left out has Grid's default

    Raises ValueError or TypeError, as Grid does, and ValueError for an unknown key.
    """
    return _grid_of(importlib.import_module(STUDY), json.dumps(spec))


@cache
def _grid_of(study: Any, text: str) -> Grid:
    """Return the grid of a specification as JSON; all readers of an artefact's runs ask for the same few grids."""
    from llm.config import TrainConfig

    spec: dict[str, Any] = json.loads(text)
    known = ("preset", "options", *AXES)
    if unknown := [key for key in spec if key not in known]:
        raise ValueError(f"grids: {unknown[0]!r} is no part of a grid; there are {', '.join(known)}")
    axes = {axis: tuple(spec[axis]) for axis in AXES if spec.get(axis)}
    methods = axes.get("methods", study.METHODS)
    # The base must be a valid run itself, and Sequential is the one method that is compatible with all options.
    method = "sequential" if "sequential" in methods else methods[0]
    options = {"method": method, **spec.get("options", {})}
    return study.Grid(TrainConfig.preset(spec.get("preset", ""), **options), **axes)  # type: ignore[no-any-return]


@cache
def training_digest() -> str:
    """Return the digest of the training code, which is part of the key of everything computed from runs."""
    return str(importlib.import_module(STUDY).training_digest())


def runs_folder(out: Path) -> Path:
    """Return the folder of the runs of the present training code."""
    return out / FOLDER / training_digest()[:12]


def other_runs(root: Path) -> tuple[int, int]:
    """Return the number of folders of other training code beside `root`, and their size in bytes."""
    others = [p for p in root.parent.iterdir() if p.is_dir() and p != root] if root.parent.is_dir() else []
    size = 0
    for path in (file for other in others for file in other.rglob("*")):
        with suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return len(others), size


def summaries(out: Path) -> Sequence[dict[str, Any]]:
    """Return the summaries of all folders of runs in OUT, each with the name of its folder, sorted by name."""
    records = [(path.parent.name, read_record(path)) for path in sorted((out / FOLDER).glob(f"*/{SUMMARY}"))]
    return [{"folder": name, **record} for name, record in records if record is not None]


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if the file is absent or holds no JSON object."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
