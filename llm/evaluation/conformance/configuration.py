"""Options of a conformance check, taken from those of a run."""

from __future__ import annotations

import dataclasses
from typing import Any

from llm.config import TrainConfig
from llm.data.objective_options import parse_objectives


def checked_config(config: TrainConfig) -> TrainConfig:
    """Return a configuration whose sets are all trained on, a row a step, and of whose run nothing is kept."""
    own = (
        {"objective": _plain_objectives(config)}
        if config.objective
        else {"sft_held_out": "", "preference_held_out": ""}
    )
    return dataclasses.replace(
        config,
        held_out=0.0,
        batch_sft=1,
        batch_preference=1,
        steps=1,
        gap_rows=0,
        f_star="estimate",
        keep_every=0,
        keep_best="no",
        patience=0,
        log_with=(),
        push_to_hub="",
        **own,
    )


def _plain_objectives(config: TrainConfig) -> tuple[str, ...]:
    """Return the objectives of a configuration as texts, with a row a step and nothing held out."""
    tables = (
        dataclasses.replace(table, batch=1, held_out=0.0, evaluation="", f_star=None)
        for table in parse_objectives(config.objective)
    )
    return tuple(text for table in tables for text in table.texts())


def config_of_run(folder: str) -> dict[str, Any]:
    """Return the options of a finished run, by name, that continue its adapter, or its model if it trained all weights.

    Raises FileNotFoundError or ValueError, in one line, if there is no finished run, or if it had inputs in memory.
    """
    from llm.training.run_folder import load_run

    past = load_run(folder)
    if past.in_memory:
        raise ValueError(
            f"run: its {past.in_memory[0]} was given in memory and no name leads to it; use "
            "llm.evaluation.check.check(config, ...) with the same inputs"
        )
    values = {field.name: getattr(past.config, field.name) for field in dataclasses.fields(past.config)}
    result = {"adapter": folder} if past.config.lora_rank else {"model": folder}
    return {**values, **result, "stack": False, "average": False, "lora": ()}
