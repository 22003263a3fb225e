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
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from llm.common.arguments import Range
from llm.common.processes import stop_requested
from llm.config import TrainConfig
from llm.evaluation.conformance.configuration import checked_config
from llm.evaluation.conformance.finding import Finding, stated

if TYPE_CHECKING:
    from llm.data.objective_settings import ObjectiveSettings
    from llm.data.tokenization import TokenizedDataset
    from llm.evaluation.conformance.forward import Checked, Subject
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

    config  the options of a run, in the short form or with any number of objectives, or a `CheckConfig`; sets that it
            does not name, nor `given` has, are made of the tokenizer's words
    report  is told every part as it begins, and every finding as it is made
    given   inputs in memory, as `llm.train` takes them

    Raises ValueError, TypeError or FileNotFoundError, in one line, for wrong input, and KeyboardInterrupt on Ctrl-C.
    """
    from llm.training.inputs import GivenInputs, open_inputs

    options = config if isinstance(config, CheckConfig) else CheckConfig(**config.as_dict())
    config = checked_config(config)
    given = _with_made_sets(config, given)
    findings: list[Finding] = []
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        with stop_requested() as stop:
            inputs = stack.enter_context(open_inputs(config, GivenInputs(**given), quiet=True, stop=stop))
        if stop():
            raise KeyboardInterrupt
        inputs.check_alone("check")
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
    texts = []
    sets = _sets(subject.objectives)
    for kind, title in (("preference", "pairs"), ("unpaired", "labelled rows"), ("sft", "SFT rows")):
        lengths = sorted(int(n) for tokens in sets if tokens.kind == kind for n in tokens.lengths())
        texts += [f"{len(lengths)} {title} of {lengths[0]} to {lengths[-1]} tokens"] if lengths else []
    return f" ({', '.join(texts)})"


def _sets(objectives: Iterable[Checked]) -> list[TokenizedDataset]:
    """Return the sets of objectives, each once."""
    return list({own.own: own.tokens for own in objectives}.values())


def _check_texts(inputs: Inputs) -> Iterable[Finding]:
    """Yield findings on the token ids of all sets."""
    from llm.evaluation.conformance.tokens import check_tokens

    for own in inputs.config.sft_first:
        source, encoder = given_or_named(inputs, own), inputs.is_encoder_decoder
        yield from check_tokens(own, source, inputs.tokenizer, inputs.config, encoder=encoder)


def given_or_named(inputs: Inputs, own: ObjectiveSettings) -> Any:
    """Return the rows of an objective's set that is in memory, else its name."""
    return inputs.given.sets.get(own.set_name, own.source)


def _parts(inputs: Inputs, subject: Subject, scratch: Path, spare: Any) -> dict[str, Check]:
    """Return the checks that apply to a configuration by name, in the order in which they are made.

    spare  a copy of a model that was given in memory, for bf16
    """
    from llm.evaluation.conformance.adapters import check_adapter
    from llm.evaluation.conformance.forward import check_layouts, measured_tolerances
    from llm.evaluation.conformance.start import check_start

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
        "tokens": lambda: _check_texts(inputs),
        "forward": forward,
        "start": lambda: check_start(inputs, subject, scratch / "cache", tolerance),
        "generation": lambda: check_answers(inputs, subject, tolerance(logps)),
    }
    if inputs.config.lora_rank:
        parts["adapter"] = lambda: check_adapter(subject, scratch / "adapter", tolerance(logps))
    if inputs.config.lora_rank and inputs.config.precision == "fp32":
        parts["bf16"] = lambda: check_bf16(subject, spare)
    return parts


def tolerance_of(findings: Sequence[Finding], claim: str) -> float | None:
    """Return the tolerance of the first finding with a claim; None if there is none."""
    return next((f.tolerance for f in findings if f.claim == claim and f.tolerance is not None), None)


