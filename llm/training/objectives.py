"""The objectives of a run, on training and on held-out rows, with the reference's log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.losses import DPOLoss
from llm.training.objective import Objective
from llm.training.reference import reference_logps
from llm.training.streams import rows_of_optima, rows_of_run

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.data.objective_settings import ObjectiveSettings
    from llm.data.sampler import Indices
    from llm.data.tokenization import TokenizedDataset
    from llm.losses import PreferenceLoss
    from llm.training.inputs import Inputs


def needed_rows(inputs: Inputs) -> dict[int, Indices]:
    """Return the indices of the rows of each set of pairs that a run needs the reference for, sorted and distinct."""
    config, needed = inputs.config, {}
    for i, own in enumerate(config.objectives):
        if own.is_pairs:
            objective = Objective(own.name, inputs.datasets.train[own.set_name])
            needed[i] = rows_of_run(config, objective)
            if config.f_star == "compute":
                needed[i] = np.union1d(needed[i], rows_of_optima(config, objective))
    return needed


@dataclass(frozen=True)
class Objectives:
    """The objectives of a run, by position; `held_out` lacks an objective without held-out rows."""

    train: dict[int, Objective]
    held_out: dict[int, Objective]


def load_objectives(inputs: Inputs, rows: int = 0, *, trained: Mapping[int, Indices]) -> Objectives:
    """Return all objectives; the reference's log-probabilities come from the cache, or are computed now.

    rows     maximum number of held-out rows; 0: the option `eval_rows`
    trained  for each objective on pairs, the rows whose training loss is needed; the loss of others may be NaN

    Held-out pairs are measured by the objective's loss; in the short form by f_DPO, with another loss beside.
    """
    config, datasets = inputs.config, inputs.datasets
    first = rows or config.eval_rows
    held_out = {
        i: _first(datasets.held_out[own.set_name], first)
        for i, own in enumerate(config.objectives)
        if own.set_name in datasets.held_out
    }
    train = {i: datasets.train[own.set_name] for i, own in enumerate(config.objectives)}
    needed: dict[tuple[str, int], tuple[TokenizedDataset, Indices]] = {}
    for i, own in enumerate(config.objectives):
        if own.loss is not None and own.loss.needs_reference:
            needed["train", i] = train[i], trained.get(i, np.empty(0, dtype=np.int64))
    for i, tokens in held_out.items():
        measure = held_out_loss(config, config.objectives[i])
        if measure is not None and measure.needs_reference:
            needed["held_out", i] = tokens, np.arange(len(tokens))
    logps = dict(zip(needed, reference_logps(inputs, list(needed.values())), strict=True))
    several = sum(own.is_pairs for own in config.objectives) > 1
    made = Objectives({}, {})
    for i, own in enumerate(config.objectives):
        suffix = f"/{own.name}" if several and own.is_pairs else ""
        by_part = config.sft_mean == "batch" and not own.is_pairs
        about: dict[str, Any] = {"mean_by_part": by_part, "by_name": own.by_name, "suffix": suffix}
        made.train[i] = Objective(own.name, train[i], own.loss, logps.get(("train", i)), **about)
        if i in held_out:
            measure = held_out_loss(config, own)
            beside = None if measure == own.loss else own.loss
            reference = logps.get(("held_out", i))
            made.held_out[i] = Objective(own.name, held_out[i], measure, reference, beside=beside, **about)
    return made


def held_out_loss(config: TrainConfig, own: ObjectiveSettings) -> PreferenceLoss | None:
    """Return the loss that measures an objective's held-out pairs: its own, or DPO's in the short form."""
    return own.loss if own.loss is None or own.by_name else DPOLoss(config.beta)


def _first(tokens: TokenizedDataset, count: int) -> TokenizedDataset:
    """Return the first rows of a set."""
    return tokens.select(np.arange(min(len(tokens), count)))
