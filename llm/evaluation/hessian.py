"""Hessian of an objective on an adapter's weights: exact products with vectors, and both ends of the spectrum.

A product is a gradient of a gradient (B. A. Pearlmutter, "Fast exact multiplication by the Hessian", 1994), so memory
never holds the (weights)² entries. All operations must be differentiable twice: attention "eager", and the head as a
plain module (`Policy.twice_differentiable`) instead of `FrozenHead`, whose backward pass is written by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from llm.data.sampler import Indices, micro_batch_count, split
from llm.models.policy import Policy
from llm.training.objective import Objective

Vector = NDArray[np.float64]

# A product computed in float32 is off by less than this share of the Hessian's norm: some hundred roundings of 6e-8.
NOISE = 1e-5
CONFIDENCE = 0.99  # of `Ends.margin`


class Surface:
    """An objective on fixed rows as a function of the policy's trainable weights, at their current values.

    KTO's estimate of the divergence is a constant, its value at these weights.

    policy  with `twice_differentiable`, and attention that can be differentiated twice
    most    maximum number of padded tokens in one graph; more rows are split into parts, and a product computes each
            part's graph again instead of keeping it
    """

    def __init__(self, policy: Policy, task: Objective, rows: Indices, *, most: int) -> None:
        self.policy, self.task, self.rows = policy, task, rows
        self.weights = [p for p in policy.parameters() if p.requires_grad]
        self.size = sum(p.numel() for p in self.weights)
        self.parts = split(rows[np.argsort(task.lengths[rows], kind="stable")], self._count(most))
        self.kl = self._divergence() if task.is_unpaired else 0.0
        self.value, self.gradient = 0.0, np.zeros(self.size)
        for part in self.parts:
            value, gradient = self._part(part)
            self.value += float(value.detach())
            self.gradient += _plain(gradient)
        self._kept = gradient if len(self.parts) == 1 else None

    def product(self, vector: Vector) -> Vector:
        """Return the Hessian times a vector, (size,) -> (size,), computed in the weights' precision."""
        total = np.zeros(self.size)
        for part in self.parts:
            gradient = self._part(part)[1] if self._kept is None else self._kept
            along = torch.from_numpy(vector).to(gradient)
            slopes = torch.autograd.grad(
                gradient, self.weights, along, retain_graph=self._kept is not None, materialize_grads=True
            )
            total += _plain(_flat(slopes))
        return total

    def _count(self, most: int) -> int:
        return micro_batch_count(self.rows, self.task.lengths, world=1, max_tokens=most)

    @torch.no_grad()
    def _divergence(self) -> float:
        """Return KTO's estimate of KL(π_θ ‖ π_ref) on the rows, at least 0."""
        total = torch.zeros(2, dtype=torch.float64)
        for part in self.parts:
            logps = self.policy(self.task.mismatched_batch(part).to(self.weights[0].device))
            total += self.task.divergence(logps, part, None).cpu()
        return max(0.0, float(total[0] / total[1]))

    def _part(self, part: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (the part's share of the objective, its gradient), both with a graph."""
        batch = self.task.batch(part).to(self.weights[0].device)
        total, _ = self.task.measure(self.policy(batch), batch, part, kl=self.kl)
        value = total / self.task.units(self.rows)
        return value, _flat(torch.autograd.grad(value, self.weights, create_graph=True, materialize_grads=True))


def _flat(tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


def _plain(tensor: torch.Tensor) -> Vector:
    return tensor.detach().double().cpu().numpy()


@dataclass(frozen=True)
class Ends:
    """The smallest and the largest eigenvalue of a symmetric H, as Rayleigh quotients of unit vectors v.

    A Rayleigh quotient is never below the smallest eigenvalue nor above the largest, so a negative `smallest` proves
    that H has a negative eigenvalue. A small residual does not prove the converse: v may belong to an inner eigenvalue,
    and `margin` bounds how much is missed.

    residual_...  ||Hv - λv||: within that distance of λ there is an eigenvalue
    margin        distance beyond `smallest` or `largest` that no eigenvalue exceeds, with probability CONFIDENCE over
                  the random start; 0 where H was computed in full
    converged     both residuals are at most the tolerance
    products      number of products with H
    """

    smallest: float
    largest: float
    residual_smallest: float
    residual_largest: float
    margin: float
    converged: bool
    products: int

    @property
    def negative(self) -> bool:
        """Whether H has a negative eigenvalue, by more than the error of float32."""
        return self.smallest < -NOISE * max(abs(self.smallest), abs(self.largest))


def ends(
    product: Callable[[Vector], Vector],
    size: int,
    *,
    rng: np.random.Generator,
    tolerance: float = 0.01,
    products: int = 40,
) -> Ends:
    """Return both ends of the spectrum of a symmetric (size, size) matrix H, from products with vectors.

    tolerance  of the residuals, as a share of the larger eigenvalue's magnitude: the limit for `converged`
    products   dimension of the Krylov space, at least 3 (one more product starts it); a matrix of at most this size is
               computed in full

    ARPACK's Lanczos iteration (`scipy.sparse.linalg.eigsh`), one cycle of `products` steps from a start drawn by `rng`.
    Neither the residuals nor ARPACK's own test end the cycle early. A residual can be small at an inner eigenvalue
    while the end is still missing; ARPACK's test is relative to each eigenvalue, and where an end is next to 0 it asks
    for more digits than float32 has.
    """
    if size <= products:
        basis, margin = np.eye(size), 0.0
        images = np.array([product(unit) for unit in basis])
        vectors = np.linalg.eigh((images + images.T) / 2.0)[1][:, [0, -1]]
    else:
        taken: list[tuple[Vector, Vector]] = []  # (v, Hv)

        def recorded(vector: Vector) -> Vector:
            taken.append((vector.reshape(-1).copy(), product(vector.reshape(-1))))
            return taken[-1][1]

        operator = LinearOperator((size, size), matvec=recorded, dtype=np.float64)
        start = rng.standard_normal(size)
        try:
            vectors = eigsh(operator, 2, which="BE", v0=start, ncv=products, maxiter=1, tol=np.inf)[1]
        except ArpackError:
            if recorded(start).any():
                raise
            return Ends(0.0, 0.0, 0.0, 0.0, 0.0, True, len(taken))  # a random vector is in no proper kernel: H = 0
        basis, images = (np.array(rows) for rows in zip(*taken, strict=True))
    # Both vectors lie in the span of the basis, so their images follow from those of the basis, without a product.
    coefficients = np.linalg.lstsq(basis.T, vectors, rcond=None)[0]
    (smallest, off_low), (largest, off_high) = (
        _rayleigh(vector, images.T @ own) for vector, own in zip(vectors.T, coefficients.T, strict=True)
    )
    if size > products:
        margin = _margin(largest - smallest, size, products)
    converged = max(off_low, off_high) <= tolerance * max(abs(smallest), abs(largest))
    return Ends(smallest, largest, off_low, off_high, margin, converged, len(basis))


def _margin(width: float, size: int, steps: int) -> float:
    """Return the distance by which Lanczos may miss an end of a spectrum, at CONFIDENCE; infinity for too few steps.

    After k steps from a random start in n dimensions, an end is missed by more than ε times the spectrum's width with
    probability at most 1.648 √n exp(-√ε (2k - 1)) (J. Kuczyński, H. Woźniakowski, "Estimating the largest eigenvalue by
    the power and Lanczos algorithms with a random start", 1992, for λI - H and H - λI, which have H's Krylov spaces).
    Here for both ends at once; the width itself may be missed at both.

    width  of the spectrum, as measured
    """
    missed = (math.log(2.0 * 1.648 * math.sqrt(size) / (1.0 - CONFIDENCE)) / (2.0 * steps - 1.0)) ** 2
    return width * missed / (1.0 - 2.0 * missed) if missed < 0.5 else math.inf


def _rayleigh(vector: Vector, image: Vector) -> tuple[float, float]:
    """Return (Rayleigh quotient, residual) of a vector v with its image Hv."""
    norm = float(np.linalg.norm(vector))
    unit, image = vector / norm, image / norm
    quotient = float(unit @ image)
    return quotient, float(np.linalg.norm(image - quotient * unit))
