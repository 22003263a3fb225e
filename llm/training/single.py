"""The configuration of a run on one objective alone: an optimum, or the adapter of a reference."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm.config import TrainConfig


def single_objective_config(config: TrainConfig, index: int, steps: int) -> TrainConfig:
    """Return the configuration of a run on one objective, in the short form: equal but for the method.

    index  position of the objective

    The name and the weight of the objective have no influence, so that runs with other names and weights share it.
    """
    own = config.objectives[index]
    short: dict[str, Any] = {}
    if config.objective or config.loss.unpaired:  # names and order are those of the form for DPO
        short = {"objective": (), "order": "", "f_star": "estimate", "preference_loss": "dpo", "label_smoothing": 0.0}
        short |= {"reference": "base", "batch_preference" if own.is_pairs else "batch_sft": own.batch}
    return dataclasses.replace(
        config,
        method="sequential",
        lam=1.0 if own.is_pairs else 0.0,
        steps=steps,
        stack=False,
        average=False,
        adapter="",
        out="",
        log_with=(),
        push_to_hub="",
        benchmark_tasks=(),
        benchmark_every=0,
        benchmark_questions="",
        keep_every=0,
        keep_best="no",
        patience=0,
        overwrite=False,
        **short,
    )