def check_answers(inputs: Inputs, subject: Subject, tolerance: float) -> list[Finding]:
    """Return findings on greedy answers of the policy, with an adapter that is not the identity.

    tolerance  largest difference of log-probabilities that is rounding

    The prompts are those of one set for each template, an SFT set if there is one.
    """
    from llm.data.formats import load
    from llm.data.splits import read_options
    from llm.data.templates import TemplateOptions
    from llm.evaluation.conformance.generation import check_generation

    config, findings = subject.config, []
    firsts = {own.template: own for own in reversed(config.sft_first)}
    for own in reversed(firsts.values()):
        limit = next(len(each.tokens) for each in subject.objectives if each.own == own.name)
        reading = {**read_options(config, own), "limit": limit, "bad_rows": "drop"}
        rows = load(given_or_named(inputs, own), **reading).rows
        options = TemplateOptions.named(config.as_dict(), own.template)
        with subject.opened({}) as engine:
            model = engine.raw.causal.eval()
            try:
                findings += check_generation(model, inputs.tokenizer, rows, options, config.eos, tolerance)
            except ValueError as error:  # a prompt that with the answer is longer than the model's positions
                findings.append(stated("generation", "possible", None, str(error)))
    return findings


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
    from llm.training.launch import make_accelerator

    config = dataclasses.replace(subject.config, precision="bf16")
    given = None if model is None else model.to(torch.bfloat16)
    objectives = []
    for own in subject.objectives:
        extreme = own.tokens.select(sorted({0, len(own.tokens) - 1}))
        objectives.append(dataclasses.replace(own, tokens=clipped(extreme, BF16_TOKENS)))
    halved = dataclasses.replace(subject, config=config, objectives=tuple(objectives))
    base = BaseModel(make_accelerator(config), config, given, [halved.rows], quiet=True)
    halved = dataclasses.replace(halved, base=base)
    for finding in check_layouts(halved, {"as configured": {}, "separate prompts": {"share_prompt": "no"}}):
        yield dataclasses.replace(finding, group=f"bf16, {finding.group}")


def _subject(inputs: Inputs, count: int) -> Subject:
    """Return the base model of a run with at most `count` rows of each of its sets.

    In the short form pairs are measured by f_DPO, and by the loss that is trained in its place as well.
    """
    from llm.evaluation.conformance.forward import Checked, Subject
    from llm.evaluation.conformance.rows import LENGTH, longest_length, spread_labels
    from llm.training.objectives import held_out_loss

    config, objectives = inputs.config, []
    wanted = max(LENGTH, longest_length(inputs.base.model.config, config.max_length))
    for own in config.objectives:
        tokens = spread_labels(inputs.datasets.train[own.set_name], count, wanted)
        shown, loss = (own.name, own.loss) if own.by_name else (own.name.upper(), held_out_loss(config, own))
        objectives.append(Checked(f"f_{shown}", own.name, tokens, loss))
        if own.loss != loss and own.loss is not None:
            objectives.append(Checked(f"f_{own.loss.name.upper()}", own.name, tokens, own.loss))
    subject = Subject(inputs.base, config, tuple(objectives))
    # The path is selected on rows that are checked.
    inputs.base.set_rows(_sets(subject.preferences) or _sets(subject.sft))
    return subject


def _with_made_sets(config: TrainConfig, given: dict[str, Any]) -> dict[str, Any]:
    """Return inputs in memory with made sets in place of those that are neither named nor given."""
    from llm.evaluation.conformance.rows import longest_length, made_sets
    from llm.models.loading import load_config, load_tokenizer

    known = {**given, **given.get("rows", {})}
    absent = [o for o in config.objectives if o.source == "embedded" and known.get(o.set_name) is None]
    if config.model == "embedded" or not absent:
        return given
    model, tokenizer = given.get("model"), given.get("tokenizer")
    described = load_config(config.model, config) if model is None else model.config
    tokenizer = tokenizer or load_tokenizer(config.model, config)
    sft, preference = made_sets(tokenizer, longest_length(described, config.max_length))
    made = {own.set_name: preference if own.is_pairs else sft for own in absent}
    return {**given, "rows": {**given.get("rows", {}), **made}} if config.objective else {**given, **made}
