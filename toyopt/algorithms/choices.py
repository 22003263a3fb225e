"""The choices of the decision rules as plain functions of numbers, which the compiled simulator takes as they stand."""

from __future__ import annotations

import math
from collections.abc import Sequence


def draw(u: float, weights: Sequence[float]) -> int:
    """Return ALRIGHT's choice, eq. (10): the objective on which u, uniform in [0, 1), falls; i with weights[i]."""
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
    """Return a number for `draw` in place of a random one at t = 0, 1, ...: multiples of the golden ratio modulo 1.

    They fill [0, 1) evenly: among any n successive steps the share below λ differs from λ by O(log(n)/n), where the
    share of random draws differs by about sqrt(λ(1-λ)/n).
    """
    return (t + 0.5) * ((math.sqrt(5.0) - 1.0) / 2.0) % 1.0


def largest_weighted_gap(weights: Sequence[float], gaps: Sequence[float]) -> int:
    """Return MAXRIGHT's choice, eq. (16), (17): the largest weighted gap; a tie goes to the first, which is DPO.

    An objective of weight 0 is chosen only if no other has a weight, also where all other gaps are negative.
    """
    chosen = 0
    for i in range(1, len(weights)):
        if weights[i] > 0.0 and (weights[chosen] == 0.0 or weights[i] * gaps[i] > weights[chosen] * gaps[chosen]):
            chosen = i
    return chosen


def is_max_evaluation(t: int, k: int) -> bool:
    """Return whether all gaps are evaluated at step t = 0, 1, ...: every k steps (App. C); MAXRIGHT has k = 1."""
    return t % k == 0


def stage_over(done: int, budget: int, value: float, threshold: float) -> bool:
    """Return whether a stage is over: `budget` steps are done, or its objective is below the threshold."""
    return done >= budget or value < threshold


def replayed_stage(u: float, p: float, stage: int, budgets: Sequence[int]) -> int:
    """Return the stage whose objective a step of replay trains: `stage`, or with probability p an earlier one.

    u        uniform in [0, 1)
    budgets  steps of each stage; earlier stages without steps taught nothing and are not repeated. The others are drawn
             with equal probability
    """
    earlier = 0
    for j in range(stage):
        if budgets[j] > 0:
            earlier += 1
    if earlier == 0 or u >= p:
        return stage
    left = min(int(u / p * earlier), earlier - 1)
    for j in range(stage):
        if budgets[j] > 0:
            if left == 0:
                return j
            left -= 1
    return stage
