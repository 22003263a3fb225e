"""Remark 4.3: solutions of problem (15) are Pareto optimal, and the optima are computed once for every λ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.minimax import minimise_worst, positive_weights
from toyopt.optimum import minimise
from toyopt.problem import Problem
from toyopt.record import Record
from toyopt.theorems.lemmas import rounding

_REMARK = "Remark 4.3 of arXiv 2410.15483v3; docs/theory.md, M8"


@reads_numbers
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

    Returns    the two records; terms are the p_i. Both are open (attained is NaN, `note` gives the reason) where no
               minimiser exists, a multiplier is 0 and this certificate does not apply, or a solver has not converged
    Raises     ValueError or TypeError naming the argument
    """
    solution = minimise_worst(problem, lam, f_star)
    weights = positive_weights(lam, len(problem))
    share = solution.multipliers * weights / float(solution.multipliers @ weights)
    terms = {f"p_{name}": float(share[i]) for i, name in enumerate(problem.names)}
    size = 1.0 + float(np.abs(solution.values).max())
    lowest, attained, better, most, least = math.nan, math.nan, math.nan, math.nan, float(share.min())
    tolerance, note = 1e-14 * size, ""
    if solution.theta is None:
        note = "problem (15) has no minimiser"
    elif least == 0.0:
        note = "a multiplier is 0: the certificate does not apply"
    elif not solution.converged:
        note = f"the solver of (15) has not converged: inf F is in [{solution.lower:.6g}, {solution.upper:.6g}]"
    elif not (mixture := minimise(problem, share.tolist())).converged:
        note = "the solver of inf f_Mix,p has not converged"
    else:
        lowest, at = mixture.value, solution.theta
        attained = float(problem.f_mix(at, share.tolist()))
        tolerance = float(rounding(problem, at)) + 1e-14 * size
        most, better = max(attained - lowest, 0.0) / least, _most_better(problem, at)
        # The point is the solver's, not the solution: gap >= (Σ v_i w_i) (f_Mix,p - inf f_Mix,p) holds for any point,
        # so a difference that the gap explains decides nothing.
        explained = tolerance + max(solution.gap, 0.0) / float(solution.multipliers @ weights)
        if tolerance < attained - lowest <= explained:
            note = f"the solver's point is {attained - lowest:.2g} above inf f_Mix,p, within the accuracy of the solver"
            attained = math.nan
    shared: dict[str, Any] = {"claim": "4.3", "source": _REMARK, "terms": terms, "note": note}
    statement = "the solution of (15) has the infimum of Σ p_i f_i, every p_i > 0: it is Pareto optimal"
    equal = Record(statement=statement, kind="equal", bound=lowest, attained=attained, tolerance=tolerance, **shared)
    statement = "Σ_i (f_i(solution) - f_i(θ)) <= (f_Mix,p(solution) - inf f_Mix,p)/min p for θ nowhere worse"
    shared |= {"tolerance": tolerance / (least or 1.0), "scale": size}
    return equal, Record(statement=statement, kind="upper", bound=most, attained=better, **shared)


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


@reads_numbers
def optima_once(problem: Problem, lams: Sequence[float] | Sequence[Sequence[float]]) -> Record:
    """Compute both sides of Remark 4.3: the optima f_i* are computed once and serve every λ.

    Problem    problem (15) for several λ
    Statement  one optimisation an objective for any number of λ: f_i* does not depend on λ
    Kind       equal, a count: n, and one more for each optimum that a search from the solution for a λ puts elsewhere,
               and for each λ whose solution with fresh optima is another one
    Source     Remark 4.3 of arXiv 2410.15483v3

    problem    any number of objectives
    lams       several λ in (0, 1), or vectors of weights

    Returns    the record: n optimisations of a single objective, and as many were needed; open (NaN) where a solver
               has not converged
    Raises     ValueError or TypeError naming the argument
    """
    each = _check.items("lams", lams)
    if not each:
        raise ValueError("lams: is empty, one λ at least is needed")
    n = len(problem)
    needed, note = float(n), ""
    alone = [minimise(problem, tuple(np.eye(n)[i])) for i in range(n)]
    for lam in each:
        once = minimise_worst(problem, lam, [o.value for o in alone])
        fresh = minimise_worst(problem, lam)
        again = [minimise(problem, tuple(np.eye(n)[i]), near=once.theta) for i in range(n)]
        if not (once.converged and fresh.converged and all(o.converged for o in (*alone, *again))):
            needed, note = math.nan, f"a solver has not converged at λ = {lam!r}"
        # The accuracy of values at a gradient of 1e-10, and of the two sides of a converged solution.
        others = [abs(a.value - b.value) > 1e-12 * (1.0 + abs(b.value)) for a, b in zip(again, alone, strict=True)]
        apart = max(once.lower - fresh.upper, fresh.lower - once.upper)
        needed += sum(others) + (apart > 1e-12 * (1.0 + abs(fresh.value)))
    return Record(
        claim="4.3",
        statement=f"n optimisations of a single objective serve {len(each)} λ (n for each would be {n * len(each)})",
        kind="equal",
        bound=float(n),
        attained=needed,
        source=_REMARK,
        note=note,
    )
