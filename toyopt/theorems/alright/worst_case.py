"""Convex functions on which the last iterate attains its bound, for any step sizes.

The function is `f(x) = max(0, max_k g_kᵀ(x - x*))` with T explicit vectors of length C; the start is at distance D from
x*. At the i-th iterate the pieces i, i+1, .. T tie, and the method uses the gradient g_i, a subgradient at that
point: no step depends on chance or on a solver. `as_sft` turns the function into one of the paper's own objectives.
Proofs: docs/theory.md, A5 to A7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.problem import Problem
from toyopt.record import Record
from toyopt.theorems.alright.last_iterate import exact_bound, linear_decay_bound, positive, total, weights_of_steps

_U = 2.0**-53
_MAX_ITERATES = 5000  # iterates; T² numbers are kept
_ULPS = 64  # a bound of the rounding of a few operations, in ulps; each use names the quantity


@dataclass(frozen=True, eq=False)
class WorstCase:
    """`f(x) = max(0, max_k g_kᵀ(x - x*))`, with x* = 0 where f has its minimum 0, and the path of the method on it.

    gradients  (T, d) the g_k, each of norm C
    start      (d,) the first iterate, of norm D
    alphas     (T-1,) the step sizes
    """

    gradients: Array
    start: Array
    alphas: Array

    def value(self, x: Array) -> float:
        """Compute f(x)."""
        return max(0.0, float((self.gradients @ x).max()))

    def path(self) -> Array:
        """Compute (T, d), the iterates for the subgradient g_i at the i-th iterate."""
        steps = np.cumsum(self.alphas[:, None] * self.gradients[:-1], axis=0)
        return np.concatenate([self.start[None], self.start - steps])

    def subgradient_violation(self) -> float:
        """Compute the largest excess of a piece over the i-th at the i-th iterate: 0 if g_i is a subgradient."""
        margins = self.path() @ self.gradients.T
        return float((np.maximum(margins.max(axis=1), 0.0) - np.diag(margins)).max())

    @property
    def gap(self) -> float:
        """Gap f(x_T) - f(x*)."""
        return self.value(self.path()[-1])


def worst_case(alphas: ArrayLike, D: float, C: float) -> WorstCase:
    """Construct the function on which the subgradient method with these steps ends exactly at `exact_bound`.

    Construction (docs/theory.md, A5): b_1 = √B and b_{k+1} the larger root of b + alpha_k/b = b_k, then
    r_k = alpha_k/b_{k+1}², A_k = b_k b_1, u_1 = C² - D²/B², u_{k+1} = u_k (1 - r_k²); from P_1 = D e_0 on,
    g_k = P_k/A_k + √u_k e_k and P_{k+1} = P_k - (A_k - A_{k+1}) g_k.

    Arguments: alphas (T-1,) positive, in any order; D, C > 0. T² numbers are kept, so T <= 5000.
    Returns: WorstCase, in dimension T. Raises: ValueError or TypeError naming the argument.
    """
    steps, D, C = _checked(alphas, D, C)
    T, b = len(steps) + 1, weights_of_steps(steps, D, C)
    gradients, p = np.zeros((T, T)), np.zeros(T)
    p[0] = D
    u = max(C**2 - (D / b[0] ** 2) ** 2, 0.0)
    for k in range(T - 1):
        g = gradients[k]
        g[:] = p / (b[k] * b[0])
        g[k + 1] = math.sqrt(u)
        p = p - (b[k] - b[k + 1]) * b[0] * g
        u *= max(1.0 - (steps[k] / b[k + 1] ** 2) ** 2, 0.0)
    gradients[-1] = p / (b[-1] * b[0])
    start = np.zeros(T)
    start[0] = D
    return WorstCase(gradients, start, steps)


def resisting(alphas: ArrayLike, D: float, C: float) -> WorstCase:
    """Construct the function `C max(max_k x_k, -D/√T)` on which no step sizes do better than DC/√T.

    From x_1 = 0 the i-th subgradient is C e_i, so that x_T has a coordinate that is 0 for any steps:
    f(x_T) = 0, and the minimum -CD/√T lies at distance D. Written about the minimiser, as `WorstCase` wants it.
    Arguments, raises: as `worst_case`.
    """
    steps, D, C = _checked(alphas, D, C)
    T = len(steps) + 1
    return WorstCase(C * np.eye(T), np.full(T, D / math.sqrt(T)), steps)


@reads_numbers
def last_iterate_is_exact(alphas: ArrayLike, D: float, C: float) -> Record:
    """Compute both sides of the exact worst case of the last iterate: `exact_bound` is attained.

    Problem: f convex with subgradients of norm at most C, start at distance D of x*, any positive steps, T - 1 of them.
    Statement: sup over such f of f(x_T) - f(x*) = D²/(2B) + (C²/2)(B - 2Σ alpha_t).
    Kind: equal. Source: beyond the paper, docs/theory.md, A5.
    Arguments, raises: as `worst_case`. Returns: a Record; attained is f(x_T) - f(x*) on `worst_case`, run step by step.
    """
    case = worst_case(alphas, D, C)
    terms = exact_bound(alphas, D, C)
    return Record(
        claim="A",
        statement="the last iterate's exact worst case: D²/(2B) + (C²/2)(B - 2Σα_t)",
        kind="equal",
        bound=total(terms),
        attained=_gap_if_valid(case, case.gap, C),
        source="beyond the paper, docs/theory.md, A5",
        terms=terms,
        tolerance=_tolerance(case, D, C),
    )


@reads_numbers
def zamani_glineur(D: float, C: float, T: int) -> Record:
    """Compute both sides of Zamani and Glineur's rate for T-1 step sizes D(T-k)/(C T^{3/2}): DC/√T.

    Kind: equal. Source: arXiv 2307.11134 (R = D, B = C, N = T-1); docs/theory.md, A6.
    Arguments: D > 0 the start's distance, C > 0 the gradients' bound, T >= 2 iterates.
    Returns: a Record. Raises: ValueError or TypeError naming the argument.
    """
    from toyopt.algorithms import ZamaniGlineur

    D, C = _check.real("D", D, above=0.0), _check.real("C", C, above=0.0)
    T = _check.whole("T", T, low=2)
    case = worst_case(ZamaniGlineur(D, C, T - 1).at(np.arange(1, T)), D, C)
    terms = linear_decay_bound(D, C, T)
    return Record(
        claim="A",
        statement="Zamani and Glineur's steps attain DC/√T in the worst case",
        kind="equal",
        bound=total(terms),
        attained=_gap_if_valid(case, case.gap, C),
        source="arXiv 2307.11134; docs/theory.md, A6",
        terms=terms,
        tolerance=_tolerance(case, D, C),
    )


@reads_numbers
def no_schedule_is_better(alphas: ArrayLike, D: float, C: float) -> Record:
    """Compute both sides of the lower bound DC/√T, which some convex function attains for any step sizes.

    Kind: lower. Source: docs/theory.md, A6 (a resisting oracle; the idea is Nemirovski and Yudin's).
    Arguments, raises: as `worst_case`. Returns: a Record; attained is f(x_T) - f(x*) on `resisting`.
    """
    case = resisting(alphas, D, C)
    T = len(case.start)
    return Record(
        claim="A",
        statement="no step sizes do better than DC/√T",
        kind="lower",
        bound=D * C / math.sqrt(T),
        attained=_gap_if_valid(case, case.gap, C),
        source="docs/theory.md, A6",
        terms={"optimum": D * C / math.sqrt(T)},
        tolerance=_tolerance(case, D, C),
    )


def as_sft(case: WorstCase, *, tie: float = 40.0, loss: float = 1e-4) -> tuple[Problem, Array, Array]:
    """Convert the worst case to an f_SFT of eq. (4), with full gradients (λ = 0), to a relative error `loss`.

    One datum; its wanted answer has feature 0 and T others have the features g_k, so f_SFT(theta) = log(1 + Σ_k
    exp(g_kᵀtheta)): between f and f + log(T+1). Stretched by S (start and steps), f grows S-fold and log(T+1) does not.
    Ties are broken by making g_kᵀ(start) fall by `tie`/S from each k to the next, so that softmax weighs the wanted
    piece 1 - T e^{-tie} at least.

    Arguments: case from `worst_case` with linearly independent gradients; tie > 0, in log-odds; loss in (0, 1): the
        part of the gap that the broken ties may cost.
    Returns: the problem, theta_1 and the (T-1,) step sizes; the comparator is theta* = 0.
    Raises: ValueError where the gradients are dependent, so that ties cannot be broken, and where `tie` is too small
        for the stretch S (docs/theory.md, A7: it must grow with log S).
    """
    tie = _check.real("tie", tie, above=0.0)
    loss = _check.real("loss", loss, above=0.0)
    T = len(case.start)
    levels = -np.arange(T)
    if np.linalg.cond(case.gradients) > 1e6:
        raise ValueError("case: its gradients are linearly dependent, so its ties cannot be broken")
    shift = np.linalg.solve(case.gradients, levels)
    S = (tie * T + math.log(T + 1)) / (loss * case.gap)
    # Softmax misses the wanted piece by T e^{-tie}, in steps of the order S: together less than one log-odds.
    if tie < math.log(S * T):
        raise ValueError(f"tie: at least log(S T) = {math.log(S * T):.3g} is needed for this loss, got {tie!r}")
    zero = np.zeros((1, len(case.start)))
    problem = Problem.dpo_sft(
        chosen=case.gradients[:1],
        rejected=zero,
        features=[np.concatenate([zero, case.gradients])],
        targets=[0],
        theta_ref=np.zeros(len(case.start)),
    )
    return problem, S * case.start + tie * shift, S * case.alphas


def _checked(alphas: ArrayLike, D: float, C: float) -> tuple[Array, float, float]:
    """Check the arguments of `worst_case`."""
    steps = positive("alphas", alphas)
    if len(steps) >= _MAX_ITERATES:
        raise ValueError(
            f"alphas: at most {_MAX_ITERATES - 1} step sizes, for the memory that vectors take, got {len(steps)}"
        )
    return steps, _check.real("D", D, above=0.0), _check.real("C", C, above=0.0)


def _gap_if_valid(case: WorstCase, gap: float, C: float) -> float:
    """Return the gap, or NaN if some g_i is no subgradient at its iterate or is longer than C."""
    T, far = len(case.start), float(np.abs(case.path()).max())
    norms = np.sqrt((case.gradients**2).sum(axis=1))
    valid = case.subgradient_violation() <= _ULPS * T**2 * _U * C * far and bool((norms <= C * (1 + 1e-9)).all())
    return gap if valid else math.nan


def _tolerance(case: WorstCase, D: float, C: float) -> float:
    """Bound the rounding of a value: a dot product of T terms, some T u of C (D + C Σ alpha)."""
    return _ULPS * len(case.start) * _U * C * (D + C * float(case.alphas.sum()))
