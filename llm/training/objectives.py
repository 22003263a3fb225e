"""Both objectives of a run, on training and on held-out rows, with the reference's log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.losses import DPOLoss
from llm.training.objective import Objective
from llm.training.reference import reference_logps
from llm.training.streams import rows_of_optima, rows_of_run
from toyopt.algorithms import DPO, SFT

if TYPE_CHECKING:
    from llm.data.sampler import Indices
    from llm.data.tokenization import TokenizedDataset
    from llm.training.inputs import Inputs


def needed_rows(inputs: Inputs) -> Indices:
    """Return the indices of the preference rows that a run needs the reference for, sorted and distinct."""
    objective, config = Objective("dpo", inputs.datasets.preference), inputs.config
    rows = rows_of_run(config, objective)
    return np.union1d(rows, rows_of_optima(config, objective)) if config.f_star == "compute" else rows


@dataclass(frozen=True)
class Objectives:
    """The objectives of a run, by DPO and SFT; `held_out` lacks an objective without held-out rows."""

    train: dict[int, Objective]
    held_out: dict[int, Objective]


def load_objectives(inputs: Inputs, rows: int = 0, *, trained: Indices) -> Objectives:
    """Return both objectives; the reference's log-probabilities come from the cache, or are computed now.

    rows     maximum number of held-out rows; 0: the option `eval_rows`
    trained  indices of the preference rows whose training loss is needed; the loss of others may be NaN

    Held-out rows are always measured by f_DPO; another loss on pairs is reported beside it.
    """
    datasets, config = inputs.datasets, inputs.config
    count, loss = rows or config.eval_rows, config.loss
    pairs, sft = _first(datasets.preference_held_out, count), _first(datasets.sft_held_out, count)
    needed = [(datasets.preference, trained)] if loss.needs_reference else []
    needed += [] if pairs is None else [(pairs, np.arange(len(pairs)))]
    logps = iter(reference_logps(inputs, needed))
    by_part: dict[str, Any] = {"mean_by_part": config.sft_mean == "batch"}
    reference = next(logps) if loss.needs_reference else None
    train = {
        DPO: Objective("dpo", datasets.preference, loss, reference),
        SFT: Objective("sft", datasets.sft, **by_part),
    }
    held_out = {}
    if pairs is not None:
        measure = DPOLoss(config.beta)
        beside = None if loss == measure else loss
        held_out[DPO] = Objective("dpo", pairs, measure, next(logps), beside=beside)
    if sft is not None:
        held_out[SFT] = Objective("sft", sft, **by_part)
    return Objectives(train, held_out)


def _first(tokens: TokenizedDataset | None, count: int) -> TokenizedDataset | None:
    """Return the first rows of a set."""
    return None if tokens is None else tokens.select(np.arange(min(len(tokens), count)))
