"""Exact expectations in one dimension, for thousands of steps: backward induction with a rigorous error.

`V_T = f_Mix`, `V_t(x) = Σ_i p_i V_{t+1}(x - alpha_t g_i(x))`, so that `E f_Mix(theta_T) = V_1(theta_1)`. V_{t+1} is
replaced by its piecewise linear interpolant on a grid: an average of values, so errors add and are never amplified.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toyopt import _check
from toyopt._check import Array
from toyopt.algorithms import Schedule
from toyopt.problem import Objective, Problem
from toyopt.progress import counted
from toyopt.theorems.expectation.paths import Branch, Expectation, branches, steps_of

_U = 2.0**-53
_MAX_NODES = 5_000_000
_MOST_SLICES = 40  # so many take about as long as the look-ups of two outcomes on 20,000 nodes


@dataclass(frozen=True)
class Curvature:
    """Derivative bounds of a branch's f in d = 1: |f'| <= slope, 0 <= f'' <= smooth, |f'''| <= third, width f''.

    A datum's f is a log-sum-exp of numbers a_r x with widths w = max(a, 0) - min(a, 0): its derivatives from the second
    on are the variance (<= w²/4) and third central moment (<= w³/(6√3), and <= w times the variance) of a distribution
    on an interval of length w. Means over data keep all of it.
    """

    slope: float
    smooth: float
    third: float
    width: float

    @classmethod
    def of(cls, objective: Objective) -> Curvature:
        """Compute the bounds from the rows of an objective with d = 1."""
        rows = objective.rows[:, 0]
        high = np.maximum(np.maximum.reduceat(rows, objective.starts), 0.0)
        low = np.minimum(np.minimum.reduceat(rows, objective.starts), 0.0)
        w = high - low
        third = float((w**3).mean()) / (6 * math.sqrt(3))
        return cls(objective.grad_bound, float((w**2).mean()) / 4, third, float(w.max()))


def derivative_bounds(
    outcomes: Sequence[Branch], weights: Sequence[float], objectives: Sequence[Objective], alphas: Array
) -> tuple[Array, Array]:
    """Compute (T,) bounds on sup|V_t'| and sup|V_t''| for t = 1 .. T, V_T = Σ_i weights_i f_i.

    The map m = x - alpha f'(x) has |m'| <= q = max(1, alpha L - 1) and |m''| <= alpha sup|f'''|, so
        sup|V_t'| <= Σ p q sup|V_{t+1}'|,  sup|V_t''| <= Σ p ( q² sup|V_{t+1}''| + alpha sup|f'''| sup|V_{t+1}'| ).
    As long as alpha_s L < 1 for all s >= t there is a bound that does not grow: with J = dtheta_T/dtheta_t in (0, 1],
    c the largest width and r = max alpha_s L, |d²theta_T/dtheta_t²| <= c J (1-J)/(1-r), hence
        sup|V_t''| <= max_{0<=J<=1} [ M2 J² + κ J(1-J) ],  κ = c M1/(1-r)    (docs/theory.md, A8).
    """
    end, each = [Curvature.of(o) for o in objectives], [Curvature.of(o.objective) for o in outcomes]
    p = np.array([o.probability for o in outcomes])
    smooth, third = np.array([c.smooth for c in each]), np.array([c.third for c in each])
    widest, steepest, r = max(c.width for c in each), smooth.max(), 0.0
    slope, bend = np.dot(weights, [c.slope for c in end]), np.dot(weights, [c.smooth for c in end])
    first, second = np.full(len(alphas) + 1, slope), np.full(len(alphas) + 1, bend)
    for t in counted(range(len(alphas) - 1, -1, -1), len(alphas), "bounds of derivatives"):
        a = alphas[t]
        r = max(r, a * steepest)
        q = np.maximum(1.0, a * smooth - 1.0)
        first[t] = p @ q * first[t + 1]
        second[t] = p @ (q**2 * second[t + 1] + a * third * first[t + 1])
        if r < 1:
            second[t] = min(second[t], _level(bend, widest * slope / (1 - r)))
    return first, second


def _level(m2: float, kappa: float) -> float:
    """Compute max over J in [0, 1] of m2 J² + κ J (1-J): inside if κ > 2 m2, else at J = 1."""
    return kappa**2 / (4 * (kappa - m2)) if kappa > 2 * m2 else m2


def backward_expectation(
    problem: Problem,
    *,
    lam: float | Sequence[float],
    schedule: Schedule,
    T: int,
    theta_1: ArrayLike,
    stochastic: bool = False,
    nodes: int = 20_000,
) -> Expectation:
    """Compute an interval that contains E f_Mix,λ(theta_T) under ALRIGHT, for d = 1.

    Problem: d = 1, any data, any positive steps; full or stochastic gradients.
    Statement: |V_1 - its computed value| <= (h²/8) Σ_{t=2..T} sup|V_t''| + rounding, h the grid's spacing.
    Kind: an enclosure; the failure probability is 0. Rounding is bounded to first order in 2^-53, times 4.
    Source: docs/theory.md, A8.
    Arguments: lam; schedule; T >= 1; theta_1 (1,); nodes: about how many, >= 16, across all that theta can reach.
    Returns: an Expectation. Raises: ValueError for d > 1 or a grid of more than 5 million nodes; as usual otherwise.
    """
    if problem.dim != 1:
        raise ValueError(f"problem: the grid needs d = 1, got d = {problem.dim}")
    nodes = _check.whole("nodes", nodes, low=16)
    start = _check.theta("theta_1", theta_1, 1)
    if start.shape != (1,):
        raise ValueError(f"theta_1: shape (1,) is needed, got {start.shape}")
    weights = _check.weights("lam", lam, len(problem))
    outcomes, alphas = branches(problem, lam, stochastic=stochastic), steps_of(schedule, T)
    left, right = reach(outcomes, alphas, float(start[0])).T
    left, right = left.min(), right.max()
    h = max(float(right - left) / nodes, 1e-9 * max(1.0, abs(float(start[0]))))
    low, high = _nodes(outcomes, alphas, float(start[0]), h)
    x = start + h * np.arange(low, high + 1)
    V = problem.f_mix(x[:, None], weights)
    first, second = derivative_bounds(outcomes, weights, problem.objectives, alphas)
    half = h**2 / 8 * float(second[1:].sum()) + grid_rounding(problem, x, V, alphas, first)
    mean = float(_sweep(V, x, h, outcomes, alphas)[-low])
    return Expectation(mean, mean - half, mean + half, 0.0, "enumerated", len(x))


def grid_rounding(problem: Problem, x: Array, V: Array, alphas: Array, first: Array) -> float:
    """Bound the rounding of V_1 to first order in u = 2^-53, times 4; V are the values of V_T at the nodes x.

    A step: the value and the weights of an average, 8 u of its size; where it is taken, 4 u of |x| and 8 u of alpha C.
    Then the values of f_Mix, whose margins carry 8 u of (slope x range), and a mean of as many terms as there are rows.
    """
    size, far = float(np.abs(V).max()), float(np.abs(x).max())
    slope = max(o.grad_bound for o in problem.objectives)
    origin = max(float(np.abs(o.origin).max()) for o in problem.objectives)
    rows = sum(len(o.rows) for o in problem.objectives)
    moved = 4 * far * len(alphas) + 8 * float(alphas.sum()) * slope
    ends = (8 + rows) * (size + first[-1] * far + slope * origin)
    return float(4 * _U * (8 * len(alphas) * size + first.max() * moved + ends))


def reach(outcomes: Sequence[Branch], alphas: Array, start: float) -> Array:
    """Compute (T, 2) intervals that contain theta_1 .. theta_T for all draws (up to rounding)."""
    maps = _derivatives(outcomes)
    ends = [(start, start)]
    for alpha in counted(alphas.tolist(), len(alphas), "ranges of θ"):
        ends.append(_image(maps, alpha, *ends[-1]))
    return np.array(ends)


def _derivatives(outcomes: Sequence[Branch]) -> list[tuple[Callable[[float], float], float]]:
    """Return each outcome's f', d = 1, as a function of a float, and its smoothness L."""
    return [(derivative(o.objective), o.objective.smoothness) for o in outcomes]


def derivative(objective: Objective) -> Callable[[float], float]:
    """Return f' of an objective with d = 1 as a function of a float, faster than `Objective.grad` on one point."""
    origin = float(objective.origin[0])
    data = [rows[:, 0].tolist() for rows in np.split(objective.rows, objective.starts[1:])]

    def at(theta: float) -> float:
        total, x = 0.0, theta - origin
        for rows in data:
            margins = [row * x for row in rows]
            top = max(0.0, *margins)
            sizes = [math.exp(z - top) for z in margins]
            total += sum(map(operator.mul, sizes, rows)) / (math.exp(-top) + sum(sizes))
        return total / len(data)

    return at


def _image(
    maps: Sequence[tuple[Callable[[float], float], float]], alpha: float, left: float, right: float
) -> tuple[float, float]:
    """Compute the hull of the images of [left, right] under all maps, which increase where alpha L <= 1."""
    lows, highs = [], []
    for slope, smoothness in maps:
        low, high = slope(left), slope(right)
        if alpha * smoothness > 1:
            low, high = high, low
        lows.append(left - alpha * low)
        highs.append(right - alpha * high)
    return min(lows), max(highs)


def _nodes(outcomes: Sequence[Branch], alphas: Array, start: float, h: float) -> tuple[int, int]:
    """Compute the first and the last node, counted from theta_1: every image of a node lies between nodes."""
    low = high = 0
    maps = _derivatives(outcomes)
    for alpha in counted(alphas.tolist(), len(alphas), "ranges of the grid"):
        left, right = _image(maps, alpha, start + low * h, start + high * h)
        low, high = min(low, math.floor((left - start) / h)), max(high, math.ceil((right - start) / h))
        if high - low > _MAX_NODES:
            raise ValueError(f"nodes: the grid would have more than {_MAX_NODES} nodes; give fewer")
    return low, high


def _sweep(V: Array, x: Array, h: float, outcomes: Sequence[Branch], alphas: Array) -> Array:
    """Compute V_1 by V_t = Σ p (interpolant of V_{t+1}) ∘ map, constant beyond the ends of the grid.

    Positions are counted in nodes, which lie h apart; those of one step size are computed once in a row of equal steps.
    Where few pieces of neighbouring nodes have images in neighbouring cells, as for short steps, slices replace the
    look-ups, in a third of the time and to the same bit.
    """
    probabilities = np.array([o.probability for o in outcomes])
    moves = np.stack([o.objective.grad(x[:, None])[:, 0] for o in outcomes]) / h
    node, before = np.arange(len(x), dtype=np.float64), math.nan
    V, rise, images = V.copy(), np.zeros(len(x)), np.empty_like(moves)  # beyond the last node nothing rises
    for alpha in counted(alphas[::-1].tolist(), len(alphas), "steps on the grid"):
        if alpha != before:
            position = np.clip(node - alpha * moves, 0.0, len(x) - 1.0)
            first = position.astype(np.intp)
            part, before = position - first, alpha
            pieces = _pieces(first)
            slices = [(rise[cell], V[cell], part[i, own], images[i, own]) for i, own, cell in pieces]
        np.subtract(V[1:], V[:-1], out=rise[:-1])
        if slices:
            for slope, value, weight, image in slices:
                np.multiply(slope, weight, out=image)
                image += value
        else:
            np.add(V.take(first), part * rise.take(first), out=images)
        np.dot(probabilities, images, out=V)
    return V


def _pieces(first: NDArray[np.intp]) -> list[tuple[int, slice, slice]]:
    """Return an outcome's index, nodes and cells for every longest piece on which the cells follow one another.

    Returns nothing where there are more than `_MOST_SLICES`.
    """
    ends = [np.flatnonzero(np.diff(cells) != 1) + 1 for cells in first]
    if sum(len(cuts) + 1 for cuts in ends) > _MOST_SLICES:
        return []
    out = []
    for i, (cells, cuts) in enumerate(zip(first, ends, strict=True)):
        for start, stop in itertools.pairwise([0, *cuts.tolist(), len(cells)]):
            cell = int(cells[start])
            out.append((i, slice(start, stop), slice(cell, cell + stop - start)))
    return out
