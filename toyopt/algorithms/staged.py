"""The decision rules that train one objective after the other: Sequential and replay."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toyopt import _check
from toyopt.algorithms.choices import replayed_stage, stage_over
from toyopt.algorithms.rule import DPO, SFT, Decision, Rule, given_draw, one

if TYPE_CHECKING:
    from toyopt.algorithms.controller import Controller


@dataclass(frozen=True)
class Sequential(Rule):
    """Algorithm 1: `steps[j]` steps on objective `order[j]` alone, stage after stage.

    thresholds  if given, stage j ends as soon as its objective's value is below thresholds[j], before a step
    """

    steps: tuple[int, ...]
    order: tuple[int, ...] = (DPO, SFT)
    thresholds: tuple[float, ...] | None = None

    key = "sequential"
    name = "Sequential"

    @classmethod
    def from_options(cls, options: Any, f_star: tuple[float, ...]) -> Sequential:  # noqa: ARG003
        """Return one stage an objective by `lam` (shares of the steps), `steps` and `order`."""
        return cls(*_one_stage_each(options))

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """(objective, steps) of each stage."""
        return tuple(zip(self.order, self.steps, strict=True))

    def check(self, n: int) -> None:
        """Raise ValueError or TypeError unless the stages fit n objectives."""
        _check_stages(self.steps, self.order, n)
        if self.thresholds is not None:
            if len(_check.items("thresholds", self.thresholds)) != len(self.steps):
                raise ValueError(f"thresholds: one a stage is needed, got {self.thresholds} for {self.steps}")
            for j, value in enumerate(self.thresholds):
                _check.real(f"thresholds[{j}]", value)

    def training_shares(self, n: int) -> tuple[float, ...]:
        """Return each objective's share of the steps, if no threshold ends a stage early."""
        stages = self.stages
        return tuple(sum(steps for j, steps in stages if j == i) / sum(self.steps) for i in range(n))

    def evaluation_shares(self, n: int) -> tuple[float, ...]:
        """Return the shares of steps that evaluate an objective of a later stage for its threshold."""
        if self.thresholds is None:
            return (0.0,) * n
        evaluated = [0.0] * n
        for stage, (trained, steps) in enumerate(self.stages):
            for i in set(self._ahead(stage)) - {trained}:
                evaluated[i] += steps / sum(self.steps)
        return tuple(evaluated)

    def needs(self, state: Controller) -> tuple[int, ...]:
        """Return the objectives of the stages ahead, if thresholds end these."""
        return () if self.thresholds is None else self._ahead(state.stage)

    def _ahead(self, stage: int) -> tuple[int, ...]:
        """Return the objectives of a stage and of the later stages that have steps."""
        return tuple(dict.fromkeys(i for i, steps in self.stages[stage:] if steps))

    def decide(self, state: Controller, values: Mapping[int, float], u: float | None) -> Decision | None:  # noqa: ARG002
        """Return a step on the stage's objective; None after the last stage."""
        while state.stage < len(self.steps):
            i, budget = self.stages[state.stage]
            value, threshold = math.inf, -math.inf
            if self.thresholds is not None and budget > 0:
                value, threshold = values[i], self.thresholds[state.stage]
            if not stage_over(state.done, budget, value, threshold):
                return one(i, state.n)
            state.stage, state.done = state.stage + 1, 0
        return None

    def compiled(self, n: int) -> dict[str, Any]:
        """Return order, budgets and thresholds of the stages."""
        fields = {"weights": (0.0,) * n, "order": self.order, "budgets": self.steps}
        return fields if self.thresholds is None else {**fields, "thresholds": self.thresholds, "use_thresholds": True}


@dataclass(frozen=True)
class Replay(Rule):
    """Rehearsal: Sequential that in every later stage takes a step on an earlier stage's objective with probability p.

    Not in the paper. p = 0 is Sequential; with several earlier stages each is drawn with equal probability.
    """

    steps: tuple[int, ...]
    order: tuple[int, ...] = (DPO, SFT)
    p: float = 0.05

    key = "replay"
    name = "Replay"

    @classmethod
    def from_options(cls, options: Any, f_star: tuple[float, ...]) -> Replay:  # noqa: ARG003
        """Return Sequential's stages with p = `options.replay`."""
        return cls(*_one_stage_each(options), options.replay)

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """(objective, steps) of each stage."""
        return tuple(zip(self.order, self.steps, strict=True))

    @property
    def needs_uniform(self) -> bool:
        """Whether any step may be replayed."""
        return self.p > 0.0

    def check(self, n: int) -> None:
        """Raise ValueError or TypeError unless the stages fit n objectives and p is a probability."""
        _check_stages(self.steps, self.order, n)
        if not 0.0 <= _check.real("p", self.p) <= 1.0:
            raise ValueError(f"p: must be between 0 and 1, got {self.p}")

    def training_shares(self, n: int) -> tuple[float, ...]:
        """Return each objective's expected share of the steps."""
        shares = [0.0] * n
        for stage, (i, steps) in enumerate(self.stages):
            earlier = [j for j, count in self.stages[:stage] if count]
            for j in earlier:
                shares[j] += self.p / len(earlier) * steps / sum(self.steps)
            shares[i] += (1.0 - self.p if earlier else 1.0) * steps / sum(self.steps)
        return tuple(shares)

    def decide(self, state: Controller, values: Mapping[int, float], u: float | None) -> Decision | None:  # noqa: ARG002
        """Return a step on the stage's objective or a replayed one; None after the last stage."""
        while state.stage < len(self.steps):
            if not stage_over(state.done, self.steps[state.stage], math.inf, -math.inf):
                if self.p == 0.0:
                    return one(self.order[state.stage], state.n)
                stage = replayed_stage(given_draw(u, self.name), self.p, state.stage, self.steps)
                return one(self.order[stage], state.n)
            state.stage, state.done = state.stage + 1, 0
        return None

    def compiled(self, n: int) -> dict[str, Any]:
        """Return order and budgets of the stages, and p."""
        return {"weights": (0.0,) * n, "order": self.order, "budgets": self.steps, "replay": float(self.p)}


def _one_stage_each(options: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (steps, order) of one stage an objective; λ is DPO's share of the steps, weights are each objective's.

    The steps of all objectives but the last are rounded together, so that they sum to `options.steps`, and an
    objective of weight 0 has none.
    """
    lam: Any = options.lam
    weights = tuple(lam) if isinstance(lam, tuple | list) else (lam, 1.0 - lam)
    ends = [round(math.fsum(weights[:i]) * options.steps) for i in range(len(weights))]
    counts = [end - begin for begin, end in itertools.pairwise([*ends, options.steps])]
    order = {"dpo-sft": (DPO, SFT), "sft-dpo": (SFT, DPO)}.get(options.order, options.order)
    return tuple(counts[i] for i in order), tuple(order)


def _check_stages(steps: Any, order: Any, n: int) -> None:
    """Raise ValueError or TypeError unless the stages fit n objectives."""
    for j, count in enumerate(_check.items("steps", steps)):
        _check.whole(f"steps[{j}]", count, low=0)
    if not steps or sum(steps) < 1:
        raise ValueError(f"steps: one step at least is needed, got {steps}")
    if len(_check.items("order", order)) != len(steps):
        raise ValueError(f"order: one objective a stage is needed, got {order} for {steps}")
    for j, i in enumerate(order):
        if _check.whole(f"order[{j}]", i, low=0) >= n:
            raise ValueError(f"order[{j}]: must be less than {n}, the number of objectives, got {i}")
