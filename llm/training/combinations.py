"""Checks of a configuration: values that exclude each other, and values that do not fit the objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llm import rule_options
from llm.common.arguments import take_option
from llm.data.chat import parse_date
from llm.data.objective_settings import reference_source
from llm.data.templates import parse_kwargs
from llm.embedded.tasks import check_source
from llm.models.lora_settings import check_settings, parse_settings, subtracts
from toyopt.algorithms import RULES

if TYPE_CHECKING:
    from llm.config import TrainConfig


def check_named_sets(default: dict[str, Any], argv: list[str]) -> None:
    """Raise ValueError if a model and one of the two sets are named, and the other set is not.

    default  options of the preset and the file
    argv     the options of the command line, which are not in `default`

    The set that is not named would be the embedded world's: invented facts, whose base has to be pre-trained first.
    """
    named = {a.partition("=")[0].removeprefix("--") for a in argv if a.startswith("--")} | set(default)
    model = take_option(argv, "--model")[0] or default.get("model", "embedded")
    absent = {"sft", "preference"} - named
    if model != "embedded" and len(absent) == 1 and "objective" not in named:
        (name,), (other,) = absent, {"sft", "preference"} - absent
        raise ValueError(
            f"{name}: no set is named beside {other}, for the model {model}; give --{name} SET "
            "(embedded: rows about invented facts)"
        )


def check_named_model(c: TrainConfig) -> None:
    """Raise ValueError if every set is named and none is the embedded world's, whose model would be trained on them."""
    sources = [own.source for own in c.objectives]
    if all(source.partition(":")[0] != "embedded" for source in sources):
        raise ValueError(
            f"model: none is named for {', '.join(sources)}; give --model NAME (--preset embedded: a small model of "
            "invented facts)"
        )


