"""The decision rules of Sequential, Mix, ALRIGHT and MAXRIGHT, and the step-size schedules.

The only place where they are written. One step of any of them is `theta <- theta - alpha_t Σ_i c_i g_i`, and a rule
is nothing but its choice of the coefficients `c`. Plain numbers go in and a decision comes out: no arrays, no
torch, so that the compiled simulator and a trainer of language models take the very same decisions.

First the rules as functions that a compiler can take (`draw`, `lagging`, ...), then as frozen dataclasses, and the
`Controller`, which keeps the little state that a loop needs. Objectives are numbered; the paper's are DPO = 0 and
SFT = 1, and λ weighs DPO. Source: arXiv 2410.15483v3, Algorithms 1 to 3 and Appendix C.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from toyopt import _check

DPO, SFT = 0, 1


def draw(u: float, weights: Sequence[float]) -> int:
    """ALRIGHT's choice, eq. (10): the objective on which u, uniform in [0, 1), falls; i with probability weights[i]."""
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
    """A number for `draw` in place of the coin's at step t = 0, 1, ...: the golden ratio's multiples modulo 1.

    They fill [0, 1) evenly: among any n successive steps the share that falls below λ differs from λ by O(log(n)/n),
    where a coin's share differs by about sqrt(λ(1-λ)/n).
    """
    return (t + 0.5) * ((math.sqrt(5.0) - 1.0) / 2.0) % 1.0


def lagging(weights: Sequence[float], gaps: Sequence[float]) -> int:
    """MAXRIGHT's choice, eq. (16), (17): the largest weighted gap; a tie goes to the first, which is DPO."""
    chosen = 0
    for i in range(1, len(weights)):
        if weights[i] * gaps[i] > weights[chosen] * gaps[chosen]:
            chosen = i
    return chosen


def is_max_evaluation(t: int, k: int) -> bool:
    """Whether all gaps are evaluated at step t = 0, 1, ...: every k steps (App. C). k = 1 is MAXRIGHT itself."""
    return t % k == 0


def stage_over(done: int, budget: int, value: float, threshold: float) -> bool:
    """Whether Sequential leaves its stage: `budget` steps are done, or the stage's objective is below the threshold."""
    return done >= budget or value < threshold


class Rule(Protocol):
    """What every rule can say of itself."""

    @property
    def name(self) -> str:
        """The method's name in the paper."""

    def check(self, n: int) -> None:
        """Raise ValueError or TypeError unless the rule can run on n objectives."""


@dataclass(frozen=True)
class Sequential:
    """Algorithm 1: `steps[j]` steps on objective `order[j]` alone, stage after stage.

    thresholds  if given, stage j ends as soon as its objective's value is below thresholds[j], before a step
    """

    steps: tuple[int, ...]
    order: tuple[int, ...] = (DPO, SFT)
    thresholds: tuple[float, ...] | None = None

    name = "Sequential"

    def check(self, n: int) -> None:
        """Raise ValueError or TypeError unless the stages fit n objectives."""
        for j, count in enumerate(_check.items("steps", self.steps)):
            _check.whole(f"steps[{j}]", count, low=0)
        if not self.steps or sum(self.steps) < 1:
            raise ValueError(f"steps: one step at least is needed, got {self.steps}")
        if len(_check.items("order", self.order)) != len(self.steps):
            raise ValueError(f"order: one objective a stage is needed, got {self.order} for {self.steps}")
        for j, i in enumerate(self.order):
            if _check.whole(f"order[{j}]", i, low=0) >= n:
                raise ValueError(f"order[{j}]: must be less than {n}, the number of objectives, got {i}")
        if self.thresholds is not None:
            if len(_check.items("thresholds", self.thresholds)) != len(self.steps):
                raise ValueError(f"thresholds: one a stage is needed, got {self.thresholds} for {self.steps}")
            for j, value in enumerate(self.thresholds):
                _check.real(f"thresholds[{j}]", value)


@dataclass(frozen=True)
class Mix:
    """Every step on λ f_DPO + (1-λ) f_SFT. `lam` is λ in [0, 1], or the weights of all objectives."""

    lam: float | tuple[float, ...]

    name = "Mix"

    def check(self, n: int) -> None:
        """Raise ValueError or TypeError unless lam weighs n objectives."""
        _check.weights("lam", self.lam, n)


@dataclass(frozen=True)
class Alright:
    """Algorithm 2: a coin with probability λ for DPO at every step; the chosen gradient is not scaled."""

    lam: float | tuple[float, ...]

    name = "ALRIGHT"

    def check(self, n: int) -> None:
        """Raise ValueError or TypeError unless lam weighs n objectives."""
        _check.weights("lam", self.lam, n)


