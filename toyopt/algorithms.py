"""The decision rules of Sequential, Mix, ALRIGHT, MAXRIGHT and replay.

The only place where they are written. One step of any of them is `theta <- theta - alpha_t Σ_i c_i g_i`, and a rule
is nothing but its choice of the coefficients `c`. Plain numbers go in and a decision comes out: no arrays, no
torch, so that the compiled simulator and a trainer of language models take the very same decisions.

First the rules as functions that a compiler can take (`draw`, `largest_weighted_gap`, ...), then as frozen dataclasses
that own their behaviour, by option value in `RULES`, and the `Controller`, which keeps the little state of a loop.
Objectives are numbered; the paper's are DPO = 0 and SFT = 1, and λ weighs DPO. Source: arXiv 2410.15483v3,
Algorithms 1 to 3 and Appendix C; replay is not the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol

from toyopt import _check
from toyopt.schedules import Constant, InverseRootHorizon, LinearDecay, Schedule, ZamaniGlineur

__all__ = [
    "DPO", "RULES", "SFT", "Alright", "Constant", "Controller", "Decision", "InverseRootHorizon", "LinearDecay",
    "Maxright", "Mix", "Replay", "Rule", "Schedule", "Sequential", "ZamaniGlineur", "check_rule", "draw", "even_draw",
    "is_max_evaluation", "largest_weighted_gap", "replayed_stage", "stage_over",
]  # fmt: skip

DPO, SFT = 0, 1


def draw(u: float, weights: Sequence[float]) -> int:
    """Return ALRIGHT's choice, eq. (10): the objective on which u, uniform in [0, 1), falls; i with weights[i]."""
    total = 0.0
    last = 0
    for i in range(len(weights)):
        if weights[i] > 0.0:
            last = i
            total += weights[i]
            if u < total:
                return i
    return last  # the weights sum to 1 but for rounding


def even_draw(t: int) -> float:
    """Return a number for `draw` in place of a random one at t = 0, 1, ...: multiples of the golden ratio modulo 1.

    They fill [0, 1) evenly: among any n successive steps the share below λ differs from λ by O(log(n)/n), where the
    share of random draws differs by about sqrt(λ(1-λ)/n).
    """
    return (t + 0.5) * ((math.sqrt(5.0) - 1.0) / 2.0) % 1.0


def largest_weighted_gap(weights: Sequence[float], gaps: Sequence[float]) -> int:
    """Return MAXRIGHT's choice, eq. (16), (17): the largest weighted gap; a tie goes to the first, which is DPO."""
    chosen = 0
    for i in range(1, len(weights)):
        if weights[i] * gaps[i] > weights[chosen] * gaps[chosen]:
            chosen = i
    return chosen


def is_max_evaluation(t: int, k: int) -> bool:
    """Return whether all gaps are evaluated at step t = 0, 1, ...: every k steps (App. C); MAXRIGHT has k = 1."""
    return t % k == 0


def stage_over(done: int, budget: int, value: float, threshold: float) -> bool:
    """Return whether a stage is over: `budget` steps are done, or its objective is below the threshold."""
    return done >= budget or value < threshold


def replayed_stage(u: float, p: float, stage: int, budgets: Sequence[int]) -> int:
    """Return the stage whose objective a step of replay trains: `stage`, or with probability p an earlier one.

    u        uniform in [0, 1)
    budgets  steps of each stage; earlier stages without steps taught nothing and are not repeated. The others are drawn
             with equal probability
    """
    earlier = 0
    for j in range(stage):
        if budgets[j] > 0:
            earlier += 1
    if earlier == 0 or u >= p:
        return stage
    left = min(int(u / p * earlier), earlier - 1)
    for j in range(stage):
        if budgets[j] > 0:
            if left == 0:
                return j
            left -= 1
    return stage


class Generator(Protocol):
    """A source of numbers that are uniform in [0, 1), such as numpy.random.Generator."""

    def random(self) -> float:
        """Return the next number."""


@dataclass(frozen=True)
class Decision:
    """One step's coefficients, one an objective; `index` is the chosen one, or None where all of them count."""

    coefficients: tuple[float, ...]
    index: int | None


def one(index: int, n: int) -> Decision:
    """Return the decision for one of n objectives."""
    return Decision(tuple(1.0 if i == index else 0.0 for i in range(n)), index)


