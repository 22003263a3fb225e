"""Relative names of a run's files, which mean the files beside which the run was started, wherever they are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.data.objective_options import parse_objectives
from llm.embedded.tasks import is_embedded
from llm.skill.rows import seed_of

# Options that may name a file or a folder, with the values that are words; objectives' sets are in their tables.
WORDS = {
    "model": ("embedded",),
    "reference": ("base", "chosen", "sft", "paper"),
    **dict.fromkeys(("adapter", "benchmark_include", "benchmark_questions", "cache"), ()),
}
SETS = ("sft", "preference", "sft_held_out", "preference_held_out")


def with_names_from(values: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """Return the options of a run with absolute names in place of relative ones that exist in `directory`.

    values     options by name, as run.json holds them
    directory  working directory of the process that trained; "" of a run from before it was recorded

    In that directory itself, names stay as they are, and so do names that it does not have: names of the hub, and files
    of a project that was moved, which are then sought in the present directory.
    """
    if not directory or Path(directory) == Path.cwd():
        return dict(values)
    there = Path(directory)
    named = {name: value for name in WORDS if (value := values.get(name)) and value not in WORDS[name]}
    changed = {name: _absolute(value, there) for name, value in named.items()}
    changed |= {name: _set(values[name], there) for name in SETS if name in values}
    tables = (
        dataclasses.replace(table, source=_set(table.source, there), evaluation=_set(table.evaluation, there))
        for table in parse_objectives(values.get("objective") or ())
    )
    return {**values, **changed, "objective": [text for table in tables for text in table.texts()]}


def _set(name: str, directory: Path) -> str:
    """Return the absolute name of a set in `directory`; sets that are made from their name stay as they are."""
    return name if not name or is_embedded(name) or seed_of(name) is not None else _absolute(name, directory)


def _absolute(name: str, directory: Path) -> str:
    """Return the absolute name of a file or folder in `directory`, also with `:CONFIGURATION`; any other unchanged."""
    place = name.rpartition(":")[0]
    exists = (directory / name).exists() or (place and (directory / place).is_dir())
    return str(directory / name) if exists and not Path(name).expanduser().is_absolute() else name
