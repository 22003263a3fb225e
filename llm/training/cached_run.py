"""Runs on one objective alone: the references and optima that other runs reuse, cached by everything they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.common.cache import digest
from llm.common.code_digest import computation_digest
from llm.common.environment import versions
from llm.common.files import lock, write_json
from llm.config import SINGLE_OBJECTIVE, TrainConfig
from llm.training import metrics
from llm.training.run_folder import RunFolder
from llm.training.spec import TrainSpec
from llm.training.trainer import Trainer
from toyopt.algorithms import Sequential

if TYPE_CHECKING:
    from llm.training.inputs import Inputs
    from llm.training.objective import Objective


def computing_code() -> str:
    """Return the digest of the code that trains on one objective, and the versions of the libraries that compute."""
    return computation_digest("llm.training.cached_run", "llm.training.base")


def key_values(config: TrainConfig) -> dict[str, Any]:
    """Return the options that decide the result of a run on one objective, beside objective, rows and base."""
    return config.values_of(*SINGLE_OBJECTIVE)


def run_once(
    inputs: Inputs,
    kind: str,
    objective: Objective,
    config: TrainConfig,
    *,
    title: str,
    held_out: Mapping[str, Objective],
    key: Mapping[str, Any],
) -> Path:
    """Train on one objective, unless that has been done; return the folder in the cache.

    kind       the kind of computation: a folder in the cache
    objective  any name; runs with other names share the folder
    config     the result of `single_objective_config`
    held_out   the objective on sets to evaluate, by the name of the set
    key        further values that decide the result

    A run by other code or other libraries is not reused. Processes that ask for the same run wait for each other.
    """
    values = {
        "code": computing_code(),
        "base": inputs.base.fingerprint,
        **key_values(config),
        **objective.describe(),
        **key,
    }
    folder = RunFolder(inputs.cache / kind / digest(values), inputs.base.is_main)
    folder.path.mkdir(parents=True, exist_ok=True)
    with lock(folder.path / ".lock", wait=True) if folder.is_main else nullcontext():
        if not inputs.main_decides((folder.path / "summary.json").exists()):
            own, index = objective.alone(), config.names.index(objective.alone().name)
            evaluated = {name: {index: o.alone()} for name, o in held_out.items()}
            spec = TrainSpec(Sequential((config.steps,), (index,)), {index: own}, evaluated, config.steps, {})
            train_in(inputs, spec, config, folder, title)
            if folder.is_main:
                write_json(folder.path / "summary.json", {"config": config.as_dict(), "versions": versions()})
            inputs.accelerator.wait_for_everyone()
    inputs.costs[folder.path] = COST_NAMES[kind], metrics.cost_of_cached_run(folder.path)
    return folder.path


COST_NAMES = {"adapters": "reference", "optima": "optima"}


def train_in(inputs: Inputs, spec: TrainSpec, config: TrainConfig, folder: RunFolder, title: str) -> None:
    """Carry out a training specification in a folder, and leave the adapter there."""
    folder.remove_unfinished()
    with inputs.progress(title) as line:
        trainer = Trainer(inputs.base, spec, config, folder.path, report=line, stop=inputs.stop)
        for stage in trainer.stages:
            trainer.fit(stage)
    adapter = trainer.export()
    if folder.is_main:
        folder.take_adapter(adapter)
    inputs.accelerator.wait_for_everyone()
