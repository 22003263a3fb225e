"""The decision rules as frozen dataclasses of their numbers, by option value in `RULES`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from toyopt import _check
from toyopt.algorithms.choices import draw, even_draw, is_max_evaluation, largest_weighted_gap
from toyopt.algorithms.rule import Decision, Generator, Rule, given_draw, one
from toyopt.algorithms.staged import Replay, Sequential

if TYPE_CHECKING:
    from toyopt.algorithms.controller import Controller


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

    def training_shares(self, n: int) -> tuple[float, ...]:
        """Return 1 for every objective with a positive weight: each step trains all of them."""
        return tuple(float(weight > 0.0) for weight in self.weights(n))

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
        return one(draw(given_draw(u, self.name), state.weights), state.n)

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

    def evaluation_shares(self, n: int) -> tuple[float, ...]:
        """Return the shares of steps that evaluate the gap of an objective and do not choose it.

        The choices are unknown before a run: each objective is assumed to be chosen by its weight.
        """
        return tuple((1.0 - share) / self.k for share in self.training_shares(n))

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
