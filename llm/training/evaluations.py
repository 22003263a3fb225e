"""Evaluations of a run on its held-out sets, as lines of metrics.jsonl and of trackers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llm.training.metrics import MetricsFile, evaluation_line, track
from llm.training.starting_values import starting_sums

if TYPE_CHECKING:
    from llm.training.base import BaseModel
    from llm.training.engine import Engine
    from llm.training.objective import Objective
    from llm.training.spec import TrainSpec


def evaluate(base: BaseModel, engine: Engine, spec: TrainSpec, metrics: MetricsFile, step: int, part: str = "") -> None:
    """Evaluate on every held-out set, unless the file of metrics holds the evaluation already.

    base  the base model; runs on it share the values before the first step
    step  number of steps before the evaluation
    part  put after the names of the sets, if the policy is a part of the result
    """

    def sums_of(objective: Objective) -> dict[str, float]:
        if step == 0:
            return starting_sums(base, engine, objective)
        return engine.evaluate(objective, np.arange(len(objective), dtype=np.int64))

    for name, objectives in spec.held_out.items():
        shown = name + part
        if (step, shown) in metrics.evaluated:  # before the process was killed
            continue
        sums = {i: sums_of(objective) for i, objective in objectives.items()}
        count = len(engine.config.objectives)
        line = evaluation_line(step, shown, objectives, sums, spec.f_star.get(name, {}), count)
        metrics.write(line)
        track(engine, {f"{shown}/{k}": v for k, v in line.items() if isinstance(v, float)}, step)
