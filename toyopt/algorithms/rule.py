"""The base class of the decision rules, and the decision for one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from toyopt import _check

if TYPE_CHECKING:
    from toyopt.algorithms.controller import Controller

DPO, SFT = 0, 1


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
        """Return the rule from options by name: lam, steps, order, k, replay, ...

        lam     λ of two objectives, or the weights of n
        order   dpo-sft, sft-dpo, or the indices of the objectives
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

    def training_shares(self, n: int) -> tuple[float, ...]:
        """Return the expected share of a run's steps that train each of n objectives; here the weights."""
        return self.weights(n)

    def evaluation_shares(self, n: int) -> tuple[float, ...]:
        """Return the expected share of a run's steps that evaluate each of n objectives and do not train it."""
        return (0.0,) * n

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


def given_draw(u: float | None, name: str) -> float:
    """Return u; ValueError if it is None."""
    if u is None:
        raise ValueError(f"u: {name} needs a draw, uniform in [0, 1), got None")
    return u