class Rule:
    """A decision rule; subclasses are frozen dataclasses of its numbers and own all of its behaviour.

    key           option value: "alright"
    name          display name: "ALRIGHT"
    needs_optima  whether gaps to the optima `f_star` decide
    """

    key: ClassVar[str]
    name: ClassVar[str]
    needs_optima: ClassVar[bool] = False

    @classmethod
    def from_options(cls, options: Any, f_star: tuple[float, ...]) -> Rule:
        """Return the rule for two objectives from options by name: lam, steps, order, k, replay, ...

        f_star  optima at the start, for a rule that needs them
        """
        raise NotImplementedError

    def check(self, n: int) -> None:
        """Raise ValueError or TypeError unless the rule can run on n objectives."""
        raise NotImplementedError

    def weights(self, n: int) -> tuple[float, ...]:
        """Return the weights of n objectives; () for a rule without weights."""
        lam = getattr(self, "lam", None)
        return () if lam is None else _check.weights("lam", lam, n)

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """(objective, steps) of each stage; () for a rule without stages."""
        return ()

    @property
    def needs_uniform(self) -> bool:
        """Whether `decide` wants a number that is uniform in [0, 1)."""
        return False

    def uniform(self, coin: Generator, state: Controller) -> float | None:  # noqa: ARG002
        """Return the number for `decide` at the present step, or None for a rule that wants none."""
        return float(coin.random()) if self.needs_uniform else None

    def needs(self, state: Controller) -> tuple[int, ...]:  # noqa: ARG002
        """Return the objectives whose values at the present theta `decide` wants."""
        return ()

    def expected(self, state: Controller) -> int | None:  # noqa: ARG002
        """Return the likely choice before the evaluation of gaps; None if it is unknown."""
        return None

    def decide(self, state: Controller, values: Mapping[int, float], u: float | None) -> Decision | None:
        """Return the step to take now, or None at the end of the rule."""
        raise NotImplementedError

    def record(self, state: Controller, values: Mapping[int, float]) -> None:
        """Take in the values of the forward passes at the theta before the step."""

    def with_f_star(self, f_star: tuple[float, ...]) -> Rule:
        """Return the rule with other optima; TypeError for a rule that needs none."""
        raise TypeError(f"rule: only a rule that compares gaps subtracts f_star, got {self!r}, f_star {f_star}")

    def compiled(self, n: int) -> dict[str, Any]:
        """Return the fields of `toyopt._kernel_types.Rule` that the rule uses, as plain numbers and tuples."""
        return {"weights": self.weights(n)}


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
        """Return two stages by `lam` (DPO's share of the steps), `steps` and `order` (dpo-sft or sft-dpo)."""
        return cls(*_two_stages(options))

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

    def needs(self, state: Controller) -> tuple[int, ...]:
        """Return the objectives of the stages ahead, if thresholds end these."""
        if self.thresholds is None:
            return ()
        ahead = self.stages[state.stage :]
        return tuple(dict.fromkeys(i for i, steps in ahead if steps))

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
        """Return Sequential's two stages with p = `options.replay`."""
        return cls(*_two_stages(options), options.replay)

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

    def decide(self, state: Controller, values: Mapping[int, float], u: float | None) -> Decision | None:  # noqa: ARG002
        """Return a step on the stage's objective or a replayed one; None after the last stage."""
        while state.stage < len(self.steps):
            if not stage_over(state.done, self.steps[state.stage], math.inf, -math.inf):
                if self.p == 0.0:
                    return one(self.order[state.stage], state.n)
                stage = replayed_stage(_given(u, self.name), self.p, state.stage, self.steps)
                return one(self.order[stage], state.n)
            state.stage, state.done = state.stage + 1, 0
        return None

    def compiled(self, n: int) -> dict[str, Any]:
        """Return order and budgets of the stages, and p."""
        return {"weights": (0.0,) * n, "order": self.order, "budgets": self.steps, "replay": float(self.p)}


@dataclass(frozen=True)
class Mix(Rule):
    """Every step on λ f_DPO + (1-λ) f_SFT. `lam` is λ in [0, 1], or the weights of all objectives."""

    lam: float | tuple[float, ...]

    key = "mix"
    name = "Mix"

    @classmethod
    def from_options(cls, options: Any, f_star: tuple[float, ...]) -> Mix:  # noqa: ARG003
        """Return the weighted sum by `lam`."""
        return cls(options.lam)

    def check(self, n: int) -> None:
        """Raise ValueError or TypeError unless lam weighs n objectives."""
        _check.weights("lam", self.lam, n)

    def decide(self, state: Controller, values: Mapping[int, float], u: float | None) -> Decision:  # noqa: ARG002
        """Return a step on the weighted sum."""
        return Decision(state.weights, None)