def check_objectives(c: TrainConfig, short_form: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the option, for values that do not fit the objectives.

    short_form  the options that have no meaning beside `objective`, with their defaults
    """
    for name, default in short_form.items() if c.objective else ():
        if getattr(c, name) != default:
            raise ValueError(
                f"{name}: belongs to the short form for two objectives, got {getattr(c, name)} beside objective; "
                "leave it out, and give the objective the field"
            )
    for own in c.objectives:
        try:
            check_source(own.source, own.kind)
        except ValueError as error:
            raise ValueError(f"objective {own.name}: {error}" if c.objective else f"{own.kind}: {error}") from error
    if sorted(c.order.split("-")) != sorted(c.names):
        both = f"{c.names[0]}-{c.names[-1]}, {c.names[-1]}-{c.names[0]}"
        both = f"the names {', '.join(c.names)} joined by -, in any order" if c.objective else both
        raise ValueError(f"order: must be one of {both}, got {c.order}")
    reference_source(c)
    if not c.objective and c.loss.unpaired and c.f_star == "given":
        raise ValueError("f_star: given is f_DPO*, and kto needs its own; use compute or estimate, or --objective")
    absent = [own.name for own in c.objectives if own.f_star is None]
    if c.f_star == "given" and absent:
        needed = f"each objective's field f_star, absent from {', '.join(absent)}"
        raise ValueError(f"f_star: given needs {needed if c.objective else 'both --f-dpo-star and --f-sft-star'}")
    measures = ("no", *(f"f_{name}" for name in c.names), "mix", "worst_gap", "ideal_distance")
    if c.keep_best not in measures:
        raise ValueError(f"keep_best: must be one of {', '.join(measures)}, got {c.keep_best}")
    if RULES[c.method].needs_optima or (c.objective and c.f_star in ("compute", "given")):
        check_bounded(c)
    if c.stack and len(c.objectives) > 2:
        raise ValueError(f"stack: joins two adapters, and there are {len(c.objectives)} objectives; use average")


def check_bounded(c: TrainConfig) -> None:
    """Raise ValueError, naming the objective, for a loss without a lower bound, whose gap is from no optimum."""
    for own in c.objectives:
        if own.loss is not None and not own.loss.is_bounded:
            where, smoothing = f"objective {own.name}: loss" if c.objective else "preference_loss", c.label_smoothing
            smoothing = own.loss.numbers().get("label_smoothing", smoothing)
            raise ValueError(
                f"{where}: {own.loss.name} with label_smoothing {smoothing:g} has no lower bound, and so no optimum f* "
                f"to measure gaps from ({c.method}, f_star {c.f_star}); use cdpo, or a method without gaps"
            )


def check_combinations(c: TrainConfig) -> None:
    """Raise ValueError, naming the option, for values that exclude each other or cannot be read."""
    parse_kwargs(c.template_kwargs)
    joined = "stack" if c.stack else "average" if c.average else ""
    check_settings(c.lora, rank=c.lora_rank, adapter=c.adapter, joined=joined, precision=c.precision)
    if c.template_date:
        parse_date(c.template_date)
    if c.neftune_alpha and c.compile:
        raise ValueError("neftune_alpha: not with compile, whose code would leave out the noise; use one of the two")
    if c.warmup and c.schedule == "constant":
        raise ValueError(f"warmup: the schedule constant has none, got {c.warmup}; use --schedule constant_with_warmup")
    for name in ("stack", "average"):
        if not getattr(c, name):
            continue
        if c.method not in rule_options.SequentialOptions.rules or c.lora_rank == 0:
            raise ValueError(f"{name}: is for the sequential method with LoRA, got {c.method}, rank {c.lora_rank}")
        if not c.stage_reset:
            raise ValueError(f"{name}: the second stage's adapter is a new one and begins afresh; leave stage_reset")
    _check_keeping(c)
    for name in ("every", "limit", "include", "questions", "chat"):
        if getattr(c, f"benchmark_{name}") and not c.benchmark_tasks:
            raise ValueError(f"benchmark_{name}: there are no tasks to score by; give --benchmark-tasks")
    if c.benchmark_tasks and c.average:
        raise ValueError("benchmark_tasks: with average no stage is the result; run llm benchmark on the result")
    if c.stack and c.average:
        raise ValueError("average: stack joins the stages' adapters in another way; use one of the two")
    losses = [o.loss for o in c.objectives if o.loss is not None]
    if c.label_smoothing and not any("label_smoothing" in loss.numbers() for loss in losses):
        raise ValueError(
            f"label_smoothing: {c.preference_loss} has none, got {c.label_smoothing}; "
            "use --preference-loss cdpo or robust"
        )
    if not c.objective and c.preference_loss != "dpo" and RULES[c.method].needs_optima and c.f_star == "given":
        loss = f"f_{c.preference_loss}"
        raise ValueError(
            f"f_star: given is f_DPO*, and {c.method} needs the optimum of {loss}; use compute or estimate"
        )
    for name in ("desirable_weight", "undesirable_weight"):
        if getattr(c, name) != 1.0 and not any(name in loss.numbers() for loss in losses):
            raise ValueError(f"{name}: {c.preference_loss} has none, got {getattr(c, name)}; use --preference-loss kto")
    if c.precision == "bf16" and c.lora_rank == 0:
        raise ValueError("precision: bf16 would round most updates of all weights (lora_rank 0) away; use fp32")
    if c.quantization != "none" and c.lora_rank == 0:
        raise ValueError("quantization: weights of 4 bits are not trained; give --lora-rank")
    if c.quantization != "none" and subtracts(parse_settings(c.lora).get("init_lora_weights")):
        raise ValueError(
            "quantization: PiSSA and OLoRA change the base's weights, which nf4 would round; use another start"
        )
    if c.adapter and c.lora_rank == 0:
        raise ValueError("adapter: cannot be trained on with lora_rank 0, which trains all weights")
    if c.lora_rank == 0 and c.reference != "base":
        raise ValueError(f"reference: with lora_rank 0, which trains all weights, it must be base, got {c.reference}")


def _check_keeping(c: TrainConfig) -> None:
    """Raise ValueError, naming the option, for a choice of kept adapters that a run cannot have."""
    which = "stack" if c.stack else "average"
    for name, value, none in (("keep_every", c.keep_every, 0), ("keep_best", c.keep_best, "no")):
        if value != none and (c.stack or c.average):
            raise ValueError(f"{name}: with {which} a stage's adapter is not the model, got {value}; use {none}")
    if c.keep_best != "no" and c.eval_every == 0:
        raise ValueError(f"keep_best: {c.keep_best} is measured by evaluations on the way; give --eval-every")
    if c.keep_best in ("worst_gap", "ideal_distance") and c.f_star not in ("compute", "given"):
        raise ValueError(f"keep_best: {c.keep_best} is measured from optima; use --f-star compute or given, or mix")
    if c.patience and c.keep_best == "no":
        raise ValueError(f"patience: counts evaluations without a better one, got {c.patience}; give --keep-best")
