"""Recorded runs of the real model in results/real: one table of evaluations, and how it was made.

A reader without hours to spare sees the figure drawn from these. `python -m figures.recorded --real OUT` writes them
from the finished runs of `python paper_repro.py real --scale real --out OUT`. They hold numbers only, and no
text of the sets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures.pipeline.paths import grid_of
from llm.common.cache import sha256
from llm.common.environment import ROOT

if TYPE_CHECKING:
    import pandas as pd

RESULTS = ROOT / "results"
FOLDER = RESULTS / "real"
TABLE, ABOUT = "runs.csv", "about.json"
BENCHMARKS, ABOUT_BENCHMARKS = "benchmarks.csv", "about_benchmarks.json"
RECORDED = ("real", "chat", "realtasks")  # artefacts that show recorded runs at every scale but `real`
SETTINGS = (
    "sft", "sft_rows", "preference", "steps", "lr", "beta", "batch_sft", "batch_preference", "max_length", "overflow",
    "lora_rank", "lora_targets", "held_out", "k", "reference", "precision",
)  # fmt: skip


def folder_of(name: str) -> Path:
    """Return the folder of the recorded results of an artefact."""
    return RESULTS / name


def is_shown(name: str) -> bool:
    """Return whether an artefact can be made without --scale real: not if it only shows runs that nobody recorded."""
    return name not in RECORDED or bool(digests_if_there(folder_of(name)))


def digests(folder: Path = FOLDER) -> dict[str, str]:
    """Return the SHA-256 of each recorded file. Raises FileNotFoundError naming the command if one is absent."""
    absent = [name for name in (TABLE, ABOUT) if not (folder / name).is_file()]
    if absent:
        raise FileNotFoundError(
            f"there is no {folder / absent[0]}; make the runs with: python paper_repro.py {folder.name} --scale real"
        )
    return {name: sha256(folder / name) for name in (TABLE, ABOUT)}


def digests_if_there(folder: Path = FOLDER) -> dict[str, str]:
    """Return `digests`, or {} if nothing is recorded: for figures that show the recorded runs beside others."""
    return digests(folder) if all((folder / name).is_file() for name in (TABLE, ABOUT)) else {}


def benchmark_digests(folder: Path = FOLDER) -> dict[str, str]:
    """Return the SHA-256 of each file of the recorded benchmarks, or {} if none are recorded."""
    names = (BENCHMARKS, ABOUT_BENCHMARKS)
    return {name: sha256(folder / name) for name in names} if all((folder / n).is_file() for n in names) else {}


def benchmarks(folder: Path = FOLDER) -> tuple[pd.DataFrame, str]:
    """Return the recorded benchmarks of the real model and its base, a row for each, and their origin as one phrase."""
    import pandas as pd

    about = json.loads((folder / ABOUT_BENCHMARKS).read_text(encoding="utf-8"))
    return pd.read_csv(folder / BENCHMARKS), str(about["facts"]["shown"])


def ends(folder: Path = FOLDER) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the last evaluation of every recorded run, and the facts about the runs."""
    rows, facts = read(folder)
    return rows[rows["step"] == rows["steps"]].reset_index(drop=True), facts


def origin(facts: Mapping[str, Any]) -> str:
    """Return model, steps, seeds, date, commit and machine of recorded runs as one phrase."""
    return f"{facts['scale']}; {facts['made']}"


def read(folder: Path = FOLDER) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the recorded evaluations, and the facts about them for the JSON of the figure."""
    import pandas as pd

    facts = described(folder)["facts"]
    return pd.read_csv(folder / TABLE), {**facts, "recorded": True}


def described(folder: Path = FOLDER) -> dict[str, Any]:
    """Return the description of the recorded results: command, date, machine, versions, facts, seeds, runs."""
    values: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return values


def sets(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the name of the model and of each set of runs that were made on this machine, and a file's SHA-256."""
    base = grid_of(next(iter(parameters["grids"].values()))).base
    return {role: named(str(getattr(base, role))) for role in ("model", "sft", "preference")}


def named(source: str) -> dict[str, str]:
    """Return the name of a model or set, without the folder of one on this machine, and the SHA-256 of a file."""
    path = Path(source)
    digest = {"sha256": sha256(path)} if path.is_file() else {}
    return {"name": path.name if path.exists() else source, **digest}


def recorded_set(about: Mapping[str, Any], role: str) -> tuple[str, str]:
    """Return the name of a recorded set and its SHA-256; "" for a set that is no file.

    about  the description of the recorded results
    role   sft or preference
    """
    return about["sets"][role]["name"], about["sets"][role].get("sha256", "")


def about(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts about runs that were made on this machine: model, sets, settings.

    A set in a file stands with the name of the file and the first digits of its SHA-256, not with its place.
    """
    base = grid_of(next(iter(parameters["grids"].values()))).base
    shown = settings(base, SETTINGS)
    for name in ("sft", "preference"):
        own = named(str(shown[name]))
        shown[name] = own["name"] + (f" (SHA-256 {own['sha256'][:12]})" if "sha256" in own else "")
    return {"scale": scale(parameters), **shown, "recorded": False}


def settings(base: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return options of a configuration, those of several values as text."""
    values = {name: getattr(base, name) for name in names}
    return {name: ", ".join(value) if isinstance(value, tuple) else value for name, value in values.items()}


def scale(parameters: Mapping[str, Any]) -> str:
    """Return model, number of steps and number of seeds of runs as text."""
    specs = parameters["grids"].values()
    number = max(len(spec["seeds"]) for spec in specs)
    steps = grid_of(next(iter(specs))).base.steps
    return f"SmolLM2-135M-Instruct, {steps} steps, {number} seed{'s' * (number > 1)}"
