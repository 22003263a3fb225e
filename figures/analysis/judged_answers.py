"""Answers of finished runs to held-out prompts, for the samples and Figure 9, and the world that scores some.

The choice of runs and prompts is fixed in advance: λ = 1/2, the first seed, the first held-out rows of each set. At
scale `real` the runs are the real model's, whose answers nobody scores, and at every other scale the embedded world's.
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


def grids(request: Request, methods: Sequence[str], measure: str = "") -> dict[str, Any]:
    """Return the grid of `methods` with λ = 1/2, the first seed, DPO first; of the real model at scale `real`.

    measure  of the answers; "": `answers` on the embedded world, and `samples` on the real model
    """
    if request.scale == "paper":
        request = sweeps.embedded(request)
    own = measure or ("samples" if request.scale == "real" else "answers")
    one = replace(request, seeds=1)
    return {"first": sweeps.grid(one, list(methods), lams=[LAM], orders=["dpo-sft"], measures=[own])}


def measure_of(parameters: Mapping[str, Any]) -> str:
    """Return the measure that holds the answers."""
    (spec,) = parameters["grids"].values()
    (measure,) = spec["measures"]
    return str(measure)


def is_embedded(parameters: Mapping[str, Any]) -> bool:
    """Return whether the runs are on the embedded world, whose judge scores their answers."""
    (spec,) = parameters["grids"].values()
    return bool(spec.get("preset") == "embedded")


def answers(parameters: Mapping[str, Any]) -> dict[str, tuple[seeds.Row, list[seeds.Row]]]:
    """Return method -> (description of its run, its answers in the order of the held-out rows).

    Raises ValueError if no run has answers.
    """
    by_method = {
        about["method"]: (about, list(result["answers"]))
        for about, result in seeds.measured(parameters, measure_of(parameters))
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
    """Return model or world size, steps, λ and seed of a run as text."""
    (spec,) = parameters["grids"].values()
    options = spec["options"]
    model = f"embedded world ({options.get('world_size', 'standard')})" if is_embedded(parameters) else spec["preset"]
    return f"{model}, {options['steps']} steps, λ = {about['lam']:g}, seed {about['seed']}"
