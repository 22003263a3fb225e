"""Gap evaluations of a rule that compares objectives: their rows, and the optima that gaps are measured from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llm.data.sampler import BatchSampler, Indices
from llm.training.engine import ForwardResult
from llm.training.errors import StoppedRunError
from llm.training.metrics import NAMES
from llm.training.streams import gap_batches, gap_sampler, paired_gaps
from toyopt.estimates import BestSoFar, Optimistic

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.training.engine import Engine
    from llm.training.objective import Objective
    from toyopt.algorithms import Controller

Evaluated = tuple[dict[int, ForwardResult], dict[int, float]]  # forward passes, and the values that decide
MEMORY = 0.75  # weight of the earlier evaluations in a paired gap's running mean


def gap_evaluator(
    control: Controller,
    objectives: Mapping[int, Objective],
    samplers: Mapping[int, BatchSampler],
    config: TrainConfig,
) -> BatchGaps:
    """Return the gap evaluations of a run: paired where optima are estimated, else the paper's.

    objectives  the objectives that the rule can choose
    samplers    their training batches
    """
    kind = PairedGaps if control.rule.needs_optima and paired_gaps(config) else BatchGaps
    return kind(control, objectives, samplers, config)


class BatchGaps:
    """Gaps as in the paper (App. C): the values of batches, new ones at every evaluation, and of the steps between."""

    estimator: BestSoFar | Optimistic | None

    def __init__(
        self, control: Controller, objectives: Mapping[int, Objective], samplers: Mapping[int, BatchSampler],
        config: TrainConfig,
    ) -> None:  # fmt: skip
        self.config, self.samplers = config, samplers
        self.compares = control.rule.needs_optima
        estimates = control.rule.needs_optima and config.f_star in ("estimate", "lowest")
        self.estimator = BestSoFar(2) if estimates else None
        own = {i: gap_sampler(config, control.rule, o) for i, o in objectives.items()}
        self.own_samplers = {i: sampler for i, sampler in own.items() if sampler is not None}

    def start(self, engine: Engine, objectives: Mapping[int, Objective]) -> None:
        """Prepare for the first step; gaps of batches need no preparation."""

    def evaluate(self, engine: Engine, objectives: Mapping[int, Objective], control: Controller) -> Evaluated:
        """Evaluate the objectives that the rule asks for; the expected choice last, with its graph for the step."""
        expected = None if self.config.gap_rows else control.expected
        order = sorted(control.needs(), key=lambda i: i == expected)
        results = {i: engine.forward(objectives[i], self._rows(i, expected), graph=i == expected) for i in order}
        values = {i: result.value for i, result in results.items()}
        self._estimate(control, values)
        return results, values

    @property
    def reads_training_values(self) -> Sequence[int]:
        """The objectives whose values on training batches decide later steps."""
        return tuple(self.samplers) if self.compares else ()

    def after_step(self, control: Controller, trained: Mapping[int, float], *, evaluated: bool) -> Mapping[int, float]:
        """Return the values of a step that the rule stores, eq. (19).

        trained    values of the objectives that the step trained, before it
        evaluated  whether the step began with an evaluation of gaps
        """
        if not evaluated:
            self._estimate(control, trained)
        return trained

    def state(self) -> dict[str, Any]:
        """Return the values of a checkpoint."""
        samplers = {NAMES[i]: s.state() for i, s in self.own_samplers.items()}
        return {"optima": self.estimator.state() if self.estimator else {}, "gap_samplers": samplers}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the values of a checkpoint."""
        if self.estimator:
            self.estimator = type(self.estimator)(2, **state["optima"])
        for i, sampler in self.own_samplers.items():
            sampler.restore(state["gap_samplers"][NAMES[i]])

    def _estimate(self, control: Controller, values: Mapping[int, float]) -> None:
        """Update the rule's optima by new values, where they are estimated."""
        if self.estimator is None:
            return
        for i, value in values.items():
            self.estimator.see(i, value)
        if all(math.isfinite(f) for f in self.estimator.f_star):
            control.set_f_star(self.estimator.f_star)

    def _rows(self, i: int, expected: int | None) -> Indices:
        """Return the rows of an objective's gap evaluation: its next batch, if that is expected to be trained on.

        The next batch of the other objective would stay the same until it is chosen, so that one batch's luck would
        decide for long; that objective is evaluated on rows of a separate sampler. With `gap_rows` both are.
        """
        if i not in self.own_samplers or (not self.config.gap_rows and expected in (None, i)):
            return self.samplers[i].peek()
        rows = self.own_samplers[i].peek()
        self.own_samplers[i].advance()
        return rows


