"""A check of the trainer on a model and its sets: `python -m llm check`, with the options of `train`.

The numbers of the trainer are compared with those of transformers, PEFT and the tokenizer on a few rows: the shortest
and longest of the given sets, or rows made of the tokenizer's own words, longer than every window and context of the
model as far as `max_length` allows.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.common.processes import stop_requested
from llm.common.progress import Line
from llm.config import TrainConfig
from llm.evaluation.conformance.finding import Finding, compared, stated
from toyopt.algorithms import DPO

if TYPE_CHECKING:
    from rich.table import Table

    from llm.data.rows import Kind
    from llm.evaluation.conformance.forward import Subject
    from llm.training.inputs import Inputs

ROWS = 6  # rows of each set


def check(config: TrainConfig, *, quiet: bool = False, **given: Any) -> list[Finding]:
    """Return findings on log-probabilities, losses, gradients, tokens, adapters and generation.

    config  the options of a run; sets that it does not name, nor `given` has, are made of the tokenizer's words
    given   inputs in memory, as `llm.train` takes them

    Raises ValueError, TypeError or FileNotFoundError, in one line, for wrong input.
    """
    from llm.training.inputs import GivenInputs, open_inputs

    config = dataclasses.replace(config, held_out=0.0, batch_sft=1, batch_preference=1, steps=1, gap_rows=0)
    given = _with_made_sets(config, given)
    findings: list[Finding] = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        stop_requested() as stop,
        open_inputs(config, GivenInputs(**given), quiet=True, stop=stop) as inputs,
        Line("check", active=not quiet) as line,
    ):
        inputs.check()
        subject = _subject(inputs)
        spare = copy.deepcopy(given["model"]).cpu() if given.get("model") is not None else None
        parts = {**_text_parts(inputs, subject), **_parts(inputs, subject, Path(scratch), spare)}
        for j, (name, part) in enumerate(parts.items()):
            line(j, len(parts), name)
            findings += part(findings)
    return findings


def _text_parts(inputs: Inputs, subject: Subject) -> dict[str, Callable[[Sequence[Finding]], list[Finding]]]:
    """Return the checks of token ids by name."""
    from llm.evaluation.conformance.tokens import check_tokens

    def of(kind: Kind) -> Callable[[Sequence[Finding]], list[Finding]]:
        return lambda _: check_tokens(
            kind, sources[kind], inputs.tokenizer, subject.config, encoder=inputs.is_encoder_decoder
        )

    sources = {kind: given_or_named(inputs, kind) for kind in ("sft", "preference")}
    return {"tokens (SFT)": of("sft"), "tokens (preference)": of("preference")}


def given_or_named(inputs: Inputs, kind: str) -> Any:
    """Return the rows of a set that is in memory, else its name."""
    rows = getattr(inputs.given, kind)
    return getattr(inputs.config, kind) if rows is None else rows


def _parts(
    inputs: Inputs, subject: Subject, scratch: Path, spare: Any
) -> dict[str, Callable[[Sequence[Finding]], list[Finding]]]:
    """Return the checks by name, in the order in which they are made; each gets the findings before it.

    spare  a copy of a model that was given in memory, for bf16
    """
    from llm.evaluation.conformance.adapters import check_adapter
    from llm.evaluation.conformance.forward import check_layouts

    parts: dict[str, Callable[[Sequence[Finding]], list[Finding]]] = {
        "forward passes": lambda _: check_layouts(subject),
        "start": lambda before: check_start(inputs, subject, scratch / "cache", tolerance_of(before, "f_DPO")),
    }
    parts["generation"] = lambda before: check_answers(inputs, subject, tolerance_of(before, "log-probabilities"))
    if inputs.config.lora_rank:
        parts["adapter"] = lambda before: check_adapter(
            subject, scratch / "adapter", tolerance_of(before, "log-probabilities")
        )
    if inputs.config.precision == "fp32":
        parts["bf16"] = lambda _: check_bf16(subject, spare)
    return parts


def tolerance_of(findings: Sequence[Finding], claim: str) -> float:
    """Return the tolerance of the first finding with a claim; infinity if there is none."""
    return next((f.tolerance for f in findings if f.claim == claim and f.tolerance is not None), math.inf)


def check_start(inputs: Inputs, subject: Subject, cache: Path, tolerance: float) -> list[Finding]:
    """Return findings on f_DPO of the untrained policy, in evaluation and in training mode: ln 2 by definition.

    cache      an empty folder, where the reference's log-probabilities are kept and read again
    tolerance  largest difference that is rounding
    """
    from llm.training.objectives import load_objectives

    group, config = "start", inputs.config
    if config.reference_kind != "base" or config.adapter or config.preference_loss != "dpo":
        return [stated(group, "f_DPO is ln 2", None, "the policy does not begin as DPO's reference")]
    findings = []
    inputs.config = dataclasses.replace(config, cache=str(cache))
    inputs.datasets = dataclasses.replace(inputs.datasets, preference=subject.pairs, sft=subject.sft)
    rows = np.arange(len(subject.pairs))
    for age in ("fresh", "used"):
        objective = load_objectives(inputs, trained=rows).train[DPO]
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
        limit=ROWS,
        ignore_input=config.ignore_input,
        bad_rows="drop",
    ).rows
    with subject.opened({}) as engine:
        try:
            return check_generation(engine.raw.causal.eval(), inputs.tokenizer, rows, config, tolerance)
        except ValueError as error:  # a prompt that with the answer is longer than the model's positions
            return [stated("generation", "possible", None, str(error))]


def check_bf16(subject: Subject, model: Any = None) -> list[Finding]:
    """Return findings on the trainer in bf16, whose tolerances are those of bf16's rounding.

    model  the base model in memory; None: it is loaded by its name
    """
    import torch

    from llm.evaluation.conformance.forward import check_layouts
    from llm.training.base import BaseModel
    from llm.training.engine import make_accelerator

    config = dataclasses.replace(subject.config, precision="bf16")
    given = None if model is None else model.to(torch.bfloat16)
    base = BaseModel(make_accelerator(config), config, given, [subject.pairs], quiet=True)
    halved = dataclasses.replace(subject, base=base, config=config)
    findings = check_layouts(halved, {"as configured": {}, "separate prompts": {"share_prompt": "no"}})
    return [dataclasses.replace(finding, group=f"bf16, {finding.group}") for finding in findings]


def _subject(inputs: Inputs) -> Subject:
    """Return the base model of a run with a few rows of its sets."""
    from llm.evaluation.conformance.forward import Subject
    from llm.evaluation.conformance.rows import spread

    datasets = inputs.datasets
    return Subject(inputs.base, inputs.config, spread(datasets.preference, ROWS), spread(datasets.sft, ROWS))


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


def table(findings: Sequence[Finding]) -> Table:
    """Return findings as a table of rich."""
    from rich.table import Table

    shown = Table("part", "statement", "difference", "tolerance", "", "note")
    for finding in findings:
        verdict = {True: "holds", False: "WRONG", None: "not applicable"}[finding.holds]
        numbers = ("" if x is None else f"{x:.2g}" for x in (finding.difference, finding.tolerance))
        shown.add_row(finding.group, finding.claim, *numbers, verdict, finding.note)
    return shown