@dataclass(frozen=True)
class Maxright:
    """Algorithm 3, and with k > 1 its memory-efficient form (App. C): step on the objective that lags.

    f_star  every objective's optimum (or an estimate), subtracted to make the gaps
    k       all gaps are evaluated every k steps; in between only the chosen one's is stored anew, eq. (19)
    """

    lam: float | tuple[float, ...]
    f_star: tuple[float, ...]
    k: int = 1

    name = "MAXRIGHT"

    def check(self, n: int) -> None:
        """Raise ValueError or TypeError unless the rule fits n objectives."""
        _check.weights("lam", self.lam, n)
        _check.whole("k", self.k, low=1)
        if len(_check.items("f_star", self.f_star)) != n:
            raise ValueError(f"f_star: {n} optima are needed, one an objective, got {self.f_star}")
        for i, value in enumerate(self.f_star):
            _check.real(f"f_star[{i}]", value)


def check_rule(rule: Rule, n: int) -> Sequential | Mix | Alright | Maxright:
    """The rule; TypeError unless it is one of the four, and ValueError or TypeError unless it fits n objectives."""
    if not isinstance(rule, Sequential | Mix | Alright | Maxright):
        raise TypeError(f"rule: one of Sequential, Mix, Alright, Maxright is needed, got {rule!r}")
    rule.check(n)
    return rule


@dataclass(frozen=True)
class Decision:
    """One step's coefficients, one an objective; `index` is the chosen one, or None where all of them count."""

    coefficients: tuple[float, ...]
    index: int | None


@dataclass
class Controller:
    """The state of a rule in a loop. A step is: `needs` -> evaluate those -> `decide` -> train -> `record`.

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

    def __post_init__(self) -> None:
        check_rule(self.rule, self.n)
        self.gaps = self.gaps or [math.nan] * self.n
        self.ages = self.ages or [0] * self.n
        lam = getattr(self.rule, "lam", None)
        self._weights = () if lam is None else _check.weights("lam", lam, self.n)

    @property
    def expected(self) -> int | None:
        """MAXRIGHT's choice if nothing were evaluated anew: whose forward pass is worth keeping for the step."""
        if not isinstance(self.rule, Maxright) or any(math.isnan(g) for g in self.gaps):
            return None
        return lagging(self._weights, self.gaps)

    def needs(self) -> tuple[int, ...]:
        """The objectives whose values at the present theta `decide` wants."""
        if isinstance(self.rule, Maxright) and is_max_evaluation(self.t, self.rule.k):
            return tuple(range(self.n))
        if isinstance(self.rule, Sequential) and self.rule.thresholds is not None:
            left = [i for i, s in zip(self.rule.order[self.stage :], self.rule.steps[self.stage :], strict=True) if s]
            return tuple(dict.fromkeys(left))
        return ()

    @property
    def needs_uniform(self) -> bool:
        """Whether `decide` wants a draw, uniform in [0, 1)."""
        return isinstance(self.rule, Alright)

    def decide(self, values: Mapping[int, float], u: float | None = None) -> Decision | None:
        """The step to take now, or None when the rule has come to its end."""
        rule = self.rule
        if isinstance(rule, Mix):
            return Decision(self._weights, None)
        if isinstance(rule, Alright):
            if u is None:
                raise ValueError("u: ALRIGHT needs a draw, uniform in [0, 1), got None")
            return self._one(draw(u, self._weights))
        if isinstance(rule, Maxright):
            if is_max_evaluation(self.t, rule.k):
                for i in range(self.n):
                    self._store(i, values[i], rule)
            return self._one(lagging(self._weights, self.gaps))
        if isinstance(rule, Sequential):
            return self._next_of_sequential(rule, values)
        raise TypeError(f"rule: one of Sequential, Mix, Alright, Maxright is needed, got {rule!r}")

    def record(self, values: Mapping[int, float] | None = None) -> None:
        """Close the step. `values`: what the forward passes gave at the theta before the step (App. C, eq. (19))."""
        self.ages = [age + 1 for age in self.ages]
        if isinstance(self.rule, Maxright):
            for i, value in (values or {}).items():
                self._store(i, value, self.rule, age=1)
        self.t += 1
        self.done += 1

    def set_f_star(self, f_star: Sequence[float]) -> None:
        """MAXRIGHT with new estimates of the optima: the gaps that are stored, with their ages, are measured anew."""
        if not isinstance(self.rule, Maxright):
            raise TypeError(f"rule: only MAXRIGHT subtracts f_star, got {self.rule!r}")
        rule = replace(self.rule, f_star=tuple(f_star))
        rule.check(self.n)
        self.gaps = [g + old - new for g, old, new in zip(self.gaps, self.rule.f_star, rule.f_star, strict=True)]
        self.rule = rule

    def state(self) -> dict[str, Any]:
        """All that a checkpoint must keep, as plain numbers; `Controller(rule, n, **state)` goes on from it."""
        return {
            "t": self.t,
            "gaps": list(self.gaps),
            "ages": list(self.ages),
            "stage": self.stage,
            "done": self.done,
        }

    def _one(self, index: int) -> Decision:
        return Decision(tuple(1.0 if i == index else 0.0 for i in range(self.n)), index)

    def _store(self, i: int, value: float, rule: Maxright, age: int = 0) -> None:
        self.gaps[i] = value - rule.f_star[i]
        self.ages[i] = age

    def _next_of_sequential(self, rule: Sequential, values: Mapping[int, float]) -> Decision | None:
        while self.stage < len(rule.steps):
            i = rule.order[self.stage]
            value, threshold = math.inf, -math.inf
            if rule.thresholds is not None and rule.steps[self.stage] > 0:
                value, threshold = values[i], rule.thresholds[self.stage]
            if not stage_over(self.done, rule.steps[self.stage], value, threshold):
                return self._one(i)
            self.stage, self.done = self.stage + 1, 0
        return None


