"""Step-size schedules: `at(t)` is alpha_t for t = 1, 2, ...

alpha_1 multiplies the first gradient, and T iterates theta_1 .. theta_T have T-1 updates. `at` takes any type with
arithmetic, arrays of t as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from toyopt import _check


class Schedule(Protocol):
    """A step size for every update."""

    def at(self, t: Any) -> Any:
        """Return alpha_t, t = 1, 2, ..."""


@dataclass(frozen=True)
class Constant:
    """alpha_t = alpha."""

    alpha: float

    def __post_init__(self) -> None:
        _check.real("alpha", self.alpha, above=0.0)

    def at(self, t: Any) -> Any:
        """Return alpha_t, t = 1, 2, ..."""
        return self.alpha + 0.0 * t


@dataclass(frozen=True)
class InverseRootHorizon:
    """alpha_t = alpha0 / sqrt(T), the step of Theorem 4.1."""

    alpha0: float
    T: int

    def __post_init__(self) -> None:
        _check.real("alpha0", self.alpha0, above=0.0)
        _check.whole("T", self.T, low=1)

    def at(self, t: Any) -> Any:
        """Return alpha_t, t = 1, 2, ..."""
        return self.alpha0 / math.sqrt(self.T) + 0.0 * t


@dataclass(frozen=True)
class LinearDecay:
    """alpha_t = D/(C sqrt(T)) (1 - t/T): the last iterate without a logarithm (Defazio et al., arXiv 2310.07831)."""

    D: float
    C: float
    T: int

    def __post_init__(self) -> None:
        _check.real("D", self.D, above=0.0)
        _check.real("C", self.C, above=0.0)
        _check.whole("T", self.T, low=1)

    def at(self, t: Any) -> Any:
        """Return alpha_t, t = 1 .. T-1."""
        return self.D / (self.C * math.sqrt(self.T)) * (1 - t / self.T)


@dataclass(frozen=True)
class Cosine:
    """alpha_t = alpha0 (1 + cos(π (t-1)/T))/2, t = 1 .. T updates: from alpha0 down to almost 0."""

    alpha0: float
    T: int

    def __post_init__(self) -> None:
        _check.real("alpha0", self.alpha0, above=0.0)
        _check.whole("T", self.T, low=1)

    def at(self, t: Any) -> Any:
        """Return alpha_t, t = 1 .. T."""
        return self.alpha0 * (1.0 + np.cos(np.pi * (t - 1) / self.T)) / 2.0


@dataclass(frozen=True)
class InverseTime:
    """alpha_t = alpha0 / t: its sum grows like log T."""

    alpha0: float

    def __post_init__(self) -> None:
        _check.real("alpha0", self.alpha0, above=0.0)

    def at(self, t: Any) -> Any:
        """Return alpha_t, t = 1, 2, ..."""
        return self.alpha0 / t


@dataclass(frozen=True)
class ZamaniGlineur:
    """alpha_k = R(N+1-k)/(B(N+1)^{3/2}), k = 1 .. N updates: optimal for full gradients (arXiv 2307.11134)."""

    R: float
    B: float
    N: int

    def __post_init__(self) -> None:
        _check.real("R", self.R, above=0.0)
        _check.real("B", self.B, above=0.0)
        _check.whole("N", self.N, low=1)

    def at(self, t: Any) -> Any:
        """Return alpha_k, k = 1 .. N."""
        return self.R * (self.N + 1 - t) / (self.B * (self.N + 1) ** 1.5)
