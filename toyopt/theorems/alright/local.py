"""The constants of ALRIGHT's draws at an isolated minimiser of f_Mix: what the price of the coin depends on.

A draw is an outcome j (an objective; with stochastic gradients a datum of it) with probability p_j. Proofs of the
constants: docs/theory.md, A10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt.optimum import minimise
from toyopt.problem import Objective, Problem
from toyopt.theorems.expectation.paths import branches

_FLAT = 1e-9  # of the largest eigenvalue: a Hessian with a smaller one is taken for singular


@dataclass(frozen=True, eq=False)
class LocalConstants:
    """Constants of J outcomes around the minimiser theta*; x = theta - theta*.

    theta_star   (d,) the minimiser; residual is ‖∇f_Mix(theta*)‖ as computed
    p            (J,) probabilities of the outcomes
    gradients    (J, d) a_j = ∇f_j(theta*); they have the mean 0
    curvatures   (d,) eigenvalues of H = ∇²f_Mix(theta*), ascending; axes (d, d) its eigenvectors, in columns
    grad_bounds  (J,) C_j >= ‖∇f_j‖ everywhere
    smooth       (J,) L_j >= ‖∇²f_j‖ everywhere
    third        (J,) M_j >= ‖D³f_j‖ everywhere
    fourth       N >= ‖D⁴f_Mix‖ everywhere
    skew         ‖D³f_Mix(theta*)‖ as a tensor (Frobenius)
    width        Δ: along a path of length s Hessians change by a factor of at most e^{Δs}
    """

    theta_star: Array
    residual: float
    p: Array
    gradients: Array
    curvatures: Array
    axes: Array
    grad_bounds: Array
    smooth: Array
    third: Array
    fourth: float
    skew: float
    width: float

    @classmethod
    def of(cls, problem: Problem, lam: float | Sequence[float], *, stochastic: bool = False) -> LocalConstants:
        """Compute the constants at the minimiser of f_Mix; ValueError where none is isolated, or none was computed."""
        best = minimise(problem, lam)
        if best.theta is None or not best.converged:
            raise ValueError(f"lam: f_Mix has no minimiser for lam = {lam!r}; give a problem that has one")
        star, weights = best.theta, _check.weights("lam", lam, len(problem))
        curvatures, axes = np.linalg.eigh(problem.hess_mix(star, weights))
        if curvatures[0] <= _FLAT * curvatures[-1]:
            raise ValueError(
                f"lam: an isolated minimiser of f_Mix is needed, and for lam = {lam!r} its Hessian has the eigenvalue "
                f"{curvatures[0]:.3g}"
            )
        outcomes = branches(problem, weights, stochastic=stochastic)
        p, parts = np.array([o.probability for o in outcomes]), [o.objective for o in outcomes]
        skew = sum(o.probability * third_derivative(o.objective, star) for o in outcomes)
        return cls(
            theta_star=star,
            residual=float(np.linalg.norm(problem.grad_mix(star, weights))),
            p=p,
            gradients=np.stack([f.grad(star) for f in parts]),
            curvatures=curvatures,
            axes=axes,
            grad_bounds=np.array([f.grad_bound for f in parts]),
            smooth=np.array([f.smoothness for f in parts]),
            third=np.array([float((f.diameters**3).mean()) / (6 * math.sqrt(3)) for f in parts]),
            fourth=float(p @ [float((f.diameters**4).mean()) / 8 for f in parts]),
            skew=float(np.linalg.norm(skew)),
            width=max(float(f.diameters.max()) for f in parts),
        )

    @property
    def noise(self) -> float:
        """Trace Σ_j p_j ‖a_j‖² of the covariance of the drawn gradient at theta*."""
        return float(self.p @ (self.gradients**2).sum(axis=1))

    @property
    def L(self) -> float:
        """Smoothness Σ_j p_j L_j of f_Mix."""
        return float(self.p @ self.smooth)

    def slope(self, distance: Array | float) -> Array:
        """Compute μ(1 - e^{-Δs})/Δ, a lower bound of ⟨∇f_Mix(theta), x⟩/‖x‖ at ‖x‖ = s; increasing in s."""
        return np.asarray(self.curvatures[0] * -np.expm1(-self.width * np.asarray(distance)) / self.width)

    def gap(self, distance: float) -> float:
        """Compute an upper bound of f_Mix(theta) - f_Mix(theta*) at ‖x‖ = s: ‖H‖(e^{Δs}-1-Δs)/Δ², and L s²/2."""
        z = self.width * distance
        # Below 1e-4 by the series: (e^z - 1 - z)/z² <= (1 + z)/2, where the difference would cancel.
        ratio = (1.0 + z) / 2.0 if z < 1e-4 else math.inf if z > 700.0 else (math.expm1(z) - z) / z**2
        return min(float(self.curvatures[-1]) * ratio, self.L / 2.0) * distance**2


def third_derivative(objective: Objective, theta: ArrayLike) -> Array:
    """Compute (d, d, d) the third derivative: the mean over the data of a third central moment of rows and 0."""
    point = _check.theta("theta", theta, objective.dim)
    out = np.zeros((objective.dim,) * 3)
    for rows in np.split(objective.rows, objective.starts[1:]):
        points = np.concatenate([np.zeros((1, objective.dim)), rows])
        margins = points @ (point - objective.origin)
        chances = np.exp(margins - margins.max())
        chances /= chances.sum()
        centred = points - chances @ points
        out += np.einsum("r,ri,rj,rk->ijk", chances, centred, centred, centred)
    return out / objective.size
