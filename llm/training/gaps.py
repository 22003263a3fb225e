"""Gap evaluations of a rule that compares objectives: their rows, and the optima that gaps are measured from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llm.data.sampler import BatchSampler, Indices
from llm.training.metrics import NAMES
from llm.training.streams import gap_sampler
from toyopt.estimates import BestSoFar

if TYPE_CHECKING:
    from llm.config import TrainConfig
    from llm.training.engine import Engine, ForwardResult
    from llm.training.objective import Objective
    from toyopt.algorithms import Controller


class GapEvaluator:
    """Evaluates the objectives that a rule asks for, on rows that no training moves.

    objectives  the objectives that the rule can choose
    samplers    their training batches
    """

    def __init__(
        self, control: Controller, objectives: Mapping[int, Objective], samplers: Mapping[int, BatchSampler],
        config: TrainConfig,
    ) -> None:  # fmt: skip
        self.config, self.samplers = config, samplers
        self.estimates = control.rule.needs_optima and config.f_star == "estimate"
        self.best = BestSoFar(2)
        own = {i: gap_sampler(config, control.rule, o) for i, o in objectives.items()}
        self.own_samplers = {i: sampler for i, sampler in own.items() if sampler is not None}

    def evaluate(
        self, engine: Engine, objectives: Mapping[int, Objective], control: Controller
    ) -> dict[int, ForwardResult]:
        """Evaluate the objectives that the rule asks for; the expected choice last, with its graph for the step."""
        expected = None if self.config.gap_rows else control.expected
        order = sorted(control.needs(), key=lambda i: i == expected)
        return {i: engine.forward(objectives[i], self._rows(i, expected), graph=i == expected) for i in order}

    def estimate_optima(self, control: Controller, values: Mapping[int, float]) -> None:
        """Update the optima of the rule, where they are estimated during the run."""
        if not self.estimates:
            return
        for i, value in values.items():
            self.best.see(i, value)
        if all(math.isfinite(f) for f in self.best.f_star):
            control.set_f_star(self.best.f_star)

    def state(self) -> dict[str, Any]:
        """Return the values of a checkpoint."""
        samplers = {NAMES[i]: s.state() for i, s in self.own_samplers.items()}
        return {"best": self.best.state(), "gap_samplers": samplers}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the values of a checkpoint."""
        self.best = BestSoFar(2, self.best.memory, **state["best"])
        for i, sampler in self.own_samplers.items():
            sampler.restore(state["gap_samplers"][NAMES[i]])

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