class PairedGaps(BatchGaps):
    """Gaps by the change since the first step on rows that stay the same, measured from optimistic optima.

    One objective is evaluated at a time, in turn, on one of a few small batches in turn. How difficult a batch's rows
    are is no part of the change (a control variate), and a running mean takes away more of the noise. Steps between
    evaluations are not stored, but they count: an objective's bonus shrinks with the steps on it, see
    `toyopt.estimates.Optimistic`.
    """

    estimator: Optimistic

    def __init__(
        self, control: Controller, objectives: Mapping[int, Objective], samplers: Mapping[int, BatchSampler],
        config: TrainConfig,
    ) -> None:  # fmt: skip
        super().__init__(control, objectives, samplers, config)
        self.estimator = Optimistic(2)
        self.evaluations = 0
        self.first: dict[int, list[float]] = {}  # values of the small batches before the first step, in nats
        self.change: dict[int, float] = {}  # running means of the change since then, in nats

    def start(self, engine: Engine, objectives: Mapping[int, Objective]) -> None:
        """Evaluate the small batches before the first step."""
        if self.first:  # the run was resumed
            return
        for i, sampler in self.own_samplers.items():
            batches = gap_batches(sampler)
            self.first[i] = [objectives[i].value(engine.evaluate(objectives[i], rows)) for rows in batches]
            _check_finite(i, *self.first[i])

    def evaluate(self, engine: Engine, objectives: Mapping[int, Objective], control: Controller) -> Evaluated:
        """Evaluate one of the objectives that the rule asks for on its next small batch; before a step, none."""
        wanted = sorted(control.needs())
        results = dict[int, ForwardResult]()
        if wanted and any(self.estimator.steps):
            i = wanted[self.evaluations % len(wanted)]
            results[i] = self._evaluate_one(engine, objectives[i], i)
            self.evaluations += 1
        values = {i: sum(self.first[i]) / len(self.first[i]) + self.change.get(i, 0.0) for i in wanted}
        self._estimate(control, values)
        return results, values

    def _evaluate_one(self, engine: Engine, objective: Objective, i: int) -> ForwardResult:
        """Evaluate an objective on its next small batch, and update its mean change."""
        sampler = self.own_samplers[i]
        rows = sampler.peek()
        result = ForwardResult(objective, rows, engine.evaluate(objective, rows), None)
        _check_finite(i, result.value)
        change = result.value - self.first[i][sampler.position]
        self.change[i] = MEMORY * self.change.get(i, change) + (1.0 - MEMORY) * change
        sampler.advance()
        return result

    def after_step(
        self,
        control: Controller,
        trained: Mapping[int, float],
        *,
        evaluated: bool,  # noqa: ARG002
    ) -> Mapping[int, float]:
        """Count the step; its value, of other rows, is not stored."""
        for i in trained:
            self.estimator.count(i)
        self._estimate(control, {})
        return {}

    @property
    def reads_training_values(self) -> Sequence[int]:
        """No objective: values of other rows than those of the evaluations are not stored."""
        return ()

    def state(self) -> dict[str, Any]:
        """Return the values of a checkpoint."""
        paired = {
            "evaluations": self.evaluations,
            "first": {NAMES[i]: values for i, values in self.first.items()},
            "change": {NAMES[i]: value for i, value in self.change.items()},
        }
        return super().state() | {"paired_gaps": paired}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the values of a checkpoint."""
        super().restore(state)
        by_name: Sequence[tuple[int, str]] = list(NAMES.items())
        paired = state["paired_gaps"]
        first, change, self.evaluations = paired["first"], paired["change"], int(paired["evaluations"])
        self.first = {i: list(first[name]) for i, name in by_name if name in first}
        self.change = {i: float(change[name]) for i, name in by_name if name in change}


def _check_finite(i: int, *values: float) -> None:
    """Raise StoppedRunError if a value is not finite: a comparison with it would choose the same objective for ever."""
    for value in values:
        if not math.isfinite(value):
            raise StoppedRunError(f"a gap evaluation of f_{NAMES[i].upper()} gives {value}; a smaller --lr may help")