# Step sizes. `at(t)` is alpha_t for t = 1, 2, ...; alpha_1 multiplies the first gradient, and with T iterates
# theta_1 .. theta_T there are T-1 updates. `at` takes whatever arithmetic takes, so arrays of t as well.


class Schedule(Protocol):
    """A step size for every update."""

    def at(self, t: Any) -> Any:
        """alpha_t, t = 1, 2, ..."""


@dataclass(frozen=True)
class Constant:
    """alpha_t = alpha."""

    alpha: float

    def __post_init__(self) -> None:
        _check.real("alpha", self.alpha, above=0.0)

    def at(self, t: Any) -> Any:
        """alpha_t, t = 1, 2, ..."""
        return self.alpha + 0.0 * t


@dataclass(frozen=True)
class InverseRootHorizon:
    """alpha_t = alpha0 / sqrt(T), the step of Theorem 4.1."""

    alpha0: float
    T: int

    def __post_init__(self) -> None:
        _check.real("alpha0", self.alpha0, above=0.0)
        _check.whole("T", self.T, low=1)

    def at(self, t: Any) -> Any:
        """alpha_t, t = 1, 2, ..."""
        return self.alpha0 / math.sqrt(self.T) + 0.0 * t


@dataclass(frozen=True)
class LinearDecay:
    """alpha_t = D/(C sqrt(T)) (1 - t/T): the last iterate without a logarithm (Defazio et al., arXiv 2310.07831)."""

    D: float
    C: float
    T: int

    def __post_init__(self) -> None:
        _check.real("D", self.D, above=0.0)
        _check.real("C", self.C, above=0.0)
        _check.whole("T", self.T, low=1)

    def at(self, t: Any) -> Any:
        """alpha_t, t = 1 .. T-1."""
        return self.D / (self.C * math.sqrt(self.T)) * (1 - t / self.T)


@dataclass(frozen=True)
class ZamaniGlineur:
    """alpha_k = R(N+1-k)/(B(N+1)^{3/2}), k = 1 .. N updates: optimal for full gradients (arXiv 2307.11134)."""

    R: float
    B: float
    N: int

    def __post_init__(self) -> None:
        _check.real("R", self.R, above=0.0)
        _check.real("B", self.B, above=0.0)
        _check.whole("N", self.N, low=1)

    def at(self, t: Any) -> Any:
        """alpha_k, k = 1 .. N."""
        return self.R * (self.N + 1 - t) / (self.B * (self.N + 1) ** 1.5)


# SHIM
def _seq(cls, o, f):
    first = round(o.lam * o.steps)
    steps, order = (first, o.steps - first), (DPO, SFT)
    return cls(steps[::-1], order[::-1]) if o.order == "sft-dpo" else cls(steps, order)


Sequential.from_options = classmethod(_seq)
Sequential.stages = property(lambda s: tuple(zip(s.order, s.steps)))
for _c in (Mix, Alright, Maxright):
    _c.stages = ()
for _c in (Sequential, Mix, Alright, Maxright):
    _c.needs_optima = _c is Maxright
Mix.from_options = classmethod(lambda c, o, f: c(o.lam))


def _al(c, o, f):
    r = c(o.lam)
    object.__setattr__(r, "o", (o.alternation, o.block))
    return r


Alright.from_options = classmethod(_al)
Maxright.from_options = classmethod(lambda c, o, f: c(o.lam, f, o.k))
Maxright.with_f_star = lambda s, f: replace(s, f_star=f)


def _uni(self, coin):
    if not isinstance(self.rule, Alright):
        return None
    alt, blk = self.rule.o
    block, within = divmod(self.t, blk)
    if alt == "even":
        return even_draw(block)
    if within == 0 or getattr(self, "drawn", None) is None:
        self.drawn = float(coin.random())
    return self.drawn


Controller.uniform = _uni
Controller.f_star = property(lambda s: getattr(s.rule, "f_star", None))
RULES = {"sequential": Sequential, "mix": Mix, "alright": Alright, "maxright": Maxright}
