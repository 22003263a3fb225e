"""The result of a run: an adapter in PEFT's format, a model card, and a summary."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from llm.common.environment import versions
from llm.common.files import atomic_path, full_disk_as_os_error, read_json
from llm.data.stops import stop_ids
from llm.data.templates import TemplateOptions
from llm.models.dropout import own_noise
from llm.models.lora import join_adapters, load_adapter, save_by_peft, unload
from llm.models.quantization import without_scales
from llm.training import zero
from llm.training.best import find_best
from llm.training.metrics import read_metrics
from llm.training.stages import stages_of

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.data.splits import Datasets
    from llm.training.engine import Engine
    from llm.training.inputs import Inputs


def save_adapter(engine: Engine, folder: Path, name: str = "default") -> None:
    """Write the adapter `name` of the engine's policy, or all weights if there is none, in PEFT's format."""
    model: Any = engine.raw.model
    adapted = hasattr(model, "peft_config")
    state = _whole_state(engine, adapted=adapted)
    if engine.accelerator.is_main_process:
        state = {k.removeprefix("model."): v for k, v in state.items()}
        with atomic_path(folder) as temporary:
            if adapted:
                save_by_peft(model, temporary, name, state_dict=state)
            else:
                with own_noise(model):
                    model.save_pretrained(temporary, state_dict=state)
    engine.accelerator.wait_for_everyone()


def _whole_state(engine: Engine, *, adapted: bool) -> dict[str, Any]:
    """Return the state dict of an engine's policy on the main process, of an adapter alone if there is one."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    if engine.is_zero:
        kinds = {name: p.dtype for name, p in engine.raw.named_parameters()}
        trained = zero.trained_weights(engine)
        if adapted:
            return trained
        saved = engine.raw.state_dict().keys()
        buffers = {name: b.cpu() for name, b in engine.raw.named_buffers() if name in saved}
        return buffers | {name: weight.to(kinds[name]) for name, weight in trained.items()}
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=adapted)
    engine.reshard()
    return without_scales(get_model_state_dict(engine.policy, options=options))


def join_stages(base: Any, stages: list[Path], folder: Path, weights: Sequence[float]) -> None:
    """Write the weighted sum of the stages' adapters on their base, as one adapter, into `folder`."""
    model = load_adapter(base, str(stages[0]), trainable=False, name="stage1")
    for j, stage in enumerate(stages[1:], start=2):
        model.load_adapter(str(stage), adapter_name=f"stage{j}")
    model = join_adapters(model, weights)
    with atomic_path(folder) as temporary:
        save_by_peft(model, temporary, "default")
    unload(model)


def save_tokenizer(inputs: Inputs, folder: Path) -> None:
    """Write a run's tokenizer, and generation settings that end a response where training taught it to end."""
    with full_disk_as_os_error(folder):
        inputs.tokenizer.save_pretrained(folder)
    options = inputs.config.as_dict()
    templates = [TemplateOptions.named(options, own.template) for own in inputs.config.sft_first]
    settings = generation_settings(inputs.base.model, inputs.tokenizer, templates, inputs.config.eos or None)
    settings.save_pretrained(folder)


def generation_settings(
    model: Any, tokenizer: Any, templates: Sequence[TemplateOptions], eos: str | None
) -> GenerationConfig:
    """Return a model's generation settings that also stop at the ids that end a response by one of the templates.

    eos  the token that ends a response, if it is not the tokenizer's own
    """
    known = eos is not None or tokenizer.eos_token_id is not None  # else the tokenizer is not one of training
    ids = [i for template in templates for i in stop_ids(tokenizer, template, eos)] if known else []
    own = getattr(model, "generation_config", None)  # a model in memory need not have any
    settings: GenerationConfig = GenerationConfig() if own is None else copy.deepcopy(own)  # type: ignore[no-untyped-call]
    settings.eos_token_id = list(dict.fromkeys([*ids, *generation_ends(model)])) or None
    settings._from_model_config = False  # it is not any more what the model's configuration says
    try:
        settings.validate(strict=True)
    except ValueError:  # settings that contradict each other can be loaded, but not saved
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            eos_token_id=settings.eos_token_id,
            bos_token_id=settings.bos_token_id,
            pad_token_id=settings.pad_token_id,
            decoder_start_token_id=settings.decoder_start_token_id,
        )
    return settings


