"""Optimizers of `toyopt.simulate` with memory: heavy ball, Adam and AdamW, with torch's updates and default values.

With the decided gradient u_t, step size α_t and weight decay w:

    HeavyBall   b_t = μ b_{t-1} + u_t + wθ,   θ <- θ - α_t b_t                                   (torch.optim.SGD)
    Adam        g = u_t + wθ,   m = β1 m + (1-β1) g,   v = β2 v + (1-β2) g²,   n = 1, 2, ...
                θ <- θ - α_t (m/(1-β1^n)) / (sqrt(v/(1-β2^n)) + ε)                               (torch.optim.Adam)
    AdamW       the same with g = u_t, after θ <- (1 - α_t w) θ                                  (torch.optim.AdamW)

Coordinate by coordinate, in float64. `simulate` without an optimizer takes plain steps, SGD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toyopt import _check, _kernel_types


class Optimizer:
    """An optimizer with memory; subclasses are frozen dataclasses of its numbers.

    stage_reset  the memory, and n, begin anew with each of Sequential's and Replay's stages; else they are kept
    """

    name: ClassVar[str]
    kind: ClassVar[int]
    stage_reset: bool

    def memory(self, dim: int) -> _kernel_types.Optimizer:
        """Return the numbers and a fresh memory of one run in `dim` dimensions, for the compiled loop."""
        first, second, epsilon = self._numbers()
        arrays = np.zeros(dim), np.zeros(dim), np.zeros(2), np.zeros(1)
        return _kernel_types.Optimizer(self.kind, first, second, epsilon, self.stage_reset, *arrays)

    def _numbers(self) -> tuple[float, float, float]:
        raise NotImplementedError


@dataclass(frozen=True)
class HeavyBall(Optimizer):
    """Heavy-ball momentum: 0 <= momentum < 1. Raises ValueError or TypeError naming the argument."""

    momentum: float = 0.9
    stage_reset: bool = True

    name = "heavy ball"
    kind = _kernel_types.HEAVY_BALL

    def __post_init__(self) -> None:
        _below_1("momentum", self.momentum)
        _flag("stage_reset", self.stage_reset)

    def _numbers(self) -> tuple[float, float, float]:
        return float(self.momentum), 0.0, 0.0


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam, weight decay as a part of the gradient: 0 <= β1, β2 < 1 and ε >= 0.

    With ε = 0 a coordinate whose gradients are all 0 divides 0 by 0, and the run counts as diverged.
    Raises ValueError or TypeError naming the argument. Source: arXiv 1412.6980v9, Algorithm 1.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    stage_reset: bool = True

    name = "Adam"
    kind = _kernel_types.ADAM

    def __post_init__(self) -> None:
        _below_1("beta1", self.beta1)
        _below_1("beta2", self.beta2)
        _check.real("epsilon", self.epsilon, low=0.0)
        _flag("stage_reset", self.stage_reset)

    def _numbers(self) -> tuple[float, float, float]:
        return float(self.beta1), float(self.beta2), float(self.epsilon)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with weight decay apart from the gradient (arXiv 1711.05101v3, Algorithm 2)."""

    name = "AdamW"
    kind = _kernel_types.ADAMW


def check_optimizer(optimizer: Optimizer | None) -> Optimizer | None:
    """Return the optimizer; TypeError unless it is one, or None for SGD."""
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: HeavyBall, Adam, AdamW or None (SGD) is needed, got {optimizer!r}")
    return optimizer


def _below_1(name: str, value: float) -> None:
    """Raise ValueError or TypeError unless 0 <= value < 1."""
    if not 0.0 <= _check.real(name, value) < 1.0:
        raise ValueError(f"{name}: must be at least 0 and less than 1, got {value!r}")


def _flag(name: str, value: bool) -> None:
    """Raise TypeError unless value is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: True or False is needed, got {value!r}")