@dataclass(frozen=True)
class Alright(Rule):
    """Algorithm 2: DPO with probability λ at every step; the chosen gradient is not scaled.

    alternation  "coin", random draws; "even", `even_draw` in their place
    block        number of consecutive steps that share one draw
    """

    lam: float | tuple[float, ...]
    alternation: Literal["coin", "even"] = "coin"
    block: int = 1

    key = "alright"
    name = "ALRIGHT"

    @classmethod
    def from_options(cls, options: Any, f_star: tuple[float, ...]) -> Alright:  # noqa: ARG003
        """Return the alternation by `lam`, `alternation` and `block`."""
        return cls(options.lam, options.alternation, options.block)

    @property
    def needs_uniform(self) -> bool:
        """Whether `decide` wants a number: always."""
        return True

    def check(self, n: int) -> None:
        """Raise ValueError or TypeError unless lam weighs n objectives and the alternation is known."""
        _check.weights("lam", self.lam, n)
        _check.whole("block", self.block, low=1)
        if self.alternation not in ("coin", "even"):
            raise ValueError(f"alternation: must be one of coin, even, got {self.alternation}")

    def uniform(self, coin: Generator, state: Controller) -> float:
        """Return the number of the present block of steps."""
        block, within = divmod(state.t, self.block)
        if self.alternation == "even":
            return even_draw(block)
        if within == 0 or state.drawn is None:
            state.drawn = float(coin.random())
        return state.drawn

    def decide(self, state: Controller, values: Mapping[int, float], u: float | None) -> Decision:  # noqa: ARG002
        """Return a step on the objective on which u falls; ValueError if u is None."""
        return one(draw(_given(u, self.name), state.weights), state.n)

    def compiled(self, n: int) -> dict[str, Any]:
        """Return weights, and how draws are made."""
        return {"weights": self.weights(n), "even": self.alternation == "even", "block": int(self.block)}


@dataclass(frozen=True)
class Maxright(Rule):
    """Algorithm 3, and with k > 1 its memory-efficient form (App. C): step on the largest weighted gap.

    f_star  every objective's optimum (or an estimate), subtracted to make the gaps
    k       all gaps are evaluated every k steps; in between only the chosen one's is stored anew, eq. (19)
    """

    lam: float | tuple[float, ...]
    f_star: tuple[float, ...]
    k: int = 1

    key = "maxright"
    name = "MAXRIGHT"
    needs_optima = True

    @classmethod
    def from_options(cls, options: Any, f_star: tuple[float, ...]) -> Maxright:
        """Return the rule by `lam`, the optima at the start, and `k`."""
        return cls(options.lam, f_star, options.k)

    def check(self, n: int) -> None:
        """Raise ValueError or TypeError unless the rule fits n objectives."""
        _check.weights("lam", self.lam, n)
        _check.whole("k", self.k, low=1)
        if len(_check.items("f_star", self.f_star)) != n:
            raise ValueError(f"f_star: {n} optima are needed, one an objective, got {self.f_star}")
        for i, value in enumerate(self.f_star):
            _check.real(f"f_star[{i}]", value)

    def needs(self, state: Controller) -> tuple[int, ...]:
        """Return all objectives at an evaluation of gaps, none in between."""
        return tuple(range(state.n)) if is_max_evaluation(state.t, self.k) else ()

    def expected(self, state: Controller) -> int | None:
        """Return the choice by the stored gaps: its forward pass can serve the step."""
        if any(math.isnan(gap) for gap in state.gaps):
            return None
        return largest_weighted_gap(state.weights, state.gaps)

    def decide(self, state: Controller, values: Mapping[int, float], u: float | None) -> Decision:  # noqa: ARG002
        """Return a step on the largest weighted gap."""
        if is_max_evaluation(state.t, self.k):
            for i in range(state.n):
                self._store(state, i, values[i], age=0)
        return one(largest_weighted_gap(state.weights, state.gaps), state.n)

    def record(self, state: Controller, values: Mapping[int, float]) -> None:
        """Store the gaps of the objectives that the step evaluated, eq. (19)."""
        for i, value in values.items():
            self._store(state, i, value, age=1)

    def with_f_star(self, f_star: tuple[float, ...]) -> Maxright:
        """Return the rule with other optima."""
        return replace(self, f_star=f_star)

    def compiled(self, n: int) -> dict[str, Any]:
        """Return weights, optima and k."""
        return {"weights": self.weights(n), "f_star": tuple(map(float, self.f_star)), "k": int(self.k)}

    def _store(self, state: Controller, i: int, value: float, age: int) -> None:
        state.gaps[i] = value - self.f_star[i]
        state.ages[i] = age


