"""The losses on preferences of an untrained policy, which is its own reference: known before anything is computed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llm.evaluation.conformance.finding import Finding, compared, stated
from llm.evaluation.conformance.forward import reference_logps
from llm.losses import DPOLoss

if TYPE_CHECKING:
    from llm.data.tokenization import TokenizedDataset
    from llm.evaluation.conformance.forward import Checked, Subject
    from llm.training.engine import Engine
    from llm.training.inputs import Inputs
    from llm.training.objective import Objective

GROUP = "start"


def check_start(inputs: Inputs, subject: Subject, cache: Path, tolerance: Callable[[str], float]) -> list[Finding]:
    """Return findings on each loss on preferences before training, in evaluation and in training mode.

    cache      an empty folder, where the reference's log-probabilities are kept and read again
    tolerance  shown name of a loss -> largest difference that is rounding

    The policy is the reference, so that f_DPO is ln 2; any other loss has its value on the base's log-probabilities.
    """
    from llm.data.splits import Datasets
    from llm.training.objectives import load_objectives

    config = inputs.config
    if not subject.preferences:
        return [stated(GROUP, "losses on preferences begin at the reference", None, "there are no preferences")]
    if config.reference_kind != "base" or config.adapter:
        claim = f"{subject.preferences[0].name} is ln 2"
        return [stated(GROUP, claim, None, "the policy does not begin as DPO's reference")]
    expected = _expected(subject)
    findings = []
    own_datasets, inputs.config = inputs.datasets, dataclasses.replace(config, cache=str(cache))
    sets = {settings.set_name: _tokens(subject, settings.name) for settings in config.objectives}
    inputs.datasets = Datasets(sets, {})
    rows = {i: np.arange(len(sets[own.set_name])) for i, own in enumerate(config.objectives) if own.is_pairs}
    for age in ("fresh", "used"):
        trained = load_objectives(inputs, trained=rows).train
        engine = inputs.base.open_for_training(inputs.config, 1)
        for i in rows:
            objective = dataclasses.replace(trained[i], share_prompt=engine.raw.share_prompt)
            own = _checked(subject, objective)
            value, shown = expected[own.name]
            for mode, measured in _values(engine, objective).items():
                claim = f"{own.name} is {shown} in {mode}, with a {age} cache of the reference"
                findings.append(compared(GROUP, claim, abs(measured - value), tolerance(own.name)))
        engine.close()
    inputs.config, inputs.datasets = config, own_datasets
    return findings


def _expected(subject: Subject) -> dict[str, tuple[float, str]]:
    """Return (value, text) of each loss on preferences where the policy is the base, by shown name."""
    references = reference_logps(subject)
    return {
        own.name: (math.log(2.0), "ln 2")
        if isinstance(own.loss, DPOLoss)
        else (float(own.value(references[own.name], references[own.name])), "that of the base")
        for own in subject.preferences
    }


def _values(engine: Engine, objective: Objective) -> dict[str, float]:
    """Return an objective's value on all of its rows, in evaluation and in training mode."""
    rows = np.arange(len(objective))
    evaluated = objective.value(engine.evaluate(objective, rows))
    engine.policy.train()
    return {"evaluation": evaluated, "training": engine.forward(objective, rows, graph=False).value}


def _tokens(subject: Subject, name: str) -> TokenizedDataset:
    """Return the rows of the objective of a name in the configuration."""
    return next(own.tokens for own in subject.objectives if own.own == name)


def _checked(subject: Subject, objective: Objective) -> Checked:
    """Return the checked objective of an objective of the trainer: of equal names, that with the same loss."""
    return next(own for own in subject.preferences if own.own == objective.name and own.loss == objective.loss)
