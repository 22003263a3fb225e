"""Gap evaluations of a rule that compares objectives: their rows, and the optima that gaps are measured from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llm.data.sampler import BatchSampler, Indices
from llm.training.engine import ForwardResult
from llm.training.errors import StoppedRunError
from llm.training.streams import comparable_gaps, gap_batches, gap_sampler
from toyopt.estimates import BestSoFar, Optimistic, RecentMean

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.training.engine import Engine
    from llm.training.objective import Objective
    from toyopt.algorithms import Controller

Evaluated = tuple[dict[int, ForwardResult], dict[int, float]]  # forward passes, and the values that decide
MEMORY = 10  # steps in which the weight of a value falls by e^-1; k steps, if these are more
SAME_START = 0.01  # nats: rows whose values differ by less before the first step begin at the same value


def gap_evaluator(
    control: Controller,
    objectives: Mapping[int, Objective],
    samplers: Mapping[int, BatchSampler],
    config: TrainConfig,
) -> BatchGaps:
    """Return the gap evaluations of a run: of comparable values where optima are estimated, else the paper's.

    objectives  the objectives that the rule can choose
    samplers    their training batches
    """
    kind = ComparableGaps if control.rule.needs_optima and comparable_gaps(config) else BatchGaps
    return kind(control, objectives, samplers, config)


class BatchGaps:
    """Gaps as in the paper (App. C): the values of batches, new ones at every evaluation, and of the steps between."""

    estimator: BestSoFar | Optimistic | None

    def __init__(
        self, control: Controller, objectives: Mapping[int, Objective], samplers: Mapping[int, BatchSampler],
        config: TrainConfig,
    ) -> None:  # fmt: skip
        self.config, self.samplers = config, samplers
        self.names = {i: o.name for i, o in objectives.items()}
        self.compares = control.rule.needs_optima
        estimates = control.rule.needs_optima and config.f_star in ("estimate", "lowest")
        self.estimator = BestSoFar(control.n) if estimates else None
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
        samplers = {self.names[i]: s.state() for i, s in self.own_samplers.items()}
        return {"optima": self.estimator.state() if self.estimator else {}, "gap_samplers": samplers}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the values of a checkpoint."""
        if self.estimator:
            self.estimator = type(self.estimator)(self.estimator.n, **state["optima"])
        for i, sampler in self.own_samplers.items():
            sampler.restore(state["gap_samplers"][self.names[i]])

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

        The next batch of another objective would stay the same until it is chosen, so that one batch's luck would
        decide for long; such an objective is evaluated on rows of a separate sampler. With `gap_rows` all are.
        """
        if i not in self.own_samplers or (not self.config.gap_rows and expected in (None, i)):
            return self.samplers[i].peek()
        rows = self.own_samplers[i].peek()
        self.own_samplers[i].advance()
        return rows


class ComparableGaps(BatchGaps):
    """Gaps of values that are comparable from one evaluation to the next, measured from optimistic optima.

    An averaged objective takes the values of its training batches, which come at no cost: a mean over the last steps
    removes most of the noise, and the rest has a known error. It is evaluated only when the last step was on another
    objective, on a few small batches in turn. Averaged are the objectives whose rows all begin at one value, as f_DPO
    does at ln 2, so that values of any rows are comparable, and those whose rows would begin at one value if the policy
    were the reference: f_DPO with a trained reference, whose rows change by amounts that differ so much that a small
    batch does not represent them. There the difficulty of rows is a part of the noise, hence of the error. Any other
    objective is evaluated on one small batch that stays the same, so that the difficulty of rows cancels.
    See `toyopt.estimates.RecentMean` and `toyopt.estimates.Optimistic`.
    """

    estimator: Optimistic

    def __init__(
        self, control: Controller, objectives: Mapping[int, Objective], samplers: Mapping[int, BatchSampler],
        config: TrainConfig,
    ) -> None:  # fmt: skip
        super().__init__(control, objectives, samplers, config)
        self.estimator = Optimistic(control.n)
        self.mean = RecentMean(control.n, max(MEMORY, config.k))  # of the averaged objectives, in nats
        self.first: dict[int, float] = {}  # values before the first step, in nats
        self.same_start: set[int] = set()  # objectives whose rows all had one value then
        self.averaged: set[int] = set()  # these, and those whose rows would have had it under the reference
        self.last: set[int] = set()  # those of the last step

    def start(self, engine: Engine, objectives: Mapping[int, Objective]) -> None:
        """Evaluate small batches before the first step."""
        if self.first:  # the run was resumed
            return
        for i, sampler in self.own_samplers.items():
            rows = gap_batches(sampler)[:2]
            values = [objectives[i].value(engine.evaluate(objectives[i], batch)) for batch in rows]
            _check_finite(self.names[i], *values)
            self.first[i] = values[0]
            if _are_alike(values):
                self.same_start.add(i)
            elif not _are_alike([objectives[i].value_at_reference(batch) for batch in rows]):
                self.estimator.see(i, values[0])
                continue
            self.averaged.add(i)
            if i in self.same_start:
                self.estimator.see(i, values[0])
                continue
            for batch, value in zip(rows, values, strict=True):
                self.mean.see(i, value, step=0, weight=len(batch))
            self._see_mean(i)

    def evaluate(self, engine: Engine, objectives: Mapping[int, Objective], control: Controller) -> Evaluated:
        """Evaluate the objectives that the rule asks for on small batches, unless their last step told the value."""
        wanted = sorted(control.needs())
        stale = [i for i in wanted if control.t and not (i in self.last and i in self.averaged)]
        results = {i: self._evaluate_one(engine, objectives[i], i, control.t) for i in stale}
        self._estimate(control, {})
        return results, {i: self.estimator.values[i] for i in wanted}

    def after_step(
        self,
        control: Controller,
        trained: Mapping[int, float],
        *,
        evaluated: bool,  # noqa: ARG002
    ) -> Mapping[int, float]:
        """Count the step, and return the mean values of averaged objectives."""
        self.last = set(trained)
        told = {i: value for i, value in trained.items() if i in self.averaged}
        for i in trained:
            self.estimator.count(i)
        for i, value in told.items():
            _check_finite(self.names[i], value)
            self._see(i, value, control.t, self.samplers[i].batch)
        self._estimate(control, {})
        return {i: self.estimator.values[i] for i in told}

    @property
    def reads_training_values(self) -> Sequence[int]:
        """The averaged objectives, whose means take the values of training batches."""
        return tuple(sorted(self.averaged))

    def state(self) -> dict[str, Any]:
        """Return the values of a checkpoint."""
        own = {
            "first": {self.names[i]: value for i, value in self.first.items()},
            "mean": self.mean.state(),
            "same_start": sorted(self.same_start),
            "averaged": sorted(self.averaged),
            "last": sorted(self.last),
        }
        return super().state() | {"comparable_gaps": own}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the values of a checkpoint."""
        super().restore(state)
        own = state["comparable_gaps"]
        self.first = {i: own["first"][name] for i, name in self.names.items() if name in own["first"]}
        self.mean = RecentMean(self.mean.n, self.mean.memory, **own["mean"])
        self.same_start, self.last = set(own["same_start"]), set(own["last"])
        # A checkpoint without this key is of a run that averaged none but these; it continues in its own way.
        self.averaged = set(own.get("averaged", own["same_start"]))

    def _evaluate_one(self, engine: Engine, objective: Objective, i: int, step: int) -> ForwardResult:
        """Evaluate an objective on its small batch; an averaged one on the next of its small batches."""
        sampler = self.own_samplers[i]
        rows = sampler.peek()
        result = ForwardResult(objective, rows, engine.evaluate(objective, rows), None)
        _check_finite(self.names[i], result.value)
        self._see(i, result.value, step, len(rows))
        if i in self.averaged:
            sampler.advance()
        return result

    def _see(self, i: int, value: float, step: int, rows: int) -> None:
        """Take a value on so many rows into account."""
        if i not in self.averaged:
            self.estimator.see(i, value)
            return
        self.mean.see(i, value, step=step, weight=rows)
        self._see_mean(i)

    def _see_mean(self, i: int) -> None:
        """Take the present mean of an averaged objective into account.

        Values that begin apart have a spread that is not known before there are several, hence Student's quantile.
        """
        doubt = self.estimator.doubt
        error = self.mean.error(i) if i in self.same_start else self.mean.student_error(i, doubt)
        self.estimator.see(i, self.mean.value(i), error)


def _are_alike(values: Sequence[float | None]) -> bool:
    """Return whether there are several values, which differ by less than SAME_START."""
    known = [value for value in values if value is not None]
    return len(known) > 1 and max(known) - min(known) < SAME_START


def _check_finite(name: str, *values: float) -> None:
    """Raise StoppedRunError if a value is not finite: a comparison with it would choose the same objective for ever."""
    for value in values:
        if not math.isfinite(value):
            raise StoppedRunError(f"a gap evaluation of f_{name.upper()} gives {value}; a smaller --lr may help")
