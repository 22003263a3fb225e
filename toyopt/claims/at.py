"""Every claim at one setting: functions of plain numbers, all with the same names for the same arguments.

`Claim.at` of the ledger's entries. Where a claim is about any problem, `problem` names one of `PROBLEMS`, and the
start is at θ = 1 in each coordinate; where f_Mix,λ has no minimiser there, the comparator is θ = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from toyopt import _check, _numbers
from toyopt import theorems as th
from toyopt._check import Array
from toyopt.algorithms import InverseRootHorizon
from toyopt.claims.problems import points, problems
from toyopt.examples import Figure2, table2
from toyopt.optimum import minimise
from toyopt.problem import Problem
from toyopt.record import Record
from toyopt.theorems.sequential.any_steps import SCHEDULES, steps_of_shape
from toyopt.theorems.sequential.two_phases import Order

Records = tuple[Record, ...]

# name -> the problem and its β
PROBLEMS: dict[str, Callable[[], tuple[Problem, float]]] = {
    "table2": lambda: (table2(), 1.0),
    "table3": lambda: (Figure2().problem(), 1.0),
    "random": lambda: (problems(2)[1], 0.7),
}

# What the arguments mean, in the order in which they are shown.
ARGUMENTS: dict[str, str] = {
    "lam": "λ, the weight of DPO, in (0, 1)",
    "T": "number of iterates; for Sequential, of the steps on each objective",
    "g": "Theorem 3.3: the level that the gap is held against",
    "alpha": "constant step size",
    "alpha0": "α0 of the step size α0/√T",
    "order": "Sequential: dpo-first or sft-first",
    "theta_1": "Sequential: the start θ_1 (default: θ_ref = 5)",
    "schedule": f"Sequential: one of {', '.join(SCHEDULES)}",
    "p": "share of replay in the second phase, in (0, 1/2)",
    "psi": "angle ψ in radians between the features: 0 opposite pulls, π/2 no conflict",
    "k": "MAXRIGHT: steps from one evaluation of all gaps to the next",
    "evaluation": "MAXRIGHT: cost of one evaluation of all gaps, in steps",
    "error": "MAXRIGHT: error of f*_DPO (that of f*_SFT is its negative)",
    "noise": "MAXRIGHT: standard deviation of the errors of the weighted gaps, drawn from a fixed seed",
    "epsilon": "Remark 4.2: the gap to be reached; Adam: ε",
    "momentum": "heavy ball: μ, in [0, 1)",
    "beta1": "Adam: β1, in [0, 1)",
    "beta2": "Adam: β2, in [0, 1), at least β1",
    "weight_decay": "AdamW: γ, the weight decay",
    "a": "LoRA of rank 1: a = Aq at the start",
    "b": "LoRA of rank 1: b = Bᵀp at the start; LoRA has 0, and b = a is balanced",
    "problem": f"one of {', '.join(PROBLEMS)} (Tables 2 and 3 are reconstructed)",
}


def _named(name: str) -> tuple[Problem, float]:
    """Return the problem of this name and its β; raise ValueError naming the argument."""
    if name not in PROBLEMS:
        raise ValueError(f"problem: one of {', '.join(PROBLEMS)} is needed, got {name!r}")
    return PROBLEMS[name]()


def _run(problem: str, lam: Any) -> tuple[Problem, float, dict[str, Any]]:
    """Return a problem, λ, and the start and comparator of a run on it."""
    chosen, weight = _named(problem)[0], weight_of(lam)
    star: Array | None = None if minimise(chosen, weight).attained else np.zeros(chosen.dim)
    return chosen, weight, {"theta_1": np.ones(chosen.dim), "theta_star": star}


def weight_of(lam: Any) -> float:
    """Return λ as a float; raise ValueError unless it is in (0, 1), TypeError unless it is a number."""
    number = _numbers.exact("lam", lam)
    if not 0 < number < 1:
        raise ValueError(f"lam: must be in (0, 1), got {lam!r}")
    return float(number)


def phases_of(T: Any) -> dict[str, int]:
    """Return T as the number of steps of both phases; raise ValueError naming T unless it is whole and at least 1."""
    return dict.fromkeys(("T_DPO", "T_SFT"), _numbers.whole("T", T, low=1))


def prop_a1(*, problem: str = "table2") -> Records:
    """Compare the mean squared gradients with 4β²Φ² and 4Φ² at 40 points."""
    chosen, beta = _named(problem)
    return th.prop_a1(chosen, points(chosen), beta=beta)


def prop_a2(*, lam: Any = 0.5, problem: str = "table2") -> Records:
    """Compare the least eigenvalue of the Hessians with 0 at 40 points."""
    chosen, _ = _named(problem)
    return (th.prop_a2(chosen, points(chosen), lam=weight_of(lam)),)


def lemma_a3(*, T: Any = 10, alpha: Any = 1, theta_1: Any = 5) -> Records:
    """Follow two runs with c = 1/2, from θ_1 and from 0."""
    steps = np.full(_numbers.whole("T", T, low=1), float(_numbers.exact("alpha", alpha)))
    return (th.lemma_a3(theta_1, 0.0, alphas=steps, c=0.5),)


def lemma_a5(*, lam: Any = 0.5, problem: str = "table2") -> Records:
    """Compare f_Mix with its tangents at 40 × 40 points."""
    chosen, _ = _named(problem)
    there = points(chosen)
    return (th.lemma_a5(chosen, there[:, None, :], there[None, ::-1, :], lam=weight_of(lam)),)


def lemma_a6(*, T: Any = 30) -> Records:
    """Compare both sides for T weights and values that are drawn from a fixed seed."""
    rng, length = np.random.default_rng(6), _numbers.whole("T", T, low=1)
    return (th.lemma_a6(np.sort(rng.uniform(0.01, 2.0, size=length))[::-1], rng.exponential(size=length)),)


def lemma_a7(*, lam: Any = 0.5, alpha: Any = 0.05, problem: str = "table2") -> Records:
    """Compare one step's expected progress with its bound, with full and with stochastic gradients."""
    chosen, _ = _named(problem)
    here, there = points(chosen)[0], points(chosen)[-1]
    shared: dict[str, Any] = {"lam": weight_of(lam), "alpha": alpha}
    return tuple(th.lemma_a7(chosen, here, there, stochastic=stochastic, **shared) for stochastic in (False, True))