RULES: dict[str, type[Rule]] = {rule.key: rule for rule in (Sequential, Mix, Alright, Maxright, Replay)}


def check_rule(rule: Any, n: int) -> Rule:
    """Return the rule; TypeError unless it is a Rule, and ValueError or TypeError unless it fits n objectives."""
    if not isinstance(rule, Rule):
        names = ", ".join(cls.__name__ for cls in RULES.values())
        raise TypeError(f"rule: one of {names} is needed, got {rule!r}")
    rule.check(n)
    return rule


@dataclass
class Controller:
    """The state of a rule in a loop. A step is: `needs` -> evaluate those -> `decide` -> train -> `record`.

    t       steps so far
    gaps    stored gaps of a rule that compares them, NaN before the first evaluation; ages in steps
    stage   position of the present stage, and the steps done in it
    drawn   ALRIGHT's last draw, which holds for a block of steps

    >>> control = Controller(Maxright(0.5, f_star=(0.1, 1.5), k=10), 2)
    >>> control.needs()
    (0, 1)
    >>> control.decide({0: 0.7, 1: 1.6}).index
    0
    >>> control.record({0: 0.7})  # the chosen objective's own forward pass
    >>> control.needs(), control.decide({}).index
    ((), 0)
    """

    rule: Rule
    n: int
    t: int = 0
    gaps: list[float] = field(default_factory=list)
    ages: list[int] = field(default_factory=list)
    stage: int = 0
    done: int = 0
    drawn: float | None = None

    def __post_init__(self) -> None:
        check_rule(self.rule, self.n)
        self.gaps = self.gaps or [math.nan] * self.n
        self.ages = self.ages or [0] * self.n
        self.weights = self.rule.weights(self.n)

    @property
    def expected(self) -> int | None:
        """The likely choice before the evaluation of gaps; None if it is unknown."""
        return self.rule.expected(self)

    @property
    def needs_uniform(self) -> bool:
        """Whether `decide` wants a number that is uniform in [0, 1)."""
        return self.rule.needs_uniform

    @property
    def f_star(self) -> tuple[float, ...] | None:
        """The optima that the rule subtracts; None for a rule that needs none."""
        return getattr(self.rule, "f_star", None)

    def needs(self) -> tuple[int, ...]:
        """Return the objectives whose values at the present theta `decide` wants."""
        return self.rule.needs(self)

    def uniform(self, coin: Generator) -> float | None:
        """Return the number for `decide` at the present step; None for a rule that wants none."""
        return self.rule.uniform(coin, self)

    def decide(self, values: Mapping[int, float], u: float | None = None) -> Decision | None:
        """Return the step to take now, or None at the end of the rule."""
        return self.rule.decide(self, values, u)

    def record(self, values: Mapping[int, float] | None = None) -> None:
        """Close the step.

        values  values of the forward passes at the theta before the step (App. C, eq. (19))
        """
        self.ages = [age + 1 for age in self.ages]
        self.rule.record(self, values or {})
        self.t += 1
        self.done += 1

    def set_f_star(self, f_star: Sequence[float]) -> None:
        """Replace the optima; the stored gaps, with their ages, are measured from the new ones."""
        old = self.f_star
        rule = self.rule.with_f_star(tuple(f_star))
        rule.check(self.n)
        if old is not None:
            self.gaps = [g + before - after for g, before, after in zip(self.gaps, old, f_star, strict=True)]
        self.rule = rule

    def state(self) -> dict[str, Any]:
        """Return the values of a checkpoint, as plain numbers; `Controller(rule, n, **state)` continues from them."""
        return {
            "t": self.t,
            "gaps": list(self.gaps),
            "ages": list(self.ages),
            "stage": self.stage,
            "done": self.done,
            "drawn": self.drawn,
        }


def _two_stages(options: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (steps, order) of two stages: λ is DPO's share of the steps."""
    first = round(options.lam * options.steps)
    steps, order = (first, options.steps - first), (DPO, SFT)
    return (steps[::-1], order[::-1]) if options.order == "sft-dpo" else (steps, order)


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


def _given(u: float | None, name: str) -> float:
    """Return u; ValueError if it is None."""
    if u is None:
        raise ValueError(f"u: {name} needs a draw, uniform in [0, 1), got None")
    return u
