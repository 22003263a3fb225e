"""The artefacts whose runs of the real model can be recorded, and how their runs are told from one another."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures.analysis import real_sweeps, recorded_runs, recorded_tasks, sweeps, task_runs, task_sweeps
from figures.analysis.sweeps import GIVEN
from figures.artefact import Request

# column of the table -> its head in the pages
SHOWN = {
    "skill_exact_match": "skill: exact answers",
    "accuracy": "preferences: accuracy",
    "f_dpo": "f_DPO",
    "f_sft": "f_SFT",
    "cpu_seconds": "CPU seconds",
}
SHOWN_OF_TASKS = {
    "average": "average",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
    "forward_transfer": "forward transfer",
    "skill_exact_match": SHOWN["skill_exact_match"],
    "cpu_seconds": SHOWN["cpu_seconds"],
}


def is_last(row: Mapping[str, str]) -> bool:
    """Return whether a row of the table is the last evaluation of its run."""
    return row["step"] == row["steps"]


@dataclass(frozen=True)
class Recorded:
    """An artefact whose runs of the real model can be recorded.

    options  option of paper_repro.py -> name of the option of the runs that it sets; --reference is left out
    fixed    values by which the artefact's runs are told from those of the others in one folder
    shown    column of the table -> its head in the pages
    label    (name of a grid, printed name of a method) -> printed name of a run
    about, sets  parameters of the artefact -> facts about the runs; their model and sets
    is_end   whether a row of the table has the values of a whole run
    of_tasks  whether the runs have any number of objectives in place of an SFT set and a preference set
    """

    name: str
    options: Mapping[str, str]
    fixed: Mapping[str, Any]
    shown: Mapping[str, str]
    label: Callable[[str, str], str]
    about: Callable[[Mapping[str, Any]], dict[str, Any]] = recorded_runs.about
    sets: Callable[[Mapping[str, Any]], dict[str, Any]] = recorded_runs.sets
    is_end: Callable[[Mapping[str, str]], bool] = is_last
    of_tasks: bool = False

    @property
    def module(self) -> Any:
        """The module of the artefact, with `parameters` and `table_of`."""
        return importlib.import_module(f"figures.artefacts.{self.name}")

    def owns(self, config: Mapping[str, Any]) -> bool:
        """Say whether a run with this configuration is one of the artefact's."""
        of_tasks = bool(config.get("objective"))
        return of_tasks is self.of_tasks and all(config[name] == value for name, value in self.fixed.items())

    def request(self, configs: Sequence[Mapping[str, Any]]) -> Request:
        """Return the request whose grid has the runs with these configurations.

        Raises ValueError if they are of several sets or precisions. Of both references it is that for both, also if the
        folder has only runs with the other reference, which name its number of steps.
        """
        chosen = sorted({tuple(_hashable(config[own]) for own in self.options.values()) for config in configs})
        if len(chosen) > 1:
            texts = "; ".join(", ".join(map(_shown, values)) for values in chosen)
            raise ValueError(f"{self.name}: the runs are of several settings, {texts}; keep those of one in a folder")
        references = {(config["reference"], config["reference_steps"]) for config in configs}
        given = dict(zip(self.options, chosen[0], strict=True))
        return Request(scale="real", reference="sft" if references == {("sft", 0)} else "", **given)

    def asked(self, facts: Mapping[str, Any]) -> str:
        """Return the options of paper_repro.py that name the runs' sets."""
        files = [f"--{name} FILE" for name in ("chat", "preference") if name in self.options]
        return " ".join([f"--tasks {facts['tasks']}"] if self.of_tasks else files)


def _hashable(value: Any) -> Any:
    """Return a value of a configuration in JSON, a list as a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    """Return a set's name without its folder, or tasks as `--tasks` takes them."""
    return recorded_tasks.given(value) if isinstance(value, tuple) else Path(str(value)).name


REAL = Recorded(
    "real",
    {name: name for name in GIVEN if name != "reference"},
    {"max_length": sweeps.REAL["max_length"]},
    SHOWN,
    real_sweeps.real_label,
)
CHAT = Recorded(
    "chat",
    {"chat": "sft", "preference": "preference", "precision": "precision"},
    {"max_length": real_sweeps.CHAT["max_length"]},
    {name: SHOWN[name] for name in ("accuracy", "f_dpo", "f_sft", "cpu_seconds")},
    real_sweeps.chat_label,
)
TASKS = Recorded(
    "realtasks",
    {"tasks": "objective", "precision": "precision"},
    {"max_length": task_sweeps.REAL["max_length"]},
    SHOWN_OF_TASKS,
    task_runs.label_of,
    recorded_tasks.about,
    recorded_tasks.sets,
    task_runs.is_measures,
    of_tasks=True,
)
FIGURES = (REAL, CHAT, TASKS)
