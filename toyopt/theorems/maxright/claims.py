"""Claims M, M-last, M-stale and M-opt on a problem: the bounds and the values that MAXRIGHT attains.

The formulas are in `bounds`, their proofs in docs/theory.md, M. T iterates are T-1 updates. Without `seeds`
the gradients are full and one run is exact; with them each seed is a run with stochastic gradients (and exact gaps),
and the attained value is a mean with a confidence interval.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from toyopt._numbers import reads_numbers
from toyopt.algorithms import InverseRootHorizon, LinearDecay, Schedule
from toyopt.minimax import minimise_worst, optima, worst_gap
from toyopt.record import Record
from toyopt.theorems.maxright import bounds
from toyopt.theorems.maxright.setting import SOURCE, MaxrightSetting


def maxright_best_and_average(setting: MaxrightSetting) -> tuple[Record, Record]:
    """Compute both sides of claim M: the best and the average iterate of MAXRIGHT.

    Problem    convex objectives with bounded gradients, weights λ_i > 0, α = α0/√T
    Statement  `bounds.best_terms` and `bounds.average_terms` (the latter for both if stochastic)
    Kind       upper
    Source     beyond the paper, docs/theory.md, M2; Algorithm 3 is arXiv 2410.15483v3, (15)-(17)

    setting    from `maxright_setting`

    Returns    the records of the best and of the average iterate
    Raises     nothing
    """
    run, reach = setting.run(), setting.alpha0 * math.sqrt(setting.T)
    exact = setting.seeds is None
    best = "max_i λ_i (D²/2α0 + α0 C_i²/2)/√T" if exact else "λ̄ (D²/2α0 + α0 C²/2)/√T"
    return (
        setting.record(
            "M",
            f"min_t F(θ_t) - F(θ*) <= {best}",
            "2",
            setting.terms("best" if exact else "average"),
            run.best,
            reach,
        ),
        setting.record(
            "M",
            "F(mean θ_t) - F(θ*) <= λ̄ (D²/2α0 + α0 C²/2)/√T",
            "2",
            setting.terms("average"),
            run.average,
            reach,
        ),
    )


def maxright_last(setting: MaxrightSetting, bound: Literal["exact", "harmonic", "linear decay"] = "exact") -> Record:
    """Compute both sides of claim M-last: the last iterate of MAXRIGHT, for any λ in (0, 1).

    Problem    as for claim M; for "linear decay" the step is (D/(C√T))(1 - t/T) and alpha0 is not used
    Statement  exact: `bounds.last_exact_terms` with the constant step; harmonic: the closed form
               `bounds.last_terms`; linear decay: `last_exact_terms` with that schedule, λ̄ D C/√T
    Kind       upper; exact and linear decay are tight
    Source     beyond the paper, docs/theory.md, M4

    setting    from `maxright_setting`
    bound      which of the three

    Returns    the record
    Raises     ValueError naming `bound`, or `setting` if the start is the comparator and linear decay is asked for
    """
    reach = setting.alpha0 * math.sqrt(setting.T)
    if bound == "harmonic":
        statement = "F(θ_T) - F(θ*) <= (λ̄/√T)(D²/2α0 + (α0 C²/2)(1 + H_{T-1}))"
        return setting.record("M-last", statement, "4", setting.terms("last"), setting.run().last, reach)
    if bound not in ("exact", "linear decay"):
        raise ValueError(f"bound: 'exact', 'harmonic' or 'linear decay' is needed, got {bound!r}")
    schedule: Schedule = InverseRootHorizon(setting.alpha0, setting.T)
    statement = "F(θ_T) - F(θ*) <= λ̄ times the subgradient method's exact worst case, α = α0/√T"
    if bound == "linear decay":
        schedule = LinearDecay(_positive_distance(setting), float(setting.grad_bounds.max()), setting.T)
        statement = "F(θ_T) - F(θ*) <= λ̄ DC/√T, for α_t = (D/C√T)(1 - t/T)"
    alphas = np.asarray(schedule.at(np.arange(1, setting.T)))
    terms = bounds.last_exact_terms(setting.lam, setting.grad_bounds, distance=setting.distance, alphas=alphas)
    last = setting.run(schedule=schedule).last
    return setting.record("M-last", statement, "4", terms, last, float(alphas.sum()))


def _positive_distance(setting: MaxrightSetting) -> float:
    if not setting.distance > 0.0:
        raise ValueError(f"setting: linear decay needs D > 0, got D = {setting.distance!r}")
    return setting.distance


@reads_numbers
def maxright_stale(setting: MaxrightSetting, k: int) -> tuple[Record, Record, Record]:
    """Compute both sides of claim M-stale: the cost of a gap evaluation only every k steps.

    Problem    as for claim M; exact gaps, each datum's gradient at most C_i in norm (here they are)
    Statement  the bounds of M and M-last, and the terms of `bounds.staleness` on top
    Kind       upper
    Source     beyond the paper, docs/theory.md, M6; the algorithm is arXiv 2410.15483v3, (18), (19), App. C

    setting    from `maxright_setting`
    k          a max evaluation every k >= 1 steps; 1 is MAXRIGHT itself, and the added term is 0

    Returns    the records of the best, the average and the last iterate, the cost under "staleness"
    Raises     ValueError or TypeError naming k
    """
    alpha = setting.alpha0 / math.sqrt(setting.T)
    cost = bounds.staleness(setting.lam, setting.grad_bounds, alpha=alpha, k=k, T=setting.T)
    best = setting.terms("average") | {"staleness": cost.mean}
    if setting.seeds is None:
        other = setting.terms("best") | {"staleness": cost.worst}
        best = min(best, other, key=lambda terms: math.fsum(terms.values()))
    run, reach = setting.run(k=k), setting.alpha0 * math.sqrt(setting.T)
    average = setting.terms("average") | {"staleness": cost.mean}
    last = setting.terms("last") | {"staleness": cost.last}
    stale = f"as for k = 1, and the staleness of k = {k}"
    return (
        setting.record("M-stale", f"min_t F(θ_t) - F(θ*): {stale}", "6", best, run.best, reach),
        setting.record("M-stale", f"F(mean θ_t) - F(θ*): {stale}", "6", average, run.average, reach),
        setting.record("M-stale", f"F(θ_T) - F(θ*): {stale}", "6", last, run.last, reach),
    )


def maxright_optima(setting: MaxrightSetting, estimates: ArrayLike) -> tuple[Record, Record]:
    """Compute both sides of claim M-opt: MAXRIGHT with estimates in place of the optima.

    Problem    as for claim M; the algorithm compares λ_i (f_i - estimate_i), F is measured with f_i*
    Statement  a minimiser of the estimated F, and the last iterate: at most `bounds.optimum_error_terms`
               above inf F, and above the bound of M-last. The minimiser and inf F are computed: what their certificates
               leave open is the term "solver" of the bound
    Kind       upper
    Source     beyond the paper, docs/theory.md, M7

    setting    from `maxright_setting`; its `f_star` are the true optima
    estimates  (n,) the estimated optima

    Returns    the records of the minimiser (NaN attained, so open, where the estimated F has none or it
               was not computed) and of the run
    Raises     ValueError or TypeError naming estimates
    """
    guessed = optima("estimates", estimates, len(setting.problem))
    off = bounds.optimum_error_terms(setting.lam, guessed - setting.f_star)
    true = minimise_worst(setting.problem, setting.lam, setting.f_star, near=setting.theta_1)
    estimated = minimise_worst(setting.problem, setting.lam, guessed, near=setting.theta_1)
    attained = math.nan
    if estimated.theta is not None and true.converged and estimated.converged:
        attained = float(worst_gap(setting.problem, setting.lam, setting.f_star, estimated.theta)) - min(
            true.lower, true.upper
        )
    terms = off | {"solver": abs(true.gap) + abs(estimated.gap)}
    size = 1.0 + float(np.abs(true.values).max()) + float(np.abs(setting.f_star).max())
    minimiser = Record(
        claim="M-opt",
        statement="F(argmin of F with f_i* + e_i) - inf F <= max λ_i e_i - min λ_i e_i",
        kind="upper",
        bound=math.fsum(terms.values()),
        attained=attained,
        source=SOURCE + "7",
        terms=terms,
        tolerance=1e-14 * size,  # of the values that are subtracted, each to some ten roundings
        scale=size,
    )
    run = setting.run(f_star=guessed)
    statement = "F(θ_T) - F(θ*) with estimated optima: as for M-last, and max λ_i e_i - min λ_i e_i"
    reach = setting.alpha0 * math.sqrt(setting.T)
    return minimiser, setting.record("M-opt", statement, "7", setting.terms("last") | off, run.last, reach)


def maxright_scaled(setting: MaxrightSetting) -> Record:
    """Compute both sides of claim M-scaled: steps multiplied by λ_i, linear decay, full gradients.

    Problem    as for claim M; theta_{t+1} = theta_t - α_t λ_i ∇f_i(theta_t), i the objective of the largest
               weighted gap, α_t = (D/(L√T))(1 - t/T), L = max_i λ_i C_i
    Statement  F(theta_T) - F(theta*) <= D L/√T
    Kind       upper
    Source     beyond the paper, docs/theory.md, M5

    setting    from `maxright_setting`; alpha0 and seeds are not used

    Returns    the record
    Raises     ValueError naming `setting` if the start is the comparator
    """
    slope = float((np.array(setting.lam) * setting.grad_bounds).max())
    schedule = LinearDecay(_positive_distance(setting), slope, setting.T)
    weights, theta = np.array(setting.lam), setting.theta_1.copy()
    for t in range(1, setting.T):
        i = int(np.argmax(weights * (setting.problem.values(theta) - setting.f_star)))
        theta = theta - schedule.at(t) * weights[i] * setting.problem.objectives[i].grad(theta)
    exact = replace(setting, seeds=None)
    terms = bounds.scaled_terms(setting.lam, setting.grad_bounds, distance=setting.distance, T=setting.T)
    statement = "F(θ_T) - F(θ*) <= D max λ_i C_i/√T, for steps λ_i (D/L√T)(1 - t/T) instead"
    reach = sum(float(schedule.at(t)) for t in range(1, setting.T))
    return exact.record("M-scaled", statement, "5", terms, theta, reach)
