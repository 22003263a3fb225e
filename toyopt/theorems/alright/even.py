"""ALRIGHT's even alternation in place of the coin: T G(theta_T) = O(log² T), where the coin pays O(√T).

`even_draw` takes multiples of the golden ratio modulo 1, so that each objective's number of steps stays within
1 + log_φ of its share. Summation by parts turns that into a bound of the last iterate. Proof: docs/theory.md, A11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.algorithms import Alright, InverseRootHorizon, draw, even_draw
from toyopt.problem import Problem
from toyopt.progress import counted
from toyopt.record import Record
from toyopt.simulate import simulate
from toyopt.theorems.alright.local import LocalConstants
from toyopt.theorems.alright.thm_41 import path_rounding
from toyopt.theorems.lemmas import rounding

_PHI = (1.0 + math.sqrt(5.0)) / 2.0


def discrepancies(weights: Sequence[float], n: int) -> Array:
    """Compute (n+1, k) how many of the first t even draws fell on each objective, less λ_i t, for t = 0 .. n."""
    chosen = np.array([draw(even_draw(t), weights) for t in counted(range(n), n, "draws")], dtype=np.int64)
    hits = (chosen[:, None] == np.arange(len(weights))) - np.asarray(weights)
    return np.concatenate([np.zeros((1, len(weights))), np.cumsum(hits, axis=0)])


def discrepancy_bound(n: ArrayLike) -> Array:
    """Compute 1 + log_φ(n + 1), φ the golden ratio: no objective's number of n even draws is further off its share.

    Kind: upper. Source: beyond the paper, docs/theory.md, A11; Denjoy and Koksma. Arguments: n >= 0, any shape.
    """
    return np.asarray(1.0 + np.log1p(n) / math.log(_PHI))


def distance_bound(local: LocalConstants, counts: Array, start: float, alpha: float) -> float:
    """Bound ‖theta_T - theta*‖ after T-1 steps of size alpha, in any order of the objectives.

    Statement: with N_t = counts[t-1], n_t = Σ_i C_i |N_t,i|, v_t = Σ_i L_i |N_t,i|, S(R) = `LocalConstants.slope`:
        R_1 = start, R_{t+1} = √(R_t² - alpha (2 - alpha L) R_t S(R_t)) + alpha² (L n_t + B v_{t+1}), and
        ‖theta_T - theta*‖ <= R_T + alpha n_T.
    Kind: upper. Source: beyond the paper, docs/theory.md, A11.
    Arguments: counts (T, k) the discrepancies of the first 0 .. T-1 steps; start = ‖theta_1 - theta*‖; alpha L <= 1.
    """
    moved, bent = np.abs(counts) @ local.grad_bounds, np.abs(counts) @ local.smooth
    L, steep, width = local.L, float(local.grad_bounds.max()), local.width
    mu, keep, R = float(local.curvatures[0]), alpha * (2.0 - alpha * local.L), start
    for extra in (alpha**2 * (L * moved[:-1] + steep * bent[1:])).tolist():
        slope = mu * -math.expm1(-width * R) / width
        R = math.sqrt(max(R * R - keep * R * slope, 0.0)) + extra
    return R + alpha * float(moved[-1])


@reads_numbers
def alright_even(
    problem: Problem, *, lam: float | Sequence[float], alpha0: float, T: int, theta_1: ArrayLike
) -> tuple[Record, Record]:
    """Compare ALRIGHT's gap under the even alternation with its bound of the order (log T)²/T.

    Problem: softmax objectives; λ or weights such that f_Mix has an isolated minimiser; steps alpha0/√T with
        alpha0 L/√T <= 1; full gradients.
    Statement: T G(theta_T) <= T times the largest G within `distance_bound` of theta*, which is O(log² T); and each
        objective's number of the first t steps is within 1 + log_φ(t + 1) of λ_i t, for all t < T.
    Kind: upper. Source: beyond the paper, docs/theory.md, A11.
    Arguments: lam; alpha0 > 0; T >= 2 iterates, T-1 updates; theta_1 (d,).
    Returns: the Records of the gap, and of the discrepancies (the largest ratio to its bound).
    Raises: ValueError for longer steps and where f_Mix has no isolated minimiser; as usual otherwise.
    """
    T, alpha0 = _check.whole("T", T, low=2), _check.real("alpha0", alpha0, above=0.0)
    start, weights = _check.theta("theta_1", theta_1, problem.dim), _check.weights("lam", lam, len(problem))
    local = LocalConstants.of(problem, lam)
    alpha, star = alpha0 / math.sqrt(T), local.theta_star
    if alpha * local.L > 1.0:
        raise ValueError(f"alpha0: at most √T/L = {math.sqrt(T) / local.L:.6g} is needed, got {alpha0!r}")
    rule = Alright(tuple(weights), alternation="even")
    run = simulate(problem, rule, InverseRootHorizon(alpha0, T), theta0=start, steps=T - 1)
    gap = float(problem.f_mix(run.last[0], lam) - problem.f_mix(star, lam))
    counts = discrepancies(weights, T - 1)
    drawn = np.array([w > 0.0 for w in weights])  # an objective without a weight has no outcome in `local`
    D, C = float(np.linalg.norm(start - star)), float(local.grad_bounds.max())
    far = distance_bound(local, counts[:, drawn], D, alpha)
    path = path_rounding(problem, np.full(T - 1, alpha), float(np.linalg.norm(start)), D, C)
    values = float(rounding(problem, np.stack([start, star])).sum())
    source = "beyond the paper, docs/theory.md, A11"
    return (
        Record(
            claim="A-even",
            statement="even alternation: T G_Mix,λ(θ_T) <= T max{G: ‖θ-θ*‖ <= R} = O(log² T)",
            kind="upper",
            bound=T * local.gap(far),
            attained=T * gap,
            source=source,
            terms={"gap": T * local.gap(far)},
            tolerance=T * (path + values),
            scale=T * float(problem.f_mix(star, lam)),
            note=f"‖θ_T-θ*‖ = {float(np.linalg.norm(run.last[0] - star)):.6g} <= R = {far:.6g}",
        ),
        Record(
            claim="A-even",
            statement="even alternation: each objective's number of t steps is within 1 + log_φ(t+1) of λ_i t",
            kind="upper",
            bound=1.0,
            attained=float((np.abs(counts) / discrepancy_bound(np.arange(T))[:, None]).max()),
            source=source,
            tolerance=4.0 * T * 2.0**-53,  # of λ_i t, and of t steps each rounded once
        ),
    )
