"""The derivations against `toyopt.problem`: the same quantities, in 40 digits from the formulas and in float64."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from toyopt import _check
from toyopt._check import Array
from toyopt.problem import Problem
from toyopt.symbolic import convexity
from toyopt.symbolic.definitions import BETA, Softmax
from toyopt.symbolic.derivation import Identity

DIGITS = 40
# The quantities of problem.py are means of at most 3 sums of products of a few factors, of which exp and log1p err by
# some 1e-16 and their arguments, exact in float64, by nothing: some 1e-15 of the largest entry. The rest is a margin.
TOLERANCE = 1e-13
SETTINGS = tuple((d, m) for d in (1, 2, 3) for m in (2, 3))
Quantity = tuple[str, str]  # ("dpo" or "sft", "value" or "grad" or "hess")


@dataclass(frozen=True)
class Agreement:
    """Agreement of float64 with the formulas: the largest error over the largest entry of all data.

    problems   number of random problems
    value, grad, hess   the worst over the problems, both objectives, and both sides of every identity
    tolerance  the expected error of float64
    """

    problems: int
    value: float
    grad: float
    hess: float
    tolerance: float = TOLERANCE

    @property
    def worst(self) -> float:
        """The largest of the three; NaN if one is."""
        return float(np.max([self.value, self.grad, self.hess]))

    @property
    def holds(self) -> bool:
        """Whether every quantity agrees within the tolerance."""
        return self.worst <= self.tolerance


def identities(s: Softmax) -> dict[Quantity, Identity]:
    """Return the identity of each quantity, from equations (23), (27), (29) and (31)."""
    _, _, f_dpo = g23 = tuple(convexity.eq23(s))
    g27, f_sft = convexity.eq27(s)
    hess_dpo, hess_sft = next(convexity.eq29(s)), next(convexity.eq31(s))
    return {
        ("dpo", "value"): f_dpo,
        ("dpo", "grad"): g23[0],
        ("dpo", "hess"): hess_dpo,
        ("sft", "value"): f_sft,
        ("sft", "grad"): g27,
        ("sft", "hess"): hess_sft,
    }


@cache
def _functions(dim: int, outputs: int) -> dict[Quantity, tuple[Callable[..., list[Any]], ...]]:
    """Compile both sides of each identity to functions of (theta, theta_ref, features, beta) in mpmath's numbers."""
    s = Softmax.general(dim, outputs)
    symbols = [*s.theta, *s.theta_ref, *(x for phi in s.features for x in phi), BETA]
    return {
        quantity: tuple(sp.lambdify(symbols, list(side), "mpmath", cse=True) for side in (i.left, i.right))
        for quantity, i in identities(s).items()
    }


@dataclass(frozen=True)
class _Draw:
    """Random numbers k/8, so that float64 and mpmath start from the same ones."""

    theta: Array
    theta_ref: Array
    pairs: Array  # (N1, m, d): output 0 chosen, output 1 rejected, the others only in the normaliser
    demos: Array  # (N2, m, d): output 0 demonstrated
    beta: float

    @classmethod
    def of(cls, rng: random.Random, dim: int, outputs: int) -> _Draw:
        def array(*shape: int) -> Array:
            return np.array([rng.randint(-16, 16) / 8 for _ in range(int(np.prod(shape)))]).reshape(shape)

        pairs, demos = array(2, outputs, dim), array(3, outputs, dim)
        return cls(array(dim), array(dim), pairs, demos, rng.randint(1, 16) / 8)

    def computed(self) -> dict[Quantity, Array]:
        """Compute each quantity by `toyopt.problem`, flat."""
        problem = Problem.dpo_sft(
            chosen=self.pairs[:, 0],
            rejected=self.pairs[:, 1],
            features=self.demos,
            targets=[0] * len(self.demos),
            theta_ref=self.theta_ref,
            beta=self.beta,
        )
        stacks = {"value": problem.values, "grad": problem.grads, "hess": problem.hessians}
        return {
            (name, order): stack(self.theta)[i].ravel()
            for i, name in enumerate(problem.names)
            for order, stack in stacks.items()
        }

    def derived(self) -> Iterator[tuple[Quantity, list[Any], Any]]:
        """Yield for both sides of each quantity the mean over the data, flat, and the largest entry of a datum."""
        data = {"dpo": self.pairs, "sft": self.demos}
        for quantity, sides in _functions(len(self.theta), self.pairs.shape[1]).items():
            points = [[*self.theta, *self.theta_ref, *phi.ravel(), self.beta] for phi in data[quantity[0]]]
            for side in sides:
                rows = [side(*(mpmath.mpf(float(x)) for x in point)) for point in points]
                mean = [mpmath.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
                yield quantity, mean, max(abs(x) for row in rows for x in row)


def against_problem(problems: int = 2, seed: int = 0) -> Agreement:
    """Compare both sides of (23), (27), (29), (31) with `toyopt.problem`: values, gradients and Hessians.

    problems  number of problems for each of d = 1, 2, 3 and 2, 3 outputs, at least 1: 2 pairs and 3 demonstrations each
    seed      of the random rationals, at least 0
    """
    _check.whole("problems", problems, low=1)
    rng = random.Random(_check.whole("seed", seed, low=0))
    worst = {"value": 0.0, "grad": 0.0, "hess": 0.0}
    draws = [_Draw.of(rng, dim, outputs) for dim, outputs in SETTINGS for _ in range(problems)]
    with mpmath.workdps(DIGITS):
        for draw in draws:
            computed = draw.computed()
            for quantity, mean, scale in draw.derived():
                errors = [abs(mpmath.mpf(float(x)) - y) for x, y in zip(computed[quantity], mean, strict=True)]
                # A datum whose features coincide has nothing but zeros, and then so must float64.
                error = float(max(errors) / scale) if scale else float(max(errors))
                worst[quantity[1]] = float(np.max([worst[quantity[1]], error]))
    return Agreement(len(draws), **worst)
