"""f_DPO, f_SFT and their gaps on held-out rows, for a finished run or for another adapter on its rows."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from llm.common.arguments import NOT_NEGATIVE, check_options
from llm.common.files import check_name, ensure_output, write_json
from llm.common.processes import stop_requested
from llm.data.objective_settings import only
from llm.data.splits import load_held_out
from llm.evaluation.past_run import check_given, check_unchanged
from llm.training.run_folder import FinishedRun, load_run

if TYPE_CHECKING:
    from llm.data.objective_options import Kind
    from llm.training.inputs import Inputs


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of `evaluate`: a run, an adapter, and held-out rows."""

    run: str
    """Folder of a finished run; held-out rows, reference and β are its own."""
    adapter: str = ""
    """Another adapter on the same base, or `base` for the bare one; empty: the run's own."""
    sft: str = ""
    """Another set to evaluate the SFT objective on, if there is one."""
    preference: str = ""
    """Another set to evaluate the preference objective on, if there is one."""
    rows: Annotated[int, NOT_NEGATIVE] = 0
    """Maximum number of rows of each set; 0: as many as in the run's evaluations."""
    out: str = ""
    """Write the numbers to this .json as well."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.out:
            check_name(self.out, ".json")


def evaluate(config: EvaluateConfig, *, quiet: bool = False, **given: Any) -> dict[str, float]:
    """Return f_dpo, f_sft, rewards under TRL's names, and with known optima gap_dpo, gap_sft and ideal_distance.

    For a run of several objectives the keys have their names.

    `given` takes model, tokenizer and sets, as `train` does, that the run had in memory. Raises ValueError if the run
    is not finished, held no rows out, or its rows or base have changed; FileNotFoundError for an absent adapter.
    """
    past = load_run(config.run)
    check_given(past, given, "llm.evaluation.held_out.evaluate(EvaluateConfig(...)")
    if config.adapter not in ("", "base") and not (Path(config.adapter) / "adapter_config.json").is_file():
        raise FileNotFoundError(f"adapter: {config.adapter} has no adapter_config.json; give a folder with an adapter")
    if config.out:
        ensure_output(config.out, sft=config.sft, preference=config.preference)
    from llm.training.inputs import GivenInputs, open_inputs

    with stop_requested() as stop, open_inputs(past.config, GivenInputs(**given), quiet=quiet, stop=stop) as inputs:
        result = _measured(inputs, past, config)
    optima = past.summary.get("f_star") or {}
    for name in past.config.names:
        if optima.get(name) is not None and past.config.f_star not in ("estimate", "lowest"):
            result[f"gap_{name}"] = result[f"f_{name}"] - optima[name]
    gaps = [result.get(f"gap_{name}", math.nan) for name in past.config.names]
    if not any(map(math.isnan, gaps)):
        result["ideal_distance"] = math.hypot(*gaps)
    if config.out:
        write_json(Path(config.out), result)
    return result


def _measured(inputs: Inputs, past: FinishedRun, config: EvaluateConfig) -> dict[str, float]:
    """Return the objectives' values on the run's held-out rows, or on the sets named in their place."""
    from llm.training.inputs import check_fits
    from llm.training.objectives import load_objectives

    # The run's own rows are needed for other sets as well: its reference may have been trained on them.
    check_unchanged(inputs, past)
    named: dict[Kind, str] = {"sft": config.sft, "preference": config.preference}
    others = {}
    for kind, source in named.items():
        if source:
            own = only(inputs.config.objectives, kind, kind).set_name
            encoder = inputs.is_encoder_decoder
            others[own] = load_held_out(inputs.config, inputs.tokenizer, own, source, encoder=encoder)
    inputs.datasets = dataclasses.replace(inputs.datasets, held_out={**inputs.datasets.held_out, **others})
    inputs.base.set_rows(inputs.datasets.for_layout)
    check_fits(inputs.datasets, inputs.base.model, inputs.config)
    evals = load_objectives(inputs, config.rows, trained={}).held_out
    if len(evals) < len(inputs.config.names):
        raise ValueError("run: it held no rows out; give --sft and --preference to evaluate on")
    adapter = None if config.adapter == "base" else Path(config.adapter or past.folder)
    engine = inputs.base.open_for_evaluation(inputs.config, adapter)
    result: dict[str, float] = {}
    for i, name in enumerate(inputs.config.names):
        task = dataclasses.replace(evals[i], share_prompt=engine.raw.share_prompt)
        sums = engine.evaluate(task, np.arange(len(task), dtype=np.int64))
        result |= {f"f_{name}": task.value(sums), **task.metrics(sums)}
    engine.close()
    return result