def generation_ends(model: Any) -> list[int]:
    """Return the ids of the tokens that end a text in the model's own generation settings."""
    ids = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return [] if ids is None else [int(i) for i in (ids if isinstance(ids, list | tuple) else [ids])]


def card(config: TrainConfig, summary: dict[str, Any], in_memory: Sequence[str] = ()) -> str:
    """Return README.md of the result: data, method, λ and gaps, as numbers of this run.

    in_memory  names of the inputs that were given in memory, which the options do not name
    """
    final = summary.get("evaluation", {}) | summary.get("benchmarks", {})
    rows = "\n".join(f"| {k} | {v:.6g} |" for k, v in final.items() if isinstance(v, float))
    steps = ", ".join(f"{v} on {k.upper()}" for k, v in summary["steps_by_objective"].items())
    method = f"{config.method}, averaged" if config.average else config.method
    title = f"on {', '.join(config.names)}" if config.objective else "by SFT and DPO"
    weights = "weights as below" if config.objective else f"λ = {config.lam:g} (weight of DPO)"
    best = summary.get("best")
    kept = f" This is the adapter of step {best['step']}, with the least {best['measure']}." if best else ""
    base = summary["base_model"]  # "" of a model in memory that has no name
    header = "\n".join(
        [
            "---",
            "library_name: peft" if config.lora_rank else "library_name: transformers",
            *([f"base_model: {base}"] if base else []),
            "tags: [lora, sft, dpo, joint-training]" if config.lora_rank else "tags: [sft, dpo, joint-training]",
            "---",
        ]
    )
    return f"""{header}

# {Path(base).name or "A model in memory"}, post-trained jointly {title}

Method: **{method}**, {weights}, arXiv 2410.15483. {summary["steps"]} steps: {steps}.{kept}

| | |
| --- | --- |
{_sets(config, summary["rows"], summary["reference"], in_memory)}
| trained | {_trained(config, summary["targets"])} |
| learning rate | {config.lr:g} ({config.optimizer}, {config.schedule}) |
| tokens, seconds | {summary["tokens"]:,}, {summary["seconds"]:.0f} |

On held-out rows ({", ".join(f"{v} {k}" for k, v in summary["held_out_rows"].items()) or "none"}):

| quantity | value |
| --- | --- |
{rows}

In the run's folder, `run.json` holds the whole configuration and the versions, `metrics.jsonl` every step.
"""


def _trained(config: TrainConfig, targets: str) -> str:
    """Return which weights were trained; of averaged adapters, how each was, and how they are weighted."""
    if config.adapter:
        trained = f"the LoRA adapter `{config.adapter}`, on {targets}"
    else:
        trained = f"LoRA of rank {config.lora_rank}, alpha {config.lora_alpha}, on {targets}"
        trained += f" ({', '.join(config.lora)})" if config.lora else ""
    trained += ", the base in NF4" if config.quantization == "nf4" else ""
    trained = trained if config.lora_rank else "all weights"
    if not config.average:
        return trained
    several, by = ("an adapter a stage", "as below") if config.objective else ("two adapters", "λ and 1-λ")
    return f"{several}, each {trained}; this is their mean, weighted {by}"


def _sets(config: TrainConfig, rows: Mapping[str, int], reference: str, in_memory: Sequence[str]) -> str:
    """Return the rows of the card's table that name sets, losses and weights.

    rows       numbers of training rows by the names of the sets
    reference  summary's name of the reference
    in_memory  names of sets that were given in memory
    """

    def named(name: str, source: str) -> str:
        return "rows in memory" if name in in_memory else f"`{source}`"

    if not config.objective:
        lines = [f"SFT set | {named('sft', config.sft)}, {rows['sft']} rows"]
        unit = "responses" if config.loss.unpaired else "pairs"
        lines.append(f"preference set | {named('preference', config.preference)}, {rows['preference']} {unit}")
        if config.loss.unpaired:
            lines.append(f"loss on responses | {config.loss.describe()}")
        elif config.preference_loss != "dpo":
            lines.append(f"loss on pairs | {config.loss.describe()}; f_dpo is only evaluated")
        lines.append(f"reference of DPO | {reference}, β = {config.beta:g}")
    else:
        lines = []
        for own in config.objectives:
            loss = "SFT" if own.loss is None else own.loss.describe()
            unit = "rows" if own.loss is None else "responses" if own.loss.unpaired else "pairs"
            source = named(own.set_name, own.source)
            lines.append(f"{own.name} | {loss} on {source}, {rows[own.set_name]} {unit}; weight {own.weight:g}")
        if any(own.loss is not None and own.loss.needs_reference for own in config.objectives):
            lines.append(f"reference | {reference}")
    return "\n".join(f"| {line} |" for line in lines)


