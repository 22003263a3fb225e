"""f_DPO* and f_SFT*: what a run on one objective alone attains. Cached, and reused for every λ."""

from __future__ import annotations

from typing import Any

from llm.common.files import ensure_writable
from llm.common.processes import preserve_torch_state, stop_requested
from llm.config import TrainConfig


def optima(config: TrainConfig, *, quiet: bool = False, **given: Any) -> dict[str, dict[str, float]]:
    """{"train": {"dpo": f_DPO*, "sft": f_SFT*}, "held_out": ...}: the least values seen at evaluations.

    "train" are the first training rows (the scale of MAXRIGHT's f*), "held_out" the held-out ones, if there are any.
    With a loss in DPO's place "train" has its optimum as well: gaps on held-out rows are of f_DPO all the same.
    `given` takes model, tokenizer, sft, preference as `train` does.
    """
    from llm.training.run import Run

    model, tokenizer = given.pop("model", None), given.pop("tokenizer", None)
    ensure_writable("cache", config.cache_folder)
    with stop_requested() as wanted, preserve_torch_state(model):
        run = Run(config, config.folder, model=model, tokenizer=tokenizer, given=given, quiet=quiet, wanted=wanted)
        try:
            return run.optima()
        finally:
            run.give_back()
