"""The controller: the state of a decision rule in a training loop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toyopt.algorithms.rule import Decision, Generator, Rule
from toyopt.algorithms.rules import check_rule


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
