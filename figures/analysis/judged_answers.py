"""Answers of finished runs on the embedded world, and the world that scores them; for the samples and Figure 9.

The choice of runs and prompts is fixed in advance: λ = 1/2, the first seed, the first held-out rows of each set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from figures.analysis import seeds, sweeps
from figures.artefact import Request

if TYPE_CHECKING:
    from llm.embedded import World

LAM = 0.5


def grids(request: Request, methods: Sequence[str]) -> dict[str, Any]:
    """Return the grid of `methods` with λ = 1/2, the first seed, DPO first; on the embedded world at every scale."""
    one = replace(sweeps.embedded(request), seeds=1)
    return {"first": sweeps.grid(one, list(methods), lams=[LAM], orders=["dpo-sft"], measures=["answers"])}


def answers(parameters: Mapping[str, Any]) -> dict[str, tuple[seeds.Row, list[seeds.Row]]]:
    """Return method -> (description of its run, its answers in the order of the held-out rows).

    Raises ValueError if no run has answers.
    """
    by_method = {
        about["method"]: (about, list(result["answers"])) for about, result in seeds.measured(parameters, "answers")
    }
    if not by_method:
        raise ValueError(f"runs: none in {parameters['root']} has its answers; make them first")
    return by_method


def first(rows: Sequence[seeds.Row], name: str, count: int) -> list[seeds.Row]:
    """Return the first `count` answers to prompts of the set `name` (preference or sft)."""
    return [row for row in rows if row["set"] == name][:count]


def world_of(folder: str) -> World:
    """Return the embedded world of a run, rebuilt from the run's configuration."""
    from llm.embedded import EmbeddedConfig
    from llm.training.run_folder import load_run

    config = load_run(folder).config
    return EmbeddedConfig.of_size(config.world_size, config.world_family, seed=config.world_seed).world


def scale(parameters: Mapping[str, Any], about: seeds.Row) -> str:
    """Return world size, steps, λ and seed of a run as text."""
    (spec,) = parameters["grids"].values()
    options = spec["options"]
    return (
        f"embedded world ({options.get('world_size', 'standard')}), {options['steps']} steps, λ = {about['lam']:g}, "
        f"seed {about['seed']}"
    )
