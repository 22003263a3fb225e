"""Descriptions of runs of the real model on several tasks, for results/realtasks: settings, and each task's set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from figures.analysis import recorded_runs
from figures.pipeline.paths import grid_of
from llm.data.objective_options import parse_objectives

SETTINGS = (
    "steps", "lr", "beta", "batch_sft", "batch_preference", "max_length", "overflow", "lora_rank", "lora_targets",
    "held_out", "eval_rows", "k", "alternation", "reference", "precision",
)  # fmt: skip


def about(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts about runs that were made on this machine: model, tasks, settings of Sequential.

    The tasks stand as in the option `--tasks`, a file with its name and without its folder.
    """
    base = grid_of(next(iter(parameters["grids"].values()))).base
    return {
        "scale": recorded_runs.scale(parameters),
        "tasks": given(base.objective),
        **recorded_runs.settings(base, SETTINGS),
        "recorded": False,
    }


def given(objective: Sequence[str]) -> str:
    """Return tasks as the option `--tasks` takes them, files and folders without their place."""
    texts = []
    for table in parse_objectives(objective):
        places = {source: recorded_runs.named(source)["name"] for source in (table.source, table.evaluation) if source}
        for text in table.texts():
            place = next((own for own in places if text.endswith(f":{own}") or text == f"evaluation={own}"), "")
            texts.append(text.removesuffix(place) + places[place] if place else text)
    return " ".join(texts)


def sets(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model, and every task with its kind, loss ("" for SFT), set and a file's SHA-256, in the first order.

    The keys of a task are task, kind, loss, name, and sha256 for a file.
    """
    base = grid_of(next(iter(parameters["grids"].values()))).base
    tasks = [
        {
            "task": own.name,
            "kind": own.kind,
            "loss": own.loss.name if own.loss else "",
            **recorded_runs.named(own.source),
        }
        for own in base.objectives
    ]
    return {"model": recorded_runs.named(str(base.model)), "tasks": tasks}


def dpo_tasks(described: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the tasks whose loss is DPO's.

    described  the description of the recorded results
    """
    return tuple(own["task"] for own in described["sets"]["tasks"] if own["loss"] == "dpo")
