"""The updates of `toyopt.optimizers` as plain functions, which the compiled loop takes as they stand."""

from __future__ import annotations

import math

from toyopt._check import Array
from toyopt._kernel_types import ADAM, ADAMW, HEAVY_BALL, Optimizer


def forget(M: Optimizer) -> None:
    """Reset the memory of an optimizer."""
    for j in range(M.mean.size):
        M.mean[j] = 0.0
        M.square[j] = 0.0
    M.corrections[0] = 0.0
    M.corrections[1] = 0.0
    M.updates[0] = 0.0


def move(M: Optimizer, alpha: float, weight_decay: float, g: Array, theta: Array) -> float:
    """Move theta by one update with the gradient g; return the sum of |theta_j|."""
    size = 0.0
    if M.kind == HEAVY_BALL:
        for j in range(theta.size):
            M.mean[j] = M.first * M.mean[j] + (g[j] + weight_decay * theta[j])
            theta[j] -= alpha * M.mean[j]
            size += abs(theta[j])
        return size
    M.updates[0] += 1.0
    if M.corrections[0] < 1.0:  # it is 1 for ever once β^n is below half an ulp: powers cost more than the rest
        M.corrections[0] = 1.0 - math.pow(M.first, M.updates[0])
    if M.corrections[1] < 1.0:
        M.corrections[1] = 1.0 - math.pow(M.second, M.updates[0])
    step, root = alpha / M.corrections[0], math.sqrt(M.corrections[1])
    coupled = weight_decay if M.kind == ADAM else 0.0
    kept = 1.0 - alpha * weight_decay if M.kind == ADAMW else 1.0
    for j in range(theta.size):
        slope = g[j] + coupled * theta[j]
        M.mean[j] += (1.0 - M.first) * (slope - M.mean[j])
        M.square[j] = M.second * M.square[j] + (1.0 - M.second) * slope * slope
        theta[j] = kept * theta[j] - step * M.mean[j] / (math.sqrt(M.square[j]) / root + M.epsilon)
        size += abs(theta[j])
    return size
