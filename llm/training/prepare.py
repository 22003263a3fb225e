"""The shared computations of a run without the run itself, for schedulers that carry them out as jobs of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.common.files import ensure_writable
from llm.common.processes import stop_requested
from llm.training.inputs import GivenInputs, open_inputs
from llm.training.objectives import load_objectives, needed_rows
from llm.training.optima import starting_optima

if TYPE_CHECKING:
    from llm.config import TrainConfig

PARTS = ("base", "reference", "optima")  # each needs the ones before


def prepare(config: TrainConfig, part: str, *, quiet: bool = False) -> None:
    """Make the shared computations of a run up to and including `part`, unless they are in the cache.

    part  base: the embedded world's data and base model, and the token ids; reference: the reference's adapter and
          log-probabilities as well; optima: f_DPO* and f_SFT* as well, if the option `f_star` asks for them

    No run's folder is written. Raises the same errors as `llm.training.run.train`; a stopped call resumes.
    """
    if part not in PARTS:
        raise ValueError(f"part: must be one of {', '.join(PARTS)}, got {part}")
    ensure_writable("cache", config.cache_folder)
    with stop_requested() as stop, open_inputs(config, GivenInputs(), quiet=quiet, stop=stop) as inputs:
        inputs.check()
        if part == "base":
            return
        objectives = load_objectives(inputs, trained=needed_rows(inputs))
        if part == "optima":
            starting_optima(inputs, objectives)