def theorem_33(
    *, lam: Any = 0.5, T: Any = 1000, g: Any = None, alpha: Any = 1, theta_1: Any = None, order: Order = "dpo-first"
) -> Records:
    """Prove the gap from T on by ball arithmetic, and follow the run of T steps on each objective."""
    answer = th.theorem_33(lam, T, g=g, alpha=alpha, theta_1=theta_1, order=order)
    return (replace(answer.claim, note=str(answer)), *answer.growth)


def thm_41(*, lam: Any = 0.5, T: Any = 12, alpha0: Any = 1.5, problem: str = "table2") -> Records:
    """Compare ALRIGHT's expected gap with the bound."""
    chosen, weight, run = _run(problem, lam)
    return th.thm_41(chosen, lam=weight, alpha0=alpha0, T=T, **run)


def remark_42(*, lam: Any = 0.5, alpha0: Any = 1, epsilon: Any = 0.001, problem: str = "table2") -> Records:
    """Compute the T from which the bound of Theorem 4.1 is at most ε."""
    chosen, weight, run = _run(problem, lam)
    return th.remark_42(chosen, lam=weight, alpha0=alpha0, epsilon=epsilon, **run)


def remark_43(*, lam: Any = 0.5, problem: str = "table2") -> Records:
    """Test a solution of (15) for Pareto optimality, and f* for two values of λ."""
    chosen, weight = _named(problem)[0], weight_of(lam)
    return (*th.pareto_optimal(chosen, weight), th.optima_once(chosen, [weight, 1.0 - weight]))


def remark_a4(*, lam: Any = 0.5, T: Any = 2000, alpha: Any = 1, psi: Any = 0.5) -> Records:
    """Compare Sequential at the angle ψ with the same input and opposite labels, and compute the common floor."""
    weight = weight_of(lam)
    worst = th.same_input_is_worst(psi, **phases_of(T), alpha=alpha, lam=weight, theta_1=0.0)
    return (*worst, th.conflict(table2()), *th.no_common_ground(table2(), weight))


def growth(
    *, lam: Any = 0.5, T: Any = 1000, alpha: Any = 1, theta_1: Any = None, order: Order = "dpo-first"
) -> Records:
    """Compare the gap after T + T steps with Lemma P's bounds and with λ log T plus the constant."""
    return th.theorem_s(lam=weight_of(lam), **phases_of(T), alpha=alpha, theta_1=theta_1, order=order)


def any_steps(
    *,
    lam: Any = 0.5,
    T: Any = 1000,
    alpha: Any = 1,
    theta_1: Any = None,
    order: Order = "dpo-first",
    schedule: str = "cosine",
) -> Records:
    """Compare the gap after T + T steps of a schedule with λ log of the total step plus the constant."""
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: one of {', '.join(SCHEDULES)} is needed, got {schedule!r}")
    largest = float(_numbers.exact("alpha", alpha))
    steps = steps_of_shape(schedule, _check.real("alpha", largest, above=0.0), _numbers.whole("T", T, low=1))
    return th.sequential_any_steps(lam=weight_of(lam), alphas_DPO=steps, alphas_SFT=steps, theta_1=theta_1, order=order)


def replay(
    *,
    lam: Any = 0.5,
    T: Any = 2000,
    p: Any = 0.05,
    alpha: Any = 1,
    theta_1: Any = None,
    order: Order = "dpo-first",
) -> Records:
    """Compare the gap with a share p of replay with its bounds, and its limit with λ log(1/p) plus the constant."""
    shared: dict[str, Any] = {"alpha": alpha, "theta_1": theta_1, "order": order}
    return th.sequential_replay(lam=weight_of(lam), p=p, **phases_of(T), **shared)


