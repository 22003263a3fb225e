"""A check of the trainer on a model and its sets: `python -m llm check`, with the options of `train`.

The numbers of the trainer are compared with those of transformers, PEFT and the tokenizer on a few rows: of the given
sets, or made of the tokenizer's own words. They are shorter and longer than every window and context of the model, as
far as `max_length` and the sets allow, and no longer than that takes.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np

from llm.common.arguments import Range
from llm.common.processes import stop_requested
from llm.config import TrainConfig
from llm.evaluation.conformance.finding import Finding, compared, stated
from toyopt.algorithms import DPO

if TYPE_CHECKING:
    from llm.data.rows import Kind
    from llm.evaluation.conformance.forward import Subject
    from llm.evaluation.conformance.report import Report
    from llm.training.inputs import Inputs

PartName = Literal["tokens", "forward", "start", "generation", "adapter", "bf16"]
PARTS: tuple[str, ...] = get_args(PartName)
# Part -> the name that is shown, if it is another.
TITLES = {"forward": "forward passes"}
BF16_TOKENS = 8  # of a prompt and of a response
Check = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class CheckConfig(TrainConfig):
    """Options of `check`: those of a run, and how much is checked."""

    rows: Annotated[int, Range(low=2)] = 4
    """Rows of each set on which numbers are compared; 2: the shortest and the longest."""
    parts: tuple[PartName, ...] = ()
    """Parts to check, of tokens, forward, start, generation, adapter and bf16; empty: all."""


def check(config: TrainConfig, *, report: Report | None = None, **given: Any) -> list[Finding]:
    """Return findings on log-probabilities, losses, gradients, tokens, adapters and generation.

    config  the options of a run or a `CheckConfig`; sets that it does not name, nor `given` has, are made of the
            tokenizer's words
    report  is told every part as it begins, and every finding as it is made
    given   inputs in memory, as `llm.train` takes them

    Raises ValueError, TypeError or FileNotFoundError, in one line, for wrong input, and KeyboardInterrupt on Ctrl-C.
    """
    from llm.training.inputs import GivenInputs, open_inputs

    if config.objective:
        raise ValueError("objective: check is for the short form; give a set of each kind by --sft and --preference")
    options = config if isinstance(config, CheckConfig) else CheckConfig(**config.as_dict())
    config = dataclasses.replace(config, held_out=0.0, batch_sft=1, batch_preference=1, steps=1, gap_rows=0)
    given = _with_made_sets(config, given)
    findings: list[Finding] = []
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        with stop_requested() as stop:
            inputs = stack.enter_context(open_inputs(config, GivenInputs(**given), quiet=True, stop=stop))
        if stop():
            raise KeyboardInterrupt
        inputs.check()
        subject = _subject(inputs, options.rows)
        spare = copy.deepcopy(given["model"]).cpu() if given.get("model") is not None else None
        parts = _parts(inputs, subject, Path(scratch), spare)
        chosen = {name: part for name, part in parts.items() if not options.parts or name in options.parts}
        for j, (name, part) in enumerate(chosen.items()):
            if report is not None:
                report.begin(j, len(chosen), f"{TITLES.get(name, name)}{_extent(name, subject)}")
            for finding in part():
                findings.append(finding)
                if report is not None:
                    report.add(finding)
    return findings


def _extent(name: str, subject: Subject) -> str:
    """Return the numbers and lengths of the rows of a part, as text; empty for parts with rows of their own."""
    if name in ("tokens", "generation", "bf16"):
        return ""
    sets = {"pairs": subject.pairs, "SFT rows": subject.sft}
    texts = []
    for kind, tokens in sets.items():
        lengths = sorted(int(n) for n in tokens.lengths())
        texts.append(f"{len(lengths)} {kind} of {lengths[0]} to {lengths[-1]} tokens")
    return f" ({', '.join(texts)})"


def _check_texts(inputs: Inputs, subject: Subject) -> Iterable[Finding]:
    """Yield findings on the token ids of both sets."""
    from llm.evaluation.conformance.tokens import check_tokens

    kinds: tuple[Kind, ...] = ("sft", "preference")
    for kind in kinds:
        source, encoder = given_or_named(inputs, kind), inputs.is_encoder_decoder
        yield from check_tokens(kind, source, inputs.tokenizer, subject.config, encoder=encoder)


def given_or_named(inputs: Inputs, kind: str) -> Any:
    """Return the rows of a set that is in memory, else its name."""
    rows = getattr(inputs.given, kind)
    return getattr(inputs.config, kind) if rows is None else rows


def _parts(inputs: Inputs, subject: Subject, scratch: Path, spare: Any) -> dict[str, Check]:
    """Return the checks that apply to a configuration by name, in the order in which they are made.

    spare  a copy of a model that was given in memory, for bf16
    """
    from llm.evaluation.conformance.adapters import check_adapter
    from llm.evaluation.conformance.forward import check_layouts, measured_tolerances

    made: list[Finding] = []
    measured = functools.cache(lambda: measured_tolerances(subject))

    def forward() -> Iterable[Finding]:
        for finding in check_layouts(subject):
            made.append(finding)
            yield finding

    def tolerance(claim: str) -> float:
        known = tolerance_of(made, claim)
        return measured()[claim] if known is None else known

    logps = "log-probabilities"
    parts: dict[str, Check] = {
        "tokens": lambda: _check_texts(inputs, subject),
        "forward": forward,
        "start": lambda: check_start(inputs, subject, scratch / "cache", tolerance("f_DPO")),
        "generation": lambda: check_answers(inputs, subject, tolerance(logps)),
    }
    if inputs.config.lora_rank:
        parts["adapter"] = lambda: check_adapter(subject, scratch / "adapter", tolerance(logps))
    if inputs.config.precision == "fp32":
        parts["bf16"] = lambda: check_bf16(subject, spare)
    return parts


def tolerance_of(findings: Sequence[Finding], claim: str) -> float | None:
    """Return the tolerance of the first finding with a claim; None if there is none."""
    return next((f.tolerance for f in findings if f.claim == claim and f.tolerance is not None), None)


def check_start(inputs: Inputs, subject: Subject, cache: Path, tolerance: float) -> list[Finding]:
    """Return findings on f_DPO of the untrained policy, in evaluation and in training mode: ln 2 by definition.

    cache      an empty folder, where the reference's log-probabilities are kept and read again
    tolerance  largest difference that is rounding
    """
    from llm.data.splits import Datasets
    from llm.training.objectives import load_objectives

    group, config = "start", inputs.config
    if config.reference_kind != "base" or config.adapter or config.preference_loss != "dpo":
        return [stated(group, "f_DPO is ln 2", None, "the policy does not begin as DPO's reference")]
    findings = []
    inputs.config = dataclasses.replace(config, cache=str(cache))
    inputs.datasets = Datasets({"sft": subject.sft, "preference": subject.pairs}, {})
    rows = np.arange(len(subject.pairs))
    for age in ("fresh", "used"):
        objective = load_objectives(inputs, trained={DPO: rows}).train[DPO]
        engine = inputs.base.open_for_training(inputs.config, 1)
        objective = dataclasses.replace(objective, share_prompt=engine.raw.share_prompt)
        evaluated = objective.value(engine.evaluate(objective, rows))
        engine.policy.train()
        trained = engine.forward(objective, rows, graph=False).value
        engine.close()
        for mode, value in (("evaluation", evaluated), ("training", trained)):
            claim = f"f_DPO is ln 2 in {mode}, with a {age} cache of the reference"
            findings.append(compared(group, claim, abs(value - math.log(2.0)), tolerance))
    inputs.config = config
    return findings


def check_answers(inputs: Inputs, subject: Subject, tolerance: float) -> list[Finding]:
    """Return findings on greedy answers of the policy, with an adapter that is not the identity, to SFT prompts.

    tolerance  largest difference of log-probabilities that is rounding
    """
    from llm.data.formats import load
    from llm.evaluation.conformance.generation import check_generation

    config = subject.config
    rows = load(
        given_or_named(inputs, "sft"),
        kind="sft",
        split=config.sft_split,
        columns=config.sft_columns,
        format=config.sft_format,
        limit=len(subject.sft),
        ignore_input=config.ignore_input,
        bad_rows="drop",
    ).rows
    with subject.opened({}) as engine:
        try:
            return check_generation(engine.raw.causal.eval(), inputs.tokenizer, rows, config, tolerance)
        except ValueError as error:  # a prompt that with the answer is longer than the model's positions
            return [stated("generation", "possible", None, str(error))]


def check_bf16(subject: Subject, model: Any = None) -> Iterable[Finding]:
    """Yield findings on the trainer in bf16, whose tolerances are those of bf16's rounding, on pieces of two rows.

    model  the base model in memory; None: it is loaded by its name

    The rows are clipped, since a CPU without units for bf16 takes many times as long as in float32; lengths beyond
    windows are a matter of the float32 passes.
    """
    import torch

    from llm.evaluation.conformance.forward import check_layouts
    from llm.evaluation.conformance.rows import clipped
    from llm.training.base import BaseModel
    from llm.training.engine import make_accelerator

    config = dataclasses.replace(subject.config, precision="bf16")
    given = None if model is None else model.to(torch.bfloat16)
    extreme = (tokens.select(sorted({0, len(tokens) - 1})) for tokens in (subject.pairs, subject.sft))
    pairs, sft = (clipped(tokens, BF16_TOKENS) for tokens in extreme)
    base = BaseModel(make_accelerator(config), config, given, [pairs], quiet=True)
    halved = dataclasses.replace(subject, base=base, config=config, pairs=pairs, sft=sft)
    for finding in check_layouts(halved, {"as configured": {}, "separate prompts": {"share_prompt": "no"}}):
        yield dataclasses.replace(finding, group=f"bf16, {finding.group}")


def _subject(inputs: Inputs, count: int) -> Subject:
    """Return the base model of a run with at most `count` rows of each of its sets."""
    from llm.evaluation.conformance.forward import Subject
    from llm.evaluation.conformance.rows import LENGTH, longest_length, spread

    wanted = max(LENGTH, longest_length(inputs.base.model.config, inputs.config.max_length))
    pairs, sft = (spread(inputs.datasets.train[kind], count, wanted) for kind in ("preference", "sft"))
    inputs.base.set_rows([pairs])  # the forward path is selected on rows that are checked
    return Subject(inputs.base, inputs.config, pairs, sft)


def _with_made_sets(config: TrainConfig, given: dict[str, Any]) -> dict[str, Any]:
    """Return inputs in memory with made sets in place of those that are neither named nor given."""
    from llm.evaluation.conformance.rows import longest_length, made_sets
    from llm.models.loading import load_config, load_tokenizer

    absent = [n for n in ("sft", "preference") if getattr(config, n) == "embedded" and given.get(n) is None]
    if config.model == "embedded" or not absent:
        return given
    model, tokenizer = given.get("model"), given.get("tokenizer")
    described = load_config(config.model, config) if model is None else model.config
    tokenizer = tokenizer or load_tokenizer(config.model, config)
    sft, preference = made_sets(tokenizer, longest_length(described, config.max_length))
    return {**given, **{name: {"sft": sft, "preference": preference}[name] for name in absent}}