def device_name() -> str:
    """Return the name of the GPU, or the CPU with its number of threads."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"


def summarize(
    folder: Path,
    config: TrainConfig,
    datasets: Datasets,
    optima: Mapping[int, float],
    preparation: Mapping[str, float | None],
    base_model: str,
) -> dict[str, Any]:
    """Return the content of summary.json, from a run's metrics.

    base_model   the base's name: of a model in memory the one that it was loaded by, or "" if it has none
    optima       optima of the held-out sets, by objective; empty if no gaps are reported
    preparation  seconds of the cached computations that the run reuses, by `metrics.PREPARATIONS`
    """
    lines = read_metrics(folder)
    last = [line for line in lines if "objective" in line][-1]
    evaluations = [line for line in lines if "evaluation" in line]
    begin = stages_of(config.rule(), config.steps)[-1].begin
    scored = [line for line in lines if "benchmark" in line]
    best = None if config.keep_best == "no" else find_best(config, lines, begin, last["step"])
    if best is not None:  # the result is the adapter of that step
        evaluations = [line for line in evaluations if line["step"] == best.step]
        scored = [line for line in scored if line["step"] == best.step]
    shown = {"sft": "SFT"} if not config.objective else {}
    described = folder / "adapter_config.json"
    own = f"f_{config.preference_loss}_star"  # the estimated optimum of a loss in DPO's place
    known = {config.preference_loss: last[own]} if own in last and not config.objective else {}
    weights = {"weights": {o.name: o.weight for o in config.objectives}} if config.objective else {"lam": config.lam}
    return {
        "method": config.method,
        **weights,
        "base_model": base_model,
        "reference": config.reference_kind,
        "rows": {name: len(tokens) for name, tokens in datasets.train.items()},
        "held_out_rows": {shown.get(name, name): len(tokens) for name, tokens in datasets.held_out.items()},
        "targets": adapted_layers(read_json(described)) if described.exists() else "all weights",
        "steps": last["step"],
        "steps_by_objective": steps_by_objective(lines, config.names),
        "f_star": known | {n: optima.get(i, last.get(f"f_{n}_star")) for i, n in enumerate(config.names)},
        "evaluation": {k: v for k, v in evaluations[-1].items() if isinstance(v, float)} if evaluations else {},
        "benchmarks": {k: v for k, v in scored[-1].items() if isinstance(v, float)} if scored else {},
        "best": None if best is None else {"measure": config.keep_best, "step": best.step, "value": best.value},
        "tokens": last["tokens"],
        "forward_tokens": last.get("forward_tokens"),
        "seconds": last["seconds"],
        "cpu_seconds": last.get("cpu_seconds"),
        "preparation": dict(preparation),
        "memory_mb": last["memory_mb"],
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "device": device_name(),
        "versions": versions(),
    }


def adapted_layers(described: Mapping[str, Any]) -> str:
    """Return the targets in an adapter_config.json: names of layers and of parameters, or the pattern of layers."""
    modules = described.get("target_modules") or []
    names = [modules] if isinstance(modules, str) else sorted(modules)
    return ", ".join([*names, *sorted(described.get("target_parameters") or [])])


def steps_by_objective(lines: list[dict[str, Any]], names: Sequence[str]) -> dict[str, int]:
    """Return the number of steps on each of the named objectives; a step of Mix counts for all that it trains."""
    counts = dict.fromkeys(names, 0)
    for name in (name for line in lines for name in line.get("objective", "").split("+") if name):
        counts[name] += 1
    return counts
