"""What the samples and Figure 9 share: the answers of finished runs, and the world that knows which are good.

Which runs and which prompts is settled beforehand: λ = 1/2, the first seed, the first held-out rows of either set.
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
    """The runs of `methods` with λ = 1/2 and the first seed, DPO first; on the embedded world at every scale."""
    scale = "embedded" if request.scale == "paper" else request.scale
    one = replace(request, scale=scale, seeds=1)
    return {"first": sweeps.grid(one, list(methods), lams=[LAM], orders=["dpo-sft"], measures=["answers"])}


def answers(parameters: Mapping[str, Any]) -> dict[str, tuple[seeds.Row, list[seeds.Row]]]:
    """Method -> (what its run was, its answers in the order of the held-out rows). ValueError if there is no run."""
    found = {
        about["method"]: (about, list(result["answers"])) for about, result in seeds.measured(parameters, "answers")
    }
    if not found:
        raise ValueError(f"runs: none in {parameters['root']} has its answers; make them first")
    return found


def first(rows: Sequence[seeds.Row], name: str, count: int) -> list[seeds.Row]:
    """The first answers to prompts of the set `name`: preference or sft."""
    return [row for row in rows if row["set"] == name][:count]


def world_of(folder: str) -> World:
    """The world that a run was on, from its configuration alone."""
    from llm.embedded import EmbeddedConfig
    from llm.training.run_folder import load_run

    config = load_run(folder).config
    return EmbeddedConfig.of_size(config.world_size, config.world_family, seed=config.world_seed).world


def scale(parameters: Mapping[str, Any], about: seeds.Row) -> str:
    """What and how large, in words."""
    (spec,) = parameters["grids"].values()
    options = spec["options"]
    return (
        f"embedded world ({options.get('world_size', 'standard')}), {options['steps']} steps, λ = {about['lam']:g}, "
        f"seed {about['seed']}"
    )