def angle(*, lam: Any = 0.5, T: Any = 1000, psi: Any = 0.5, alpha: Any = 1, theta_1: Any = None) -> Records:
    """Compare the gap at the angle ψ with its bounds and with the law of the angle."""
    return th.sequential_angle(psi=psi, lam=weight_of(lam), **phases_of(T), alpha=alpha, theta_1=theta_1)


def heavy_ball(
    *,
    lam: Any = 0.5,
    T: Any = 10_000,
    momentum: Any = 0.9,
    alpha: Any = 0.1,
    theta_1: Any = None,
    order: Order = "dpo-first",
) -> Records:
    """Compare the gap after T + T steps with momentum with its bounds, and with λ log(c²αT/(1-μ)) plus the constant."""
    shared: dict[str, Any] = {"alpha": alpha, "theta_1": theta_1, "order": order}
    return th.sequential_heavy_ball(lam=weight_of(lam), **phases_of(T), momentum=momentum, **shared)


def adam(
    *,
    lam: Any = 0.5,
    T: Any = 20_000,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    epsilon: Any = 1e-8,
    alpha: Any = 0.01,
    theta_1: Any = None,
    order: Order = "dpo-first",
) -> Records:
    """Compare the gap after T + T steps of Adam with its bounds, and with λ log(c²αT/ε) plus the constant."""
    shared: dict[str, Any] = {"alpha": alpha, "theta_1": theta_1, "order": order}
    numbers: dict[str, Any] = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon}
    return th.sequential_adam(lam=weight_of(lam), **phases_of(T), **numbers, **shared)


def setting_of(lam: Any, T: Any, alpha0: Any, problem: str) -> th.MaxrightSetting:
    """Return MAXRIGHT's setting on a problem."""
    chosen, weight, run = _run(problem, lam)
    return th.maxright_setting(chosen, weight, T=T, alpha0=alpha0, **run)


def maxright(*, lam: Any = 0.5, T: Any = 2000, alpha0: Any = 3, problem: str = "table2") -> Records:
    """Compare MAXRIGHT's best and average iterate with their bounds."""
    return th.maxright_best_and_average(setting_of(lam, T, alpha0, problem))


def maxright_last(*, lam: Any = 0.5, T: Any = 2000, alpha0: Any = 3, problem: str = "table2") -> Records:
    """Compare MAXRIGHT's last iterate with its bounds."""
    setting = setting_of(lam, T, alpha0, problem)
    return tuple(th.maxright_last(setting, bound) for bound in ("exact", "harmonic", "linear decay"))


def maxright_stale(*, lam: Any = 0.5, T: Any = 2000, alpha0: Any = 3, k: Any = 10, problem: str = "table2") -> Records:
    """Compare MAXRIGHT with gaps evaluated every k steps with its bounds."""
    return th.maxright_stale(setting_of(lam, T, alpha0, problem), k)


def maxright_optima(
    *, lam: Any = 0.5, T: Any = 500, alpha0: Any = 3, error: Any = 0.1, problem: str = "table2"
) -> Records:
    """Compare the cost of a wrong f* with its bound."""
    setting, off = setting_of(lam, T, alpha0, problem), float(_numbers.exact("error", error))
    return th.maxright_optima(setting, setting.f_star + np.array([off, -off]))


def maxright_noisy(
    *, lam: Any = 0.5, T: Any = 2000, alpha0: Any = 3, noise: Any = 0.1, problem: str = "table2"
) -> Records:
    """Compare MAXRIGHT on gaps with normal errors with its bounds."""
    setting, sd = (
        setting_of(lam, T, alpha0, problem),
        _check.real("noise", float(_numbers.exact("noise", noise)), low=0.0),
    )
    return th.maxright_noisy(setting, sd * np.random.default_rng(10).normal(size=(setting.T - 1, len(setting.lam))))


def alright_last(*, lam: Any = 0.5, T: Any = 12, alpha0: Any = 1.5, problem: str = "table2") -> Records:
    """Compare ALRIGHT's expected gap with linear decay, and with α0/√T, with their bounds."""
    chosen, weight, run = _run(problem, lam)
    length, scale = _numbers.whole("T", T, low=2), float(_numbers.exact("alpha0", alpha0))
    shared: dict[str, Any] = {"lam": weight, "T": length, **run}
    decay = th.alright_linear_decay(chosen, **shared)
    return (decay, *th.alright_exact(chosen, schedule=InverseRootHorizon(scale, length), **shared))


def price(*, lam: Any = 0.5, T: Any = 2000, alpha0: Any = 2, problem: str = "table2") -> Records:
    """Compare √T times ALRIGHT's expected gap with its limit."""
    chosen = _named(problem)[0]
    return (th.alright_price(chosen, lam=weight_of(lam), alpha0=alpha0, T=T, theta_1=np.ones(chosen.dim)),)


def even(*, lam: Any = 0.5, T: Any = 4000, alpha0: Any = 2, problem: str = "table2") -> Records:
    """Compare T times ALRIGHT's gap under the even alternation with its bound, and its counts with the shares."""
    chosen = _named(problem)[0]
    return th.alright_even(chosen, lam=weight_of(lam), alpha0=alpha0, T=T, theta_1=np.ones(chosen.dim))
