"""One training run, from a configuration to an adapter. Read `train` from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.common.environment import versions
from llm.common.processes import stop_requested
from llm.common.progress import say
from llm.config import TrainConfig
from llm.training import export, hub, metrics
from llm.training.benchmarks import load_benchmarks
from llm.training.cached_run import train_in
from llm.training.inputs import GivenInputs, open_inputs
from llm.training.objectives import load_objectives, needed_rows
from llm.training.optima import starting_optima
from llm.training.run_folder import RunFolder, fingerprint_of
from llm.training.spec import TrainSpec
from llm.training.trackers import trackers


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, which holds the adapter, and the content of summary.json."""

    folder: Path
    summary: dict[str, Any]


def train(config: TrainConfig | None = None, *, quiet: bool = False, **given: Any) -> Result:
    """Train one adapter on an SFT set and a preference set, or on any number of objectives.

    config  the options
    quiet   hide progress
    given   inputs in memory, in place of the inputs that the options name: model (a causal or encoder-decoder model
            of transformers; returned without adapters) with its tokenizer, sft, preference, sft_held_out,
            preference_held_out (lists of dicts or `datasets.Dataset`s); with the option `objective`, rows: sets by the
            names of the objectives, and by NAME_held_out

    A folder with the same run resumes from its last checkpoint; a finished run is returned. Raises ValueError,
    TypeError or FileNotFoundError, in one line, for wrong input, and `llm.training.errors.StoppedRunError` with a
    diagnosis if a loss explodes.
    """
    config = config or TrainConfig()
    hub.check_push(config)
    inputs_given = GivenInputs(**given)
    with (
        RunFolder.claim(config) as folder,
        stop_requested() as stop,
        open_inputs(folder.with_first_date(config), inputs_given, quiet=quiet, stop=stop) as inputs,
    ):
        inputs.check()
        config, benchmarks = inputs.asked, load_benchmarks(inputs)
        fingerprint = fingerprint_of(config, inputs.datasets.digests, inputs.base.fingerprint)
        about = {"versions": versions(), "in_memory": inputs_given.names, "directory": str(Path.cwd())}
        unfinished = folder.start_or_resume(fingerprint, config, about) if folder.is_main else True
        if not inputs.main_decides(unfinished):
            say(f"{folder.path} is finished; nothing to do (--overwrite begins anew)", active=not inputs.quiet)
            _push(folder, config, active=not inputs.quiet)
            return Result(folder.path, folder.summary())
        if folder.is_main:
            export.save_tokenizer(inputs, folder.path)
        objectives = load_objectives(inputs, trained=needed_rows(inputs))  # the reference's log-probabilities: cached
        optima = starting_optima(inputs, objectives)  # cached, if the option `f_star` asks for them
        rule = inputs.config.rule(optima.f_star)
        held_out = {"held_out": objectives.held_out} if objectives.held_out else {}
        spec = TrainSpec(rule, objectives.train, held_out, config.steps, {"held_out": optima.held_out}, benchmarks)
        with trackers(inputs.accelerator, config, folder.path):
            train_in(inputs, spec, inputs.config, folder, config.method)  # resumes by itself
        name = config.model if inputs_given.model is None else str(inputs_given.model.name_or_path or "")
        costs = metrics.preparation(inputs.costs)
        summary = export.summarize(folder.path, config, inputs.datasets, optima.held_out, costs, name)
        if folder.is_main:
            folder.finish(summary, export.card(config, summary, inputs_given.names))
        inputs.accelerator.wait_for_everyone()
        _push(folder, config, active=not inputs.quiet)
        return Result(folder.path, summary)


def _push(folder: RunFolder, config: TrainConfig, *, active: bool) -> None:
    """Upload the finished adapter if the option `push_to_hub` names a repository, and report its address."""
    if config.push_to_hub and folder.is_main:
        say(f"uploaded: {hub.push(folder.path, config.push_to_hub)}", active=active)
