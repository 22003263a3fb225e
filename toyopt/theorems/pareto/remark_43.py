"""Remark 4.3: solutions of problem (15) are Pareto optimal, and the optima are computed once for every λ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt.minimax import minimise_worst, positive_weights
from toyopt.optimum import Optimum, minimise
from toyopt.problem import Problem
from toyopt.record import Record

_REMARK = "Remark 4.3 of arXiv 2410.15483v3; docs/theory.md, M8"


def pareto_optimal(
    problem: Problem, lam: float | Sequence[float], f_star: ArrayLike | None = None
) -> tuple[Record, Record]:
    """Compute both sides of Remark 4.3: a solution of problem (15) is Pareto optimal, with a certificate for it.

    Problem    min_θ F(θ) = max_i w_i (f_i(θ) - f_i*), convex f_i, positive w_i
    Statement  any minimiser is weakly Pareto optimal, for any f_i*. It is Pareto optimal for two objectives if the f_i*
               are their infima; for more, or for other f_i*, if it is the only one, or if it has positive multipliers:
               v > 0 with Σ v_i w_i ∇f_i = 0, for then it minimises a positive combination f_Mix,p of convex
               functions, p_i ∝ v_i w_i. In general some minimiser may be dominated (a test has one, n = 3)
    Kind       first record equal: f_Mix,p at the solution is inf f_Mix,p, so nothing dominates it. Second upper: the
               sum of the improvements of a point that is nowhere worse (Benson's problem, solved numerically) is at
               most (f_Mix,p(θ) - inf f_Mix,p) / min_i p_i
    Source     Remark 4.3 of arXiv 2410.15483v3; docs/theory.md, M8

    problem, lam, f_star  as for `minimise_worst`

    Returns    the two records; terms are the p_i. Both are open (NaN) where no minimiser exists, or where a
               multiplier is 0 and this certificate does not apply
    Raises     ValueError or TypeError naming the argument
    """
    solution = minimise_worst(problem, lam, f_star)
    weights = positive_weights(lam, len(problem))
    share = solution.multipliers * weights / float(solution.multipliers @ weights)
    terms = {f"p_{name}": float(share[i]) for i, name in enumerate(problem.names)}
    lowest, attained, better, most = math.nan, math.nan, math.nan, math.nan
    rounding = 1e-14 * (1.0 + float(np.abs(solution.values).max()))
    if solution.theta is not None and share.min() > 0.0:
        lowest = minimise(problem, share.tolist()).value
        attained = float(problem.f_mix(solution.theta, share.tolist()))
        most = max(attained - lowest, 0.0) / float(share.min())
        better = _most_better(problem, solution.theta)
    shared: dict[str, Any] = {"claim": "4.3", "source": _REMARK, "terms": terms}
    statement = "the solution of (15) has the infimum of Σ p_i f_i, every p_i > 0: it is Pareto optimal"
    # gap >= Σ v_i w_i (f_i - f_i*) - lower = (Σ v_i w_i) (f_Mix,p - inf f_Mix,p)
    accuracy = rounding + max(solution.gap, 0.0) / float(solution.multipliers @ weights)
    equal = Record(statement=statement, kind="equal", bound=lowest, attained=attained, tolerance=accuracy, **shared)
    statement = "Σ_i (f_i(solution) - f_i(θ)) <= (f_Mix,p(solution) - inf f_Mix,p)/min p for θ nowhere worse"
    slack = rounding / (float(share.min()) or 1.0)
    return equal, Record(statement=statement, kind="upper", bound=most, attained=better, tolerance=slack, **shared)


def _most_better(problem: Problem, theta: Array) -> float:
    """Search for the largest Σ_i (f_i(theta) - f_i(x)) over x with no f_i(x) above f_i(theta); at least 0."""
    from scipy.optimize import minimize

    there = problem.values(theta)
    answer = minimize(
        lambda x: float(problem.values(x).sum()),
        theta,
        jac=lambda x: problem.grads(x).sum(axis=0),
        constraints={
            "type": "ineq",
            "fun": lambda x: there - problem.values(x),
            "jac": lambda x: -problem.grads(x),
        },
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    # SLSQP may step out of the constraints by some 1e-10; only points that are nowhere worse count.
    improvements = [there - problem.values(theta + s * (answer.x - theta)) for s in (1.0, 0.5, 0.1, 1e-2, 1e-3)]
    return max([0.0] + [float(gain.sum()) for gain in improvements if gain.min() >= 0.0])


def optima_once(problem: Problem, lams: Sequence[float] | Sequence[Sequence[float]]) -> Record:
    """Compute both sides of Remark 4.3: the optima f_i* are computed once and serve every λ.

    Problem    problem (15) for several λ
    Statement  one optimisation an objective for any number of λ: f_i* does not depend on λ
    Kind       equal, a count; the solutions are those that fresh optima for each λ give, or the count is NaN
    Source     Remark 4.3 of arXiv 2410.15483v3

    problem    any number of objectives
    lams       several λ in (0, 1), or vectors of weights

    Returns    the record: n optimisations of a single objective, and as many were done
    Raises     ValueError or TypeError naming the argument
    """
    each = _check.items("lams", lams)
    if not each:
        raise ValueError("lams: is empty, one λ at least is needed")
    done: list[Optimum] = []
    n = len(problem)

    def optimise(i: int) -> float:
        done.append(minimise(problem, tuple(np.eye(n)[i])))
        return done[-1].value

    f_star = [optimise(i) for i in range(n)]
    once = [minimise_worst(problem, lam, f_star).value for lam in each]
    count = len(done)
    fresh = [minimise_worst(problem, lam).value for lam in each]
    return Record(
        claim="4.3",
        statement=f"n optimisations of a single objective serve {len(each)} λ (n for each would be {n * len(each)})",
        kind="equal",
        bound=float(n),
        attained=float(count) if once == fresh else math.nan,
        source=_REMARK,
    )
