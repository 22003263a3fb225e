"""f*: the least values of a run on each objective alone. Cached, and reused for all weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.common.files import ensure_writable
from llm.common.processes import stop_requested
from llm.losses import DPOLoss
from llm.models.fingerprints import adapter_fingerprint
from llm.training.cached_run import run_once
from llm.training.combinations import check_bounded
from llm.training.inputs import GivenInputs, open_inputs
from llm.training.metrics import read_metrics
from llm.training.objective import Objective
from llm.training.objectives import Objectives, load_objectives
from llm.training.reference import reference_key, reference_logps
from llm.training.single import single_objective_config
from llm.training.streams import rows_of_optima

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.training.inputs import Inputs

Optima = dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True)
class StartingOptima:
    """Optima at the start of a run.

    f_star    values that the rule subtracts on training batches, one an objective
    held_out  optima of the held-out sets, by objective; empty if gaps are not reported
    """

    f_star: tuple[float, ...]
    held_out: Mapping[int, float]


def optima(config: TrainConfig, *, quiet: bool = False, **given: Any) -> Optima:
    """Return {"train": {"dpo": f_DPO*, "sft": f_SFT*}, "held_out": ...}: least values at evaluations, by objective.

    "train" are the first training rows (the scale of MAXRIGHT's f*), "held_out" the held-out rows, if there are any.
    In the short form with another loss on pairs "train" has its optimum as well; gaps on held-out rows are gaps of
    f_DPO in any case. `given` takes model, tokenizer and sets as `train` does.
    """
    check_bounded(config)
    ensure_writable("cache", config.cache_folder)
    with stop_requested() as stop, open_inputs(config, GivenInputs(**given), quiet=quiet, stop=stop) as inputs:
        inputs.check()
        own = [(i, o.name, inputs.datasets.train[o.set_name]) for i, o in enumerate(config.objectives) if o.is_pairs]
        trained = {i: rows_of_optima(inputs.config, Objective(name, tokens)) for i, name, tokens in own}
        return computed_optima(inputs, load_objectives(inputs, trained=trained), with_other_loss=True)


def starting_optima(inputs: Inputs, objectives: Objectives) -> StartingOptima:
    """Return the optima that a run starts from, by the option `f_star`: unknown, computed, or given."""
    config = inputs.config
    if config.f_star in ("estimate", "lowest"):
        return StartingOptima((0.0,) * len(config.names), {})
    if config.f_star == "given":
        given = tuple(own.f_star or 0.0 for own in config.objectives)
        return StartingOptima(given, dict(enumerate(given)))
    computed = computed_optima(inputs, objectives, with_other_loss=config.rule().needs_optima)
    train = computed["train"]
    held_out = {i: computed.get("held_out", train).get(name, train[name]) for i, name in enumerate(config.names)}
    f_star = (train.get(objectives.train[i].label, train[name]) for i, name in enumerate(config.names))
    return StartingOptima(tuple(f_star), held_out)


def computed_optima(inputs: Inputs, objectives: Objectives, *, with_other_loss: bool) -> Optima:
    """Return the least values that runs on one objective alone attain, on training and on held-out rows, by name.

    In the short form DPO is the measure of held-out rows, so its optimum is always included. The optimum of another
    loss on pairs is computed on training rows if `with_other_loss`.
    """
    least: Optima = {"train": {}, "held_out": {}}
    for index, key_name, objective in _runs(inputs, objectives, with_other_loss=with_other_loss):
        adapter = inputs.config.adapter  # the run itself starts from it
        steps = inputs.config.optima_steps or inputs.config.steps
        alone = single_objective_config(inputs.config, index, steps)
        config = dataclasses.replace(alone, adapter=adapter, eval_every=inputs.config.optima_interval)
        evaluated = {"train": _first_rows(objective, inputs.config.eval_rows)}
        key: dict[str, Any] = {"held_out": ""}
        if key_name in inputs.config.names and index in objectives.held_out:
            evaluated["held_out"] = dataclasses.replace(objectives.held_out[index], beside=None)
            key["held_out"] = evaluated["held_out"].tokens.digest
        if objective.reference is not None:
            key["reference"] = reference_key(inputs)
        if adapter:
            key["adapter"] = adapter_fingerprint(adapter)
        title = f"optimum of f_{key_name.upper()}"
        folder = run_once(inputs, "optima", objective, config, title=title, held_out=evaluated, key=key)
        value = f"f_{objective.alone().label}"
        for line in read_metrics(folder):
            if "evaluation" in line:
                values = least[line["evaluation"]]
                values[key_name] = min(values.get(key_name, float("inf")), line[value])
    return {k: v for k, v in least.items() if v}


def _runs(inputs: Inputs, objectives: Objectives, *, with_other_loss: bool) -> list[tuple[int, str, Objective]]:
    """Return (position, name of the optimum, objective) of each run on one objective alone."""
    runs, others = [], []
    for index, name in enumerate(inputs.config.names):
        objective = objectives.train[index]
        other = objective.is_pairs and not objective.by_name and objective.label != "dpo"
        runs.append((index, name, _as_dpo(inputs, objective) if other else objective))
        others += [(index, objective.label, objective)] if other and with_other_loss else []
    return [*runs, *others]


def _as_dpo(inputs: Inputs, objective: Objective) -> Objective:
    """Return a preference objective of another loss with DPO's loss, and the reference that DPO needs."""
    rows = rows_of_optima(inputs.config, objective)
    logps = reference_logps(inputs, [(objective.tokens, rows)])[0]
    return dataclasses.replace(objective, loss=DPOLoss(inputs.config.beta), reference=logps)


def _first_rows(objective: Objective, count: int) -> Objective:
    """Return the objective on its first rows."""
    return objective.select(np.arange(min(len(objective), count), dtype=np.int64))
