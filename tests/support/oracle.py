"""Slow, plain oracles: the objectives straight from their definitions, and the simulator's loop in pure Python.

Nothing here knows of the canonical rows of `toyopt.problem`. A policy's log-probability is a logit less a
log-sum-exp over all outputs, and eq. (1)-(5) of arXiv 2410.15483v3 are written in those, for any kind of number:
floats, complex numbers, mpmath's, SymPy's.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from toyopt.algorithms import Controller, Maxright, Rule, Schedule, Sequential
from toyopt.problem import Objective, Problem, dpo, sft

U = 2.0**-53  # the unit roundoff


@dataclass(frozen=True)
class Numbers:
    """A kind of number. `shift` is taken out of a log-sum-exp before the exponential (0 where nothing overflows)."""

    exp: Callable[[Any], Any]
    log: Callable[[Any], Any]
    sum: Callable[[Any], Any]
    shift: Callable[[Sequence[Any]], Any]
    make: Callable[[Any], Any]


FLOAT = Numbers(math.exp, math.log, math.fsum, max, float)
COMPLEX = Numbers(cmath.exp, cmath.log, sum, lambda xs: max(x.real for x in xs), complex)


@dataclass(frozen=True)
class Datum:
    """phi(y,x) of every output y of one input, the wanted output and, for a preference pair, the rejected one."""

    outputs: tuple[tuple[float, ...], ...]
    wanted: int
    loser: int | None = None


@dataclass(frozen=True)
class Spec:
    """One objective by its original features: DPO where the data have losers, SFT where they have none."""

    name: str
    data: tuple[Datum, ...]
    beta: float = 1.0
    theta_ref: tuple[float, ...] = ()

    @property
    def is_dpo(self) -> bool:
        return self.data[0].loser is not None

    @property
    def phi(self) -> float:
        return max(math.hypot(*row) for datum in self.data for row in datum.outputs)

    def objective(self) -> Objective:
        if self.is_dpo:
            return dpo(
                [d.outputs[d.wanted] for d in self.data],
                [d.outputs[d.loser] for d in self.data],  # type: ignore[index]
                beta=self.beta,
                theta_ref=self.theta_ref,
                name=self.name,
            )
        return sft([d.outputs for d in self.data], [d.wanted for d in self.data], name=self.name)


Specs = tuple[Spec, ...]


def problem(specs: Specs) -> Problem:
    return Problem(tuple(s.objective() for s in specs))


def logsumexp(xs: Sequence[Any], n: Numbers) -> Any:
    m = n.shift(xs)
    return m + n.log(n.sum([n.exp(x - m) for x in xs]))


def log_policy(theta: Sequence[Any], datum: Datum, n: Numbers) -> list[Any]:
    """log pi_theta(y|x) of every output y."""
    logits = [n.sum([t * n.make(p) for t, p in zip(theta, row, strict=True)]) for row in datum.outputs]
    normaliser = logsumexp(logits, n)
    return [logit - normaliser for logit in logits]


def grad_log_policy(theta: Sequence[Any], datum: Datum, y: int, n: Numbers) -> list[Any]:
    """The gradient of log pi_theta(y|x): phi(y,x) less its mean under the policy."""
    pi = [n.exp(lp) for lp in log_policy(theta, datum, n)]
    columns = zip(*datum.outputs, strict=True)
    return [
        n.make(datum.outputs[y][j]) - n.sum([p * n.make(c) for p, c in zip(pi, column, strict=True)])
        for j, column in enumerate(columns)
    ]


def preference(spec: Spec, datum: Datum, theta: Sequence[Any], n: Numbers) -> Any:
    """beta log pi_theta(yw|x)/pi_ref(yw|x) - beta log pi_theta(yl|x)/pi_ref(yl|x), the argument of eq. (1), (3)."""
    now = log_policy(theta, datum, n)
    ref = log_policy([n.make(t) for t in spec.theta_ref], datum, n)
    w, lose = datum.wanted, datum.loser
    assert lose is not None
    return n.make(spec.beta) * ((now[w] - ref[w]) - (now[lose] - ref[lose]))


def datum_value(spec: Spec, datum: Datum, theta: Sequence[Any], n: Numbers = FLOAT) -> Any:
    """One term of eq. (1) or (4); -log σ(x) is the log-sum-exp of 0 and -x."""
    if spec.is_dpo:
        x = preference(spec, datum, theta, n)
        return logsumexp([0 * x, -x], n)
    return -log_policy(theta, datum, n)[datum.wanted]


def datum_grad(spec: Spec, datum: Datum, theta: Sequence[Any], n: Numbers = FLOAT) -> list[Any]:
    """eq. (2) or (5)."""
    wanted = grad_log_policy(theta, datum, datum.wanted, n)
    if not spec.is_dpo:
        return [-g for g in wanted]
    assert datum.loser is not None
    lost = grad_log_policy(theta, datum, datum.loser, n)
    x = preference(spec, datum, theta, n)
    away = n.exp(-x - logsumexp([0 * x, -x], n))  # 1 - h_beta, eq. (3), without the subtraction
    return [-n.make(spec.beta) * away * (a - b) for a, b in zip(wanted, lost, strict=True)]


def value(spec: Spec, theta: Sequence[Any], n: Numbers = FLOAT) -> Any:
    return n.sum([datum_value(spec, d, theta, n) for d in spec.data]) / len(spec.data)


def grad(spec: Spec, theta: Sequence[Any], n: Numbers = FLOAT) -> list[Any]:
    each = [datum_grad(spec, d, theta, n) for d in spec.data]
    return [n.sum(list(column)) / len(spec.data) for column in zip(*each, strict=True)]


def margin_error(spec: Spec, theta: Sequence[float]) -> float:
    """How far a log-odds of two answers may be off, in either implementation, both added.

    The canonical rows beta (phi - phi') carry 2 roundings, theta - theta_ref 1, their product and sum d + 1: at most
    (d + 4) u times 2 beta Φ (‖theta‖ + ‖theta_ref‖). The definitions take 4 log-probabilities, each a logit (2 u
    Φ‖theta‖) less a log-sum-exp (of size at most Φ‖theta‖ + log m, 6 u of it, and 4 u more), times beta, with 3 further
    roundings: less than 48 u beta (Φ(‖theta‖ + ‖theta_ref‖) + log m + 1).
    """
    size = spec.phi * (math.hypot(*theta) + math.hypot(*spec.theta_ref))
    most = max(len(d.outputs) for d in spec.data)
    return U * spec.beta * (2 * len(theta) + 8 + 48) * (size + math.log(most) + 1)


def value_error(spec: Spec, theta: Sequence[float], f: float) -> float:
    """log(1 + Σ exp z) moves no more than its margins; then exp, log1p and a mean of N terms round."""
    return margin_error(spec, theta) + (len(spec.data) + 10) * U * (1 + abs(f))


def grad_error(spec: Spec, theta: Sequence[float]) -> float:
    """‖·‖ of a gradient's error: probabilities move by 2 x the margins' error in all, rows are <= 2 beta Φ long."""
    most = max(len(d.outputs) for d in spec.data)
    rounding = (10 * most + len(spec.data) + 2 * len(theta)) * U
    return 2 * spec.beta * spec.phi * (2 * margin_error(spec, theta) + rounding)


def smoothness(spec: Spec) -> float:
    """Every datum's Hessian is the covariance of its answers' rows: of norm at most their diameter squared over 4."""
    widest = 0.0
    for d in spec.data:
        pairs = [(d.wanted, d.loser)] if d.loser is not None else list(combinations(range(len(d.outputs)), 2))
        widest = max(widest, max(math.dist(d.outputs[a], d.outputs[b]) for a, b in pairs))
    return (spec.beta * widest) ** 2 / 4


@dataclass
class Run:
    """What the oracle did. Entry t of a list belongs to step t; `errors[t]` bounds the distance of exact and rounded
    iterates, `open_at` is the first decision that lies within rounding, after which the two may part."""

    thetas: list[list[float]] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)
    stage_ends: list[int] = field(default_factory=list)
    open_at: int | None = None


def simulate(
    specs: Specs,
    rule: Rule,
    schedule: Schedule,
    *,
    theta0: Sequence[float],
    steps: int,
    seed: int = 0,
    stochastic: bool = False,
    weight_decay: float = 0.0,
    gaps: str = "exact",
) -> Run:
    """`toyopt.simulate` for one run.

    The order of the draws, all `rng.random()`: ALRIGHT's coin; at a step where MAXRIGHT evaluates on sampled data one
    datum for each objective; else one datum for each objective with a gradient.
    """
    n = len(specs)
    rng = np.random.default_rng(seed)
    control = Controller(rule, n)
    out = Run(stage_ends=[0] * len(rule.stages))
    theta, error = [float(x) for x in theta0], 0.0

    def pick(i: int) -> Datum:
        return specs[i].data[int(rng.random() * len(specs[i].data))]

    while True:
        out.thetas.append(list(theta))
        exact = [value(s, theta) for s in specs]
        out.values.append(exact)
        out.errors.append(error)
        if control.t >= steps:
            break
        drawn: dict[int, Datum] = {}
        u = control.uniform(rng)
        wants = control.needs()
        if gaps == "sampled" and isinstance(rule, Maxright):
            drawn = {i: pick(i) for i in wants}
        given = {i: datum_value(specs[i], drawn[i], theta) if i in drawn else exact[i] for i in wants}
        stage = control.stage
        decision = control.decide(given, u)
        for s in range(stage, control.stage):
            out.stage_ends[s] = control.t
        slack = [value_error(s, theta, f) + 2 * s.beta * s.phi * error for s, f in zip(specs, exact, strict=True)]
        if out.open_at is None and _is_open(rule, control, given, slack):
            out.open_at = control.t
        if decision is None:
            break
        out.choices.append(-1 if decision.index is None else decision.index)
        step = [0.0] * len(theta)
        seen: dict[int, float] = {}
        parts = []
        for i, c in enumerate(decision.coefficients):
            if decision.index not in (None, i):
                continue
            if stochastic:
                datum = drawn[i] if i in drawn else pick(i)
                g = datum_grad(specs[i], datum, theta)
                seen[i] = datum_value(specs[i], datum, theta) if gaps == "sampled" else exact[i]
            else:
                g, seen[i] = grad(specs[i], theta), exact[i]
            parts.append([c * x for x in g])
        step = [math.fsum(column) for column in zip(*parts, strict=True)]
        control.record(seen)
        alpha = float(schedule.at(control.t))  # record() has counted this step: alpha_1 is the first
        error = _next_error(specs, decision.coefficients, theta, alpha, weight_decay, error)
        theta = [x - alpha * (g + weight_decay * x) for x, g in zip(theta, step, strict=True)]
    out.stage_ends[control.stage :] = [control.t] * (len(out.stage_ends) - control.stage)
    return out


def _next_error(
    specs: Specs, weights: Sequence[float], theta: Sequence[float], alpha: float, decay: float, error: float
) -> float:
    """A gradient step on a convex L-smooth function moves two points apart by at most max(1, alpha (L + decay) - 1)."""
    growth = max(1.0, alpha * (max(smoothness(s) for s in specs) + decay) - 1.0)
    size = math.hypot(*theta)
    longest = max(2 * s.beta * s.phi for s in specs)
    new = alpha * sum(w * grad_error(s, theta) for w, s in zip(weights, specs, strict=True))
    # alpha (g + decay theta), theta - ...: at most 5 roundings of each part, in each implementation.
    return growth * error + new + 10 * U * (size + alpha * (longest + decay * size))


def _is_open(rule: Rule, control: Controller, values: dict[int, float], slack: Sequence[float]) -> bool:
    """Whether rounding may turn this decision."""
    if isinstance(rule, Maxright):
        # The chosen objective's stored gap is at most one step old, the other's up to k: `slack` grows so slowly that
        # ten times today's covers it.
        weights = control.weights
        scores = sorted(w * g for w, g in zip(weights, control.gaps, strict=True))
        return scores[-1] - scores[-2] <= 10 * max(w * s for w, s in zip(weights, slack, strict=True))
    if isinstance(rule, Sequential) and rule.thresholds is not None:
        pairs = zip(rule.order, rule.thresholds, strict=True)
        return any(i in values and abs(values[i] - limit) <= 10 * slack[i] for i, limit in pairs)
    return False


def drive(control: Controller, values: list[tuple[float, ...]], us: list[float] | None = None) -> list[int | None]:
    """Go through the protocol with every objective's values at each step given; the choices."""
    out: list[int | None] = []
    for t, now in enumerate(values):
        decision = control.decide({i: now[i] for i in control.needs()}, us[t] if us else None)
        if decision is None:
            break
        out.append(decision.index)
        control.record({i: now[i] for i in range(control.n) if decision.coefficients[i] != 0.0})
    return out
