"""The trainer's log-probabilities, losses and gradients in each of its layouts, beside plain forward passes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llm.common.processes import seeded_torch
from llm.evaluation.conformance import plain
from llm.evaluation.conformance.finding import Finding, compared, stated
from llm.losses import KTOLoss
from llm.models.architecture import attention
from llm.training.objective import Objective, as_pairs

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.data.tokenization import TokenizedDataset
    from llm.losses import PreferenceLoss
    from llm.training.base import BaseModel
    from llm.training.engine import Engine

# Rounding moves a number by at most this multiple of its change under one random perturbation of all modules' outputs
# by one unit of rounding. A float32 output is a sum of many rounded terms; a bf16 output is one rounded float32 sum.
ROUNDING_FACTORS = {torch.float32: 16.0, torch.bfloat16: 4.0}

# Name of a layout -> options that select it.
LAYOUTS: dict[str, dict[str, Any]] = {
    "as configured": {},
    "separate prompts": {"share_prompt": "no"},
    "accumulated, a row at a time": {"micro_tokens": 1},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "eager attention": {"attention": "eager"},
    "sdpa attention": {"attention": "sdpa"},
}


SAME = "the computation differs from the first layout's"


@dataclass(frozen=True)
class Measured:
    """The numbers of one objective under a policy.

    logps  log-probabilities (n, 2) of pairs, or of unpaired rows and their mismatched responses; (n, 1) of SFT rows
    value  the loss
    grad   its gradient with respect to the adapter, flat
    """

    logps: torch.Tensor
    value: float
    grad: torch.Tensor


@dataclass(frozen=True)
class Numbers:
    """The numbers of all objectives under one policy, by the objectives' shown names, such as f_DPO."""

    by_name: Mapping[str, Measured]

    def differences(self, other: Numbers) -> dict[str, float]:
        """Return the largest differences of log-probabilities and losses, and the gradients' relative differences."""
        pairs = {name: (own, other.by_name[name]) for name, own in self.by_name.items()}
        return {
            "log-probabilities": max(_largest(a.logps - b.logps) for a, b in pairs.values()),
            **{name: abs(a.value - b.value) for name, (a, b) in pairs.items()},
            **{f"gradient of {name}": _relative(a.grad, b.grad) for name, (a, b) in pairs.items()},
        }

    @property
    def size(self) -> float:
        """The largest absolute log-probability."""
        return max(_largest(own.logps) for own in self.by_name.values())


@dataclass(frozen=True)
class Checked:
    """An objective of a run on the rows that it is checked on.

    name    shown name, such as f_DPO
    own     name, set and loss in the configuration
    tokens  tokenised rows
    loss    loss on preferences; None for an SFT set
    """

    name: str
    own: str
    tokens: TokenizedDataset
    loss: PreferenceLoss | None = None

    def objective(self, reference: torch.Tensor | None, *, share_prompt: bool) -> Objective:
        """Return the trainer's objective on the rows; `reference` (n, 2) are log-probabilities under the reference."""
        return Objective(self.own, self.tokens, self.loss, reference, share_prompt=share_prompt)

    def value(self, logps: torch.Tensor, reference: torch.Tensor | None) -> torch.Tensor:
        """Return the loss () of log-probabilities with its graph.

        logps, reference  (n, 2) of pairs, or of unpaired rows and their mismatched responses; (n, 1) of SFT responses
        """
        if self.loss is None:
            return plain.f_sft(logps, self.tokens)
        if isinstance(self.loss, KTOLoss):
            assert reference is not None
            return plain.f_kto(self.loss, logps, reference, self.tokens)
        return plain.f_pairs(self.loss, logps, reference, self.tokens)


@dataclass(frozen=True)
class Subject:
    """A base model with the objectives that it is checked on, at least one."""

    base: BaseModel
    config: TrainConfig
    objectives: tuple[Checked, ...]

    @property
    def preferences(self) -> list[Checked]:
        """The objectives on preference sets: pairs, or single responses with a label."""
        return [own for own in self.objectives if own.loss is not None]

    @property
    def sft(self) -> list[Checked]:
        """The objectives on SFT sets."""
        return [own for own in self.objectives if own.loss is None]

    @property
    def rows(self) -> TokenizedDataset:
        """The first preference set, or the first set if there are none."""
        return (self.preferences or list(self.objectives))[0].tokens

    @contextmanager
    def opened(self, changes: Mapping[str, Any]) -> Iterator[Engine]:
        """Open the policy for training with changed options; its adapter is not the identity.

        Raises ValueError, in one line, for options that the model does not support.
        """
        # The routers' auxiliary loss is no part of f_DPO and f_SFT, whose gradients are compared.
        config = dataclasses.replace(self.config, **{"router_aux_loss": 0.0, **changes})
        with attention(self.base.model, str(changes.get("attention", ""))):
            engine = self.base.open_for_training(config, 1)
            try:
                move_adapter(engine.raw.model)
                yield engine
            finally:
                engine.close()


def move_adapter(model: Any) -> None:
    """Give trainable weights that are zero, as LoRA's second factor is at first, small random values."""
    with seeded_torch(1), torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape))


References = dict[str, torch.Tensor]  # shown name of an objective on preferences -> log-probabilities (n, 2)


