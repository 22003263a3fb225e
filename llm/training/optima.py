"""f_DPO* and f_SFT*: the least values of a run on one objective alone. Cached, and reused for every λ."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.common.files import ensure_writable
from llm.common.processes import stop_requested
from llm.losses import DPOLoss
from llm.training.cached_run import run_once, single_objective_config
from llm.training.inputs import GivenInputs, open_inputs
from llm.training.metrics import NAMES, read_metrics
from llm.training.objective import Objective
from llm.training.objectives import Objectives, load_objectives
from llm.training.reference import reference_key, reference_logps
from llm.training.streams import rows_of_optima
from toyopt.algorithms import DPO, SFT

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.training.inputs import Inputs

Optima = dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True)
class StartingOptima:
    """Optima at the start of a run.

    f_star    values that the rule subtracts on training batches
    held_out  optima of the held-out sets, by objective; empty if gaps are not reported
    """

    f_star: tuple[float, float]
    held_out: Mapping[int, float]


def optima(config: TrainConfig, *, quiet: bool = False, **given: Any) -> Optima:
    """Return {"train": {"dpo": f_DPO*, "sft": f_SFT*}, "held_out": ...}: least values at evaluations.

    "train" are the first training rows (the scale of MAXRIGHT's f*), "held_out" the held-out rows, if there are any.
    For another loss on pairs "train" has its optimum as well; gaps on held-out rows are gaps of f_DPO in any case.
    `given` takes model, tokenizer, sft, preference as `train` does.
    """
    ensure_writable("cache", config.cache_folder)
    with stop_requested() as stop, open_inputs(config, GivenInputs(**given), quiet=quiet, stop=stop) as inputs:
        inputs.check()
        trained = rows_of_optima(inputs.config, Objective("dpo", inputs.datasets.preference))
        return computed_optima(inputs, load_objectives(inputs, trained=trained), with_other_loss=True)


def starting_optima(inputs: Inputs, objectives: Objectives) -> StartingOptima:
    """Return the optima that a run starts from, by the option `f_star`: unknown, computed, or given."""
    config = inputs.config
    if config.f_star in ("estimate", "lowest"):
        return StartingOptima((0.0, 0.0), {})
    if config.f_star == "given":
        given = config.f_dpo_star or 0.0, config.f_sft_star or 0.0
        return StartingOptima(given, dict(enumerate(given)))
    computed = computed_optima(inputs, objectives, with_other_loss=config.rule().needs_optima)
    train = computed["train"]
    held_out = {i: computed.get("held_out", train)[name] for i, name in NAMES.items()}
    return StartingOptima((train.get(objectives.train[DPO].label, train["dpo"]), train["sft"]), held_out)


def computed_optima(inputs: Inputs, objectives: Objectives, *, with_other_loss: bool) -> Optima:
    """Return the least values that runs on one objective alone attain, on training and on held-out rows.

    DPO is the measure of held-out rows, so its optimum is always included. The optimum of another loss on pairs is
    computed on training rows if `with_other_loss`.
    """
    least: Optima = {"train": {}, "held_out": {}}
    pairs = objectives.train[DPO]
    runs = [(DPO, _as_dpo(inputs, pairs)), (SFT, objectives.train[SFT])]
    if with_other_loss and pairs.label != "dpo":
        runs.append((DPO, pairs))
    for index, objective in runs:
        name = objective.label
        config = single_objective_config(inputs.config, index, inputs.config.optima_steps or inputs.config.steps)
        evaluated = {"train": {index: _first_rows(objective, inputs.config.eval_rows)}}
        key: dict[str, Any] = {"held_out": ""}
        if name in NAMES.values() and objectives.held_out:
            held_out = dataclasses.replace(objectives.held_out[index], beside=None)
            evaluated["held_out"] = {index: held_out}
            key["held_out"] = held_out.tokens.digest
        if objective.reference is not None:
            key["reference"] = reference_key(inputs)
        title = f"optimum of f_{name.upper()}"
        folder = run_once(inputs, "optima", index, objective, config, title=title, held_out=evaluated, key=key)
        for line in read_metrics(folder):
            if "evaluation" in line:
                values = least[line["evaluation"]]
                values[name] = min(values.get(name, float("inf")), line[f"f_{name}"])
    return {k: v for k, v in least.items() if v}


def _as_dpo(inputs: Inputs, objective: Objective) -> Objective:
    """Return the preference objective with DPO's loss, and the reference that DPO needs."""
    if objective.label == "dpo":
        return objective
    rows = rows_of_optima(inputs.config, objective)
    logps = reference_logps(inputs, [(objective.tokens, rows)])[0]
    return dataclasses.replace(objective, loss=DPOLoss(inputs.config.beta), reference=logps)


def _first_rows(objective: Objective, count: int) -> Objective:
    """Return the objective on its first rows."""
    return objective.select(np.arange(min(len(objective), count), dtype=np.int64))