def plain_numbers(subject: Subject, engine: Engine, references: References) -> Numbers:
    """Return the numbers of plain forward passes through the engine's model, in evaluation mode.

    references  log-probabilities of pairs under the reference
    """
    model = engine.raw.causal.eval()
    parameters = [p for p in engine.raw.parameters() if p.requires_grad]
    numbers = {}
    for own in subject.objectives:
        logps = plain.response_logps(model, own.tokens)
        value = own.value(logps, references.get(own.name))
        gradient = plain.gradient(value, parameters).cpu()
        numbers[own.name] = Measured(logps.detach().cpu(), float(value.detach()), gradient)
    return Numbers(numbers)


def trained_numbers(subject: Subject, engine: Engine, references: References) -> Numbers:
    """Return the numbers of the trainer: evaluations, and the gradients that an optimizer step would use."""
    numbers = {}
    for own in subject.objectives:
        objective = own.objective(references.get(own.name), share_prompt=engine.raw.share_prompt)
        rows = np.arange(len(objective))
        value = objective.value(engine.evaluate(objective, rows))
        engine.policy.train()
        engine.optimizer.zero_grad()
        engine.backward(objective, rows, 1.0)
        parameters = [p for p in engine.raw.parameters() if p.requires_grad]
        zeros = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        gradient = torch.cat([g.detach().float().flatten() for g in zeros]).cpu()
        both = dataclasses.replace(objective, tokens=as_pairs(own.tokens))  # with mismatched responses
        numbers[own.name] = Measured(engine.logps(both), value, gradient)
    return Numbers(numbers)


def check_layouts(subject: Subject, layouts: Mapping[str, Mapping[str, Any]] | None = None) -> Iterator[Finding]:
    """Yield findings on log-probabilities, losses and gradients in each layout, as soon as a layout is computed.

    layouts  name -> options; None: LAYOUTS

    A layout that the trainer refuses, or that is the first one's computation, does not apply. Raises ValueError, in one
    line, if the trainer refuses the first.
    """
    layouts = LAYOUTS if layouts is None else layouts
    references = reference_logps(subject)
    expected: Numbers | None = None
    tolerances: dict[str, float] = {}
    used: dict[str, Any] = {}
    for name, changes in layouts.items():
        if expected is not None and all(used.get(option) == value for option, value in changes.items()):
            yield stated(name, SAME, None, f"it is the computation of the layout {next(iter(layouts))}")
            continue
        try:
            with subject.opened(changes) as engine:
                if expected is None:
                    expected = plain_numbers(subject, engine, references)
                    tolerances = rounding(subject, engine, references, expected)
                    used = used_options(engine)
                    yield check_causality(subject, engine, tolerances["log-probabilities"])
                differences = trained_numbers(subject, engine, references).differences(expected)
        except ValueError as error:
            if expected is None:
                raise
            yield stated(name, "possible", None, str(error))
            continue
        for part, value in differences.items():
            yield compared(name, part, value, tolerances[part])


def reference_logps(subject: Subject) -> References:
    """Return the log-probabilities (n, 2) of all preference sets under the base, by plain forward passes."""
    model = subject.base.model.eval()
    with torch.no_grad():
        return {own.name: plain.response_logps(model, own.tokens).cpu() for own in subject.preferences}


def used_options(engine: Engine) -> dict[str, Any]:
    """Return the values of the options of LAYOUTS that an engine works with."""
    config = engine.config
    return {
        "share_prompt": config.share_prompt if engine.raw.share_prompt else "no",
        "micro_tokens": config.micro_tokens,
        "gradient_checkpointing": config.gradient_checkpointing,
        "attention": engine.raw.causal.config._attn_implementation,
    }


def measured_tolerances(subject: Subject) -> dict[str, float]:
    """Return the tolerance of each number of `Numbers.differences`, where no layout is compared."""
    references = reference_logps(subject)
    with subject.opened({}) as engine:
        return rounding(subject, engine, references, plain_numbers(subject, engine, references))


def rounding(subject: Subject, engine: Engine, references: References, expected: Numbers) -> dict[str, float]:
    """Return the tolerance of each number: a multiple of its change under a random perturbation of all outputs."""
    with plain.perturbed(engine.raw.causal, seed=0):
        moved = plain_numbers(subject, engine, references).differences(expected)
    # A sum of float32 numbers is itself rounded, also where no perturbation reaches it.
    eps, factor = torch.finfo(torch.float32).eps, ROUNDING_FACTORS[engine.raw.causal.dtype]
    size = max(expected.size, 1.0)
    return {n: factor * max(value, eps * (size if n == "log-probabilities" else 1.0)) for n, value in moved.items()}


def check_causality(subject: Subject, engine: Engine, tolerance: float) -> Finding:
    """Return the finding that a token's log-probability does not depend on later tokens of the response."""
    model, worst = engine.raw.causal.eval(), 0.0
    tokens = (subject.sft or list(subject.objectives))[0].tokens
    with torch.no_grad():
        for prompt, (response, *_) in zip(tokens.prompts, tokens.responses, strict=True):
            half = (len(response) + 1) // 2
            other = np.concatenate([response[:half], np.roll(response, 1)[half:]])
            first, second = (plain.token_logps(model, prompt, ids)[:half] for ids in (response, other))
            worst = max(worst, _largest(first - second))
    return compared("model", "no log-probability depends on later tokens", worst, tolerance)


def _largest(values: torch.Tensor) -> float:
    """Return the largest absolute value; NaN if there is one."""
    return float(values.detach().abs().max())


def _relative(values: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the norm of a difference, relative to the norm of the expected values."""
    size = float(expected.norm())
    return float((values - expected).norm()) / size if size > 0.0 else math.inf
